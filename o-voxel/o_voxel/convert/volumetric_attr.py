"""Textured surfaces -> material attributes of the voxels they pass."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.convert import device as device_limits
from o_voxel.convert.blender_input import read_blender_dump
from o_voxel.convert.materials import TexturedTriangles, decode_table, pack_materials, srgb_guess, srgb_steps
from o_voxel.convert.mesh_input import read_mesh
from o_voxel.convert.mip_levels import mip_levels
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


def _corner_arrays(source: TexturedTriangles, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Triangles, normals, uvs [T, 3, K, 2], colours and material ids on `device`, checked."""
    triangles = torch.as_tensor(source.triangles).to(device, torch.float32)
    if triangles.ndim != 3 or triangles.shape[1:] != (3, 3):
        raise ValueError(f"triangles must have shape [T, 3, 3], got {list(triangles.shape)}")
    if not bool(torch.isfinite(triangles).all()):
        raise ValueError("vertices must be finite")
    uvs = torch.as_tensor(source.uvs).to(device, torch.float32)
    uvs = uvs if uvs.ndim == 4 else uvs[:, :, None]
    if not bool((uvs.abs() < 1e9).all()):
        logger.warning("texture coordinates that are not finite, or 1e9 and more, are set to 0")
        uvs = torch.where(uvs.abs() < 1e9, uvs, 0.0)
    ids = torch.as_tensor(source.material_ids).to(device, torch.int32)
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= len(source.materials)):
        raise ValueError(f"material_ids must index the {len(source.materials)} materials")
    others = (torch.as_tensor(v).to(device, torch.float32).contiguous() for v in (source.normals, source.colors))
    normals, colors = others
    return triangles, normals, uvs.contiguous(), colors, ids.contiguous()


def _host_textures(textures: list[Any]) -> list[Any]:
    """Textures as the CPU core and the reference take them."""
    return [([level.numpy() for level in levels], f, w, decode_table(srgb)) for levels, f, w, srgb in textures]


def _run(
    core: Any,
    arrays: tuple[Tensor, ...],
    materials: tuple[np.ndarray, np.ndarray, list[Any]],
    settings: tuple[Any, ...],
) -> tuple[Tensor, dict[str, Tensor]]:
    """The compiled core on the device of the arrays."""
    device, (factors, slots, textures) = arrays[0].device, materials
    constants = torch.from_numpy(srgb_steps()), torch.from_numpy(srgb_guess())
    if device.type == "cuda":
        on_gpu = [(m, f, w, torch.from_numpy(decode_table(srgb)).to(device)) for m, f, w, srgb in textures]
        moved = (c.to(device) for c in constants)
        limits = device_limits.CHUNK_WORK, launch(device)
        n, found, values = core.textured_triangles_to_attr_cuda(
            *arrays, factors, slots, on_gpu, *moved, *settings, *limits
        )
        coords = as_tensor(found, torch.int32, (n, 3))
        attrs = [
            as_tensor(v, torch.uint8, (n, c.stop - c.start)) for v, c in zip(values, _CHANNELS.values(), strict=True)
        ]
    else:
        host, tables = [a.numpy() for a in arrays], [c.numpy() for c in constants]
        found, values = core.textured_triangles_to_attr(
            *host, factors, slots, _host_textures(textures), *tables, *settings
        )
        coords, attrs = torch.from_numpy(found), [torch.from_numpy(v) for v in values]
    return coords, dict(zip(_CHANNELS, attrs, strict=True))


def _convert(
    source: TexturedTriangles,
    voxel_size: VectorLike | None,
    grid_size: VectorLike | None,
    aabb: Any,
    mip_level_offset: float,
    timing: bool,
    device: torch.device | str | None,
    backend: Backend,
    published: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    if not np.isfinite(mip_level_offset):
        raise ValueError(f"mip_level_offset must be finite, got {mip_level_offset}")
    target = torch.as_tensor(source.triangles).device if device is None else torch.device(device)
    native = resolve_backend(backend) == "native"
    work = (
        target
        if native and (target.type == "cpu" or cuda_core("volumetric_attributes", target))
        else torch.device("cpu")
    )
    start = time.perf_counter()
    triangles, *others = _corner_arrays(source, work)
    grid = resolve_grid(voxel_size, grid_size, aabb, vertices=triangles.reshape(-1, 3))
    arrays = (triangles - grid.aabb[0].to(work)).contiguous(), *others
    materials = pack_materials(source.materials, partial(mip_levels, published=published, device=work, backend=backend))
    settings = grid.voxel_size.tolist(), grid.grid_size.tolist(), float(mip_level_offset), published
    if native:
        coords, attrs = _run(native_module(), arrays, materials, settings)
    else:
        from o_voxel.reference.volumetric_attr import textured_triangles_to_attr

        factors, slots, textures = materials
        corners: Any = tuple(a.numpy() for a in arrays)
        everything: tuple[Any, ...] = (*corners, factors, slots, _host_textures(textures), *settings)
        found, floats = textured_triangles_to_attr(*everything)
        coords, attrs = torch.from_numpy(found), _quantize(floats, published)
    if timing:
        logger.info("volumetric attributes: %d voxels, %.3f s", len(coords), time.perf_counter() - start)
    return coords.to(target), {name: value.to(target) for name, value in attrs.items()}


def textured_mesh_to_volumetric_attr(
    mesh: Any,  # path, GltfFile, TexturedTriangles, trimesh.Trimesh or trimesh.Scene
    voxel_size: VectorLike | None = None,
    grid_size: VectorLike | None = None,
    aabb: Any = None,  # [2, 3] world
    mip_level_offset: float = 0.0,
    verbose: bool = False,
    timing: bool = False,
    *,
    device: torch.device | str | None = None,
    backend: Backend = "auto",
    quirks: Quirks = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # [N, 3] int32, uint8 tensors [N, 3] or [N, 1]
    """Sample the materials of a textured mesh into the voxels of its surface.

    Returns coordinates and `base_color` (3), `metallic`, `roughness`, `emissive` (3), `alpha`, `normal` (3, stored as
    n/2 + 1/2). The work is done on `device`, where the results stay; its default is that of the triangles, which is
    the CPU for everything but `TexturedTriangles` of CUDA tensors. CPU (for every number of threads) and CUDA give the
    same bytes. The voxels are those of `mesh_to_flexible_dual_grid` for the same triangles and grid. A voxel
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
    return _convert(source, voxel_size, grid_size, aabb, mip_level_offset, timing, device, backend, published)


def blender_dump_to_volumetric_attr(
    dump: Mapping[str, Any],
    voxel_size: VectorLike | None = None,
    grid_size: VectorLike | None = None,
    aabb: Any = None,  # [2, 3] world
    mip_level_offset: float = 0.0,
    verbose: bool = False,
    timing: bool = False,
    *,
    device: torch.device | str | None = None,
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
    return _convert(source, voxel_size, grid_size, aabb, mip_level_offset, timing, device, backend, published)
