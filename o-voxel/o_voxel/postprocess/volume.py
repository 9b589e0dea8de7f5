"""Attributes on voxels, sampled at points of a surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from o_voxel.mesh import BVH
from o_voxel.sampling import VoxelIndex

__all__ = ["AttributeVolume"]

_LEAST_GLOW = 1 / 255
CHUNK = 1 << 19  # points at a time
# Attribute, value where the layout lacks it, channels.
_PBR = (("base_color", 0.5, 3), ("metallic", 0.0, 1), ("roughness", 1.0, 1), ("alpha", 1.0, 1))


@dataclass(frozen=True)
class AttributeVolume:
    """N voxels with C channels on a grid over an axis-aligned box.

    Voxel i spans [i, i + 1) * voxel_size from `origin` on each axis.
    """

    feats: torch.Tensor  # [N, C] float32, CPU
    coords: torch.Tensor  # [N, 3] int32, CPU, rows unique
    layout: Mapping[str, slice]
    origin: np.ndarray  # [3] float64
    voxel_size: np.ndarray  # [3] float64
    grid_size: tuple[int, int, int]

    def sample(self, points: np.ndarray) -> np.ndarray:
        """Trilinear values at world positions [M, 3]: float32 [M, C].

        Weights are divided by those of the voxels that exist, so values do not darken at the rim; where none of the
        eight neighbours exists, the nearest voxel counts.
        """
        n, c = self.feats.shape
        marked = torch.cat([self.feats, torch.ones(n, 1)], dim=1)  # the last channel tells where something was found
        index = VoxelIndex(torch.cat([torch.zeros(n, 1, dtype=torch.int32), self.coords], dim=1), self.grid_size)
        out = np.empty((len(points), c), dtype=np.float32)
        lost = np.zeros(len(points), dtype=bool)
        for i in range(0, len(points), CHUNK):
            rows = slice(i, min(len(points), i + CHUNK))
            grid = torch.from_numpy(((points[rows] - self.origin) / self.voxel_size).astype(np.float32))[None]
            value = index.sample(marked, grid)
            out[rows] = value[0, :, :c].numpy()
            lost[rows] = value[0, :, c].numpy() < 0.5
        if lost.any():
            out[lost] = self.feats.numpy()[self.nearest_voxel(points[lost])]
        return out

    def nearest_voxel(self, points: np.ndarray) -> np.ndarray:
        """Row of the voxel whose centre is nearest, in voxel units: [M] int64."""
        centres = self.coords.numpy().astype(np.float64) + 0.5
        single = np.repeat(np.arange(len(centres))[:, None], 3, axis=1)  # triangles that are points
        return BVH(centres, single).nearest((points - self.origin) / self.voxel_size)[1]

    def channel(self, values: np.ndarray, name: str, default: float, width: int) -> np.ndarray:
        """Columns of an attribute [M, width], or a constant where the layout lacks it."""
        if name not in self.layout:
            return np.full((len(values), width), default, dtype=np.float32)
        return values[:, self.layout[name]]

    def pbr_maps(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Sampled values [H, W, C] as `base_color` [H, W, 3], `metallic`, `roughness`, `alpha` [H, W, 1]."""
        rows = image.reshape(-1, image.shape[-1])
        return {name: self.channel(rows, name, v, width).reshape(*image.shape[:2], width) for name, v, width in _PBR}

    def emissive_map(self, image: np.ndarray) -> np.ndarray | None:
        """Sampled values [H, W, C] as emission [H, W, 3], or None where nothing glows."""
        if "emissive" not in self.layout:
            return None
        glow = image[..., self.layout["emissive"]]
        return glow if float(glow.max(initial=0.0)) >= _LEAST_GLOW else None
