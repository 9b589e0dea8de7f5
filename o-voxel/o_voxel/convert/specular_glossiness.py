"""Specular-glossiness materials as metallic-roughness ones, per texel.

Source: Khronos, KHR_materials_pbrSpecularGlossiness, appendix "convert-between-workflows": the metallic share is the
root of a quadratic that keeps diffuse and specular energy, with 0.04 as the reflectance of dielectrics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from o_voxel.convert.materials import linear_to_srgb, srgb_to_linear

__all__ = ["MetallicRoughness", "convert_specular_glossiness"]

_DIELECTRIC = 0.04
_LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class MetallicRoughness:
    """Metallic-roughness values on a grid of texels, [1, 1] where nothing varies; colours are linear."""

    base_color: np.ndarray  # [H, W, 3]
    alpha: np.ndarray  # [H, W]
    metallic: np.ndarray  # [H, W]
    roughness: np.ndarray  # [H, W]

    def packed(self) -> dict[str, np.ndarray]:
        """Bytes of each texture slot: base colour sRGB [H, W, 3], the others [H, W, 1]."""
        base = np.rint(linear_to_srgb(np.clip(self.base_color, 0, 1)) * 255).astype(np.uint8)
        out = {"base_color": base}
        for name in ("alpha", "metallic", "roughness"):
            out[name] = np.rint(np.clip(getattr(self, name), 0, 1)[:, :, None] * 255).astype(np.uint8)
        return out


def _perceived(color: np.ndarray) -> np.ndarray:
    return np.sqrt((_LUMINANCE * color**2).sum(-1))


def _metallic(diffuse: np.ndarray, specular: np.ndarray, one_minus_specular: np.ndarray) -> np.ndarray:
    """Metallic share from perceived diffuse and specular brightness, all [H, W]."""
    a = _DIELECTRIC
    b = diffuse * one_minus_specular / (1 - _DIELECTRIC) + specular - 2 * _DIELECTRIC
    c = _DIELECTRIC - specular
    root = (-b + np.sqrt(np.maximum(b * b - 4 * a * c, 0))) / (2 * a)
    return np.where(specular < _DIELECTRIC, 0.0, np.clip(root, 0, 1))


def _resized(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if pixels.shape[:2] == shape:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def convert_specular_glossiness(
    diffuse_factor: np.ndarray,  # [4] linear RGBA
    specular_factor: np.ndarray,  # [3] linear
    glossiness_factor: float,
    diffuse: np.ndarray | None,  # [H, W, 4] uint8, colour in sRGB
    specular_glossiness: np.ndarray | None,  # [H, W, 4] uint8, specular in sRGB, glossiness in alpha
) -> MetallicRoughness:
    """Metallic-roughness values of a specular-glossiness material at the size of its diffuse texture."""
    lead = diffuse if diffuse is not None else specular_glossiness
    shape = (1, 1) if lead is None else (lead.shape[0], lead.shape[1])
    color = np.broadcast_to(diffuse_factor, (*shape, 4)).copy()
    if diffuse is not None:
        color[..., :3] *= srgb_to_linear(diffuse[..., :3] / 255.0)
        color[..., 3] *= diffuse[..., 3] / 255.0
    specular = np.broadcast_to(specular_factor, (*shape, 3)).copy()
    glossiness = np.full(shape, glossiness_factor)
    if specular_glossiness is not None:
        pixels = _resized(specular_glossiness, shape)
        specular *= srgb_to_linear(pixels[..., :3] / 255.0)
        glossiness *= pixels[..., 3] / 255.0
    one_minus = 1 - specular.max(-1)
    metallic = _metallic(_perceived(color[..., :3]), _perceived(specular), one_minus)
    from_diffuse = color[..., :3] * (one_minus / (1 - _DIELECTRIC) / np.maximum(1 - metallic, 1e-6))[..., None]
    from_specular = (specular - (_DIELECTRIC * (1 - metallic))[..., None]) / np.maximum(metallic, 1e-6)[..., None]
    share = (metallic**2)[..., None]
    base = np.clip(from_diffuse * (1 - share) + from_specular * share, 0, 1)
    return MetallicRoughness(base, color[..., 3], metallic, np.clip(1 - glossiness, 0, 1))
