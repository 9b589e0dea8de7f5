"""Reader of glTF 2.0 (.glb, .gltf): documents, scenes, triangles and textures, bounds-checked on any bytes."""

from __future__ import annotations

from o_voxel.gltf.document import GltfFile
from o_voxel.gltf.nodes import MeshInstance, mesh_instances
from o_voxel.gltf.primitives import TrianglePrimitive, triangle_primitives
from o_voxel.gltf.surface_factors import SurfaceFactors, surface_factors
from o_voxel.gltf.textures import TextureUse, decode_pixels, texture_use

__all__ = [
    "GltfFile",
    "MeshInstance",
    "SurfaceFactors",
    "TextureUse",
    "TrianglePrimitive",
    "decode_pixels",
    "mesh_instances",
    "surface_factors",
    "texture_use",
    "triangle_primitives",
]
