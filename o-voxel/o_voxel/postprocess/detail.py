"""Detail of the full-resolution surface on the simplified one: a tangent-space normal map.

M texels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel.mesh.normals import dot
from o_voxel.postprocess.bake import BakedTexels, chunks
from o_voxel.postprocess.source import Hit, SourceSurface
from o_voxel.postprocess.tangents import to_tangent_space

__all__ = ["bake_normals"]


def bake_normals(
    baked: BakedTexels,
    faces: Tensor,  # [F, 3] int64
    normals: Tensor,  # [V, 3] unit
    tangents: Tensor,  # [V, 4], see `vertex_tangents`
    source: SourceSurface,
) -> Tensor:  # [M, 3] float32
    """Smooth normals of the source at the texels' points, in the tangent space of the simplified surface.

    Texels without a point on the source get (0, 0, 1). Where the source is wound the other way its normal is turned.
    """
    texels, hit = baked.texels, baked.hit
    out = torch.zeros(len(texels.row), 3, device=normals.device)
    out[:, 2] = 1
    if hit is None:
        return out
    for part in chunks(len(out), out.device):
        normal = texels.interpolate(normals, faces, part)
        tangent = texels.interpolate(tangents, faces, part)
        fine = source.normals(Hit(*(column[part] for column in hit)))
        fine = torch.where((dot(fine, normal) < 0)[:, None], -fine, fine)
        mapped = to_tangent_space(fine, normal, tangent).float()
        out[part] = torch.where((hit.face[part] >= 0)[:, None], mapped, out[part])
    return out
