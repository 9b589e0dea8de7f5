"""Flexible dual grid -> triangle mesh: one quad per crossed grid edge."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.convert.quirks import Quirks, check_quirks
from o_voxel.grid import MAX_GRID_SIZE, Grid, VectorLike, local_to_world, resolve_grid
from o_voxel.reference import dual_mesh as dual_mesh_reference

__all__ = ["flexible_dual_grid_to_mesh"]


def _unit_normal(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Unit normals of triangles [L, 3]; zero where a triangle has no area."""
    normal = torch.linalg.cross(b - a, c - a)
    return normal / normal.norm(dim=1, keepdim=True).clamp(min=torch.finfo(normal.dtype).tiny)


def _choose_split(quads: Tensor, corners: Tensor, weight: Tensor | None, published: bool) -> Tensor:
    """True where the quad is cut along q0-q2, [L] bool. corners: [L, 4, 3] world."""
    if weight is not None:
        w = weight[quads]  # [L, 4]
        return w[:, 0] * w[:, 2] > w[:, 1] * w[:, 3]
    p0, p1, p2, p3 = corners.unbind(1)
    if published:  # the published comparison sees twice the same triangle, and then one without area
        return torch.linalg.cross(p1 - p0, p2 - p0).square().sum(1) > 0
    flat_02 = (_unit_normal(p0, p1, p2) * _unit_normal(p0, p2, p3)).sum(1)
    flat_13 = (_unit_normal(p0, p1, p3) * _unit_normal(p3, p1, p2)).sum(1)
    return flat_02 >= flat_13


def _find_quads(coords: Tensor, intersected: Tensor, grid: Grid, backend: Backend) -> Tensor:
    """Rows of each quad's voxels, [L, 4] int64, on the device of coords."""
    if coords.device.type == "cpu" and resolve_backend(backend) == "native":
        module = native_module()
        assert module is not None
        quads = module.dual_quads(coords.numpy(), intersected.numpy(), grid.grid_size.tolist())
        return torch.from_numpy(quads).long()
    return dual_mesh_reference.dual_quads(coords, intersected, grid.grid_size)


def flexible_dual_grid_to_mesh(
    coords: Tensor,  # [N, 3] int32, unique rows
    dual_vertices: Tensor,  # [N, 3] float, voxel-local; half precision is widened to float32
    intersected_flag: Tensor,  # [N, 3] bool
    split_weight: Tensor | None,  # [N, 1] or [N] float > 0
    aabb: Any,  # [2, 3] world
    voxel_size: VectorLike | None = None,
    grid_size: VectorLike | None = None,
    train: bool = False,
    *,
    backend: Backend = "auto",
    quirks: Quirks = None,
) -> tuple[Tensor, Tensor]:  # [N, 3] or [N+L, 3] float world, [2L, 3] or [4L, 3] int32; on the device of coords
    """Convert a flexible dual grid to a triangle mesh with one quad per crossed edge whose four voxels exist.

    The first N vertices are those of the voxels, in input order, also of voxels in no quad. A quad is cut along q0-q2
    if w0 w2 > w1 w3, or, without `split_weight`, along the flatter diagonal (larger cosine between unit normals). With
    `train` it is cut into four around a centre: the weighted mean of its diagonals' midpoints, appended after the N
    vertices; this form is differentiable in `split_weight` too. Differentiable in `dual_vertices` always.

    All quads face the negative axis of their flag: orientation carries no meaning. If both sizes are given,
    `voxel_size` wins. `quirks="published"` always cuts along q0-q2 when there is no weight (unless that triangle has no
    area), and returns int64 triangles in training mode.

    Raises ValueError on wrong shapes, dtypes or devices, coordinates outside the grid or repeated, or `train` without
    weights.
    """
    published = check_quirks(quirks)
    for value, name in ((coords, "coords"), (dual_vertices, "dual_vertices"), (intersected_flag, "intersected_flag")):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        if value.ndim != 2 or value.shape[1] != 3 or value.shape[0] != coords.shape[0]:
            raise ValueError(f"{name} must have shape [{coords.shape[0]}, 3], got {list(value.shape)}")
        if value.device != coords.device:
            raise ValueError(f"{name} must be on the device of coords, {coords.device}, got {value.device}")
    if coords.is_floating_point() or coords.dtype == torch.bool:
        raise ValueError(f"coords must be an integer tensor, got {coords.dtype}")
    if not dual_vertices.is_floating_point():
        raise ValueError(f"dual_vertices must be a float tensor, got {dual_vertices.dtype}")
    weight = None
    if split_weight is not None:
        if split_weight.device != coords.device:
            raise ValueError(f"split_weight must be on device {coords.device} as coords, got {split_weight.device}")
        if split_weight.numel() != coords.shape[0]:
            raise ValueError(f"split_weight must have shape [{coords.shape[0]}, 1], got {list(split_weight.shape)}")
        weight = split_weight.reshape(-1).to(torch.promote_types(split_weight.dtype, torch.float32))
    elif train:
        raise ValueError("split_weight must be given when train=True, got None")
    grid = resolve_grid(voxel_size, grid_size, aabb, prefer_voxel_size=True)
    cells = coords.detach().clamp(-1, MAX_GRID_SIZE).int().contiguous()  # out of range stays so
    quads = _find_quads(cells, intersected_flag.detach().bool().contiguous(), grid, backend)  # [L, 4]
    wide = dual_vertices.to(torch.promote_types(dual_vertices.dtype, torch.float32))  # half cannot hold coordinates
    vertices = local_to_world(wide, coords, grid)

    index_dtype = torch.int32 if vertices.shape[0] + quads.shape[0] < 2**31 else torch.int64
    if train:
        assert weight is not None
        if published:
            index_dtype = torch.int64
        w = weight[quads]
        a, b = (w[:, 0] * w[:, 2])[:, None], (w[:, 1] * w[:, 3])[:, None]
        p = vertices[quads]  # [L, 4, 3]
        centers = (a * (p[:, 0] + p[:, 2]) + b * (p[:, 1] + p[:, 3])) / (2 * (a + b))
        center_idx = torch.arange(quads.shape[0], device=quads.device)[:, None] + vertices.shape[0]
        following = quads.roll(-1, dims=1)
        # [L, 4, 3] -> [4L, 3]
        triangles = torch.stack([quads, following, center_idx.expand_as(quads)], dim=2).reshape(-1, 3)
        return torch.cat([vertices, centers]), triangles.to(index_dtype)

    with torch.no_grad():
        split_02 = _choose_split(quads, vertices[quads], weight, published)
        cut_02 = quads[:, [0, 1, 2, 0, 2, 3]]
        cut_13 = quads[:, [0, 1, 3, 3, 1, 2]]
        triangles = torch.where(split_02[:, None], cut_02, cut_13).reshape(-1, 3)  # [L, 6] -> [2L, 3]
    return vertices, triangles.to(index_dtype)
