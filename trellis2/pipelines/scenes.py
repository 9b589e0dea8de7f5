"""Mesh files whose materials can be replaced, by kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .gltf_scene import GltfScene
from .obj_scene import ObjScene
from .surfaces import SurfaceGroup
from .texturing_mesh import load_mesh

__all__ = ["Scene", "open_scene", "texture_sizes"]

_SMALLEST = 64  # texels a side of the smallest texture


class Scene(Protocol):
    """Faces by material, and a way to write them with new textures."""

    corners: np.ndarray  # [F, 3, 3] float64, Y up, every instance
    groups: Any  # key -> SurfaceGroup

    def write(self, path: str | Path, textures: Mapping[Any, Any], image_format: str = "png") -> list[Path]: ...


def open_scene(source: str | Path, target: str | Path, uv: str = "auto") -> Scene:
    """Read a mesh file to be written as `target` (.glb; .obj for an OBJ file) with new materials.

    `uv`: "auto" keeps the UVs of faces that have some, "keep" insists on them, "unwrap" replaces them all.
    Raises FileNotFoundError, or ValueError for files and combinations that cannot be.
    """
    source, target = Path(source), Path(target)
    if uv not in ("auto", "keep", "unwrap"):
        raise ValueError(f"unknown uv {uv!r}, choose from: auto, keep, unwrap")
    if not source.is_file():
        raise FileNotFoundError(f"mesh file not found: {source}")
    kinds = (source.suffix.lower(), target.suffix.lower())
    unwrap = uv == "unwrap"
    if kinds == (".obj", ".obj"):
        scene: Scene = ObjScene(source, unwrap)
    elif kinds[1] != ".glb":
        raise ValueError(f"a textured mesh is written as .glb (an OBJ file also as .obj), got {target.name!r}")
    elif kinds[0] in (".glb", ".gltf"):
        scene = GltfScene(source, unwrap)
    else:
        scene = GltfScene(_as_glb(source), unwrap)
    if uv == "keep":
        without = [group.name for group in scene.groups.values() if group.uvs is None]
        if without:
            raise ValueError(f"uv is 'keep', but {source.name} has faces without UVs: {', '.join(without[:5])}")
    return scene


def _as_glb(path: Path) -> bytes:
    """A file of another format as GLB."""
    mesh = load_mesh(path)
    data = mesh.export(file_type="glb", include_normals=False)
    if not isinstance(data, bytes):
        raise ValueError(f"{path} cannot be turned into a glTF file")
    return data


def texture_sizes(groups: Mapping[Any, SurfaceGroup], texture_size: int) -> dict[Any, int]:
    """Texels a side of each group's textures: `texture_size` for the largest surface, less for smaller ones.

    Raises ValueError for a size outside 16…16384.
    """
    if isinstance(texture_size, bool) or not isinstance(texture_size, int) or not 16 <= texture_size <= 16384:
        raise ValueError(f"texture_size must be an integer in 16…16384, got {texture_size!r}")
    areas = {}
    for key, group in groups.items():
        edges = group.corners[:, 1:] - group.corners[:, :1]
        areas[key] = float(np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum())
    largest = max(areas.values()) or 1.0
    sizes = {}
    for key, area in areas.items():
        size = texture_size
        while size > _SMALLEST and (size / 2 / texture_size) ** 2 * largest >= area:
            size //= 2
        sizes[key] = size
    return sizes
