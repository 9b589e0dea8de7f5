"""Encoders for the latent stages: where they come from, what their latents are called, how they are run.

A latent name is the last part of the model's path (plus the checkpoint, for run folders) plus `_<resolution>`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["LoadedEncoder", "SparseItem", "add_encoder_args", "encode_sparse", "load_encoder", "sort_rows"]


@dataclass(frozen=True)
class LoadedEncoder:
    """A model on its device."""

    model: Any
    name: str  # latent folder name
    device: torch.device
    provenance: dict[str, Any]  # stored in every latent file


@dataclass(frozen=True)
class SparseItem:
    """Input of one asset."""

    sha256: str
    coords: np.ndarray  # [N, 3] int32
    feats: np.ndarray  # [N, 6] float32


def add_encoder_args(parser: argparse.ArgumentParser, pretrained: str, resolution: int) -> None:
    """The published model flags, and ours for device and batch size."""
    parser.add_argument("--resolution", type=int, default=resolution, help="grid size of the input")
    parser.add_argument("--enc_pretrained", default=pretrained, help="path or org/repo/stem of .json and .safetensors")
    parser.add_argument("--model_root", type=Path, help="folder of training runs")
    parser.add_argument("--enc_model", help="run below --model_root; takes the place of --enc_pretrained")
    parser.add_argument("--ckpt", help="checkpoint of the run, e.g. step0200000 or ema0.9999_step0200000")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1, ..."
    )


def load_encoder(args: argparse.Namespace, key: str = "encoder") -> LoadedEncoder:
    """Load the model that the flags name. Raises ValueError or OSError if it cannot be had."""
    from trellis2.models import build_model, from_pretrained, load_weights
    from trellis2.trainers.checkpoint import load_torch_file

    if args.enc_model:
        if args.model_root is None or not args.ckpt:
            raise ValueError("--enc_model needs --model_root and --ckpt")
        run = args.model_root / args.enc_model
        weights = run / "ckpts" / f"{key}_{args.ckpt}.pt"
        if not weights.is_file():
            raise ValueError(f"{weights} does not exist")
        spec = json.loads((run / "config.json").read_text())["models"][key]
        model = build_model(spec["name"], spec["args"])
        load_weights(model, load_torch_file(weights), source=str(weights))
        name = f"{Path(args.enc_model).name}_{args.ckpt}_{args.resolution}"
    else:
        model = from_pretrained(args.enc_pretrained)
        name = f"{str(args.enc_pretrained).rstrip('/').split('/')[-1]}_{args.resolution}"
    device = torch.device(args.device)
    model = model.to(device).eval()
    digest = hashlib.sha256()
    for _, tensor in sorted(model.state_dict().items()):
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    provenance = {"encoder": name, "encoder_sha256": digest.hexdigest(), "resolution": args.resolution}
    return LoadedEncoder(model, name, device, provenance)


def sort_rows(coords: np.ndarray, feats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in ascending (x, y, z) order."""
    order = np.lexsort((coords[:, 2], coords[:, 1], coords[:, 0]))
    return coords[order], feats[order]


@torch.no_grad()
def encode_sparse(encoder: LoadedEncoder, items: list[SparseItem], shape: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Posterior means of a batch: for each item (coords uint8 [T, 3] ascending, feats float32 [T, C]).

    `shape` picks the call: dual vertices and edge flags apart, or all six channels as one tensor.
    Raises ValueError if a latent is not finite or its grid is larger than 256.
    """
    from trellis2.modules.sparse import SparseTensor

    lengths = torch.tensor([len(i.coords) for i in items])
    batch = torch.repeat_interleave(torch.arange(len(items)), lengths)[:, None]
    coords = torch.cat([batch, torch.from_numpy(np.concatenate([i.coords for i in items]))], 1).int().to(encoder.device)
    feats = torch.from_numpy(np.concatenate([i.feats for i in items])).to(encoder.device)
    x = SparseTensor(feats, coords, shape=(len(items), feats.shape[1]))
    if shape:
        z = encoder.model(x.replace(feats[:, :3]), x.replace(feats[:, 3:] > 0.5), sample_posterior=False)
    else:
        z = encoder.model(x, sample_posterior=False)
    values, rows = _to_numpy(z.feats), z.coords.cpu().numpy()
    out = []
    for i, item in enumerate(items):
        mine = rows[:, 0] == i
        c, f = sort_rows(rows[mine, 1:], values[mine])
        if len(c) == 0 or not np.isfinite(f).all():
            raise ValueError(f"{item.sha256}: the latent is empty or not finite")
        if c.min() < 0 or c.max() > 255:
            raise ValueError(f"{item.sha256}: latent coordinates leave 0 ... 255")
        out.append((c.astype(np.uint8), f))
    return out


def _to_numpy(feats: Tensor) -> np.ndarray:
    return feats.detach().float().cpu().numpy()
