"""Quick pictures of voxels for logs: three orthographic views, nearest voxel wins, shaded by depth.

They show structure and colour without a renderer; quality pictures come from `trellis2.renderers`.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw_voxels"]


@torch.no_grad()
def draw_voxels(
    coords: Tensor,  # [R, 4] int32 (batch, x, y, z)
    colours: Tensor,  # [R, 3] in [0, 1]
    batch_size: int,
    resolution: int,
    max_side: int = 128,
) -> Tensor:  # [B, 3, S, 3 S], views along +y, -x, -z
    """Front, side and top view side by side."""
    side = min(resolution, max_side)
    batch = coords[:, 0].long()
    xyz = torch.div(coords[:, 1:].long() * side, resolution, rounding_mode="floor").clamp(0, side - 1)
    x, y, z = xyz.unbind(1)
    flip = side - 1
    views = ((flip - z, x, flip - y), (flip - z, y, x), (flip - y, x, z))  # (row, column, nearness)
    canvas = torch.zeros(batch_size, 3, side, 3 * side, device=coords.device)
    colours = colours.float().clamp(0, 1)
    for i, (row, column, near) in enumerate(views):
        pixel = (batch * side + row) * side + column  # [R]
        depth = torch.full((batch_size * side * side,), -1, device=coords.device, dtype=torch.int64)
        # depth and row packed in one integer: the maximum is the nearest voxel, ties go to the last row
        key = near * (len(coords) + 1) + torch.arange(len(coords), device=coords.device)
        depth.scatter_reduce_(0, pixel, key, reduce="amax")
        hit = depth >= 0
        winner = depth[hit] % (len(coords) + 1)
        shade = 0.35 + 0.65 * near[winner].float() / max(flip, 1)
        image = torch.zeros(batch_size * side * side, 3, device=coords.device)
        image[hit] = colours[winner] * shade[:, None]
        canvas[..., i * side : (i + 1) * side] = image.view(batch_size, side, side, 3).permute(0, 3, 1, 2)
    return canvas
