"""Meshes for rendering losses, from the dumps of the data toolkit.

V vertices, F faces.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..representations import (
    AlphaMode,
    Mesh,
    MeshWithPbrMaterial,
    PbrMaterial,
    Texture,
    TextureFilterMode,
    TextureWrapMode,
)
from ..utils.srgb import linear_to_srgb, srgb_to_linear

__all__ = ["mesh_of_dump", "pbr_mesh_of_dump"]

_EXTENT = 0.99999  # longest side of a normalised asset, as in its voxels
_WRAPS = {
    "REPEAT": TextureWrapMode.REPEAT,
    "EXTEND": TextureWrapMode.CLAMP_TO_EDGE,
    "CLIP": TextureWrapMode.CLAMP_TO_EDGE,
    "MIRROR": TextureWrapMode.MIRRORED_REPEAT,
}
_MAX_PIXELS = 1 << 26


def mesh_of_dump(dump: dict[str, Any]) -> Mesh:
    """All objects as one mesh whose bounding box is centred and has longest side 0.99999.

    Raises ValueError if the dump has no triangles or its arrays do not fit together.
    """
    vertices, faces = _merge(_objects(dump))
    return Mesh(vertices, faces)


def pbr_mesh_of_dump(dump: dict[str, Any]) -> MeshWithPbrMaterial:
    """`mesh_of_dump` with the dump's materials; faces without one are a default grey.

    Colours are multiplied by their factors in linear light, as in the voxels of the toolkit.
    """
    objects = _objects(dump)
    vertices, faces = _merge(objects)
    materials = [_material(entry) for entry in dump.get("materials", [])]
    uvs, ids = [], []
    for entry in objects:
        count = len(entry["faces"])
        uv = entry.get("uvs")
        uv = np.zeros((count, 3, 2), np.float32) if uv is None else np.asarray(uv, np.float32)
        row = np.asarray(entry["mat_ids"], np.int64)
        if uv.shape != (count, 3, 2) or row.shape != (count,):
            raise ValueError(f"uvs and mat_ids must have {count} rows like faces, got {uv.shape} and {row.shape}")
        uvs.append(uv)
        ids.append(np.where((row < 0) | (row >= len(materials)), len(materials), row))
    return MeshWithPbrMaterial(
        vertices,
        faces,
        torch.from_numpy(np.concatenate(ids)),
        torch.from_numpy(np.concatenate(uvs)),
        [*materials, PbrMaterial(base_color_factor=(0.8, 0.8, 0.8), metallic_factor=0.0, roughness_factor=0.5)],
    )


def _objects(dump: dict[str, Any]) -> list[dict[str, Any]]:
    found = [entry for entry in dump["objects"] if len(entry["vertices"]) and len(entry["faces"])]
    if not found:
        raise ValueError("the dump has no triangles")
    return found


def _merge(objects: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    vertices, faces, base = [], [], 0
    for entry in objects:
        points, index = np.asarray(entry["vertices"], np.float64), np.asarray(entry["faces"], np.int64)
        if points.ndim != 2 or points.shape[1] != 3 or index.ndim != 2 or index.shape[1] != 3:
            raise ValueError(f"vertices and faces must be [n, 3], got {points.shape} and {index.shape}")
        if not np.isfinite(points).all() or index.min() < 0 or index.max() >= len(points):
            raise ValueError("vertices must be finite and faces must point at them")
        vertices.append(points)
        faces.append(index + base)
        base += len(points)
    merged = np.concatenate(vertices)
    low, high = merged.min(0), merged.max(0)
    if not (high - low).max() > 0:
        raise ValueError("the mesh has no extent")
    merged = (merged - (low + high) / 2) * (_EXTENT / (high - low).max())
    return torch.from_numpy(merged.astype(np.float32)), torch.from_numpy(np.concatenate(faces).astype(np.int32))


def _material(entry: dict[str, Any]) -> PbrMaterial:
    base = _texture(entry.get("baseColorTexture"))
    factor = torch.tensor([float(c) for c in entry["baseColorFactor"][:3]])
    if base is not None and not bool((factor == 1).all()):
        tinted = linear_to_srgb((srgb_to_linear(base.image[..., :3]) * factor).clamp(0, 1))
        base = Texture(tinted, base.filter_mode, base.wrap_mode)
    alpha = _texture(entry.get("alphaTexture"))
    mode = AlphaMode[str(entry["alphaMode"])]
    if alpha is not None and mode == AlphaMode.OPAQUE:
        mode = AlphaMode.BLEND
    return PbrMaterial(
        base,
        (1.0, 1.0, 1.0) if base is not None else linear_to_srgb(factor.clamp(0, 1)),
        _texture(entry.get("metallicTexture")),
        float(entry["metallicFactor"]),
        _texture(entry.get("roughnessTexture")),
        float(entry["roughnessFactor"]),
        alpha,
        float(entry["alphaFactor"]),
        mode,
        float(entry["alphaCutoff"]),
    )


def _texture(entry: dict[str, Any] | None) -> Texture | None:
    """Row 0 of the stored picture is at v = 0."""
    if entry is None:
        return None
    with Image.open(io.BytesIO(entry["image"])) as image:
        if image.width * image.height > _MAX_PIXELS:
            raise ValueError(f"a texture has {image.width} x {image.height} pixels, more than {_MAX_PIXELS}")
        pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    values = torch.from_numpy(np.atleast_3d(pixels).astype(np.float32) / np.float32(255))
    nearest = entry.get("interpolation") == "Closest"
    filter_mode = TextureFilterMode.CLOSEST if nearest else TextureFilterMode.LINEAR
    return Texture(values, filter_mode, _WRAPS.get(str(entry.get("extension")), TextureWrapMode.REPEAT))
