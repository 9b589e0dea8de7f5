"""Edges, boundaries, components and loops of a triangle mesh.

V vertices, F faces, E edges. An edge is an unordered vertex pair; it is a boundary edge if one face uses it, manifold
if two do, non-manifold if more do. Edges ascend by (smaller, larger) index; face side k of a face runs from corner k
to corner k + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh._arrays import ArrayLike, enter

__all__ = [
    "EdgeTable",
    "MeshStats",
    "boundary_loops",
    "build_edges",
    "connected_components",
    "face_components",
    "mesh_stats",
    "parity_components",
]


@dataclass(frozen=True)
class EdgeTable:
    """Edges of a mesh and the face sides (3 * face + k) that use each of them."""

    edges: np.ndarray  # [E, 2] int64, (smaller, larger), ascending
    counts: np.ndarray  # [E] int64, faces per edge
    sides: np.ndarray  # [3F] int64, face sides grouped by edge, ascending inside a group
    offsets: np.ndarray  # [E + 1] int64, group of edge e is sides[offsets[e]:offsets[e + 1]]

    def manifold_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Face sides on both ends of every manifold edge: (edge ids [M], sides [M, 2])."""
        ids = np.flatnonzero(self.counts == 2)
        start = self.offsets[ids]
        return ids, np.stack([self.sides[start], self.sides[start + 1]], axis=1)

    def boundary_sides(self) -> np.ndarray:
        """The single face side of every boundary edge, in edge order: [B]."""
        return self.sides[self.offsets[:-1][self.counts == 1]]


def build_edges(faces: np.ndarray) -> EdgeTable:  # faces [F, 3] int64
    """Sort all face sides into edges."""
    start = faces.reshape(-1)
    end = faces[:, [1, 2, 0]].reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    num = int(faces.max()) + 1 if faces.size else 1
    key = low * num + high
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.zeros(0, np.int64)
    offsets = np.concatenate([first, [len(key)]]).astype(np.int64)
    unique = key[first]
    edges = np.stack([unique // num, unique % num], axis=1)
    return EdgeTable(edges, np.diff(offsets), order.astype(np.int64), offsets)


def connected_components(n: int, pairs: np.ndarray, *, backend: Backend = "auto") -> np.ndarray:
    """Label every node by the smallest member of its component: pairs [M, 2] int64 -> [n] int64."""
    pairs = np.ascontiguousarray(pairs, dtype=np.int64).reshape(-1, 2)
    if resolve_backend(backend) == "native":
        native = native_module()
        assert native is not None
        return native.mesh_components(n, pairs)
    labels = np.arange(n, dtype=np.int64)
    while True:  # hook every root to the smallest neighbouring label, then compress all paths
        a, b = labels[pairs[:, 0]], labels[pairs[:, 1]]
        if np.array_equal(a, b):
            return labels
        np.minimum.at(labels, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(labels, labels[labels]):
            labels = labels[labels]


def parity_components(
    n: int, pairs: np.ndarray, differ: np.ndarray, *, backend: Backend = "auto"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Components with a two-colouring.

    pairs [M, 2] int64, differ [M] bool (the two nodes must have different colours) -> labels [n] int64 (smallest
    member), parity [n] bool (colour differs from that member's), conflicts [M] bool. Pairs are honoured in order; one
    that contradicts earlier pairs is reported as a conflict.
    """
    pairs = np.ascontiguousarray(pairs, dtype=np.int64).reshape(-1, 2)
    differ = np.asarray(differ, dtype=bool)
    if resolve_backend(backend) == "native":
        native = native_module()
        assert native is not None
        labels, parity, conflicts = native.mesh_parity_components(n, pairs, differ.astype(np.uint8))
        return labels, parity.astype(bool), conflicts.astype(bool)
    parent = list(range(n))
    sign = [False] * n  # colour against the parent

    def find(v: int) -> tuple[int, bool]:
        flip = False
        while parent[v] != v:
            flip ^= sign[v]
            v = parent[v]
        return v, flip

    conflict_list = [False] * len(pairs)
    for i, ((a, b), d) in enumerate(zip(pairs.tolist(), differ.tolist())):
        (ra, pa), (rb, pb) = find(a), find(b)
        relation = pa ^ pb ^ d
        if ra == rb:
            conflict_list[i] = relation
            continue
        ra, rb = min(ra, rb), max(ra, rb)
        parent[rb], sign[rb] = ra, relation
    found = [find(v) for v in range(n)]
    return (
        np.array([r for r, _ in found], dtype=np.int64).reshape(n),
        np.array([p for _, p in found], dtype=bool).reshape(n),
        np.array(conflict_list, dtype=bool).reshape(len(pairs)),
    )


def face_components(faces: np.ndarray, table: EdgeTable | None = None) -> np.ndarray:
    """Components of faces over manifold edges, numbered densely by smallest face: [F] int64."""
    table = build_edges(faces) if table is None else table
    _, sides = table.manifold_pairs()
    return np.unique(connected_components(len(faces), sides // 3), return_inverse=True)[1].reshape(-1)


def boundary_loops(faces: np.ndarray, table: EdgeTable | None = None) -> list[np.ndarray]:
    """Closed boundary loops as vertex cycles, along the direction in which most adjacent faces run.

    Only loops through vertices with exactly two boundary edges are returned: elsewhere the surface is pinched and the
    loop is not unique. Faces need not be consistently oriented. Loops start at their smallest vertex and ascend by it.
    """
    table = build_edges(faces) if table is None else table
    side = table.boundary_sides()
    start = faces.reshape(-1)[side]
    end = faces[:, [1, 2, 0]].reshape(-1)[side]
    num = int(faces.max()) + 1 if faces.size else 0
    ends = np.concatenate([start, end])
    order = np.argsort(ends, kind="stable")
    count = np.bincount(ends, minlength=num)
    regular = count == 2
    first = np.cumsum(count) - count
    edge_of = order % max(len(side), 1)  # boundary edges grouped by vertex
    loops, seen = [], np.zeros(num, dtype=bool)
    for origin in np.flatnonzero(regular).tolist():
        if seen[origin]:
            continue
        loop, forward, v, edge = [], 0, origin, int(edge_of[first[origin]])
        while regular[v] and not seen[v]:
            seen[v] = True
            loop.append(v)
            along = int(start[edge]) == v
            forward += 1 if along else -1
            v = int(end[edge] if along else start[edge])
            if regular[v]:
                one, two = int(edge_of[first[v]]), int(edge_of[first[v] + 1])
                edge = two if edge == one else one
        if v != origin or len(loop) < 3:
            continue
        if forward < 0:
            loop = loop[:1] + loop[:0:-1]
        loops.append(np.array(loop, dtype=np.int64))
    return loops


@dataclass(frozen=True)
class MeshStats:
    """What a mesh is made of; `watertight` means every edge has exactly two faces that run along it oppositely."""

    num_vertices: int
    num_faces: int
    num_edges: int
    num_components: int
    boundary_edges: int
    non_manifold_edges: int
    winding_conflicts: int
    euler: int
    watertight: bool


def mesh_stats(vertices: ArrayLike, faces: ArrayLike) -> MeshStats:
    """Count edges, defects and components; the Euler number counts referenced vertices only."""
    mesh = enter(vertices, faces)
    f = mesh.faces
    table = build_edges(f)
    _, sides = table.manifold_pairs()
    start = f.reshape(-1)[sides]
    conflicts = int((start[:, 0] == start[:, 1]).sum())
    boundary, non_manifold = int((table.counts == 1).sum()), int((table.counts > 2).sum())
    components = int(face_components(f, table).max()) + 1 if len(f) else 0
    used = len(np.unique(f))
    return MeshStats(
        num_vertices=len(mesh.vertices),
        num_faces=len(f),
        num_edges=len(table.edges),
        num_components=components,
        boundary_edges=boundary,
        non_manifold_edges=non_manifold,
        winding_conflicts=conflicts,
        euler=used - len(table.edges) + len(f),
        watertight=len(f) > 0 and boundary == 0 and non_manifold == 0 and conflicts == 0,
    )
