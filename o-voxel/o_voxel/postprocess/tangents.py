"""Tangents of an unwrapped mesh and normals in tangent space, as MikkTSpace defines them.

V vertices, F faces, M texels. The tangent points along u to the right, the bitangent up the image (against v).
"""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel.mesh.normals import cross, dot, normalize

__all__ = ["to_tangent_space", "vertex_tangents"]

_FIXED = float(1 << 40)  # sums of unit vectors times angles in fixed point: exact in any order


def vertex_tangents(
    vertices: Tensor,  # [V, 3] float
    faces: Tensor,  # [F, 3] int64
    uvs: Tensor,  # [V, 2], v down the rows
    normals: Tensor,  # [V, 3] unit
) -> Tensor:  # [V, 4] float64
    """Unit tangents orthogonal to the normals, and in the last column the sign of the bitangent: B = w (N x T).

    Every face gives its direction of growing u, projected into the tangent plane of the vertex and weighted by the
    angle of its corner there. Vertices on chart borders must be split, so that all faces at a vertex belong together.
    Where no face gives a direction, any is taken. The same bits on every device but for `acos`.
    M. S. Mikkelsen, Simulation of Wrinkled Surfaces Revisited, 2008 (MikkTSpace, the default of glTF 2.0).
    """
    v, n = vertices.double(), normals.double()
    corner, flat = v[faces], uvs.double()[faces]  # [F, 3, 3], [F, 3, 2]
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    d1, d2 = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    area = d1[:, 0] * -d2[:, 1] + d1[:, 1] * d2[:, 0]  # twice the signed area with v up
    along = (e1 * -d2[:, 1:] + e2 * d1[:, 1:]) * torch.sign(area)[:, None]
    total = torch.zeros(len(v), 3, dtype=torch.int64, device=v.device)
    turn = torch.zeros(len(v), dtype=torch.int64, device=v.device)
    for k in range(3):
        at = faces[:, k]
        normal = n[at]
        angle = _corner_angle(corner[:, k], corner[:, (k + 1) % 3], corner[:, (k + 2) % 3], normal)
        share = normalize(_in_plane(along, normal)) * angle[:, None]
        total.index_add_(0, at, (share * _FIXED).round().long())
        turn.index_add_(0, at, torch.sign(area).long())
    tangent = _in_plane(total.double() / _FIXED, n)
    axis = torch.nn.functional.one_hot(n.abs().argmin(1), 3).double()
    tangent = torch.where((tangent.abs().amax(1) > 1e-9)[:, None], tangent, _in_plane(axis, n))
    return torch.cat([normalize(tangent), torch.where(turn < 0, -1.0, 1.0).double()[:, None]], 1)


def _in_plane(vectors: Tensor, normals: Tensor) -> Tensor:
    return vectors - dot(vectors, normals)[:, None] * normals


def _corner_angle(at: Tensor, after: Tensor, before: Tensor, normal: Tensor) -> Tensor:
    """Angle between the two edges at a corner, seen along its normal [F]."""
    a, b = normalize(_in_plane(after - at, normal)), normalize(_in_plane(before - at, normal))
    return torch.acos(dot(a, b).clamp(-1, 1))


def to_tangent_space(
    vectors: Tensor,  # [M, 3]
    normal: Tensor,  # [M, 3] interpolated, not normalised
    tangent: Tensor,  # [M, 4] interpolated, not normalised
    least: float = 0.05,
) -> Tensor:  # [M, 3]
    """Unit vectors t with t_x T + t_y B + t_z N along `vectors`, B = w (N x T), as a shader will put them together.

    The last component is kept at or above `least` of the length, as no texel can face away from its surface; where the
    frame is degenerate the result is (0, 0, 1).
    """
    n, t, w = normal.double(), tangent[:, :3].double(), torch.sign(tangent[:, 3:]).double()
    b = w * cross(n, t)
    volume = dot(t, cross(b, n))[:, None]
    parts = [cross(b, n), cross(n, t), cross(t, b)]
    out = torch.stack([dot(vectors, part) for part in parts], 1) * torch.sign(volume)
    out = normalize(out)
    out = normalize(torch.cat([out[:, :2], out[:, 2:].clamp(min=least)], 1))
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64, device=out.device)
    return torch.where((volume.abs() > 1e-12) & torch.isfinite(out).all(1, keepdim=True), out, up)
