"""Angle-weighted normals on a triangle mesh: of a face, of an edge, or of a corner."""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel.mesh.connectivity import build_edges
from o_voxel.mesh.normals import face_crosses, normalize

__all__ = ["pseudonormals"]

_ZERO = 1e-6  # weights up to this put a point on an edge or a corner


def pseudonormals(
    vertices: Tensor,  # [V, 3]
    faces: Tensor,  # [F, 3] int64
    face: Tensor,  # [N] int64
    uvw: Tensor,  # [N, 3] float64
) -> Tensor:  # [N, 3] float64
    """Normals (not of unit length) at points given by (face, weights).

    Inside a face its own; on an edge the sum over its faces; on a corner that weighted by angles.
    J. A. Baerentzen and H. Aanaes, Signed Distance Computation Using the Angle Weighted Pseudonormal, 2005.
    """
    v = vertices.double()
    unit = normalize(face_crosses(v, faces))
    zero = uvw <= _ZERO
    normal = unit[face]
    on_edge = (zero.sum(1) == 1).nonzero()[:, 0]
    if len(on_edge):
        table = build_edges(faces)
        edge_of = torch.empty(3 * len(faces), dtype=torch.int64, device=faces.device)  # of side 3 * face + k
        edge_of[table.sides] = torch.repeat_interleave(table.counts)
        total = torch.zeros(len(table.edges), 3, dtype=torch.float64, device=v.device)
        total.index_put_((edge_of,), torch.repeat_interleave(unit, 3, dim=0), accumulate=True)
        side = (zero[on_edge].int().argmax(1) + 1) % 3  # the side opposite to the corner without weight
        normal[on_edge] = total[edge_of[3 * face[on_edge] + side]]
    on_corner = (zero.sum(1) >= 2).nonzero()[:, 0]
    if len(on_corner):
        p = v[faces]
        total = torch.zeros_like(v)
        for k in range(3):
            a, b = normalize(p[:, (k + 1) % 3] - p[:, k]), normalize(p[:, (k + 2) % 3] - p[:, k])
            angle = (a * b).sum(-1).clamp(-1, 1).arccos()
            total.index_put_((faces[:, k],), unit * angle[:, None], accumulate=True)
        tip = uvw[on_corner].argmax(1)
        normal[on_corner] = total[faces[face[on_corner], tip]]
    return normal
