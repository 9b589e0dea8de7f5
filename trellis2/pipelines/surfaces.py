"""Surfaces of a scene that share one set of textures, and baking onto them.

Letters: F faces, C channels.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["SurfaceGroup", "bake_group", "tiled_corners", "unwrap_corners"]

logger = logging.getLogger(__name__)
_MAX_TILES = 64  # copies of one face, of UVs that repeat a texture


@dataclass
class SurfaceGroup:
    """Faces with one material: corners in the scene (Y up) and their UVs (v down the rows), or None without UVs."""

    name: str
    corners: np.ndarray  # [F, 3, 3] float64
    uvs: np.ndarray | None  # [F, 3, 2] float64


def tiled_corners(corners: np.ndarray, uvs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces moved into the unit square of a texture that repeats; one that reaches several squares is copied.

    Takes and returns corners [F, 3, 3] and uvs [F, 3, 2]. Faces whose UVs are not finite are left out.
    """
    good = np.isfinite(uvs).all(axis=(1, 2))
    corners, uvs = corners[good], uvs[good]
    low = np.floor(uvs.min(axis=1) + 1e-6)  # a face that touches the border from outside is not copied
    high = np.maximum(np.ceil(uvs.max(axis=1) - 1e-6), low + 1)
    reach = np.minimum((high - low).astype(np.int64), _MAX_TILES)  # [F, 2] squares
    out_corners, out_uvs = [], []
    for i in range(int(reach[:, 0].max(initial=0))):
        for j in range(int(reach[:, 1].max(initial=0))):
            rows = (reach[:, 0] > i) & (reach[:, 1] > j)
            if rows.any():
                out_corners.append(corners[rows])
                out_uvs.append(uvs[rows] - (low[rows] + [i, j])[:, None])
    if not out_corners:
        return corners[:0], uvs[:0]
    return np.concatenate(out_corners), np.concatenate(out_uvs)


def unwrap_corners(corners: np.ndarray, resolution: int) -> np.ndarray:
    """New UVs [F, 3, 2] (v down) for faces [F, 3, 3] without any; corners at one place share theirs inside a chart."""
    from o_voxel.mesh import unwrap

    points = corners.reshape(-1, 3)
    vertices, inverse = np.unique(points, axis=0, return_inverse=True)
    faces = inverse.reshape(-1, 3)
    solid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    uvs = np.zeros((len(faces), 3, 2))
    if solid.any():
        charts = unwrap(vertices, faces[solid], resolution=resolution, padding=1 if resolution <= 512 else 2)
        if not np.array_equal(np.asarray(charts.vmap)[charts.faces], faces[solid]):
            raise RuntimeError("the unwrapper changed the order of the faces")
        uvs[solid] = np.asarray(charts.uvs)[charts.faces]
    return uvs


def _overlap(uvs: np.ndarray, covered: float) -> float:
    """Share of the UV area that lies on other UV area."""
    edges = uvs[:, 1:] - uvs[:, :1]
    area = 0.5 * np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum()
    return max(0.0, 1 - covered / area) if area > 0 else 0.0


def bake_group(group: SurfaceGroup, volume: object, to_world: np.ndarray, size: int) -> object:
    """`TextureSet` of a group: the volume seen at every texel of its UVs, `size` texels a side.

    `to_world` [4, 4] maps scene coordinates (Y up) to those of the volume. Where several faces share a texel the first
    one is shown, and a warning says how many do.
    """
    from o_voxel.postprocess.bake import bake
    from o_voxel.postprocess.material import make_textures

    if group.uvs is None:
        raise ValueError(f"surface group {group.name!r} must have UVs to be baked")
    corners, uvs = tiled_corners(group.corners, group.uvs)
    points = corners.reshape(-1, 3) @ to_world[:3, :3].T + to_world[:3, 3]
    faces = np.arange(len(points), dtype=np.int64).reshape(-1, 3)
    flat = torch.from_numpy(np.ascontiguousarray(uvs.reshape(-1, 2)))
    baked = bake(torch.from_numpy(points), torch.from_numpy(faces), flat, size, volume)
    inside = np.clip(uvs, 0, 1)
    shared = _overlap(inside, len(baked.texels.row) / size**2)
    if shared > 0.05:
        logger.warning(
            "%s: %.0f %% of the UV area is used by several places of the surface, which will look the same; "
            "uv='unwrap' gives every place its own",
            group.name,
            100 * shared,
        )
    return make_textures(baked, volume)
