"""From baked attributes to glTF textures and the alpha mode.

Base colour and emission stay in the encoding they have in the voxels (sRGB), which is that of the texture file.
Sampling between voxels and the fill between charts average coded values; for neighbours of codes c - d and c + d that
is about 0.6 d^2 / c codes darker than the average of light (half a code for 118 and 138 of 255). All other maps are
linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from o_voxel.postprocess.bake import BakedTexels
from o_voxel.postprocess.dilate import fill_background
from o_voxel.postprocess.volume import AttributeVolume

__all__ = [
    "AlphaMode",
    "TextureSet",
    "check_alpha_mode",
    "choose_alpha_mode",
    "make_textures",
    "to_uint8",
    "translucent_faces",
]

AlphaMode = Literal["OPAQUE", "MASK", "BLEND"]

SOLID = 0.9  # alpha from which a texel counts as opaque
CLEAR = 0.1  # alpha up to which it counts as a hole
LEAST_CLEAR = 0.001  # share of texels with holes that makes MASK: an alpha test costs little
LEAST_BLEND = 0.005  # share of translucent texels that makes BLEND: viewers must sort what blends


def check_alpha_mode(mode: str | None) -> None:
    """Raise ValueError unless `mode` is None or a glTF alpha mode."""
    if mode is not None and mode not in get_args(AlphaMode):
        raise ValueError(f"alpha_mode must be None or one of {list(get_args(AlphaMode))}, got {mode!r}")


def choose_alpha_mode(alpha: Tensor | np.ndarray) -> AlphaMode:
    """Decide from the alpha values of the surface [M] in 0..1, one a texel.

    MASK where at least one texel in 1000 is clear and at most half as many are in between, as the interpolated rims of
    holes are; BLEND where at least 1 in 200 lets some light through otherwise; else OPAQUE.
    """
    values = torch.as_tensor(alpha)
    if values.numel() == 0:
        return "OPAQUE"
    clear = float((values <= CLEAR).double().mean())
    between = float(((values > CLEAR) & (values < SOLID)).double().mean())
    if clear > LEAST_CLEAR and between <= clear / 2:
        return "MASK"
    return "BLEND" if clear + between > LEAST_BLEND else "OPAQUE"


def translucent_faces(baked: BakedTexels, volume: AttributeVolume, num_faces: int) -> Tensor:
    """Faces with a texel that lets light through: [F] bool."""
    alpha = volume.pbr_maps(baked.values)["alpha"][:, 0]
    found = torch.zeros(num_faces, dtype=torch.bool, device=alpha.device)
    found[baked.texels.face[alpha < SOLID]] = True
    return found


def to_uint8(values: Tensor) -> Tensor:
    """0..1 -> 0..255, rounded."""
    return (values.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


@dataclass(frozen=True)
class TextureSet:
    """Textures of one material by their glTF names, as uint8 images [T, T, 3 or 4] on the CPU."""

    images: Mapping[str, np.ndarray]
    alpha_mode: AlphaMode
    occlusion: bool = False  # whether R of the metallic-roughness texture holds ambient occlusion

    def material(self, *, double_sided: bool) -> Any:
        """The `trimesh.visual.material.PBRMaterial`."""
        from trimesh.visual.material import PBRMaterial

        pictures = {name: Image.fromarray(image) for name, image in self.images.items()}
        if self.occlusion:
            pictures["occlusionTexture"] = pictures["metallicRoughnessTexture"]  # its R channel
        return PBRMaterial(
            name="material",
            **pictures,
            baseColorFactor=np.array([255, 255, 255, 255], dtype=np.uint8),
            emissiveFactor=[1.0, 1.0, 1.0] if "emissiveTexture" in self.images else None,
            metallicFactor=1.0,
            roughnessFactor=1.0,
            alphaMode=self.alpha_mode,
            alphaCutoff=0.5 if self.alpha_mode == "MASK" else None,
            doubleSided=double_sided,
        )


def make_textures(
    baked: BakedTexels,
    volume: AttributeVolume,
    alpha_mode: AlphaMode | None = None,
    *,
    rim: int = 4,
    normals: Tensor | None = None,  # [M, 3] unit, tangent space
    occlusion: Tensor | None = None,  # [M] in 0..1, 1 = open
) -> TextureSet:
    """All textures of the covered texels: quantised there, then filled between the charts together.

    Base colour (with alpha unless OPAQUE); R occlusion, G roughness, B metallic; emission if any glows; normals. With
    `alpha_mode` None the mode follows from the alpha values.
    """
    maps = volume.pbr_maps(baked.values)
    mode: AlphaMode = alpha_mode or choose_alpha_mode(maps["alpha"])
    color = [maps["base_color"]] if mode == "OPAQUE" else [maps["base_color"], maps["alpha"]]
    rough = maps["roughness"]
    open_ = torch.zeros_like(rough) if occlusion is None else occlusion[:, None]
    parts = {"baseColorTexture": torch.cat(color, -1)}
    parts["metallicRoughnessTexture"] = torch.cat([open_, rough, maps["metallic"]], -1)
    glow = volume.emissive_map(baked.values)
    if glow is not None:
        parts["emissiveTexture"] = glow
    if normals is not None:
        parts["normalTexture"] = normals * 0.5 + 0.5
    widths = [part.shape[-1] for part in parts.values()]
    quantised = baked.image(torch.cat([to_uint8(part) for part in parts.values()], -1))
    filled = fill_background(quantised, baked.texels.mask(), rim).cpu()
    images = {name: part.contiguous().numpy() for name, part in zip(parts, filled.split(widths, -1))}
    return TextureSet(images, mode, occlusion is not None)
