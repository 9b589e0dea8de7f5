"""The latents of one asset, in memory and on disk.

A file is a safetensors file with the metadata `latents` (JSON: format, resolution and how they were made), and the
tensors `coords` [T, 3] int32, `shape_slat` [T, C] float32 and, unless the asset is geometry only, `tex_slat` [T, C']
float32. The same latents make the same bytes; two metadata entries would not, since the writer does not order them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trellis2.modules.sparse import SparseTensor
from trellis2.utils.files import write_atomically

__all__ = ["Latents", "load_latents", "save_latents"]

_FORMAT = "trellis2-latents-1"


@dataclass(frozen=True)
class Latents:
    """Shape and material latent of one asset, denormalised, on the same cells."""

    shape_slat: SparseTensor  # one sample, feats [T, C]
    tex_slat: SparseTensor | None  # feats [T, C']; None: geometry only
    resolution: int  # voxels a side of the decoded asset
    info: Mapping[str, Any] = field(default_factory=dict)  # how it was made; JSON values

    def to(self, device: torch.device | str) -> Latents:
        tex = None if self.tex_slat is None else self.tex_slat.to(device)
        return Latents(self.shape_slat.to(device), tex, self.resolution, self.info)


def save_latents(latents: Latents, path: str | Path) -> None:
    """Write a `.safetensors` file, complete or not at all. Raises ValueError for another suffix or several samples."""
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"latents are kept in .safetensors files, got {path.name!r}")
    shape = latents.shape_slat
    if len(shape) != 1:
        raise ValueError(f"latents must be of one sample, got {len(shape)}; save each on its own")
    tensors = {"coords": shape.coords[:, 1:].int(), "shape_slat": shape.feats.float()}
    if latents.tex_slat is not None:
        if not torch.equal(latents.tex_slat.coords.cpu(), shape.coords.cpu()):
            raise ValueError("tex_slat and shape_slat must lie on the same cells")
        tensors["tex_slat"] = latents.tex_slat.feats.float()
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    info = json.dumps({"format": _FORMAT, "resolution": latents.resolution, **latents.info}, sort_keys=True)
    write_atomically(path, lambda name: save_file(tensors, name, metadata={"latents": info}))


def load_latents(path: str | Path) -> Latents:
    """Read what `save_latents` wrote. Raises FileNotFoundError, or ValueError for anything but such a file."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"latents not found: {path}")
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from None
    try:
        info = json.loads(metadata.get("latents", "{}"))
        if info.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} does not hold latents of this program")
        resolution = int(info.pop("resolution"))
        cells, shape, tex = tensors["coords"], tensors["shape_slat"], tensors.get("tex_slat")
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from None
    _check(path, cells, shape, tex, resolution)
    coords = torch.cat([torch.zeros_like(cells[:, :1]), cells], dim=1)

    def sparse(feats: Tensor) -> SparseTensor:
        return SparseTensor(feats, coords, torch.Size((1, feats.shape[1])))

    return Latents(sparse(shape), None if tex is None else sparse(tex), resolution, info)


def _check(path: Path, cells: Tensor, shape: Tensor, tex: Tensor | None, resolution: int) -> None:
    count = cells.shape[0]
    for name, value in (("shape_slat", shape), ("tex_slat", tex)):
        if value is None:
            continue
        if value.dtype != torch.float32 or value.ndim != 2 or value.shape[0] != count:
            raise ValueError(f"{path}: {name} must be float32 [{count}, C], got {value.dtype} {list(value.shape)}")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path}: {name} holds values that are not finite")
    if cells.dtype != torch.int32 or cells.ndim != 2 or cells.shape[1] != 3 or count == 0:
        raise ValueError(f"{path}: coords must be int32 [T, 3] with rows, got {cells.dtype} {list(cells.shape)}")
    if not 1 <= resolution <= 8192 or int(cells.min()) < 0 or int(cells.max()) >= resolution:
        raise ValueError(f"{path}: coords must lie in a grid of {resolution} cells a side")
