"""Edges, boundaries and components of a triangle mesh.

V vertices, F faces, E edges. An edge is an unordered vertex pair; it is a boundary edge if one face uses it, manifold
if two do, non-manifold if more do. Edges ascend by (smaller, larger) index; face side k of a face runs from corner k
to corner k + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors, like
from o_voxel.mesh.components import connected_components, parity_components
from o_voxel.mesh.grouping import dense_labels

__all__ = [
    "EdgeTable",
    "MeshStats",
    "build_edges",
    "connected_components",
    "face_components",
    "mesh_stats",
    "parity_components",
]


@dataclass(frozen=True)
class EdgeTable:
    """Edges of a mesh and the face sides (3 * face + k) that use each of them; tensors or arrays, as the faces were."""

    edges: ArrayLike  # [E, 2] int64, (smaller, larger), ascending
    counts: ArrayLike  # [E] int64, faces per edge
    sides: ArrayLike  # [3F] int64, face sides grouped by edge, ascending inside a group
    offsets: ArrayLike  # [E + 1] int64, group of edge e is sides[offsets[e]:offsets[e + 1]]

    def manifold_pairs(self) -> tuple[ArrayLike, ArrayLike]:
        """Face sides on both ends of every manifold edge: (edge ids [M], sides [M, 2])."""
        counts, sides, offsets = (as_tensor(t, "edges") for t in (self.counts, self.sides, self.offsets))
        ids = (counts == 2).nonzero()[:, 0]
        start = offsets.index_select(0, ids)
        return like(ids, self.counts), like(torch.stack([sides[start], sides[start + 1]], dim=1), self.counts)

    def boundary_sides(self) -> ArrayLike:
        """The single face side of every boundary edge, in edge order: [B]."""
        return self.sides[self.offsets[:-1][self.counts == 1]]


def build_edges(faces: ArrayLike, *, backend: Backend = "auto") -> EdgeTable:  # faces [F, 3] int64
    """Sort all face sides into edges; the table has the kind and device of the faces."""
    f = as_tensor(faces, "faces").long().contiguous()
    native = native_module() if resolve_backend(backend) == "native" and f.device.type == "cpu" else None
    if native is not None:
        columns = tuple(torch.from_numpy(a) for a in native.mesh_edges(f.numpy()))
    else:
        columns = _sorted_edges(f)
    return EdgeTable(*(like(column, faces) for column in columns))


def _sorted_edges(f: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `build_edges` means: (edges, counts, sides, offsets)."""
    start, end = f.reshape(-1), f[:, [1, 2, 0]].reshape(-1)
    num = int(f.amax()) + 1 if f.numel() else 1
    key, sides = (torch.minimum(start, end) * num + torch.maximum(start, end)).sort(stable=True)
    first = torch.ones(len(key) + 1, dtype=torch.bool, device=f.device)
    first[1:-1] = key[1:] != key[:-1]
    offsets = first.nonzero()[:, 0] if len(key) else torch.zeros(1, dtype=torch.int64, device=f.device)
    unique = key[offsets[:-1]]
    return torch.stack([unique // num, unique % num], dim=1), offsets.diff(), sides, offsets


def face_components(faces: ArrayLike, table: EdgeTable | None = None) -> ArrayLike:
    """Components of faces over manifold edges, numbered densely by smallest face: [F] int64."""
    table = build_edges(faces) if table is None else table
    _, sides = table.manifold_pairs()
    labels = connected_components(len(faces), as_tensor(sides, "sides") // 3)
    return like(dense_labels(labels)[0], faces)


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
    mesh = enter_tensors(vertices, faces)
    f = mesh.faces
    table = build_edges(f)
    _, sides = table.manifold_pairs()
    start = f.reshape(-1)[sides]
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=f.device)
    used[f.reshape(-1)] = True
    components = dense_labels(connected_components(len(f), sides // 3))[1]
    counted = [(start[:, 0] == start[:, 1]).sum(), (table.counts == 1).sum(), (table.counts > 2).sum(), used.sum()]
    conflicts, boundary, non_manifold, referenced = (int(n) for n in torch.stack(counted).tolist())
    return MeshStats(
        num_vertices=len(mesh.vertices),
        num_faces=len(f),
        num_edges=len(table.edges),
        num_components=len(components),
        boundary_edges=boundary,
        non_manifold_edges=non_manifold,
        winding_conflicts=conflicts,
        euler=referenced - len(table.edges) + len(f),
        watertight=len(f) > 0 and boundary == 0 and non_manifold == 0 and conflicts == 0,
    )
