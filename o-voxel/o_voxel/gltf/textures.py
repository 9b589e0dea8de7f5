"""Textures of glTF materials: image, sampler, UV set and KHR_texture_transform of one texture slot.

Source: glTF 2.0, sections 3.8 and 3.9; KHR_texture_transform, EXT_texture_webp.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from o_voxel.gltf.document import GltfFile
from o_voxel.gltf.fields import integer_field, object_field, vector_field

__all__ = ["TextureUse", "decode_pixels", "texture_use"]

_WRAPS = {10497: "repeat", 33071: "clamp", 33648: "mirror"}
_NEAREST, _LINEAR = 9728, 9729
_PLAIN_MINIFICATION = (9728, 9729)  # no mipmaps
_MAX_PIXELS = 1 << 28


@dataclass(frozen=True)
class TextureUse:
    """A texture as one slot of one material uses it."""

    image: int  # index into the document's images
    wrap: tuple[str, str]  # "repeat", "clamp" or "mirror" along u and v
    nearest: bool  # magnified without interpolation
    mipmaps: bool  # minified with mipmaps (also where the file leaves it open)
    uv_set: int  # number of the TEXCOORD attribute
    uv_matrix: tuple[tuple[float, float, float], ...] | None  # [3, 3] on (u, v, 1), v down; None: identity

    def transform(self, uv: np.ndarray) -> np.ndarray:
        """UVs [..., 2] of the set, v down -> where the texture is read."""
        if self.uv_matrix is None:
            return uv
        matrix = np.array(self.uv_matrix)
        return uv @ matrix[:2, :2].T + matrix[:2, 2]


def _uv_matrix(entry: dict[str, Any]) -> tuple[tuple[float, float, float], ...]:
    """offset * rotation * scale of KHR_texture_transform."""
    (ox, oy), (sx, sy) = vector_field(entry, "offset", (0.0, 0.0)), vector_field(entry, "scale", (1.0, 1.0))
    angle = float(vector_field(entry, "rotation", (0.0,))[0])
    c, s = np.cos(angle), np.sin(angle)
    rows = ((c * sx, s * sy, ox), (-s * sx, c * sy, oy), (0.0, 0.0, 1.0))
    return tuple((float(a), float(b), float(d)) for a, b, d in rows)


def texture_use(file: GltfFile, info: dict[str, Any]) -> TextureUse:
    """Resolve a textureInfo object of a material. Raises ValueError if its image is missing or unsupported."""
    entry = file.item("textures", info.get("index"))
    extensions = object_field(entry, "extensions")
    source = object_field(extensions, "EXT_texture_webp").get("source", entry.get("source"))
    if source is None:
        names = ", ".join(extensions) or "none"
        raise ValueError(f"a texture has no image in a supported format (extensions: {names})")
    file.item("images", source)
    sampler = file.item("samplers", entry["sampler"]) if "sampler" in entry else {}
    wraps = [integer_field(sampler, key, 10497, 0, 1 << 16) for key in ("wrapS", "wrapT")]
    moved = object_field(object_field(info, "extensions"), "KHR_texture_transform")
    uv_set = integer_field(info, "texCoord", 0, 0, 999)
    return TextureUse(
        image=source,
        wrap=(_WRAPS.get(wraps[0], "repeat"), _WRAPS.get(wraps[1], "repeat")),
        nearest=sampler.get("magFilter", _LINEAR) == _NEAREST,
        mipmaps=sampler.get("minFilter") not in _PLAIN_MINIFICATION,
        uv_set=integer_field(moved, "texCoord", uv_set, 0, 999),
        uv_matrix=_uv_matrix(moved) if moved else None,
    )


def decode_pixels(file: GltfFile, index: int) -> np.ndarray:
    """Image as RGBA uint8 [H, W, 4], top row first. Raises ValueError if it cannot be read or is too large."""
    # What Pillow's decoders raise on damaged images.
    broken = (
        OSError,
        SyntaxError,
        TypeError,
        LookupError,
        ArithmeticError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    )
    try:
        with Image.open(io.BytesIO(file.image_bytes(index))) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"images[{index}] has {image.width} x {image.height} pixels, too many")
            file.charge(image.width * image.height * 4)
            if image.mode.startswith("I;16"):  # Pillow clips instead of scaling
                return np.asarray(Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGBA"))
            return np.asarray(image.convert("RGBA"))
    except broken as error:
        raise ValueError(f"images[{index}] cannot be read: {error}") from error
