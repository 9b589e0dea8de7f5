"""Checkpoint folders: atomic files, a manifest written last, loading without unpickling.

    <model>_step0000000.pt   <model>_ema<rate>_step0000000.pt   misc_step0000000.pt   manifest_step0000000.json

The manifest lists the files of its step with their sizes; a step counts as complete when all are there in full.
Folders without any manifest (written by the reference) are accepted on the presence of `misc_*.pt`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..utils.dist_utils import read_file_dist

__all__ = ["ema_name", "find_latest_step", "load_torch_file", "model_name", "prune", "write_checkpoint"]

log = logging.getLogger(__name__)


def model_name(model: str, step: int) -> str:
    """File name of a model's weights."""
    return f"{model}_step{step:07d}.pt"


def ema_name(model: str, rate: float, step: int) -> str:
    """File name of a model's averaged weights; the rate is written as Python prints it."""
    return f"{model}_ema{rate}_step{step:07d}.pt"


def _write_atomic(path: Path, data: bytes | memoryview) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_checkpoint(folder: str | Path, step: int, files: Mapping[str, Any]) -> None:
    """Write `files` (name → object for `torch.save`), each atomically, then the manifest."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name, content in files.items():
        buffer = io.BytesIO()
        torch.save(content, buffer)
        _write_atomic(folder / name, buffer.getbuffer())
        sizes[name] = buffer.getbuffer().nbytes
    manifest = json.dumps({"step": step, "files": sizes}, indent=2)
    _write_atomic(folder / f"manifest_step{step:07d}.json", manifest.encode())


def _complete(folder: Path, manifest: Path) -> int | None:
    try:
        data = json.loads(manifest.read_text())
        step, sizes = int(data["step"]), dict(data["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("ignoring unreadable manifest %s: %s", manifest, error)
        return None
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            log.warning("checkpoint of step %d is incomplete: %s", step, path)
            return None
    return step


def find_latest_step(folder: str | Path) -> int | None:
    """Newest complete step in a `ckpts` folder, None if there is none."""
    folder = Path(folder)
    manifests = list(folder.glob("manifest_step*.json"))
    if manifests:
        steps = [step for m in manifests if (step := _complete(folder, m)) is not None]
    else:
        steps = [int(m.group(1)) for p in folder.glob("misc_*.pt") if (m := re.search(r"step(\d+)\.pt$", p.name))]
    return max(steps) if steps else None


def load_torch_file(path: str | Path) -> Any:
    """Read a `torch.save` file on process 0, share it, load it with `weights_only=True` on the CPU."""
    data = read_file_dist(path)
    try:
        return torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is damaged or holds objects that need unsafe unpickling: {error}") from error


def prune(folder: str | Path, keep: int) -> None:
    """Delete all but the `keep` newest complete checkpoints."""
    folder = Path(folder)
    found = {step: m for m in folder.glob("manifest_step*.json") if (step := _complete(folder, m)) is not None}
    for step in sorted(found)[:-keep] if keep > 0 else []:
        names = json.loads(found[step].read_text())["files"]
        found[step].unlink()
        for name in names:
            (folder / name).unlink(missing_ok=True)
