"""Taking non-manifold places apart."""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors, like
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.components import connected_components
from o_voxel.mesh.connectivity import EdgeTable, build_edges
from o_voxel.mesh.grouping import dense_labels, where
from o_voxel.mesh.sheets import sheet_pairs

__all__ = ["repair_non_manifold", "split_non_manifold"]


def repair_non_manifold(
    vertices: ArrayLike, faces: ArrayLike, *, pair_sheets: bool = False, bvh: BVH | None = None
) -> tuple[ArrayLike, ArrayLike]:
    """Split vertices where sheets touch, so that the faces around every vertex form one fan.

    All face corners start apart and are welded across edges with exactly two faces; each welded set becomes a vertex,
    numbered by its smallest corner 3 * face + k. No face is lost or moved, and edges with more than two faces come
    apart into boundaries, unless the fans at both of their ends are joined elsewhere.

    With `pair_sheets` no boundary is made where it can be avoided, and no edge keeps more than two faces: an edge with
    four faces becomes two edges, one with three keeps two of them joined (`sheet_pairs` says which), and edges whose
    ends stay joined get a midpoint for each of their sheets (which divides the faces beside them). `bvh` over the same
    surface saves building one.
    """
    mesh = enter_tensors(vertices, faces)
    v, f, table = mesh.vertices, mesh.faces, build_edges(mesh.faces)
    if pair_sheets and bvh is None and bool((table.counts > 2).any()):
        bvh = BVH(v, f)
    sides = table.manifold_pairs()[1]
    if pair_sheets and bvh is not None:
        sides = torch.cat([sides, sheet_pairs(v, f, table, bvh=bvh)])
    del table  # as large as the mesh
    v, f, _ = _weld_corners(v, f, sides)
    if pair_sheets:
        v, f = _separate_sheets(v, f, bvh)
    return mesh.leave(v, f)


def split_non_manifold(
    vertices: ArrayLike, faces: ArrayLike, weld_edge: ArrayLike | None = None
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """The splitting of `repair_non_manifold`: -> (vertices, faces, source vertex of each).

    `weld_edge` [E] bool (edge order of `build_edges`) can forbid more edges: those are cut open.
    """
    v, f = as_tensor(vertices, "vertices"), as_tensor(faces, "faces").long()
    ids, sides = build_edges(f).manifold_pairs()
    if weld_edge is not None:
        sides = where(sides, as_tensor(weld_edge, "weld_edge")[ids])
    v, f, source = _weld_corners(v, f, sides)
    return like(v, vertices), like(f, faces), like(source, faces)


def _weld_corners(v: Tensor, f: Tensor, sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Face corners welded at both ends of paired sides [M, 2]: -> (vertices, faces, source vertex of each)."""
    corner = f.reshape(-1)
    label, roots = dense_labels(connected_components(len(corner), _corner_pairs(corner, sides)))
    source = corner[roots]
    return v.index_select(0, source), label.reshape(-1, 3), source


def _corner_pairs(corner: Tensor, sides: Tensor) -> Tensor:
    """The corners that paired sides [M, 2] join, at their starts and at their ends: [2, M, 2]."""
    a, b = sides.unbind(1)
    # Side k of a face starts at corner k. Sides that run along the edge in one direction pair start with start.
    same = corner[a] == corner[b]
    pairs = torch.empty(2, len(sides), 2, dtype=torch.int64, device=corner.device)
    pairs[0, :, 0], pairs[1, :, 0] = a, _next_corner(a)
    end = _next_corner(b)
    pairs[0, :, 1], pairs[1, :, 1] = torch.where(same, b, end), torch.where(same, end, b)
    return pairs


def _next_corner(side: Tensor) -> Tensor:
    """The corner of its face that a side ends at."""
    return torch.where(side % 3 == 2, side - 2, side + 1)


def _separate_sheets(v: Tensor, f: Tensor, bvh: BVH | None) -> tuple[Tensor, Tensor]:
    """Subdivide edges with more than two faces, with one midpoint for each sheet that passes through.

    A midpoint belongs to one or two faces, so the new edges have at most two.
    """
    table = build_edges(f)
    crowded = table.counts > 2
    if not bool(crowded.any()):
        return v, f
    sides, index, position = _sheet_midpoints(v, f, table, crowded, bvh)
    rows = torch.unique(sides // 3)
    midpoint = torch.full((len(rows), 3), -1, dtype=torch.int64, device=f.device)  # of each side, -1: it stays
    midpoint[torch.searchsorted(rows, sides // 3), sides % 3] = index
    split = midpoint >= 0
    number = split.sum(1)
    # Turn every face so that its pattern of split sides is one of three: side 0; sides 0 and 1; all.
    turn = torch.zeros_like(number)
    turn[(number == 1) & split[:, 1]] = 1
    turn[(number == 1) & split[:, 2]] = 2
    turn[(number == 2) & ~split[:, 0]] = 1
    turn[(number == 2) & ~split[:, 1]] = 2
    corner = (torch.arange(3, device=f.device) + turn[:, None]) % 3
    (a, b, c), (m, n, o) = f[rows].gather(1, corner).unbind(1), midpoint.gather(1, corner).unbind(1)
    pieces = {
        1: [(a, m, c), (m, b, c)],
        2: [(a, m, n), (m, b, n), (a, n, c)],
        3: [(a, m, o), (m, b, n), (o, n, c), (m, n, o)],
    }
    kept, added = f.clone(), []
    for pattern, corners in pieces.items():
        at = (number == pattern).nonzero()[:, 0]
        first, *more = (torch.stack(piece, dim=1)[at] for piece in corners)
        kept[rows[at]] = first
        added += more
    return torch.cat([v, position]), torch.cat([kept, *added])


def _sheet_midpoints(
    v: Tensor, f: Tensor, table: EdgeTable, crowded: Tensor, bvh: BVH | None
) -> tuple[Tensor, Tensor, Tensor]:
    """New vertices for the S sides of crowded edges: (sides [S], index of the vertex of each [S], positions [K, 3])."""
    ids = crowded.nonzero()[:, 0]
    sides = table.sides[torch.repeat_interleave(crowded, table.counts)]
    edge = torch.repeat_interleave(ids, table.counts[ids])
    owner = torch.arange(3 * len(f), device=f.device)  # of each side the smaller one of its pair
    pairs = sheet_pairs(v, f, table, bvh=bvh)
    owner[pairs.amax(1)] = pairs.amin(1)
    owners, index = torch.unique(owner[sides], return_inverse=True)
    first = torch.empty_like(owners).scatter_(0, index, edge)  # all sides of an owner lie on one edge
    ends = table.edges[first]
    return sides, len(v) + index, (v[ends[:, 0]] + v[ends[:, 1]]) / 2
