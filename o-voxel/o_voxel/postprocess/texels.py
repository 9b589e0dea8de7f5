"""Which texel shows which place of a surface: rasterisation in UV space.

T texels a side, V vertices, F faces, M covered texels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel.postprocess.source import weighted_corners
from o_voxel.rasterize import rasterize, triangle_index

__all__ = ["TexelMap", "surface_texels"]


class TexelMap(NamedTuple):
    """The covered texels of a square texture, in ascending order, and the surface point at the centre of each."""

    size: int  # T
    row: Tensor  # [M] int64, y * T + x
    face: Tensor  # [M] int64
    weights: Tensor  # [M, 3] float64, of the corners of that face

    def interpolate(self, values: Tensor, faces: Tensor, part: slice) -> Tensor:
        """Values of vertices [V, ...] at texels `part`: float64 [m, ...]."""
        return weighted_corners(values, faces[self.face[part]], self.weights[part])

    def mask(self) -> Tensor:
        """[T, T] bool, texels that belong to the surface."""
        mask = torch.zeros(self.size * self.size, dtype=torch.bool, device=self.row.device)
        mask[self.row] = True
        return mask.view(self.size, self.size)


def surface_texels(uvs: Tensor, faces: Tensor, size: int) -> TexelMap:
    """Texels whose centres lie on a face of the unwrapped surface, and those claimed by faces too thin to hold one.

    `uvs` [V, 2] lie in [0, 1], v down the rows; `faces` [F, 3]. A face without a texel claims the free ones under its
    centre and corners, where faces with lower ids come first, so that charts smaller than a texel leave their colour.
    """
    plane = torch.tensor([0.0, 1.0], device=uvs.device).expand(len(uvs), 2)  # z and w
    clip = torch.cat([uvs.float() * 2 - 1, plane], 1)
    rast = rasterize(clip, faces.int(), (size, size))[0].view(-1, 4)
    index = triangle_index(rast)
    row = (index >= 0).nonzero()[:, 0]
    face = index[row]
    u, v = rast[row, 0].double(), rast[row, 1].double()
    weights = torch.stack([u, v, 1 - u - v], 1)
    del rast
    seen = torch.zeros(len(faces), dtype=torch.bool, device=faces.device)
    seen[face] = True
    missing = (~seen).nonzero()[:, 0]
    if len(missing):
        claims = _claims(uvs, faces, missing, size, index)
        row, order = torch.sort(torch.cat([row, claims[0]]))
        face, weights = torch.cat([face, claims[1]])[order], torch.cat([weights, claims[2]])[order]
    return TexelMap(size, row, face, weights)


def _claims(uvs: Tensor, faces: Tensor, missing: Tensor, size: int, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Free texels (index < 0) under the centres, then the corners, of faces `missing`: (row, face, weights)."""
    corner = uvs[faces[missing]].double()  # [K, 3, 2]
    rows, owners, shares = [], [], []
    for weight in ((1 / 3, 1 / 3, 1 / 3), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        w = torch.tensor(weight, dtype=torch.float64, device=uvs.device)
        texel = ((corner * w[:, None]).sum(1) * size).long().clamp(0, size - 1)
        at = texel[:, 1] * size + texel[:, 0]
        free = (index[at] < 0).nonzero()[:, 0]
        row, inverse = torch.unique(at[free], return_inverse=True)
        owner = torch.full((len(row),), len(faces), device=uvs.device).scatter_reduce(
            0, inverse, missing[free], "amin"
        )  # several faces may ask for one texel
        index[row] = owner
        rows.append(row)
        owners.append(owner)
        shares.append(w.expand(len(row), 3))
    return torch.cat(rows), torch.cat(owners), torch.cat(shares)
