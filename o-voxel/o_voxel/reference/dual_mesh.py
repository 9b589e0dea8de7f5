"""Mesh of a flexible dual grid in PyTorch: sorted keys and a binary search, on any device, differentiable by autograd.

Sums are written out, one rounding each, so that the compiled core can give the same bits.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["QUAD_OFFSETS", "Split", "dual_mesh", "dual_quads"]

Split = Literal["weight", "flatter", "published"]

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


def _dot(a: Tensor, b: Tensor) -> Tensor:
    product = a * b
    return product[:, 0] + product[:, 1] + product[:, 2]


def _normal(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Cross product of two edges, [L, 3]; its length is twice the area of the triangle."""
    u, v = (b - a).unbind(1), (c - a).unbind(1)
    parts = [u[(k + 1) % 3] * v[(k + 2) % 3] - u[(k + 2) % 3] * v[(k + 1) % 3] for k in range(3)]
    return torch.stack(parts, 1)


def _flatness(a: Tensor, b: Tensor) -> Tensor:
    """Square of the cosine between normals [L, 3], with its sign; zero where a triangle has no area.

    No square roots: `torch.sqrt` is not correctly rounded everywhere.
    """
    tiny = torch.finfo(a.dtype).tiny
    product = _dot(a, b)
    return product / _dot(a, a).clamp(min=tiny) * (product.abs() / _dot(b, b).clamp(min=tiny))


def _cut_along_02(quads: Tensor, corners: Tensor, weight: Tensor | None, split: Split) -> Tensor:
    """True where the quad is cut along q0-q2, [L] bool. corners: [L, 4, 3] world."""
    if split == "weight":
        assert weight is not None
        w = weight[quads]  # [L, 4]
        return w[:, 0] * w[:, 2] > w[:, 1] * w[:, 3]
    p0, p1, p2, p3 = corners.unbind(1)
    if split == "published":  # the published comparison sees twice the same triangle, and then one without area
        normal = _normal(p0, p1, p2)
        return _dot(normal, normal) > 0
    flat_02 = _flatness(_normal(p0, p1, p2), _normal(p0, p2, p3))
    flat_13 = _flatness(_normal(p0, p1, p3), _normal(p3, p1, p2))
    return flat_02 >= flat_13


def dual_mesh(
    coords: Tensor,  # [N, 3] int32, unique rows
    vertices: Tensor,  # [N, 3] float, world: the dual vertices
    intersected: Tensor,  # [N, 3] bool
    weight: Tensor | None,  # [N] float
    grid_size: Tensor,  # [3] int32
    *,
    split: Split,
    train: bool,
) -> tuple[Tensor, Tensor]:  # [N, 3] or [N+L, 3], [2L, 3] or [4L, 3] int64
    """Vertices and triangles of the grid's quads: two a quad, or with `train` four around an extra vertex.

    Raises ValueError if a coordinate is outside the grid or a row repeats.
    """
    quads = dual_quads(coords, intersected, grid_size)  # [L, 4]
    if train:
        assert weight is not None
        w = weight[quads]
        a, b = (w[:, 0] * w[:, 2])[:, None], (w[:, 1] * w[:, 3])[:, None]
        p = vertices[quads]  # [L, 4, 3]
        centers = (a * (p[:, 0] + p[:, 2]) + b * (p[:, 1] + p[:, 3])) / (2 * (a + b))
        center_idx = torch.arange(quads.shape[0], device=quads.device)[:, None] + vertices.shape[0]
        following = quads.roll(-1, dims=1)
        # [L, 4, 3] -> [4L, 3]
        triangles = torch.stack([quads, following, center_idx.expand_as(quads)], dim=2).reshape(-1, 3)
        return torch.cat([vertices, centers]), triangles
    with torch.no_grad():
        along_02 = _cut_along_02(quads, vertices[quads], weight, split)
        triangles = torch.where(along_02[:, None], quads[:, [0, 1, 2, 0, 2, 3]], quads[:, [0, 1, 3, 3, 1, 2]])
    return vertices, triangles.reshape(-1, 3)  # [L, 6] -> [2L, 3]
