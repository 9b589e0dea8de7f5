"""Textured surfaces -> material attributes of the voxels they pass."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.convert.blender_input import read_blender_dump
from o_voxel.convert.materials import TexturedTriangles, pack_materials, srgb_steps
from o_voxel.convert.mesh_input import read_mesh
from o_voxel.convert.quirks import Quirks, check_quirks
from o_voxel.grid import VectorLike, resolve_grid

__all__ = ["blender_dump_to_volumetric_attr", "textured_mesh_to_volumetric_attr"]

logger = logging.getLogger(__name__)

_CHANNELS = {  # columns of the core's output, in the published key order
    "base_color": slice(0, 3),
    "metallic": slice(3, 4),
    "roughness": slice(4, 5),
    "emissive": slice(5, 8),
    "alpha": slice(8, 9),
    "normal": slice(9, 12),
}


def _quantize(values: np.ndarray, published: bool) -> dict[str, Tensor]:
    """Float attributes [N, 12] -> uint8 tensors. Colours are sRGB-encoded; `published` keeps and truncates them."""
    out = {}
    for name, columns in _CHANNELS.items():
        part = values[:, columns].astype(np.float32)
        if name == "normal":
            part = 0.5 * part + 0.5
        elif name in ("base_color", "emissive") and not published:
            out[name] = torch.from_numpy(np.searchsorted(srgb_steps(), part, side="right").astype(np.uint8))
            continue
        scaled = np.clip(part * np.float32(255), 0, 255)
        out[name] = torch.from_numpy((scaled if published else np.rint(scaled)).astype(np.uint8))
    return out


def _convert(
    source: TexturedTriangles,
    voxel_size: VectorLike | None,
    grid_size: VectorLike | None,
    aabb: Any,
    mip_level_offset: float,
    timing: bool,
    backend: Backend,
    published: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    if not np.isfinite(source.triangles).all():
        raise ValueError("vertices must be finite")
    if not np.isfinite(mip_level_offset):
        raise ValueError(f"mip_level_offset must be finite, got {mip_level_offset}")
    grid = resolve_grid(voxel_size, grid_size, aabb, vertices=torch.from_numpy(source.triangles.reshape(-1, 3)))
    uvs = source.uvs if source.uvs.ndim == 4 else source.uvs[:, :, None]
    if not np.isfinite(uvs).all():
        logger.warning("texture coordinates that are not finite are set to 0")
        uvs = np.nan_to_num(uvs, nan=0.0, posinf=0.0, neginf=0.0)
    factors, slots, textures = pack_materials(source.materials, published)
    start = time.perf_counter()
    arrays = (
        np.ascontiguousarray(source.triangles - grid.aabb[0].numpy(), np.float32),
        np.ascontiguousarray(source.normals, np.float32),
        np.ascontiguousarray(uvs, np.float32),
        np.ascontiguousarray(source.colors, np.float32),
        np.ascontiguousarray(source.material_ids, np.int32),
        factors,
        slots,
        textures,
    )
    settings = grid.voxel_size.tolist(), grid.grid_size.tolist(), float(mip_level_offset), published
    if resolve_backend(backend) == "native":
        module = native_module()
        assert module is not None
        coords, values = module.textured_triangles_to_attr(*arrays, srgb_steps(), *settings)
        attrs = {name: torch.from_numpy(value) for name, value in zip(_CHANNELS, values, strict=True)}
    else:
        from o_voxel.reference.volumetric_attr import textured_triangles_to_attr

        coords, floats = textured_triangles_to_attr(*arrays, *settings)
        attrs = _quantize(floats, published)
    if timing:
        logger.info("volumetric attributes: %d voxels, %.3f s", len(coords), time.perf_counter() - start)
    return torch.from_numpy(coords), attrs


def textured_mesh_to_volumetric_attr(
    mesh: Any,  # path, GltfFile, TexturedTriangles, trimesh.Trimesh or trimesh.Scene
    voxel_size: VectorLike | None = None,
    grid_size: VectorLike | None = None,
    aabb: Any = None,  # [2, 3] world
    mip_level_offset: float = 0.0,
    verbose: bool = False,
    timing: bool = False,
    *,
    backend: Backend = "auto",
    quirks: Quirks = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # [N, 3] int32, uint8 tensors [N, 3] or [N, 1]
    """Sample the materials of a textured mesh into the voxels of its surface.

    Returns coordinates and `base_color` (3), `metallic`, `roughness`, `emissive` (3), `alpha`, `normal` (3, stored as
    n/2 + 1/2), on CPU. The voxels are those of `mesh_to_flexible_dual_grid` for the same triangles and grid. A voxel
    holds the mean over the surface inside it: each triangle counts by its area in the voxel and is sampled at the
    centroid of that part, with the mip level that fits the voxel, moved by `mip_level_offset`. Colour factors multiply
    in linear light, colours are averaged in linear light weighted by alpha, and stored as sRGB. Textures may have any
    size; vertex colours and plain materials are read too. `.glb` and `.gltf` paths go through `read_gltf`, which keeps
    samplers, further UV sets, texture transforms, skins and instances.

    `quirks="published"` reproduces the published sampling: voxel centre projected to the triangle's plane, weight
    1 - signed distance, no colour conversion, power-of-two square textures and PBR materials only, truncation to bytes.

    `voxel_size`, `grid_size`, `aabb`: see `o_voxel.grid.resolve_grid`. `verbose` and `timing` log. Raises TypeError or
    ValueError on input that cannot be read.
    """
    published = check_quirks(quirks)
    source = read_mesh(mesh, published)
    if verbose:
        logger.info("%d triangles, %d materials", len(source.triangles), len(source.materials))
    return _convert(source, voxel_size, grid_size, aabb, mip_level_offset, timing, backend, published)


def blender_dump_to_volumetric_attr(
    dump: Mapping[str, Any],
    voxel_size: VectorLike | None = None,
    grid_size: VectorLike | None = None,
    aabb: Any = None,  # [2, 3] world
    mip_level_offset: float = 0.0,
    verbose: bool = False,
    timing: bool = False,
    *,
    backend: Backend = "auto",
    quirks: Quirks = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # [N, 3] int32, uint8 tensors [N, 3] or [N, 1]
    """Sample the materials of a dump (`materials`, `objects`) into the voxels of its surface.

    As `textured_mesh_to_volumetric_attr`; alpha has its own texture, emissive is zero. `quirks="published"` also
    resizes textures to power-of-two squares and treats the extension CLIP as EXTEND. Raises ValueError naming the
    entry of the dump that is wrong.
    """
    published = check_quirks(quirks)
    source = read_blender_dump(dump, published)
    if verbose:
        logger.info("%d triangles, %d materials", len(source.triangles), len(source.materials))
    return _convert(source, voxel_size, grid_size, aabb, mip_level_offset, timing, backend, published)
