"""Assets as the pipelines return them: meshes, sparse voxels, and meshes that carry a voxel volume."""

from __future__ import annotations

from .mesh import (
    AlphaMode,
    Mesh,
    MeshWithPbrMaterial,
    MeshWithVoxel,
    PbrMaterial,
    Texture,
    TextureFilterMode,
    TextureWrapMode,
)
from .voxel import Voxel

__all__ = [
    "AlphaMode",
    "Mesh",
    "MeshWithPbrMaterial",
    "MeshWithVoxel",
    "PbrMaterial",
    "Texture",
    "TextureFilterMode",
    "TextureWrapMode",
    "Voxel",
]
