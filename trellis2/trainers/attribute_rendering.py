"""Material attributes of one surface, from textures and from sparse voxels, seen by the same camera.

R resolution, n visible points, N voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..renderers.materials import make_material_table
from ..renderers.surface import hits_of, interpolate_hits, peel
from .rendering import Camera

__all__ = ["VisibleSurface", "look_at_surface", "read_voxels", "textured_attributes"]


@dataclass(frozen=True)
class VisibleSurface:
    """What a camera sees of a mesh."""

    point: Tensor  # [n, 3] world
    pixel: Tensor  # [n] int64, row * R + column
    hits: Any  # `trellis2.renderers.surface.Hits`
    resolution: int

    def image(self, values: Tensor) -> Tensor:
        """`values [n, C]` as a picture `[C, R, R]`, 0 where nothing is seen."""
        flat = values.new_zeros(self.resolution**2, values.shape[1]).index_put((self.pixel,), values)
        return flat.reshape(self.resolution, self.resolution, -1).permute(2, 0, 1)


@torch.no_grad()
def look_at_surface(mesh: Any, camera: Camera, resolution: int) -> VisibleSurface:
    """Visible points of a `Mesh`."""
    clip = camera.to(mesh.device).clip(mesh.vertices)
    rast, rast_db = next(peel(clip, mesh.faces, resolution, 1, with_db=True))
    hits = hits_of(rast, 1, mesh.faces.shape[0], rast_db=rast_db)
    return VisibleSurface(interpolate_hits(mesh.vertices, mesh.faces, hits), hits.sample, hits, resolution)


@torch.no_grad()
def textured_attributes(mesh: Any, surface: VisibleSurface) -> Tensor:
    """Base colour, metallic, roughness, alpha `[6, R, R]` of a `MeshWithPbrMaterial` from its textures."""
    return surface.image(make_material_table(mesh.materials, mesh.device).evaluate(mesh, surface.hits)[:, :6])


def read_voxels(coords: Tensor, values: Tensor, resolution: int, surface: VisibleSurface) -> Tensor:
    """Trilinear `values [N, C]` of voxels `coords [N, 3]` of a grid over [-0.5, 0.5]^3: `[C, R, R]`.

    Differentiable in `values`. `resolution` is the grid's.
    """
    from o_voxel.sampling import grid_sample_3d

    if not len(surface.point) or not len(coords):
        return values.new_zeros(values.shape[1], surface.resolution, surface.resolution) + values.sum() * 0
    batched = torch.cat([torch.zeros_like(coords[:, :1]), coords], dim=1).contiguous()
    shape = (1, values.shape[1], resolution, resolution, resolution)
    grid = ((surface.point + 0.5) * resolution)[None].contiguous()
    return surface.image(grid_sample_3d(values, batched, shape, grid, mode="trilinear")[0])
