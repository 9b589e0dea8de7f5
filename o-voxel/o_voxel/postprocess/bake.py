"""Baking of voxel attributes into a texture.

T texels a side, M covered texels, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike
from o_voxel.mesh.normals import cross, dot, normalize
from o_voxel.postprocess.source import Hit, SourceSurface
from o_voxel.postprocess.texels import TexelMap, surface_texels
from o_voxel.postprocess.volume import AttributeVolume

__all__ = ["BakedTexels", "bake", "chunks", "project"]

GPU_CHUNK = 1 << 20  # texels at a time: some 200 bytes of working memory each
CPU_CHUNK = 1 << 15  # what caches hold


class BakedTexels(NamedTuple):
    """What the covered texels show; `hit` is None without a source surface."""

    texels: TexelMap
    values: Tensor  # [M, C] float32, as sampled
    hit: Hit | None  # where on the source surface they were sampled

    def image(self, values: Tensor) -> Tensor:
        """Per-texel values [M, K] as an image [T, T, K], zero where nothing is covered."""
        size = self.texels.size
        flat = torch.zeros(size * size, values.shape[1], dtype=values.dtype, device=values.device)
        flat[self.texels.row] = values
        return flat.view(size, size, -1)


def bake(
    vertices: ArrayLike,  # [V, 3] float
    faces: ArrayLike,  # [F, 3] int
    uvs: ArrayLike,  # [V, 2] in [0, 1], v down the rows
    size: int,
    volume: AttributeVolume,
    source: SourceSurface | None = None,
    *,
    max_distance: float = float("inf"),
) -> BakedTexels:
    """Rasterise the faces in UV space and sample the volume at the surface point of every covered texel.

    With `source`, points first move to that (finer) surface, see `project`. Runs on the device of `volume`.
    """
    device = volume.device
    v = torch.as_tensor(vertices, device=device).double()
    f = torch.as_tensor(faces, device=device).long()
    texels = surface_texels(torch.as_tensor(uvs, device=device), f, size)
    count = len(texels.row)
    values = torch.empty(count, volume.feats.shape[1], device=device)
    hit = None
    if source is not None:
        hit = Hit(
            torch.empty(count, dtype=torch.float64, device=device),
            torch.empty(count, dtype=torch.int64, device=device),
            torch.empty(count, 3, dtype=torch.float64, device=device),
        )
    a, b, c = v[f].unbind(1)
    normals = normalize(cross(b - a, c - a))  # [F, 3]
    for part in chunks(count, device):
        points = texels.interpolate(v, f, part)
        if source is not None and hit is not None:
            found = project(points, normals[texels.face[part]], source, max_distance)
            points = torch.where((found.face >= 0)[:, None], source.positions(found), points)
            for whole, new in zip(hit, found):
                whole[part] = new
        values[part] = volume.sample(points)
    return BakedTexels(texels, values, hit)


def chunks(count: int, device: torch.device) -> Iterator[slice]:
    """Rows 0..count in pieces that suit the device."""
    size = CPU_CHUNK if device.type == "cpu" else GPU_CHUNK
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


def project(points: Tensor, normals: Tensor, source: SourceSurface, max_distance: float) -> Hit:
    """Nearest points of the source for points [M, 3] of a surface with unit normals [M, 3].

    A face whose normal does not oppose the point's goes before one whose does, so that thin walls keep their two sides;
    `face` is -1 and `distance` infinite where the source is farther than `max_distance`.
    """
    hit = source.nearest(points, max_distance=max_distance)
    opposed = dot(source.face_normals(hit.face), normals) < 0
    retry = (opposed & (hit.face >= 0)).nonzero()[:, 0]
    if len(retry):
        other = source.nearest(points[retry], normals[retry], max_distance=max_distance)
        better = (other.face >= 0).nonzero()[:, 0]
        for whole, new in zip(hit, other):
            whole[retry[better]] = new[better]
    return hit
