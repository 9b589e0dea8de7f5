"""First-hit rendering of axis-aligned boxes in PyTorch: every ray against every box."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["render_voxels_reference"]

_BOXES_AT_ONCE = 64


def render_voxels_reference(
    position: Tensor,  # [N, 3] float64
    half: Tensor,  # [3] float64, half the edge lengths
    origin: Tensor,  # [3] float64
    rays: Tensor,  # [P, 3] float64, scaled so that the ray parameter is the camera depth
    centre_depth: Tensor,  # [N] float64
    *,
    near: float,
    far: float,
    cull_depth: float,
    order_by_centre: bool,
) -> tuple[Tensor, Tensor]:
    """Row of the box seen per ray int64 [P] (-1: none) and the camera depth of entry float32 [P] (0: none)."""
    inverse = torch.where(rays == 0, 1e30, 1 / rays)[:, None]  # [P, 1, 3]
    best = torch.full((len(rays),), torch.inf, device=rays.device)
    index = torch.full((len(rays),), -1, device=rays.device)
    depth = torch.zeros(len(rays), device=rays.device)
    usable = ((centre_depth > cull_depth) & position.isfinite().all(1)).nonzero()[:, 0]
    for start in range(0, len(usable), _BOXES_AT_ONCE):
        rows = usable[start : start + _BOXES_AT_ONCE]
        low = (position[rows] - origin - half) * inverse  # [P, K, 3]
        high = (position[rows] - origin + half) * inverse
        enter = torch.minimum(low, high).amax(-1).clamp(min=near)
        leave = torch.maximum(low, high).amin(-1).clamp(max=far)
        key = (centre_depth[rows].expand_as(enter) if order_by_centre else enter).float()  # hits compare in float32
        key = torch.where(enter < leave, key, torch.inf)
        nearest = key.amin(1)
        first = torch.where(key == nearest[:, None], rows, torch.iinfo(torch.int64).max).amin(1)
        wins = nearest < best
        slot = torch.searchsorted(rows, first)
        best = torch.where(wins, nearest, best)
        index = torch.where(wins, first, index)
        depth = torch.where(wins, enter.gather(1, slot.clamp(max=len(rows) - 1)[:, None])[:, 0].float(), depth)
    return index, depth
