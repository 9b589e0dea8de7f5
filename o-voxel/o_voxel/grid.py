"""The grid an O-Voxel asset lives on, and the one reader of the `voxel_size`, `grid_size`, `aabb` arguments.

Frames: *world* (mesh units), *box-relative* (mesh units from `aabb[0]`), *voxel-local* (in voxels from the voxel's
lower corner, nominally [0, 1]). Voxel (i, j, k) covers [i, i+1) x [j, j+1) x [k, k+1) voxels from `aabb[0]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["MAX_GRID_SIZE", "Grid", "box_to_local", "local_to_box", "local_to_world", "resolve_grid"]

MAX_GRID_SIZE = 1 << 20  # cell keys of three axes fit 64 bits

VectorLike = float | int | Sequence[float] | np.ndarray | Tensor


@dataclass(frozen=True)
class Grid:
    """A box cut into equal cells. Tensors are on CPU."""

    aabb: Tensor  # [2, 3] float32, world: lower and upper corner
    voxel_size: Tensor  # [3] float32, mesh units
    grid_size: Tensor  # [3] int32, cells per axis


def _as_array(value: Any, name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Checked values as NumPy: a call converts a small grid, which tensor operations would make its largest cost."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be numeric of shape {list(shape)}, got {value!r}") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a real number type of shape {list(shape)}, got {value!r}")
    wide = array.astype(np.float64)
    if wide.ndim == 0 and len(shape) == 1:
        wide = np.broadcast_to(wide, shape)
    if wide.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(wide.shape)}")
    if not np.isfinite(wide).all():
        raise ValueError(f"{name} must be finite, got {wide.tolist()}")
    if issubclass(dtype, np.integer) and (wide != np.rint(wide)).any():
        raise ValueError(f"{name} must hold whole numbers, got {wide.tolist()}")
    return wide.astype(dtype)


def _fit_box(points: Tensor, voxel_size: np.ndarray | None, grid_size: np.ndarray | None) -> np.ndarray:
    """Box around points [V, 3]: whole voxels of the given size, or half a voxel of margin on each side."""
    if points.shape[0] == 0:
        raise ValueError("aabb must be given for a mesh without vertices")
    lower, upper = points.double().amin(0).numpy(), points.double().amax(0).numpy()
    extent = upper - lower
    if voxel_size is not None:
        size = voxel_size.astype(np.float64)
        pad = np.maximum(np.ceil(extent / size), 1) * size - extent
    else:
        assert grid_size is not None
        if (grid_size < 2).any():
            raise ValueError(f"grid_size must be at least 2 to choose aabb automatically, got {grid_size.tolist()}")
        pad = extent / (grid_size - 1)
        flat = pad <= 0  # a flat axis takes the smallest voxel of the others
        if flat.all():
            raise ValueError("aabb must be given for a mesh whose vertices coincide")
        pad = np.where(flat, pad[~flat].min() * grid_size, pad)
    return np.stack([lower - pad / 2, upper + pad / 2]).astype(np.float32)


def resolve_grid(
    voxel_size: VectorLike | None = None,  # scalar or [3], mesh units
    grid_size: VectorLike | None = None,  # scalar or [3], cells
    aabb: Any = None,  # [2, 3], world
    *,
    vertices: Tensor | None = None,  # [V, 3], world; the box is fitted to them when aabb is None
    prefer_voxel_size: bool = False,
) -> Grid:
    """Complete `voxel_size`, `grid_size` and `aabb` into a Grid.

    Scalars, lists, tuples, arrays and tensors are accepted, on any device. A missing voxel size is the extent over the
    grid size, a missing grid size the rounded extent over the voxel size. If both are given both are kept, or, with
    `prefer_voxel_size`, the grid size is computed anew. Without `aabb` the box is fitted to `vertices`: with a voxel
    size it is padded to whole voxels, with a grid size by half a voxel on each side.

    Raises ValueError if both sizes are missing, a value is not finite, positive, whole or of the right shape, the box
    is empty, or there is no box and nothing to fit one to.
    """
    if voxel_size is None and grid_size is None:
        raise ValueError("voxel_size or grid_size must be given, got neither")
    size = None if voxel_size is None else _as_array(voxel_size, "voxel_size", np.float32, (3,))
    if size is not None and not (size > 0).all():
        raise ValueError(f"voxel_size must be positive, got {size.tolist()}")
    count = None if grid_size is None else _as_array(grid_size, "grid_size", np.int64, (3,))
    if count is not None and ((count < 1).any() or (count > MAX_GRID_SIZE).any()):
        raise ValueError(f"grid_size must lie in [1, {MAX_GRID_SIZE}], got {count.tolist()}")
    if aabb is None:
        if vertices is None:
            raise ValueError("aabb must be given, as [[xmin, ymin, zmin], [xmax, ymax, zmax]]")
        box = _fit_box(vertices.detach().cpu(), size, count)
    else:
        box = _as_array(aabb, "aabb", np.float32, (2, 3))
    extent = box[1] - box[0]
    if not (extent > 0).all():
        raise ValueError(f"aabb must have its upper corner above its lower one on every axis, got {box.tolist()}")
    if size is None:
        assert count is not None
        size = extent / count.astype(np.float32)
        if not (size > 0).all():
            raise ValueError(f"grid_size {count.tolist()} is too fine for aabb {box.tolist()}")
    elif count is None or prefer_voxel_size:
        cells = np.rint(extent / size)
        if (cells < 1).any() or (cells > MAX_GRID_SIZE).any():
            raise ValueError(
                f"voxel_size {size.tolist()} cuts aabb {box.tolist()} into {cells.tolist()} cells, "
                f"must be 1 to {MAX_GRID_SIZE} per axis"
            )
        count = cells.astype(np.int64)
    return Grid(torch.from_numpy(box), torch.from_numpy(size), torch.from_numpy(count.astype(np.int32)))


def box_to_local(points: Tensor, coords: Tensor, grid: Grid) -> Tensor:
    """Box-relative points [N, 3] -> voxel-local coordinates of the voxels `coords` [N, 3]."""
    size = grid.voxel_size.to(points.device, torch.float64)
    return (points.double() / size - coords).to(points.dtype)


def local_to_box(points: Tensor, coords: Tensor, grid: Grid) -> Tensor:
    """Voxel-local points [N, 3] of the voxels `coords` [N, 3] -> box-relative, mesh units."""
    return (points + coords.to(points.dtype)) * grid.voxel_size.to(points)


def local_to_world(points: Tensor, coords: Tensor, grid: Grid) -> Tensor:
    """Voxel-local points [N, 3] of the voxels `coords` [N, 3] -> world, mesh units. Differentiable in `points`."""
    return local_to_box(points, coords, grid) + grid.aabb[0].to(points)
