"""Attributes on voxels, sampled at points of a surface.

N voxels, C channels, M points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from o_voxel.postprocess.source import SourceSurface
from o_voxel.sampling import VoxelIndex

__all__ = ["AttributeVolume"]

_LEAST_GLOW = 1 / 255
CHUNK = 1 << 19  # points at a time
RINGS = 2  # cells around a point that are searched for the nearest voxel before a tree is built
# Attribute, value where the layout lacks it, channels.
_PBR = (("base_color", 0.5, 3), ("metallic", 0.0, 1), ("roughness", 1.0, 1), ("alpha", 1.0, 1))


@dataclass(frozen=True)
class AttributeVolume:
    """N voxels with C channels on a grid over an axis-aligned box.

    Voxel i spans [i, i + 1) * voxel_size from `origin` on each axis. `feats` and `coords` are on one device, where all
    work is done.
    """

    feats: Tensor  # [N, C] float32
    coords: Tensor  # [N, 3] int32, rows unique
    layout: Mapping[str, slice]
    origin: np.ndarray  # [3] float64
    voxel_size: np.ndarray  # [3] float64
    grid_size: tuple[int, int, int]

    @property
    def device(self) -> torch.device:
        """Where the voxels are."""
        return self.feats.device

    @property
    def extent(self) -> float:
        """Longest edge of the box."""
        return float((self.voxel_size * self.grid_size).max())

    @property
    def voxel(self) -> float:
        """Longest edge of a voxel."""
        return float(self.voxel_size.max())

    def to_grid(self, points: Tensor) -> Tensor:
        """World positions [M, 3] -> voxel units, float64."""
        origin = torch.as_tensor(self.origin, dtype=torch.float64, device=self.device)
        size = torch.as_tensor(self.voxel_size, dtype=torch.float64, device=self.device)
        return (points.to(self.device, torch.float64) - origin) / size

    @cached_property
    def _index(self) -> VoxelIndex:
        zero = torch.zeros(len(self.coords), 1, dtype=torch.int32, device=self.device)
        return VoxelIndex(torch.cat([zero, self.coords], dim=1), self.grid_size)

    @cached_property
    def _marked(self) -> Tensor:
        """`feats` with a last channel of ones, which tells where something was found."""
        return torch.cat([self.feats, torch.ones(len(self.feats), 1, device=self.device)], dim=1)

    def sample(self, points: Tensor) -> Tensor:
        """Trilinear values at world positions [M, 3]: float32 [M, C].

        Weights are divided by those of the voxels that exist, so values do not darken at the rim; where none of the
        eight neighbours exists, the nearest voxel counts.
        """
        channels = self.feats.shape[1]
        out = torch.empty(len(points), channels, device=self.device)
        for i in range(0, len(points), CHUNK):
            grid = self.to_grid(points[i : i + CHUNK])
            value = self._index.sample(self._marked, grid.float()[None])[0]
            lost = (value[:, channels] < 0.5).nonzero()[:, 0]
            out[i : i + CHUNK] = value[:, :channels]
            if len(lost):
                out[i + lost] = self.feats[self._nearest(grid[lost])]
        return out

    def nearest_voxel(self, points: Tensor) -> Tensor:
        """Row of the voxel whose centre is nearest to world positions [M, 3], in voxel units: [M] int64."""
        return self._nearest(self.to_grid(points))

    @cached_property
    def _sorted_keys(self) -> tuple[Tensor, Tensor]:
        return torch.sort(self._key(self.coords.long()))

    def _key(self, cells: Tensor) -> Tensor:
        return (cells[..., 0] * self.grid_size[1] + cells[..., 1]) * self.grid_size[2] + cells[..., 2]

    @cached_property
    def _centres(self) -> SourceSurface:
        """A tree over the voxel centres, each a triangle that is a point."""
        rows = torch.arange(len(self.coords), device=self.device)
        return SourceSurface(self.coords.double() + 0.5, rows[:, None].expand(-1, 3).contiguous())

    def _nearest(self, grid: Tensor) -> Tensor:
        """As `nearest_voxel`, from voxel units; of equally near voxels the lowest row."""
        keys, order = self._sorted_keys
        side = torch.arange(-RINGS, RINGS + 1, device=self.device)
        around = torch.cartesian_prod(side, side, side)  # [K, 3]
        size = torch.tensor(self.grid_size, device=self.device)
        best = torch.full((len(grid),), torch.inf, dtype=torch.float64, device=self.device)
        row = torch.full((len(grid),), len(keys), dtype=torch.int64, device=self.device)
        home = grid.floor().clamp(-RINGS - 1, 1 << 30).long()
        for offset in around:
            cell = home + offset
            key = self._key(cell)
            at = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
            there = (keys[at] == key) & (cell >= 0).all(1) & (cell < size).all(1)
            distance = torch.where(there, ((cell + 0.5 - grid) ** 2).sum(1), torch.inf)
            better = (distance < best) | ((distance == best) & there & (order[at] < row))
            best, row = torch.where(better, distance, best), torch.where(better, order[at], row)
        far = (~(best <= (RINGS + 0.5) ** 2)).nonzero()[:, 0]  # a nearer one may lie outside the cells looked at
        if len(far):
            row[far] = self._centres.nearest(grid[far]).face
        return row

    def channel(self, values: Tensor, name: str, default: float, width: int) -> Tensor:
        """Columns of an attribute [..., width], or a constant where the layout lacks it."""
        if name not in self.layout:
            return torch.full((*values.shape[:-1], width), default, device=values.device)
        return values[..., self.layout[name]]

    def pbr_maps(self, values: Tensor) -> dict[str, Tensor]:
        """Sampled values [..., C] as `base_color` [..., 3], `metallic`, `roughness`, `alpha` [..., 1]."""
        return {name: self.channel(values, name, v, width) for name, v, width in _PBR}

    def emissive_map(self, values: Tensor) -> Tensor | None:
        """Sampled values [..., C] as emission [..., 3], or None where nothing glows."""
        if "emissive" not in self.layout:
            return None
        glow = values[..., self.layout["emissive"]]
        return glow if glow.numel() and float(glow.max()) >= _LEAST_GLOW else None
