"""Quads of a flexible dual grid in PyTorch: sorted keys and a binary search, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["QUAD_OFFSETS", "dual_quads"]

# The four voxels around the edge that ends at the voxel's upper corner, per axis, in cyclic order.
QUAD_OFFSETS = (
    ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0)),
    ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
    ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0)),
)


def dual_quads(
    coords: Tensor,  # [N, 3] int32, unique rows
    intersected: Tensor,  # [N, 3] bool
    grid_size: Tensor,  # [3] int32
) -> Tensor:  # [L, 4] int64
    """Rows of the four voxels around each crossed edge, row-major over (voxel, axis); incomplete quads are dropped.

    Raises ValueError if a coordinate is outside the grid or a row repeats.
    """
    device = coords.device
    if coords.shape[0] == 0:
        return torch.zeros(0, 4, dtype=torch.int64, device=device)
    size = grid_size.to(device, torch.int64)
    wide = coords.long()
    if bool(((wide < 0) | (wide >= size)).any()):
        raise ValueError(f"coords must lie in [0, grid_size), got {wide.amin(0).tolist()} to {wide.amax(0).tolist()}")
    strides = torch.stack([size[1] * size[2], size[2], torch.ones_like(size[2])])
    keys, rows = torch.sort((wide * strides).sum(1))
    if bool((keys[1:] == keys[:-1]).any()):
        raise ValueError("coords must have unique rows, some repeat")

    offsets = torch.tensor(QUAD_OFFSETS, dtype=torch.int64, device=device)  # [3, 4, 3]
    voxel, axis = torch.nonzero(intersected, as_tuple=True)
    cells = wide[voxel, None] + offsets[axis]  # [M, 4, 3]
    inside = (cells < size).all(-1)
    wanted = (cells * strides).sum(-1)
    slot = torch.searchsorted(keys, wanted.reshape(-1)).reshape(wanted.shape).clamp(max=keys.numel() - 1)
    found = inside & (keys[slot] == wanted)
    return rows[slot[found.all(1)]]
