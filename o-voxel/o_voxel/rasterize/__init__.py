"""Rasterisers: triangles (in the manner of nvdiffrast's calls), depth peeling, texture look-up, and voxels as cubes."""

from __future__ import annotations

from o_voxel.rasterize.interpolation import interpolate
from o_voxel.rasterize.texture_lookup import texture
from o_voxel.rasterize.triangles import DepthPeeler, rasterize, triangle_index
from o_voxel.rasterize.voxels import VoxelRenderer, intrinsics_to_projection

__all__ = [
    "DepthPeeler",
    "VoxelRenderer",
    "interpolate",
    "intrinsics_to_projection",
    "rasterize",
    "texture",
    "triangle_index",
]
