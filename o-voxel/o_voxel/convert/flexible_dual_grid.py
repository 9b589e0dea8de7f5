"""Triangle mesh <-> flexible dual grid: one surface point per voxel, one flag per crossed grid edge."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.grid import MAX_GRID_SIZE, Grid, VectorLike, local_to_world, resolve_grid
from o_voxel.reference import dual_mesh as dual_mesh_reference

__all__ = ["flexible_dual_grid_to_mesh", "mesh_to_flexible_dual_grid"]

logger = logging.getLogger(__name__)

Quirks = Literal["published"] | None


def check_quirks(quirks: str | None) -> bool:
    """True for `published`, False for None; ValueError otherwise."""
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    return quirks == "published"


def _check_mesh(vertices: Any, faces: Any) -> tuple[Tensor, Tensor]:
    vertices, faces = torch.as_tensor(vertices), torch.as_tensor(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices must have shape [V, 3], got {list(vertices.shape)}")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"faces must have shape [F, 3], got {list(faces.shape)}")
    if faces.is_floating_point() or faces.is_complex() or faces.dtype == torch.bool:
        raise ValueError(f"faces must be an integer tensor, got {faces.dtype}")
    vertices = vertices.detach().cpu().float()
    faces = faces.detach().cpu()
    if not bool(torch.isfinite(vertices).all()):
        row = int((~torch.isfinite(vertices)).any(1).nonzero()[0])
        raise ValueError(f"vertices must be finite, got {vertices[row].tolist()} at row {row}")
    if vertices.shape[0] >= 2**31 or faces.shape[0] >= 2**31:
        raise ValueError(f"vertices and faces must number below 2^31, got {vertices.shape[0]} and {faces.shape[0]}")
    if faces.numel():
        low, high = (int(v) for v in torch.aminmax(faces))
        if low < 0 or high >= vertices.shape[0]:
            raise ValueError(f"faces must index the {vertices.shape[0]} vertices, got indices {low} to {high}")
    return vertices.contiguous(), faces.int().contiguous()


def _check_weight(value: float, name: str) -> float:
    value = float(value)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return value


@torch.no_grad()
def mesh_to_flexible_dual_grid(
    vertices: Tensor,  # [V, 3] float, world
    faces: Tensor,  # [F, 3] integer
    voxel_size: VectorLike | None = None,
    grid_size: VectorLike | None = None,
    aabb: Any = None,  # [2, 3] world
    face_weight: float = 1.0,
    boundary_weight: float = 1.0,
    regularization_weight: float = 0.1,
    timing: bool = False,
    *,
    double_crossings: Literal["keep", "cancel"] = "keep",
    backend: Backend = "auto",
    quirks: Quirks = None,
) -> tuple[Tensor, Tensor, Tensor]:  # [N, 3] int32, [N, 3] float32, [N, 3] bool; on the device of `vertices`
    """Convert a triangle mesh, open or closed, to a flexible dual grid.

    Returns `(voxel_indices, dual_vertices, intersected)`. A voxel exists if a triangle crosses one of its edges; rows
    are in order of first creation. `intersected[v, a]` says that the edge along axis a that ends at the upper corner of
    voxel v is crossed. `dual_vertices` (mesh units, from `aabb[0]`; `o_voxel.grid.box_to_local` makes them voxel-local)
    minimise, within the closed voxel, the squared distances to the planes of crossing triangles, plus `face_weight`
    times those of all overlapping triangles, plus `boundary_weight` times those to the mesh's boundary edges, plus
    `regularization_weight` per crossing times that to the mean crossing. A weight <= 0 switches its term off.

    `voxel_size`, `grid_size`, `aabb`: see `o_voxel.grid.resolve_grid`; one of the first two is required. `timing` logs
    the duration. Runs on CPU threads; not differentiable; deterministic.

    Crossings follow one tie rule for all triangles (a plane p belongs to lower < p <= upper), so closed meshes give
    closed dual surfaces, and a surface on the box itself is kept. Two crossings of one edge set its flag too, so sheets
    thinner than a voxel survive, but where a surface grazes an edge they leave a small fin; with
    `double_crossings="cancel"` only an odd number sets it: every closed mesh gives a closed dual mesh, without fins and
    without the thin sheets. Boundary edges are found after joining
    vertices of equal position, so texture seams are no boundaries. `quirks="published"` reproduces the published
    implementation: cracks where grid lines meet mesh edges, truncation at the lower side of the box, loss of a surface
    on its upper side, boundaries by vertex index, and `face_weight` as a switch.

    Raises ValueError on wrong shapes, dtypes, indices, non-finite values or an impossible grid.
    Based on: J. Xiang et al., "Native and Compact Structured Latents for 3D Generation" (2025); quadrics: M. Garland
    and P. Heckbert, "Surface Simplification Using Quadric Error Metrics" (1997).
    """
    published = check_quirks(quirks)
    if double_crossings not in ("keep", "cancel"):
        raise ValueError(f"double_crossings must be 'keep' or 'cancel', got {double_crossings!r}")
    device = vertices.device if isinstance(vertices, Tensor) else torch.device("cpu")
    points, triangles = _check_mesh(vertices, faces)
    grid = resolve_grid(voxel_size, grid_size, aabb, vertices=points)
    weights = (
        _check_weight(face_weight, "face_weight"),
        _check_weight(boundary_weight, "boundary_weight"),
        _check_weight(regularization_weight, "regularization_weight"),
    )
    relative = (points - grid.aabb[0]).contiguous()
    start = time.perf_counter()
    if resolve_backend(backend) == "native":
        module = native_module()
        assert module is not None
        run = module.mesh_to_dual_grid
    else:
        from o_voxel.reference.flexible_dual_grid import mesh_to_dual_grid as run
    coords, dual, flags = run(
        relative.numpy(),
        triangles.numpy(),
        grid.voxel_size.tolist(),
        grid.grid_size.tolist(),
        *weights,
        double_crossings == "cancel",
        published,
    )
    if timing:
        logger.info("mesh_to_flexible_dual_grid: %d voxels, %.3f s", len(coords), time.perf_counter() - start)
    result = torch.from_numpy(coords), torch.from_numpy(dual), torch.from_numpy(flags.astype(bool))
    return tuple(t.to(device) for t in result)  # type: ignore[return-value]


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
