"""Boundary loops, and closing the small ones."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh import holes_reference
from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors, like
from o_voxel.mesh.components import connected_components
from o_voxel.mesh.connectivity import EdgeTable, build_edges

__all__ = ["boundary_loops", "fill_holes"]


def boundary_loops(
    faces: ArrayLike, table: EdgeTable | None = None, *, backend: Backend = "auto"
) -> list[ArrayLike]:  # each [L] int64
    """Closed boundary loops as vertex cycles, along the direction in which most adjacent faces run.

    Only loops through vertices with exactly two boundary edges are returned: elsewhere the surface is pinched and the
    loop is not unique. Faces need not be consistently oriented. Loops start at their smallest vertex and ascend by it.
    """
    f = as_tensor(faces, "faces").long()
    found = _find_loops(f, build_edges(f) if table is None else table, backend)
    vertices = like(found.vertices, faces)
    return [vertices[a:b] for a, b in zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist())]


class _Loops(NamedTuple):
    vertices: Tensor  # [L] int64, CPU: of all loops, in cyclic order
    offsets: Tensor  # [K + 1] int64, CPU

    def select(self, keep: Tensor) -> _Loops:  # [K] bool
        size = self.offsets.diff()
        kept = self.vertices[torch.repeat_interleave(keep, size)]
        return _Loops(kept, torch.nn.functional.pad(size[keep].cumsum(0), (1, 0)))


def _find_loops(f: Tensor, table: EdgeTable, backend: Backend) -> _Loops:
    side = as_tensor(table.boundary_sides(), "sides")
    start, end = f.reshape(-1)[side], f[:, [1, 2, 0]].reshape(-1)[side]
    native = native_module() if resolve_backend(backend) == "native" else None
    search = holes_reference.boundary_loops if native is None else native.mesh_boundary_loops
    vertices, offsets = search(start.cpu().numpy(), end.cpu().numpy())
    return _Loops(torch.from_numpy(vertices), torch.from_numpy(offsets))


def fill_holes(
    vertices: ArrayLike,
    faces: ArrayLike,
    max_hole_perimeter: float = 3e-2,
    *,
    relative: bool = False,
    quirks: Literal["published"] | None = None,
    backend: Backend = "auto",
) -> tuple[ArrayLike, ArrayLike]:
    """Close boundary loops whose perimeter is below `max_hole_perimeter` (strictly).

    Patches take the winding of the faces around the hole and add no edge that exists already, so no edge gets more
    than two faces by them. Short loops get the triangulation of least area, longer ones (above 40 edges) have ears cut
    off, shortest first, in O(n log n); a centre vertex (mean of the edge midpoints) joins what could not be closed
    otherwise. New vertices and faces follow the old ones, in loop order. With `relative`, the limit is a fraction of
    the diagonal of the bounding box.

    `quirks="published"` gives the published patches: always a fan, with faces (larger index, smaller index, centre)
    whatever the winding around them.
    """
    if not max_hole_perimeter >= 0:
        raise ValueError(f"max_hole_perimeter must be >= 0, got {max_hole_perimeter}")
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    mesh = enter_tensors(vertices, faces)
    v, f = mesh.vertices, mesh.faces
    if len(f) == 0:
        return mesh.leave(v, f)
    limit = max_hole_perimeter
    if relative:
        low, high = torch.aminmax(v[f.reshape(-1)].double(), dim=0)
        limit *= math.dist(low.tolist(), high.tolist())
    make = _published_patches if quirks == "published" else _patches
    new_vertices, new_faces = make(v, f, build_edges(f), limit, backend)
    return mesh.leave(torch.cat([v, new_vertices.to(v)]), torch.cat([f, new_faces.to(f)]))


def _patches(v: Tensor, f: Tensor, table: EdgeTable, limit: float, backend: Backend) -> tuple[Tensor, Tensor]:
    """(new vertices, new faces), on the CPU; holes are few and short beside the mesh."""
    loops = _find_loops(f, table, backend)
    loops = loops.select(~_lone_triangles(f, table, loops))
    loops = loops.select(_perimeters(v, loops) < limit)
    if len(loops.vertices) == 0:
        return v[:0], f[:0]
    positions = v[loops.vertices.to(v.device)].double().cpu().numpy()
    chords = _chords(table, loops, len(v)).cpu().numpy()
    native = native_module() if resolve_backend(backend) == "native" else None
    close = holes_reference.close_loops if native is None else native.mesh_close_loops
    triangles, centres = (torch.from_numpy(a) for a in close(positions, loops.offsets.numpy(), chords))
    index = torch.cat([loops.vertices, len(v) + torch.arange(len(centres))])
    return centres, index[triangles]


def _perimeters(v: Tensor, loops: _Loops) -> Tensor:
    """[K] float64, CPU"""
    p = v[loops.vertices.to(v.device)].double().cpu()
    following = torch.arange(1, len(p) + 1)
    following[loops.offsets[1:] - 1] = loops.offsets[:-1]
    length = (p[following] - p).square().sum(1).sqrt()
    total = torch.nn.functional.pad(length.cumsum(0), (1, 0))
    return total[loops.offsets[1:]] - total[loops.offsets[:-1]]


def _lone_triangles(f: Tensor, table: EdgeTable, loops: _Loops) -> Tensor:
    """[K] bool: the loop is the outline of a single face, which is no hole."""
    alone = torch.bincount(table.boundary_sides() // 3, minlength=len(f)) == 3
    # Its vertices are on no other boundary, so the face with a loop's first vertex is the one.
    corner = torch.zeros(int(f.amax()) + 1, dtype=torch.bool, device=f.device)
    corner[f[alone].reshape(-1)] = True
    first = loops.offsets[:-1]
    triple = loops.vertices[first[:, None] + torch.arange(3)].to(f.device) if len(first) else f[:0]
    return (corner[triple].all(dim=1).cpu()) & (loops.offsets.diff() == 3)


def _chords(table: EdgeTable, loops: _Loops, num: int) -> Tensor:
    """Edges of the mesh between vertices of one loop that do not follow each other in it: ascending places [C, 2]."""
    device = table.edges.device
    vertices, offsets = loops.vertices.to(device), loops.offsets.to(device)
    loop = torch.repeat_interleave(offsets.diff())
    place = torch.full((num,), -1, dtype=torch.int64, device=device)
    place[vertices] = torch.arange(len(vertices), device=device)
    at = place[table.edges]
    at = at[(at >= 0).all(dim=1)].sort(dim=1).values
    gap, size = at[:, 1] - at[:, 0], offsets.diff()[loop[at[:, 0]]]
    at = at[(loop[at[:, 0]] == loop[at[:, 1]]) & (gap > 1) & (gap < size - 1)]
    return at[(at[:, 0] * len(vertices) + at[:, 1]).sort().indices]


def _published_patches(v: Tensor, f: Tensor, table: EdgeTable, limit: float, backend: Backend) -> tuple[Tensor, Tensor]:
    boundary = (table.counts == 1).nonzero()[:, 0]
    edges = table.edges[boundary].cpu().numpy()  # (smaller, larger), ascending
    crowded = table.edges[table.counts > 2].cpu().numpy()
    degree = np.bincount(edges.reshape(-1), minlength=len(v))
    regular = (degree <= 2) & (np.bincount(crowded.reshape(-1), minlength=len(v)) == 0)
    order = np.argsort(edges.reshape(-1), kind="stable")
    ends = edges.reshape(-1)[order]
    meet = np.flatnonzero((ends[1:] == ends[:-1]) & regular[ends[1:]])
    pairs = np.stack([order[meet] // 2, order[meet + 1] // 2], axis=1)
    label = connected_components(len(edges), pairs, backend=backend)
    linked = np.bincount(pairs.reshape(-1), minlength=len(edges)) == 2
    ends_at = v[torch.from_numpy(edges).to(v.device)].double().cpu().numpy()  # [B, 2, 3]
    length = np.linalg.norm(ends_at[:, 0] - ends_at[:, 1], axis=1)
    new_vertices, new_faces = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)]
    for root in np.unique(label):
        members = np.flatnonzero(label == root)
        if not linked[members].all() or not length[members].sum() < limit:
            continue
        centre = np.full(len(members), len(v) + len(new_vertices) - 1)
        new_vertices.append(ends_at[members].mean(axis=1).mean(axis=0, keepdims=True))
        new_faces.append(np.stack([edges[members, 1], edges[members, 0], centre], axis=1))
    return torch.from_numpy(np.concatenate(new_vertices)), torch.from_numpy(np.concatenate(new_faces))
