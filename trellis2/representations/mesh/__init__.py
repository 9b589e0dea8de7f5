"""Triangle meshes: plain, with a voxel volume of attributes, with textured materials."""

from __future__ import annotations

from .material import AlphaMode, MeshWithPbrMaterial, PbrMaterial, Texture, TextureFilterMode, TextureWrapMode
from .plain import Mesh
from .with_voxel import MeshWithVoxel

__all__ = [
    "AlphaMode",
    "Mesh",
    "MeshWithPbrMaterial",
    "MeshWithVoxel",
    "PbrMaterial",
    "Texture",
    "TextureFilterMode",
    "TextureWrapMode",
]
