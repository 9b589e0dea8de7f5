"""Where textured triangles come from: glTF files by the reader in `o_voxel.gltf`, everything else through trimesh."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from o_voxel.convert.gltf_input import read_gltf
from o_voxel.convert.materials import TexturedTriangles
from o_voxel.convert.trimesh_input import read_trimesh
from o_voxel.gltf import GltfFile

__all__ = ["MESH_SUFFIXES", "read_mesh"]

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


def read_mesh(mesh: Any, published: bool = False) -> TexturedTriangles:
    """Collect the triangles and materials of a path, `GltfFile`, trimesh mesh or scene; triangles pass through.

    `published` reads every file through trimesh, which drops samplers, transforms of textures and further UV sets, as
    the published implementation does. Raises TypeError on another kind of object, ValueError or OSError on files that
    cannot be read.
    """
    if isinstance(mesh, TexturedTriangles):
        return mesh
    if isinstance(mesh, GltfFile):
        return read_gltf(mesh)
    if isinstance(mesh, (str, os.PathLike)):
        path = Path(mesh)
        if not path.is_file():
            raise FileNotFoundError(f"mesh file {os.fspath(path)!r} does not exist")
        if path.suffix.lower() in (".glb", ".gltf") and not published:
            return read_gltf(path)
    return read_trimesh(mesh, published)
