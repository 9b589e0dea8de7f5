"""Coarser versions of a finished asset that share its textures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from o_voxel.mesh.lod import lod_chain
from o_voxel.postprocess.material import SOLID
from o_voxel.postprocess.tangents import vertex_tangents
from o_voxel.postprocess.texels import surface_texels
from o_voxel.postprocess.textured import TexturedMesh, textured_mesh

if TYPE_CHECKING:
    import trimesh

__all__ = ["make_lods"]


def make_lods(asset: trimesh.Trimesh, targets: Sequence[int | float]) -> list[trimesh.Trimesh]:
    """Levels of detail of a result of `to_glb`, finest first; a target is a number of faces or a share below 1.

    Charts stay where they are, so all levels show one set of textures. Normals are those of the full asset at the
    vertices that are left, and the tangents follow from them, as the normal map needs. Raises ValueError on targets
    that are not positive, and for assets without UVs and PBR material.
    """
    import trimesh

    full = textured_mesh(asset)
    uv = np.stack([full.uvs[:, 0], 1.0 - full.uvs[:, 1]], axis=1)  # v up, as trimesh keeps it
    levels = []
    for level in lod_chain(full.positions, full.faces, targets, uvs=uv):
        normals = full.normals[level.vertex_source]
        extra: dict[str, Any] = {}
        coordinates = np.asarray(level.uvs)
        if full.tangents is not None:
            down = np.stack([coordinates[:, 0], 1 - coordinates[:, 1]], axis=1)
            arrays = (torch.from_numpy(np.ascontiguousarray(a)) for a in (level.vertices, level.faces, down, normals))
            extra["TANGENT"] = vertex_tangents(*arrays).numpy().astype(np.float32)
        mesh = trimesh.Trimesh(
            vertices=level.vertices,
            faces=level.faces,
            vertex_normals=normals,
            visual=trimesh.visual.TextureVisuals(uv=coordinates, material=asset.visual.material),  # type: ignore[union-attr]
            vertex_attributes=extra,
            metadata=dict(asset.metadata),
            process=False,
        )
        if full.translucent is not None:
            mesh.face_attributes["translucent"] = _translucent(textured_mesh(mesh))
        levels.append(mesh)
    return levels


def _translucent(mesh: TexturedMesh) -> np.ndarray:
    """Faces with a texel that lets light through, by the texture: [F] bool."""
    pixels = mesh.pixels("baseColorTexture")
    found = np.zeros(len(mesh.faces), dtype=bool)
    if pixels is None or pixels.shape[2] < 4:
        return found
    texels = surface_texels(torch.from_numpy(mesh.uvs), torch.from_numpy(mesh.faces), pixels.shape[0])
    clear = pixels[..., 3].reshape(-1)[texels.row.numpy()] < SOLID * 255
    found[texels.face.numpy()[clear]] = True
    return found
