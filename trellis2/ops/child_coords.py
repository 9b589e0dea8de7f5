"""Coordinates of the children of voxels. Letters: M parents, T children."""

from __future__ import annotations

import torch
from torch import Tensor

from . import backends
from .triton_support import triton_unavailable

__all__ = ["child_coords", "child_coords_reference"]

OP = "child_coords"


def child_coords_reference(coords: Tensor, idx: Tensor, subidx: Tensor, factor: int) -> Tensor:
    """In plain operations."""
    local = torch.stack([subidx % factor, subidx // factor % factor, subidx // factor**2], dim=1).to(torch.int32)
    parent = coords.index_select(0, idx)
    return torch.cat([parent[:, :1], parent[:, 1:] * factor + local], dim=1)


def _run_triton(coords: Tensor, idx: Tensor, subidx: Tensor, factor: int) -> Tensor:
    from .triton_rows import launch_child_coords

    return launch_child_coords(coords, idx, subidx, factor)


def child_coords(
    coords: Tensor,  # [M, 4] int32, (batch, x, y, z)
    idx: Tensor,  # [T] int64 parent row
    subidx: Tensor,  # [T] int64 place in the parent, x fastest
    factor: int,
) -> Tensor:  # [T, 4] int32
    """Coordinates on the grid `factor` times finer. Rows and places are not checked."""
    return backends.selected(OP, coords.device).run(coords, idx, subidx, factor)


backends.register(OP, "triton", triton_unavailable, _run_triton, priority=10)
backends.register(OP, backends.REFERENCE, lambda device: None, child_coords_reference)
