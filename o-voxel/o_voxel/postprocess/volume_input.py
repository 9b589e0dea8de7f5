"""Checks of the voxel arguments of `to_glb`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike
from o_voxel.postprocess.volume import AttributeVolume

__all__ = ["as_tensor", "make_volume"]

_WIDTHS = (("base_color", 3), ("metallic", 1), ("roughness", 1), ("alpha", 1), ("emissive", 3))


def as_tensor(array: ArrayLike, name: str, device: torch.device) -> Tensor:
    """A detached tensor on `device`. Raises TypeError unless `array` is a tensor or a NumPy array."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
    if not isinstance(array, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor or numpy.ndarray, got {type(array).__name__}")
    return array.detach().to(device)


def make_volume(
    attr_volume: ArrayLike,
    coords: ArrayLike,
    attr_layout: Mapping[str, slice],
    aabb: ArrayLike | Sequence[Sequence[float]],
    voxel_size: float | Sequence[float] | ArrayLike | None,
    grid_size: int | Sequence[int] | ArrayLike | None,
    device: torch.device,
) -> AttributeVolume:
    """The voxels on `device`; raises ValueError or TypeError that names the argument."""
    feats, cells = as_tensor(attr_volume, "attr_volume", device), as_tensor(coords, "coords", device)
    if feats.ndim != 2 or len(feats) == 0:
        raise ValueError(f"attr_volume must have shape [L, C] with L > 0, got {list(feats.shape)}")
    if cells.shape != (len(feats), 3):
        raise ValueError(f"coords must have shape [{len(feats)}, 3], got {list(cells.shape)}")
    if cells.dtype.is_floating_point or cells.dtype == torch.bool:
        raise TypeError(f"coords must be integers, got {cells.dtype}")
    feats = feats.float()
    if not bool(torch.isfinite(feats).all()):
        raise ValueError("attr_volume must be finite")
    _check_layout(attr_layout, feats.shape[1])
    box = np.asarray(aabb.detach().cpu() if isinstance(aabb, Tensor) else aabb, dtype=np.float64)
    if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[1] > box[0]).all():
        raise ValueError(f"aabb must be [2, 3] with upper above lower corner, got {box.tolist()}")
    if voxel_size is not None:
        size = _triple(voxel_size, "voxel_size")
        cells_per_axis = np.round((box[1] - box[0]) / size)
    elif grid_size is not None:
        cells_per_axis = np.round(_triple(grid_size, "grid_size"))
        size = (box[1] - box[0]) / cells_per_axis
    else:
        raise ValueError("one of voxel_size and grid_size must be given")
    grid = (int(cells_per_axis[0]), int(cells_per_axis[1]), int(cells_per_axis[2]))
    if min(grid) < 1:
        raise ValueError(f"grid_size must be at least 1 on every axis, got {list(grid)}")
    low, high = cells.amin(0).tolist(), cells.amax(0).tolist()
    if min(low) < 0 or any(top >= limit for top, limit in zip(high, grid)):
        raise ValueError(f"coords must lie in the grid {list(grid)}, got {low} to {high}")
    return AttributeVolume(feats.contiguous(), cells.int().contiguous(), dict(attr_layout), box[0], size, grid)


def _check_layout(layout: Mapping[str, slice], channels: int) -> None:
    if "base_color" not in layout:
        raise ValueError(f"attr_layout must name base_color, got {sorted(layout)}")
    for name, width in _WIDTHS:
        part = layout.get(name, slice(0, width))
        if not isinstance(part, slice) or (name in layout and len(range(*part.indices(channels))) != width):
            raise ValueError(f"attr_layout[{name!r}] must be a slice of {width} of {channels} columns, got {part}")


def _triple(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    array = np.broadcast_to(array, (3,)) if array.size == 1 else array.reshape(-1)
    if array.shape != (3,) or not np.isfinite(array).all() or not (array > 0).all():
        raise ValueError(f"{name} must be one or three positive numbers, got {value}")
    return array.copy()
