"""Filling of small boundary loops."""

from __future__ import annotations

from typing import Literal

import numpy as np

from o_voxel.mesh._arrays import ArrayLike, enter
from o_voxel.mesh.connectivity import EdgeTable, boundary_loops, build_edges, connected_components

__all__ = ["fill_holes"]

MAX_TRIANGULATED = 24  # longer loops get a centre vertex; the triangulation below is cubic


def fill_holes(
    vertices: ArrayLike,
    faces: ArrayLike,
    max_hole_perimeter: float = 3e-2,
    *,
    relative: bool = False,
    quirks: Literal["published"] | None = None,
) -> tuple[ArrayLike, ArrayLike]:
    """Close boundary loops whose perimeter is below `max_hole_perimeter` (strictly).

    Patches take the winding of the faces around the hole, add no edge that exists already, and are minimum-area
    triangulations of short loops and fans around a centre vertex (mean of the edge midpoints) for long ones. New
    vertices and faces follow the old ones, in loop order. With `relative`, the limit is a fraction of the diagonal of
    the bounding box.

    `quirks="published"` gives the published patches: always a fan, with faces (larger index, smaller index, centre)
    whatever the winding around them.
    """
    if not max_hole_perimeter >= 0:
        raise ValueError(f"max_hole_perimeter must be >= 0, got {max_hole_perimeter}")
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    mesh = enter(vertices, faces)
    v, f = mesh.vertices, mesh.faces
    if len(f) == 0:
        return mesh.leave(v, f)
    limit = max_hole_perimeter
    if relative:
        used = v[f.reshape(-1)].astype(np.float64)
        limit *= float(np.linalg.norm(used.max(0) - used.min(0)))
    table = build_edges(f)
    if quirks == "published":
        new_vertices, new_faces = _published_patches(v, f, table, limit)
    else:
        new_vertices, new_faces = _patches(v, f, table, limit)
    if not new_faces:
        return mesh.leave(v, f)
    if new_vertices:
        v = np.concatenate([v, np.array(new_vertices, dtype=v.dtype)])
    return mesh.leave(v, np.concatenate([f, np.array(new_faces, dtype=np.int64)]))


def _patches(v: np.ndarray, f: np.ndarray, table: EdgeTable, limit: float) -> tuple[list, list]:
    new_vertices: list[np.ndarray] = []
    new_faces: list[tuple[int, int, int]] = []
    num = len(v)
    keys = table.edges[:, 0] * num + table.edges[:, 1]  # ascending
    alone = np.flatnonzero(np.bincount(table.boundary_sides() // 3, minlength=len(f)) == 3)
    single_faces = {tuple(sorted(face)) for face in f[alone].tolist()}
    for loop in boundary_loops(f, table):
        if len(loop) == 3 and tuple(sorted(loop.tolist())) in single_faces:
            continue  # a triangle on its own is not a hole
        p = v[loop].astype(np.float64)
        if not np.linalg.norm(p - np.roll(p, -1, axis=0), axis=1).sum() < limit:
            continue
        # The faces beside the hole run along the loop, so the patch has to run against it.
        ring = loop[::-1]
        triangles = _triangulate(p[::-1], _allowed_diagonals(ring, keys, num)) if len(ring) <= MAX_TRIANGULATED else []
        if triangles:
            new_faces += [(int(ring[a]), int(ring[b]), int(ring[c])) for a, b, c in triangles]
            continue
        centre = num + len(new_vertices)
        new_vertices.append(p.mean(axis=0))
        new_faces += [(int(a), int(b), centre) for a, b in zip(ring, np.roll(ring, -1))]
    return new_vertices, new_faces


def _allowed_diagonals(ring: np.ndarray, keys: np.ndarray, num: int) -> np.ndarray:
    """[n, n] bool: vertices i and j of the loop are not joined by an edge of the mesh (loop sides are allowed)."""
    low, high = np.minimum(ring[:, None], ring[None]), np.maximum(ring[:, None], ring[None])
    key = low * num + high
    at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    allowed = keys[at] != key
    n = len(ring)
    i = np.arange(n)
    allowed[i, (i + 1) % n] = allowed[(i + 1) % n, i] = True
    return allowed


def _triangulate(p: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int, int]]:
    """Minimum-area triangulation of a closed polygon by dynamic programming; empty if none is allowed.

    G. Barequet and M. Sharir, Filling gaps in the boundary of a polyhedron, 1995 (area weight).
    """
    n = len(p)
    cost = np.full((n, n), np.inf)
    split = np.full((n, n), -1, dtype=np.int64)
    i = np.arange(n - 1)
    cost[i, i + 1] = 0
    for gap in range(2, n):
        for a in range(n - gap):
            b = a + gap
            if not allowed[a, b] and not (a == 0 and b == n - 1):
                continue
            middle = np.arange(a + 1, b)
            area = np.linalg.norm(np.cross(p[middle] - p[a], p[b] - p[a]), axis=1) / 2
            total = cost[a, middle] + cost[middle, b] + area
            best = int(np.argmin(total))
            cost[a, b], split[a, b] = total[best], middle[best]
    if not np.isfinite(cost[0, n - 1]):
        return []
    triangles, todo = [], [(0, n - 1)]
    while todo:
        a, b = todo.pop()
        if b - a < 2:
            continue
        k = int(split[a, b])
        triangles.append((a, k, b))
        todo += [(k, b), (a, k)]
    return triangles


def _published_patches(v: np.ndarray, f: np.ndarray, table: EdgeTable, limit: float) -> tuple[list, list]:
    boundary = np.flatnonzero(table.counts == 1)
    edges = table.edges[boundary]  # (smaller, larger), ascending
    degree = np.bincount(edges.reshape(-1), minlength=len(v))
    non_manifold = np.bincount(table.edges[table.counts > 2].reshape(-1), minlength=len(v)) > 0
    regular = (degree <= 2) & ~non_manifold
    order = np.argsort(edges.reshape(-1), kind="stable")
    ends = edges.reshape(-1)[order]
    meet = np.flatnonzero((ends[1:] == ends[:-1]) & regular[ends[1:]])
    pairs = np.stack([order[meet] // 2, order[meet + 1] // 2], axis=1)
    label = connected_components(len(edges), pairs)
    linked = np.bincount(pairs.reshape(-1), minlength=len(edges)) == 2
    length = np.linalg.norm(v[edges[:, 0]].astype(np.float64) - v[edges[:, 1]], axis=1)
    new_vertices: list[np.ndarray] = []
    new_faces: list[tuple[int, int, int]] = []
    for root in np.unique(label):
        members = np.flatnonzero(label == root)
        if not linked[members].all() or not length[members].sum() < limit:
            continue
        centre = len(v) + len(new_vertices)
        new_vertices.append(v[edges[members]].astype(np.float64).mean(axis=1).mean(axis=0))
        new_faces += [(int(b), int(a), centre) for a, b in edges[members]]
    return new_vertices, new_faces
