"""Renderers: previews with image-based lighting, G-buffers of meshes, voxels, and fast views of ordinary assets."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "EnvMap": "env_map",
    "MeshRenderer": "mesh_renderer",
    "PbrMeshRenderer": "pbr_mesh_renderer",
    "VoxelRenderer": "voxel_renderer",
    "load_environment": "panorama",
    "make_environment": "environments",
    "open_environment": "environments",
}
__all__ = [
    "EnvMap",
    "MeshRenderer",
    "PbrMeshRenderer",
    "VoxelRenderer",
    "load_environment",
    "make_environment",
    "open_environment",
]


def __getattr__(name: str) -> Any:
    """Resolve names on first use."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
