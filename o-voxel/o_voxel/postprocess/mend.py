"""Last repairs of a finished surface, as tools see it that merge equal positions.

Tensors on one device: vertices [V, 3] float64, faces [F, 3] int64. Positions are equal if they are so in float32, as
files hold them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel.mesh.cleanup import compact
from o_voxel.mesh.connectivity import build_edges
from o_voxel.mesh.grouping import first_equal

__all__ = ["degenerate_faces", "drop_copies", "give_area", "open_conflicts", "weld"]

ROUNDS = 8
NUDGE = 0.1  # of the way to the neighbours, for corners of faces without area
SLIT = 0.02  # of the way to the opposite corner, for edges whose two sides may not be joined


def weld(vertices: Tensor, faces: Tensor) -> Tensor:
    """Faces over the first vertex of each position: [F, 3]."""
    return first_equal(vertices.float() + 0.0)[faces] if len(faces) else faces


def degenerate_faces(vertices: Tensor, faces: Tensor) -> Tensor:
    """Faces without area in float32 coordinates: [F] bool."""
    p = vertices.float().double()[faces]
    return (torch.linalg.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]) == 0).all(1)


def give_area(v: Tensor, f: Tensor) -> Tensor:
    """Vertices, where corners of faces without area are moved a little towards their neighbours."""
    for _ in range(ROUNDS):
        bad = degenerate_faces(v, f)
        if not bool(bad.any()):
            break
        rows = torch.unique(f[bad])
        near = f[torch.isin(f, rows).any(1)]
        pairs = torch.unique(torch.cat([near[:, [i, j]] for i in range(3) for j in range(3) if i != j]), dim=0)
        pairs = pairs[torch.isin(pairs[:, 0], rows)]
        _, row, degree = torch.unique_consecutive(pairs[:, 0], return_inverse=True, return_counts=True)
        total = torch.zeros(len(rows), 3, dtype=v.dtype, device=v.device).index_add_(0, row, v[pairs[:, 1]])
        v = v.clone()
        v[rows] += NUDGE * (total / degree[:, None] - v[rows])
    return v


def drop_copies(v: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """Of faces at the same three positions keep one of the more frequent winding; none if both are as frequent."""
    welded = weld(v, f)
    a, b, c = welded.unbind(1)
    low, high = welded.amin(1), welded.amax(1)
    group = first_equal(torch.stack([low, a + b + c - low - high, high], 1))
    rows = torch.arange(len(f), device=f.device)
    crowded = torch.bincount(group, minlength=len(f))[group] > 1
    if not bool(crowded.any()):
        return v, f
    even = ((a < b) & (b < c)) | ((b < c) & (c < a)) | ((c < a) & (a < b))
    sign = torch.where(even, 1, -1)
    sense = torch.zeros(len(f), dtype=torch.int64, device=f.device).index_add_(0, group, sign)[group].sign()
    candidate = torch.where(sign == sense, rows, len(f))
    best = torch.full((len(f),), len(f), device=f.device).scatter_reduce_(0, group, candidate, "amin")
    v, f, _ = compact(v, f[~crowded | (best[group] == rows)])
    return v, f


def open_conflicts(v: Tensor, f: Tensor) -> Tensor:
    """Vertices, where edges that two faces of opposite winding share by position only come apart by a fine slit."""
    for _ in range(ROUNDS):
        table = build_edges(weld(v, f))
        _, sides = table.manifold_pairs()
        start = weld(v, f).reshape(-1)[sides]
        sides = sides[start[:, 0] == start[:, 1]]
        if len(sides) == 0:
            break
        one, two = sides.unbind(1)  # both run the same way along the edge
        face, k = two // 3, two % 3
        other, j = one // 3, one % 3
        tip = v[f[face, (k + 2) % 3]]
        moved = v.clone()
        for end in (0, 1):
            mine, theirs = f[face, (k + end) % 3], f[other, (j + end) % 3]
            apart = mine != theirs
            moved[mine[apart]] = v[mine[apart]] + SLIT * (tip[apart] - v[mine[apart]])
        v = moved
    return v
