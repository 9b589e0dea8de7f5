"""glTF scenes for `load_asset`: primitives with their materials, through `o_voxel.gltf`.

M materials, H rows and W columns of a texture, channels as in `texel_atlas`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from o_voxel.gltf import (
    GltfFile,
    TextureUse,
    decode_pixels,
    mesh_instances,
    surface_factors,
    texture_use,
    triangle_primitives,
)

from .asset_material import BLEND, MASK, OPAQUE, AssetMaterial, limit_size, to_linear
from .texel_atlas import CLAMP, MIRROR, NUM_CHANNELS, REPEAT

__all__ = ["GltfPart", "read_gltf"]

logger = logging.getLogger(__name__)

_WRAPS = {"repeat": REPEAT, "clamp": CLAMP, "mirror": MIRROR}
_MODES = {"OPAQUE": OPAQUE, "MASK": MASK, "BLEND": BLEND}


@dataclass(frozen=True)
class GltfPart:
    """Triangles that share a material, in the scene (Y up)."""

    positions: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int64
    normals: np.ndarray | None  # [V, 3]
    uv: np.ndarray | None  # [V, 2] float64, v upwards, as the material's textures are read
    colors: np.ndarray | None  # [V, 4] linear RGBA
    material: AssetMaterial | None
    material_key: int  # the same for parts of one material


def read_gltf(path: str | Path, max_texture_size: int) -> Iterator[GltfPart]:
    """The triangle primitives of a file's default scene. Raises ValueError on malformed data, naming the file."""
    file = GltfFile.load(path)
    materials: dict[int, tuple[AssetMaterial, TextureUse | None]] = {}
    try:
        for instance in mesh_instances(file):
            for part in triangle_primitives(file, instance):
                material, use = None, None
                if part.material is not None:
                    if part.material not in materials:
                        entry = file.item("materials", part.material)
                        materials[part.material] = _read_material(file, entry, max_texture_size)
                    material, use = materials[part.material]
                uv = part.uvs.get(0 if use is None else use.uv_set)
                if uv is not None:
                    uv = (uv if use is None else use.transform(uv)) * [1, -1] + [0, 1]
                key = -1 if part.material is None else part.material
                yield GltfPart(part.positions, part.faces, part.normals, uv, part.colors, material, key)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"{path}: malformed glTF: {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_material(file: GltfFile, gltf: dict[str, Any], limit: int) -> tuple[AssetMaterial, TextureUse | None]:
    """A material with its textures multiplied by their factors, and the texture whose coordinates count."""
    extensions = gltf.get("extensions", {})
    factors = surface_factors(gltf)
    relief, glow = gltf.get("normalTexture"), gltf.get("emissiveTexture")
    uses = [
        None if info is None else texture_use(file, info)
        for info in (factors.base_texture, factors.metallic_roughness_texture, relief, glow)
    ]
    lead = next((use for use in uses if use is not None), None)
    *images, bumps, lamp = [None if use is None else _pixels(file, use, lead, limit) for use in uses]
    height = max([image.shape[0] for image in images if image is not None] or [1])
    width = max([image.shape[1] for image in images if image is not None] or [1])
    texture = np.ones((height, width, NUM_CHANNELS), np.float32)
    resized = [
        None if image is None else cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        for image in images
    ]
    if resized[0] is not None:
        texture[..., :3], texture[..., 3] = to_linear(resized[0][..., :3]), resized[0][..., 3]
    if resized[1] is not None:
        texture[..., 4], texture[..., 5] = resized[1][..., 2], resized[1][..., 1]
    texture *= np.asarray([*factors.base_color, factors.metallic, factors.roughness], np.float32)
    mode = _MODES[factors.alpha_mode]
    if mode == OPAQUE:
        texture[..., 3] = 1.0
    wrap = (REPEAT, REPEAT) if lead is None else (_WRAPS[lead.wrap[0]], _WRAPS[lead.wrap[1]])
    nearest = lead is not None and lead.nearest
    emitted = np.asarray([float(c) for c in gltf.get("emissiveFactor", (0.0, 0.0, 0.0))[:3]], np.float32)
    emitted = emitted * float(extensions.get("KHR_materials_emissive_strength", {}).get("emissiveStrength", 1.0))
    material = AssetMaterial(
        np.clip(texture, 0, 1),
        wrap,
        nearest,
        mode,
        factors.alpha_cutoff,
        normal_map=None if bumps is None or bumps.shape[:2] == (1, 1) else bumps[..., :3],
        normal_scale=1.0 if relief is None else float(relief.get("scale", 1.0)),
        emissive=_glow(emitted, lamp),
    )
    return material, lead


def _glow(factor: np.ndarray, image: np.ndarray | None) -> np.ndarray | None:
    """Linear radiance [H, W, 3] of a factor and an optional texture; None where there is none."""
    if not (factor > 0).any():
        return None
    return factor[None, None] * (1.0 if image is None else to_linear(image[..., :3]))


def _pixels(file: GltfFile, use: TextureUse, lead: TextureUse | None, limit: int) -> np.ndarray:
    """Float32 [H, W, 4] in [0, 1]; one mean pixel for a texture whose coordinates are not those of `lead`."""
    pixels = limit_size(decode_pixels(file, use.image).astype(np.float32) / np.float32(255), limit)
    if lead is None or (use.uv_set, use.uv_matrix) == (lead.uv_set, lead.uv_matrix):
        return pixels
    logger.warning("a texture with coordinates of its own is replaced by its mean")
    return pixels.mean((0, 1), keepdims=True)
