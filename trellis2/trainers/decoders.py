"""Decoders for pictures of latents: a run folder's checkpoint, or a local pair of files; otherwise none."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

from .checkpoint import load_torch_file

__all__ = ["load_run_model", "load_visual_decoder"]

log = logging.getLogger(__name__)


def load_run_model(run_dir: str | Path, key: str, ckpt: str) -> torch.nn.Module:
    """Model `key` of a run folder, built from its `config.json`, with weights `ckpts/<key>_<ckpt>.pt`."""
    from .. import models

    run_dir = Path(run_dir)
    spec = json.loads((run_dir / "config.json").read_text())["models"][key]
    model = getattr(models, spec["name"])(**spec["args"])
    model.load_state_dict(load_torch_file(run_dir / "ckpts" / f"{key}_{ckpt}.pt"))
    return model.eval()


def load_visual_decoder(dataset: Any, key: str, device: torch.device) -> Any:
    """The decoder named by the dataset's arguments, kept on the dataset; None if its files are not here."""
    kept: dict[str, Any] = dataset.__dict__.setdefault("_visual_decoders", {})
    if key not in kept:
        pretrained, run_dir, ckpt = getattr(dataset, "decoders", {}).get(key, (None, None, None))
        model = None
        if run_dir is not None and ckpt is not None:
            model = load_run_model(run_dir, "decoder", ckpt)
        elif pretrained is not None and Path(f"{pretrained}.safetensors").is_file():
            from ..models import from_pretrained

            model = from_pretrained(pretrained)
        elif pretrained is not None:
            log.info("no local files for the decoder %s: pictures show latents", pretrained)
        kept[key] = None if model is None else model.to(device).eval().requires_grad_(False)
    return kept[key]
