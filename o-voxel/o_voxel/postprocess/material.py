"""From baked attributes to a glTF material: textures and the alpha mode."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from PIL import Image

__all__ = ["AlphaMode", "check_alpha_mode", "choose_alpha_mode", "pbr_textures", "to_uint8"]

AlphaMode = Literal["OPAQUE", "MASK", "BLEND"]

OPAQUE_SHARE = 0.995  # of texels that must be (nearly) opaque for OPAQUE
BINARY_SHARE = 0.95  # of texels that must be (nearly) opaque or (nearly) clear for MASK
NEAR = 0.1  # how near to 0 or 1


def check_alpha_mode(mode: str | None) -> None:
    """Raise ValueError unless `mode` is None or a glTF alpha mode."""
    if mode is not None and mode not in get_args(AlphaMode):
        raise ValueError(f"alpha_mode must be None or one of {list(get_args(AlphaMode))}, got {mode!r}")


def choose_alpha_mode(alpha: np.ndarray) -> AlphaMode:
    """Decide from the alpha values of the surface [M] in 0..1.

    OPAQUE if hardly any texel is below 0.9; MASK if what is not opaque is nearly all clear; else BLEND.
    """
    if alpha.size == 0:
        return "OPAQUE"
    solid, clear = float((alpha >= 1 - NEAR).mean()), float((alpha <= NEAR).mean())
    if solid >= OPAQUE_SHARE:
        return "OPAQUE"
    return "MASK" if solid + clear >= BINARY_SHARE and clear > 1 - OPAQUE_SHARE else "BLEND"


def to_uint8(values: np.ndarray) -> np.ndarray:
    """0..1 -> 0..255, rounded."""
    return (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def pbr_textures(
    base_color: np.ndarray,  # [T, T, 3] in 0..1, sRGB-coded as baked
    metallic: np.ndarray,  # [T, T, 1]
    roughness: np.ndarray,  # [T, T, 1]
    alpha: np.ndarray,  # [T, T, 1]
    mode: AlphaMode,
) -> tuple[Image.Image, Image.Image]:
    """Base colour (RGB, with A unless OPAQUE) and metallic-roughness (G roughness, B metallic) images."""
    channels = [base_color] if mode == "OPAQUE" else [base_color, alpha]
    color = Image.fromarray(to_uint8(np.concatenate(channels, axis=-1)))
    rough = to_uint8(np.concatenate([np.zeros_like(roughness), roughness, metallic], axis=-1))
    return color, Image.fromarray(rough)
