"""Full-size networks whose decisions are those of a known surface, for timing the way from image to asset.

Random weights decide nothing sensible; their cost is that of trained ones. Every network computes what it always
computes, and then its decisions (occupied cells, children of a voxel, dual vertices and crossed edges, colours) are
replaced by those of the bumpy sphere of `surface_voxels.py`.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trellis2.modules.sparse import SparseTensor

__all__ = ["KnownSurface", "force_decisions"]

_LATENT_GRIDS = (32, 64, 72, 80, 88, 96)


def _pack(coords: Tensor) -> Tensor:
    """Keys [N] int64 of cells [N, 3]."""
    c = coords.long()
    return (c[:, 0] << 40) | (c[:, 1] << 20) | c[:, 2]


def bumpy_sphere() -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and faces [F, 3]."""
    import trimesh

    mesh = trimesh.creation.icosphere(subdivisions=7)
    x, y, z = mesh.vertices.T
    radius = 1 + 0.15 * np.sin(7 * x) * np.sin(6 * y) * np.sin(5 * z)
    radius += 0.03 * np.sin(40 * x + 3) * np.sin(37 * y) + 0.02 * np.sin(61 * z)
    vertices = mesh.vertices * radius[:, None]
    return vertices * (0.45 / np.abs(vertices).max()), np.asarray(mesh.faces)


class KnownSurface:
    """The voxels of the sphere on every grid that is asked for, as sorted keys on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        vertices, faces = bumpy_sphere()
        self._vertices = torch.tensor(vertices, dtype=torch.float32)
        self._faces = torch.tensor(faces, dtype=torch.int32)
        self._voxels: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._cells: dict[tuple[int, int], Tensor] = {}

    @property
    def num_bytes(self) -> int:
        """Memory that is no part of the system under test."""
        tensors = [*self._cells.values(), *(t for parts in self._voxels.values() for t in parts)]
        return sum(t.numel() * t.element_size() for t in tensors)

    def voxels(self, resolution: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys [N] int64 ascending, dual vertices [N, 3] in voxel units, edge flags [N, 3] bool."""
        if resolution not in self._voxels:
            from o_voxel.convert import mesh_to_flexible_dual_grid

            coords, dual, crossed = mesh_to_flexible_dual_grid(
                self._vertices.to(self.device),
                self._faces.to(self.device),
                grid_size=resolution,
                aabb=[[-0.5] * 3, [0.5] * 3],
            )
            keys, order = _pack(coords).sort()
            local = (dual * resolution - coords).clamp(0, 1).float()
            self._voxels[resolution] = (keys, local[order].contiguous(), crossed[order].contiguous())
        return self._voxels[resolution]

    def cells(self, grid: int, resolution: int) -> Tensor:
        """Keys of the cells of a coarser grid that hold a voxel of `resolution`."""
        if (grid, resolution) not in self._cells:
            keys = self.voxels(resolution)[0]
            if grid != resolution:
                cells = torch.stack([keys >> 40, keys >> 20 & 0xFFFFF, keys & 0xFFFFF], dim=1) * grid // resolution
                keys = _pack(cells).unique()
            self._cells[grid, resolution] = keys
        return self._cells[grid, resolution]

    @staticmethod
    def find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Places in `keys` and whether each is there."""
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return place, keys[place] == wanted


class _Children(nn.Module):
    """In place of the effect of `to_subdiv`: computes it, then answers with the children that the surface crosses."""

    offsets: Tensor

    def __init__(self, inner: nn.Module, surface: KnownSurface, level: int) -> None:
        super().__init__()
        self.inner = inner
        self.surface, self.level = surface, level
        offsets = [[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]  # x fastest
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)

    def forward(self, x: SparseTensor) -> SparseTensor:
        logits = self.inner(x)
        grid = next(g for g in _LATENT_GRIDS if (g << self.level) > int(x.coords[:, 1:].max()))
        child = (x.coords[:, None, 1:].long() * 2 + self.offsets.to(x.device)).reshape(-1, 3)
        keys = self.surface.cells(grid << (self.level + 1), grid * 16)
        inside = self.surface.find(keys, _pack(child))[1].view(-1, 8)
        return logits.replace(inside.to(logits.feats.dtype) * 2 - 1)


def _structure(self: Any, z: Tensor) -> Tensor:
    """Decodes, then answers with the cells of the surface."""
    logits = type(self).forward(self, z)
    keys = self.known_surface.cells(64, 1024)
    out = torch.full_like(logits, -1.0)
    out[:, :, keys >> 40, keys >> 20 & 0xFFFFF, keys & 0xFFFFF] = 1.0
    return out


def _shape_head(self: Any, raw: SparseTensor) -> tuple[SparseTensor, SparseTensor, SparseTensor]:
    vertices, logits, weights = type(self).head(self, raw)
    keys, dual, crossed = self.known_surface.voxels(self.resolution)
    place, there = KnownSurface.find(keys, _pack(raw.coords[:, 1:]))
    flags = (crossed[place] & there[:, None]).to(logits.feats.dtype) * 2 - 1
    return vertices.replace(dual[place].to(vertices.feats.dtype)), logits.replace(flags), weights


def _smooth_colours(module: nn.Module, args: Any, out: SparseTensor) -> SparseTensor:
    """-1…1 waves over the grid: random colours would be a picture no compressor can handle."""
    c = out.coords[:, 1:].float() / out.coords[:, 1:].max()
    waves = [torch.sin(k * c[:, i % 3] + i) for i, k in enumerate((9.0, 7.0, 11.0))]
    fixed = [torch.full_like(c[:, 0], v) for v in (-1.0, 0.2, 1.0)]  # metallic, roughness, alpha
    return out.replace(torch.stack([*waves, *fixed], dim=1).to(out.feats.dtype))


def force_decisions(surface: KnownSurface) -> Any:
    """A change for `ModelStore.change`: makes the decoders decide as the surface does."""

    def change(model: nn.Module) -> None:
        kind = type(model).__name__
        if kind == "FlexiDualGridVaeDecoder":
            for i, level in enumerate(list(model.blocks)[:-1]):  # type: ignore[arg-type]
                level[-1].to_subdiv = _Children(level[-1].to_subdiv, surface, i)
            model.known_surface = surface  # type: ignore[assignment]
            model.head = MethodType(_shape_head, model)  # type: ignore[assignment]
        elif kind == "SparseUnetVaeDecoder":
            model.register_forward_hook(_smooth_colours)
        elif kind == "SparseStructureDecoder":
            model.known_surface = surface  # type: ignore[assignment]
            model.forward = MethodType(_structure, model)  # type: ignore[method-assign]

    return change
