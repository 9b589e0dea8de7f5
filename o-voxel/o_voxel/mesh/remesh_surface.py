"""One closed, oriented surface around what a mesh encloses, at the true position of its walls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from o_voxel._native import Backend
from o_voxel.mesh._arrays import ArrayLike, enter_tensors
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.solid import Solid, label_nodes

__all__ = ["RemeshResult", "Sheets", "contour", "remesh_solid", "round_plates"]

Sheets = Literal["thicken", "pairs", "drop"]  # what becomes of surfaces with the outside on both sides

PULL = 0.05  # of a vertex towards the mean of the crossings around it, against the planes through them
CELL_MARGIN = 0.02  # voxels; vertices of different cells never coincide
RELAX_ROUNDS = 20
MAX_PLATE_MOVE = 6.0  # half thicknesses; what is farther from all sheets belongs to something else
ON_SURFACE, ON_SHEET, FREE = 0, 1, 2


class RemeshResult(NamedTuple):
    vertices: ArrayLike  # [V', 3]
    faces: ArrayLike  # [F', 3], front outward
    kinds: ArrayLike  # [V'] uint8: 0 on a wall, 1 beside an open sheet, 2 across a hole


def remesh_solid(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    voxel_size: float | Sequence[float],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    gap: float = 4.0,
    sheets: Sheets = "thicken",
    thickness: float = 0.7,
    backend: Backend = "auto",
) -> RemeshResult:
    """Mesh the outer surface of what the mesh encloses: closed, 2-manifold, one component a solid, fronts outward.

    Winding of the input does not matter. Holes up to `gap` voxels across are closed, inner walls and voids vanish.
    Surfaces with the outside on both sides become plates of `thickness` voxels ("thicken"), or are dropped ("drop", or
    "pairs", which still keeps what lies between two walls less than a voxel apart, at its own thickness).
    Vertices are placed by the planes of the faces that cross the grid edges around them, so edges and corners stay
    sharp. The grid has edge `voxel_size` and a corner at `origin`.

    Raises ValueError on bad meshes or arguments out of range, and TypeError on other kinds of array.
    T. Ju et al., Dual Contouring of Hermite Data, 2002; S. Schaefer et al., Manifold Dual Contouring, 2007; R. Wenger,
    Isosurfaces, 2013, for the edges that two cells would share twice.
    """
    mesh = enter_tensors(vertices, faces)
    size = np.broadcast_to(np.asarray(voxel_size, dtype=np.float64), 3)
    start = np.asarray(origin, dtype=np.float64)
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"voxel_size must be > 0, got {voxel_size}")
    if start.shape != (3,) or not np.isfinite(start).all():
        raise ValueError(f"origin must be three finite numbers, got {origin}")
    if not 0 <= gap <= 64:
        raise ValueError(f"gap must lie in [0, 64] voxels, got {gap}")
    if sheets not in get_args(Sheets):
        raise ValueError(f"sheets must be one of {get_args(Sheets)}, got {sheets!r}")
    if not 0 < thickness <= 2:
        raise ValueError(f"thickness must lie in (0, 2] voxels, got {thickness}")
    h, o = torch.from_numpy(size.copy()), torch.from_numpy(start.copy())
    solid = label_nodes(mesh.vertices, mesh.faces, h, o, gap=gap, backend=backend)
    v, f, kinds = contour(solid, sheets, thickness)
    new_v, new_f = mesh.leave(solid.to_world(v), f.long())
    return RemeshResult(new_v, new_f, mesh.leave_index(kinds))


def contour(
    solid: Solid, sheets: Sheets, thickness: float, ignored: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The surface between inside and outside nodes: vertices [N, 3] in voxels, faces [M, 3] int32, kinds [N] uint8.

    Nodes on both sides of the sheets that are to become plates count as inside, but for sheets of `ignored` faces [F].
    See `remesh_solid`.
    """
    grid = solid.grid
    inside = solid.outside.bitwise_not() & grid.everything()
    sheet_nodes = None
    if sheets != "drop":
        crossed = solid.crossed.bits
        if sheets == "pairs":
            crossed, thickness = grid.empty(3), 0.0
            grid.call("doubled", grid.size, *solid.crossings, crossed)
        if ignored is not None and bool(ignored.any()):
            crossed = crossed & ~_edges_of(solid, ignored)
        sheet_nodes = grid.empty()
        grid.call("sheet_nodes", crossed, solid.outside, grid.size, sheet_nodes)
        sheet_nodes &= ~grid.border()  # beyond a box there may be more of a sheet
        inside |= sheet_nodes
    bits = grid.empty()
    grid.call("active_cells", inside, grid.size, bits)
    cells = grid.numbered(bits)
    places = grid.places(cells)
    passes = torch.empty(cells.count, dtype=torch.int64, device=grid.device)
    counts = torch.empty(cells.count, dtype=torch.int32, device=grid.device)
    grid.call("cell_sheets", inside, grid.size, places, passes, counts)
    total = torch.cumsum(counts, 0, dtype=torch.int64)
    num_vertices = int(total[-1]) if cells.count else 0
    first_vertex = total.sub_(counts)
    v = torch.empty(num_vertices, 3, dtype=torch.float64, device=grid.device)
    kinds = torch.empty(num_vertices, dtype=torch.uint8, device=grid.device)
    options = (thickness, PULL, CELL_MARGIN)
    grid.call(
        "cell_vertices", solid.vertices, solid.faces, grid.size, *solid.crossings, inside, sheet_nodes,
        cells.bits, cells.before, passes, first_vertex, places, options, v, kinds,
    )  # fmt: skip
    edge_bits = grid.empty(3)
    grid.call("active_edges", inside, grid.size, edge_bits)
    edges = grid.numbered(edge_bits)
    f = torch.empty(2 * edges.count, 3, dtype=torch.int32, device=grid.device)
    grid.call(
        "quads", inside, grid.size, cells.bits, cells.before, passes, first_vertex, edges.bits, edges.before, v, f
    )  # fmt: skip
    return _relax_free(v, f, kinds), f, kinds


def _edges_of(solid: Solid, faces: Tensor) -> Tensor:
    """Grid edges whose outermost crossings are both of `faces` [F] bool: 3 sets."""
    mask = faces[solid.first & 0xFFFFFFFF] & faces[solid.last & 0xFFFFFFFF]
    place = solid.grid.places(solid.crossed)[mask]
    bits = solid.grid.zeros(3)
    return bits.index_add_(0, place >> 6, torch.ones_like(place) << (place & 63))  # each bit once: a sum is a union


def round_plates(
    vertices: Tensor,  # [V, 3] of the contour, world
    kinds: Tensor,  # [V] uint8
    open_vertices: Tensor,  # [V', 3] of the open sheets, world
    open_faces: Tensor,  # [F', 3]
    distance: float,
) -> Tensor:  # [V, 3]
    """Move the vertices beside open sheets to exactly `distance` from them: even plates with rounded rims."""
    rows = torch.nonzero(kinds == ON_SHEET).reshape(-1)
    if len(rows) == 0 or len(open_faces) == 0:
        return vertices
    points = vertices[rows]
    bvh = BVH(open_vertices, open_faces)
    gap, face, weights = bvh.nearest(points, max_distance=MAX_PLATE_MOVE * distance)
    near = (gap > 0) & (face >= 0)
    rows, points, gap = rows[near], points[near], gap[near]
    at = (open_vertices[open_faces[face[near]].long()] * weights[near, :, None]).sum(1)
    moved = vertices.clone()
    moved[rows] = at + (points - at) * (distance / gap)[:, None]
    return moved


def _relax_free(v: Tensor, f: Tensor, kinds: Tensor) -> Tensor:
    """Vertices across holes, which no face holds, move to the middle of their neighbours, each inside its cell.

    S. Frisken Gibson, Constrained Elastic Surface Nets, 1998.
    """
    free = kinds == FREE
    if not bool(free.any()):
        return v
    near = f[free[f.long()].any(1)].long()
    sides = torch.cat([near, near.roll(1, 1)], 1).reshape(-1, 2, 3).transpose(1, 2).reshape(-1, 2)
    pairs = torch.unique(torch.cat([sides, sides.flip(1)]), dim=0)
    pairs = pairs[free[pairs[:, 0]]]
    rows, row, degree = torch.unique_consecutive(pairs[:, 0], return_inverse=True, return_counts=True)
    column = torch.arange(len(pairs), device=v.device) - (torch.cumsum(degree, 0) - degree)[row]
    table = torch.full((len(rows), int(degree.max())), -1, dtype=torch.int64, device=v.device)
    table[row, column] = pairs[:, 1]
    v = v.clone()
    cell = v[rows].floor()
    for _ in range(RELAX_ROUNDS):
        total = torch.zeros(len(rows), 3, dtype=v.dtype, device=v.device)
        for near in table.unbind(1):  # one after the other: the same sums on every device
            total += torch.where((near >= 0)[:, None], v[near.clamp_min(0)], 0.0)
        v[rows] = torch.minimum(torch.maximum(total / degree[:, None], cell + CELL_MARGIN), cell + 1 - CELL_MARGIN)
    return v
