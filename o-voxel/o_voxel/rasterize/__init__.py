"""Rasterisers: triangles (in the manner of nvdiffrast's calls), textures, antialiasing, and voxels as cubes."""

from __future__ import annotations

from o_voxel.rasterize.antialiasing import antialias, antialias_construct_topology_hash
from o_voxel.rasterize.interpolation import interpolate
from o_voxel.rasterize.mipmaps import MipChain, build_mips
from o_voxel.rasterize.texture_lookup import texture
from o_voxel.rasterize.triangles import DepthPeeler, rasterize, triangle_index
from o_voxel.rasterize.voxels import VoxelRenderer, intrinsics_to_projection

__all__ = [
    "DepthPeeler",
    "MipChain",
    "VoxelRenderer",
    "antialias",
    "antialias_construct_topology_hash",
    "build_mips",
    "interpolate",
    "intrinsics_to_projection",
    "rasterize",
    "texture",
    "triangle_index",
]
