"""The voxels that the sparse benchmarks run on: a bumpy sphere on a 1024³ grid, and its 2× coarsenings.

Mesh: unit icosphere with 7 subdivisions, radius times 1 + 0.15 sin(7x) sin(6y) sin(5z) + 0.03 sin(40x+3) sin(37y)
+ 0.02 sin(61z), scaled so that max|coordinate| = 0.45, in the box [−0.5, 0.5]³.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trellis2.ops.neighbor_map import pack_coords

__all__ = ["coarsen", "guides", "surface_coords"]


def _cache_file(resolution: int) -> Path:
    root = Path(os.environ.get("TRELLIS2_CACHE_DIR") or Path.home() / ".cache" / "trellis2")
    return root / "benchmarks" / f"surface_{resolution}.npy"


def _voxelise(resolution: int) -> np.ndarray:
    import trimesh
    from o_voxel.convert import mesh_to_flexible_dual_grid

    mesh = trimesh.creation.icosphere(subdivisions=7)
    x, y, z = mesh.vertices.T
    radius = 1 + 0.15 * np.sin(7 * x) * np.sin(6 * y) * np.sin(5 * z)
    radius += 0.03 * np.sin(40 * x + 3) * np.sin(37 * y) + 0.02 * np.sin(61 * z)
    vertices = mesh.vertices * radius[:, None]
    vertices *= 0.45 / np.abs(vertices).max()
    coords = mesh_to_flexible_dual_grid(
        torch.tensor(vertices, dtype=torch.float32),
        torch.tensor(mesh.faces).int(),
        grid_size=resolution,
        aabb=[[-0.5] * 3, [0.5] * 3],
    )[0]
    return coords.cpu().numpy().astype(np.int16)


def surface_coords(resolution: int = 1024) -> Tensor:
    """Active voxels [N, 4] int32 (batch 0, x, y, z), lexicographic; made once and kept in the cache folder."""
    path = _cache_file(resolution)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part.npy")
        np.save(part, _voxelise(resolution))
        part.replace(path)
    xyz = torch.from_numpy(np.load(path).astype(np.int32))
    coords = torch.cat([torch.zeros_like(xyz[:, :1]), xyz], 1)
    return coords[torch.argsort(pack_coords(coords))].contiguous()


def coarsen(coords: Tensor) -> Tensor:
    """Active voxels of the grid twice as coarse, lexicographic."""
    parent = coords.clone()
    parent[:, 1:] >>= 1
    key, index = torch.unique(pack_coords(parent), return_inverse=True)
    out = parent.new_empty((key.shape[0], 4))
    out[index] = parent
    return out


def guides(levels: list[Tensor]) -> list[Tensor]:
    """Children [M_i, 8] bool of the voxels of each level, in the row order of a decoder that grows them.

    levels: coordinates from the coarsest to the finest. Bit s of a row: child s = x + 2y + 4z.
    """
    out, rows = [], levels[0]
    for fine in levels[1:]:
        parent = fine.clone()
        parent[:, 1:] >>= 1
        keys, order = torch.sort(pack_coords(rows))
        place = order[torch.searchsorted(keys, pack_coords(parent))]
        local = (fine[:, 1:] & 1).long()
        bits = torch.zeros((rows.shape[0], 8), dtype=torch.bool, device=rows.device)
        bits[place, local[:, 0] + 2 * local[:, 1] + 4 * local[:, 2]] = True
        out.append(bits)
        idx, sub = torch.nonzero(bits, as_tuple=True)
        child = rows[idx].clone()
        child[:, 1:] = child[:, 1:] * 2 + torch.stack([sub & 1, sub >> 1 & 1, sub >> 2], 1).int()
        rows = child
    return out
