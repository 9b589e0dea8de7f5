"""Materials of assets as one texture each, from whatever the reader of the file provides.

H rows and W columns of a texture, channels as in `texel_atlas`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import trimesh

from .texel_atlas import NUM_CHANNELS, REPEAT

__all__ = [
    "BLEND",
    "DEFAULT_MATERIAL",
    "MASK",
    "OPAQUE",
    "AssetMaterial",
    "limit_size",
    "material_of_trimesh",
    "to_linear",
]

OPAQUE, MASK, BLEND = 0, 1, 2
_DEFAULT_TEXEL = (0.8, 0.8, 0.8, 1.0, 0.0, 0.5)  # a face without a material


@dataclass(frozen=True)
class AssetMaterial:
    """A texture with the factors of its material applied, and how to read it."""

    texture: np.ndarray  # [H, W, 6] float32
    wrap: tuple[int, int]  # along u and v, see `texel_atlas`
    nearest: bool  # no filtering
    alpha_mode: int
    alpha_cutoff: float
    normal_map: np.ndarray | None = None  # [H, W, 3] float32, tangent space as (n + 1) / 2
    normal_scale: float = 1.0
    emissive: np.ndarray | None = None  # [H, W, 3] float32 linear


DEFAULT_MATERIAL = AssetMaterial(
    np.full((1, 1, NUM_CHANNELS), _DEFAULT_TEXEL, np.float32), (REPEAT, REPEAT), False, OPAQUE, 0.5
)


def to_linear(x: np.ndarray) -> np.ndarray:
    """sRGB decoding, float32."""
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def limit_size(pixels: np.ndarray, limit: int) -> np.ndarray:
    """`pixels [H, W, C]` reduced to at most `limit` a side."""
    height, width = pixels.shape[:2]
    shrink = limit / max(height, width)
    if shrink >= 1:
        return pixels
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def material_of_trimesh(material: Any, has_uv: bool, limit: int) -> AssetMaterial:
    """From a material object of trimesh; textures larger than `limit` are reduced, without UVs they are left out."""
    if material is None:
        return DEFAULT_MATERIAL
    if not isinstance(material, trimesh.visual.material.PBRMaterial):
        material = _from_simple(material)
        if material is None:
            return DEFAULT_MATERIAL
    base = _pixels(material.baseColorTexture, "RGBA", limit) if has_uv else None
    metal_rough = _pixels(material.metallicRoughnessTexture, "RGB", limit) if has_uv else None
    sizes = [image.shape[:2] for image in (base, metal_rough) if image is not None] or [(1, 1)]
    height, width = max(s[0] for s in sizes), max(s[1] for s in sizes)
    texture = np.ones((height, width, NUM_CHANNELS), np.float32)
    if base is not None:
        base = cv2.resize(base, (width, height), interpolation=cv2.INTER_LINEAR)
        texture[..., :3], texture[..., 3] = to_linear(base[..., :3]), base[..., 3]
    if metal_rough is not None:
        metal_rough = cv2.resize(metal_rough, (width, height), interpolation=cv2.INTER_LINEAR)
        texture[..., 4], texture[..., 5] = metal_rough[..., 2], metal_rough[..., 1]
    texture *= np.asarray([*_factor(material.baseColorFactor), *_scalars(material)], np.float32)
    mode = {"MASK": MASK, "BLEND": BLEND}.get(str(material.alphaMode).upper(), OPAQUE)
    if mode == OPAQUE:
        texture[..., 3] = 1.0
    cutoff = 0.5 if material.alphaCutoff is None else float(material.alphaCutoff)
    return AssetMaterial(np.clip(texture, 0, 1), (REPEAT, REPEAT), False, mode, cutoff)


def _from_simple(material: Any) -> Any:
    """A Wavefront material as metallic-roughness: dielectric, roughness 0.5; None if it says nothing."""
    image = getattr(material, "image", None)
    if (
        image is not None
        and image.size == (2, 2)
        and (np.asarray(image) == trimesh.visual.color.DEFAULT_COLOR[0]).all(axis=(0, 1))[:3].all()
    ):
        image = None  # what trimesh puts where a file has texture coordinates but no material
    diffuse = np.asarray(getattr(material, "diffuse", None) if image is None else (255, 255, 255, 255))
    plain = diffuse.ndim == 0 or (image is None and (diffuse[:3] == trimesh.visual.color.DEFAULT_COLOR[:3]).all())
    if plain:
        return None
    factor = diffuse.astype(np.float32) / np.float32(255)
    factor[:3] = to_linear(factor[:3])
    mode = "BLEND" if len(factor) == 4 and factor[3] < 1 else "OPAQUE"
    return trimesh.visual.material.PBRMaterial(
        baseColorTexture=image,
        baseColorFactor=factor,
        metallicFactor=0.0,
        roughnessFactor=0.5,
        alphaMode=mode,
    )


def _factor(value: Any) -> np.ndarray:
    """Linear RGBA factor; trimesh keeps it as uint8 or float."""
    if value is None:
        return np.ones(4, np.float32)
    given = np.asarray(value)
    factor = given.astype(np.float32) / np.float32(255 if given.dtype.kind in "iu" else 1)
    return factor if len(factor) == 4 else np.append(factor[:3], 1.0)


def _scalars(material: Any) -> tuple[float, float]:
    metallic = 1.0 if material.metallicFactor is None else float(material.metallicFactor)
    roughness = 1.0 if material.roughnessFactor is None else float(material.roughnessFactor)
    return metallic, roughness


def _pixels(image: Any, mode: str, limit: int) -> np.ndarray | None:
    """PIL image to float32 [H, W, C] in [0, 1], reduced to at most `limit` pixels a side."""
    if image is None:
        return None
    pixels: Any = np.asarray(image.convert(mode), np.float32) / 255
    return limit_size(pixels, limit)
