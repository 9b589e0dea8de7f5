"""Edge antialiasing in plain PyTorch: what `o_voxel.rasterize.antialias` and `edge_neighbours` compute.

Based on: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020, section 3.7. Written
with homogeneous edge lines, so no corner is divided by its w and triangles across the near plane need no special case.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["antialias_reference", "edge_neighbours_reference"]

# Coverage is decided on corners snapped to 1/256 pixel: the crossing may lie that little behind the pixel centre.
_TOLERANCE = 1 / 64


def edge_neighbours_reference(tri: Tensor) -> Tensor:  # [F, 3] int64 -> [F, 3] int64
    """Vertex across each edge: entry k belongs to the edge opposite corner k, -1 where no other triangle continues.

    Triangles with a repeated corner are left out. Of more than two triangles at an edge the smallest and the largest
    opposite vertex count; each sees the one that is not its own.
    """
    opposite = torch.full_like(tri, -1)
    a, b, c = tri.unbind(1)
    proper = (a != b) & (b != c) & (c != a)
    ends = torch.stack([tri[:, [1, 2]], tri[:, [2, 0]], tri[:, [0, 1]]], 1)[proper].reshape(-1, 2)  # [3 F', 2]
    if not len(ends):
        return opposite
    own = tri[proper].reshape(-1)
    _, edge = ends.sort(dim=1).values.unique(dim=0, return_inverse=True)
    low = torch.full((int(edge.max()) + 1,), torch.iinfo(torch.int64).max, device=tri.device)
    low = low.scatter_reduce(0, edge, own, "amin")
    high = torch.full_like(low, -1).scatter_reduce(0, edge, own, "amax")
    other = torch.where(own == low[edge], high[edge], low[edge])
    opposite[proper] = torch.where(low[edge] == high[edge], -1, other).reshape(-1, 3)
    return opposite


def _blend_pairs(
    color: Tensor,  # [B H W, C]
    rast: Tensor,  # [B H W, 4]
    face: Tensor,  # [B H W]
    pos: Tensor,  # [B, V, 4] float64
    tri: Tensor,  # [F, 3] int64
    opposite: Tensor,  # [F, 3] int64
    pair: tuple[Tensor, Tensor],  # flat indices of the first pixel and its neighbour at +X or +Y
    axis: int,
    size: tuple[int, int],  # (H, W)
) -> tuple[Tensor, Tensor]:
    """Pixels that change and by how much."""
    height, width = size
    first, second = pair
    differs = face[first] != face[second]
    first, second = first[differs], second[differs]
    empty_first, empty_second = face[first] < 0, face[second] < 0
    nearer = empty_second | (~empty_first & (rast[first, 2] <= rast[second, 2]))
    owner, other = torch.where(nearer, first, second), torch.where(nearer, second, first)
    direction = torch.where(nearer, 1.0, -1.0).double()  # of `other` along the axis
    f, batch = face[owner], owner // (height * width)
    corner = pos[batch[:, None], tri[f]][..., [0, 1, 3]]  # [P, 3, 3]
    across = pos[batch[:, None], opposite[f].clamp(min=0)][..., [0, 1, 3]]
    line = torch.linalg.cross(corner[:, [1, 2, 0]], corner[:, [2, 0, 1]])  # [P, 3, 3], edge k opposite corner k
    x, y = owner % width, owner // width % height
    centre = torch.stack(
        [(2 * x + 1).double() / width - 1, (2 * y + 1).double() / height - 1, torch.ones_like(direction)], 1
    )
    value = (line * centre[:, None]).sum(-1)  # [P, 3]
    facing = (line[:, 0] * corner[:, 0]).sum(-1).sign()[:, None]
    slope = line[..., :2] * pos.new_tensor([2 / width, 2 / height])  # per pixel
    along, cross = slope[..., axis] * direction[:, None], slope[..., 1 - axis]
    leaves = along * facing < 0
    distance = torch.where(leaves, -value / torch.where(leaves, along, 1), torch.inf)  # [P, 3]
    nearest = distance.argmin(1, keepdim=True)
    silhouette = (opposite[f] < 0) | (facing * (line * across).sum(-1) > 0)
    drawn = leaves & silhouette & (along.abs() >= cross.abs()) & (distance >= -_TOLERANCE) & (distance <= 1)
    use = drawn.gather(1, nearest)[:, 0]
    owner, other = owner[use], other[use]
    d = distance.gather(1, nearest)[use].clamp(0, 1)  # [P', 1]
    change = (0.5 - d).to(color.dtype) * (color[other] - color[owner])
    return torch.where(d[:, 0] < 0.5, owner, other), change


def antialias_reference(
    color: Tensor,  # [B, H, W, C] float
    rast: Tensor,  # [B, H, W, 4]
    face: Tensor,  # [B, H, W] int64, visible triangle, -1 where empty
    pos: Tensor,  # [B, V, 4] float
    tri: Tensor,  # [F, 3] integer
    opposite: Tensor,  # [F, 3] from edge_neighbours_reference
) -> Tensor:  # [B, H, W, C]
    """Blend neighbours across silhouettes by where the edge crosses between their centres.

    Differentiable in `color` and `pos`.
    """
    batch, height, width, channels = color.shape
    index = torch.arange(batch * height * width, device=color.device).reshape(batch, height, width)
    pairs = ((index[:, :, :-1], index[:, :, 1:]), (index[:, :-1], index[:, 1:]))
    flat = color.reshape(-1, channels)
    if not int(tri.shape[0]):
        return color.clone()
    parts = [
        _blend_pairs(
            flat,
            rast.detach().reshape(-1, 4),
            face.reshape(-1),
            pos.double(),
            tri.long(),
            opposite.long(),
            (a.reshape(-1), b.reshape(-1)),
            axis,
            (height, width),
        )
        for axis, (a, b) in enumerate(pairs)
    ]
    target, change = (torch.cat(part) for part in zip(*parts))
    return flat.index_add(0, target, change).reshape(color.shape)
