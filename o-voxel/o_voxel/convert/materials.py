"""Materials and textures as the attribute conversion sees them, whatever file they came from."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

__all__ = [
    "ALPHA_MODES",
    "FILTERS",
    "TEXTURE_SLOTS",
    "WRAPS",
    "Material",
    "Texture",
    "TexturedTriangles",
    "decode_image",
    "decode_table",
    "linear_to_srgb",
    "pack_materials",
    "srgb_guess",
    "srgb_steps",
    "srgb_to_linear",
]

ALPHA_MODES = {"OPAQUE": 0, "MASK": 1, "BLEND": 2}
FILTERS = {"nearest": 0, "linear": 1, "nearest_mip": 2}  # nearest_mip: nearest where magnified, else as linear
WRAPS = {"repeat": 0, "clamp": 1, "mirror": 2, "clip": 3}  # clip: zero outside the image
TEXTURE_SLOTS = ("base_color", "alpha", "metallic", "roughness", "emissive", "normal")  # channels 3 1 1 1 3 3


@dataclass(frozen=True)
class Texture:
    """An 8-bit image, row 0 at the top (v = 1)."""

    image: np.ndarray | Tensor  # [H, W, 1 or 3] uint8
    filter: str = "linear"  # key of FILTERS
    wrap: str | tuple[str, str] = "repeat"  # key of WRAPS, or one each along u and v
    srgb: bool = False  # decode texels from sRGB before use


@dataclass
class Material:
    """Factors multiply the texture of the same name; colours are linear unless the caller asks for stored values."""

    base_color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    alpha: float = 1.0
    metallic: float = 1.0
    roughness: float = 1.0
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    alpha_mode: str = "OPAQUE"  # key of ALPHA_MODES
    alpha_cutoff: float = 0.5
    textures: dict[str, Texture] = field(default_factory=dict)  # keys of TEXTURE_SLOTS
    uv_channels: dict[str, int] = field(default_factory=dict)  # slot -> UV channel of its texture, 0 where absent


@dataclass
class TexturedTriangles:
    """A triangle soup with corner attributes: arrays, or tensors on one device."""

    triangles: np.ndarray | Tensor  # [T, 3, 3] float32 world
    normals: np.ndarray | Tensor  # [T, 3, 3] float32
    uvs: np.ndarray | Tensor  # [T, 3, 2] float32, v up; with K UV channels [T, 3, K, 2]
    colors: np.ndarray | Tensor  # [T, 3, 4] float32 linear RGBA, or [0, 3, 4]
    material_ids: np.ndarray | Tensor  # [T] int32
    materials: list[Material]


def srgb_to_linear(x: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 decoding of values in [0, 1]."""
    return np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 encoding of values in [0, 1]."""
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)


def decode_table(srgb: bool) -> np.ndarray:
    """Value of each byte, [256] float32."""
    values = np.arange(256) / 255.0
    return (srgb_to_linear(values) if srgb else values).astype(np.float32)


@cache
def srgb_steps() -> np.ndarray:
    """Linear values at which the rounded sRGB byte steps up from 0 to 1, ..., 254 to 255, [255] float64."""
    return srgb_to_linear((np.arange(255) + 0.5) / 255.0)


@cache
def srgb_guess() -> np.ndarray:
    """sRGB byte of the linear values 0, 1/4096, ..., 4095/4096, [4096] uint8: where a search of the steps begins."""
    return np.searchsorted(srgb_steps(), np.arange(4096) / 4096.0, side="right").astype(np.uint8)


def decode_image(data: Any, name: str) -> Image.Image:
    """Open encoded image bytes (or pass an image through). Raises ValueError if they are no readable image."""
    if isinstance(data, Image.Image):
        return data
    if isinstance(data, np.ndarray):
        return Image.fromarray(data)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} must be the bytes of an image file: {error}") from error
    return image


def pack_materials(
    materials: list[Material], levels_of: Callable[[Texture], list[Any]]
) -> tuple[np.ndarray, np.ndarray, list[tuple[list[Any], int, int, bool]]]:
    """Materials as plain arrays for the conversion core; `levels_of` makes the mip levels of a texture.

    Returns factors [M, 10] float64 (base colour 3, alpha, metallic, roughness, emissive 3, cutoff), slots [M, 13] int32
    (alpha mode, the texture index of each slot or -1, the UV channel of each slot), and textures (mip levels, filter,
    wrap along u + 256 * wrap along v, whether its bytes are sRGB).
    """
    factors = np.zeros((len(materials), 10))
    slots = np.full((len(materials), 13), -1, np.int32)
    slots[:, 7:] = 0
    textures: list[tuple[list[Any], int, int, bool]] = []
    seen: dict[int, int] = {}
    for i, m in enumerate(materials):
        factors[i] = [*m.base_color, m.alpha, m.metallic, m.roughness, *m.emissive, m.alpha_cutoff]
        slots[i, 0] = ALPHA_MODES[m.alpha_mode]
        for slot, name in enumerate(TEXTURE_SLOTS):
            texture = m.textures.get(name)
            if texture is None:
                continue
            if id(texture) not in seen:
                seen[id(texture)] = len(textures)
                wrap_u, wrap_v = (texture.wrap, texture.wrap) if isinstance(texture.wrap, str) else texture.wrap
                wrap = WRAPS[wrap_u] | WRAPS[wrap_v] << 8
                textures.append((levels_of(texture), FILTERS[texture.filter], wrap, texture.srgb))
            slots[i, 1 + slot] = seen[id(texture)]
            slots[i, 7 + slot] = m.uv_channels.get(name, 0)
    if not np.isfinite(factors).all():
        raise ValueError("material factors must be finite")
    return factors, slots, textures
