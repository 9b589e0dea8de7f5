"""Rasterisers: triangles (in the manner of nvdiffrast's calls), depth peeling, texture look-up, and voxels as cubes."""

from __future__ import annotations

from o_voxel.rasterize.interpolation import interpolate
from o_voxel.rasterize.texture_lookup import texture
from o_voxel.rasterize.triangles import DepthPeeler, rasterize, triangle_index

__all__ = ["DepthPeeler", "interpolate", "rasterize", "texture", "triangle_index"]
