"""Metallic-roughness attributes at surface points, from textured materials.

n points, F faces, M materials. Attribute columns: base colour 3 (as stored, not linearised), metallic, roughness,
alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trellis2.representations import (
    AlphaMode,
    MeshWithPbrMaterial,
    PbrMaterial,
    Texture,
    TextureFilterMode,
    TextureWrapMode,
)

from .color import linear_to_srgb, srgb_to_linear
from .surface import Hits, interpolate_corners, interpolate_corners_da

__all__ = ["MaterialTable", "make_material_table", "sample_texture"]

_BOUNDARY = {
    TextureWrapMode.CLAMP_TO_EDGE: "clamp",
    TextureWrapMode.REPEAT: "wrap",
    TextureWrapMode.MIRRORED_REPEAT: "mirror",
}
_DEFAULT = (0.8, 0.8, 0.8, 0.0, 0.5, 1.0)  # of faces whose material id is outside the list


@dataclass(frozen=True)
class _Layer:
    """Textures of one material that are read together: equal size and rules."""

    texture: Texture  # channels side by side
    columns: tuple[int, ...]  # attribute that each channel multiplies
    mips: Any  # `o_voxel.rasterize.MipChain`, or None for a texture that is not filtered


@dataclass(frozen=True)
class MaterialTable:
    """Materials of a mesh made ready for look-ups; row M stands for faces without one."""

    layers: tuple[tuple[_Layer, ...], ...]  # by material
    factor: Tensor  # [M + 1, 6]
    mode: Tensor  # [M + 1] int64, `AlphaMode`
    cutoff: Tensor  # [M + 1]
    opaque: bool  # one depth layer shows everything

    @property
    def textured(self) -> bool:
        """Whether any material has a texture."""
        return any(self.layers)

    def evaluate(self, mesh: MeshWithPbrMaterial, hits: Hits) -> Tensor:
        """Attributes `[n, 6]` of points on the mesh that the table was made for.

        Textures are read with the footprint of the sample if the hits carry derivatives.
        """
        ids = mesh.material_ids[hits.face].long()
        ids = torch.where((ids >= 0) & (ids < len(self.layers)), ids, len(self.layers))
        out = self.factor[ids]
        if self.textured:
            self._multiply_textures(out, mesh, hits, ids)
        if mesh.corner_colors is not None:
            tint = interpolate_corners(mesh.corner_colors, hits)
            out[:, 0:3] = linear_to_srgb((srgb_to_linear(out[:, 0:3].clamp(0, 1)) * tint[:, 0:3]).clamp(0, 1))
            out[:, 5] *= tint[:, 3]
        mode = self.mode[ids]
        cut = torch.where(mode == AlphaMode.MASK, (out[:, 5] > self.cutoff[ids]).to(out.dtype), out[:, 5])
        out[:, 5] = torch.where(mode == AlphaMode.OPAQUE, 1.0, cut)
        return out

    def _multiply_textures(self, out: Tensor, mesh: MeshWithPbrMaterial, hits: Hits, ids: Tensor) -> None:
        uv, uv_da = interpolate_corners_da(mesh.uv_coords, hits)
        uv = torch.nan_to_num(uv, nan=0.0, posinf=1000.0, neginf=-1000.0).clamp(-1000.0, 1000.0)
        if len(self.layers) == 1 and bool((mesh.material_ids == 0).all()):
            groups: list[tuple[int, Any]] = [(0, slice(None))]
        else:
            order = torch.argsort(ids, stable=True)
            ends = torch.cumsum(torch.bincount(ids, minlength=len(self.layers) + 1), 0).tolist()
            starts = [0, *ends[:-1]]
            groups = [(i, order[starts[i] : ends[i]]) for i in range(len(self.layers)) if ends[i] > starts[i]]
        for material, rows in groups:
            for layer in self.layers[material]:
                values = sample_texture(layer.texture, uv[rows], None if uv_da is None else uv_da[rows], layer.mips)
                for channel, column in enumerate(layer.columns):
                    out[rows, column] *= values[:, channel]


def make_material_table(materials: Sequence[PbrMaterial], device: torch.device) -> MaterialTable:
    """Group the textures of each material and make their mip levels."""
    rows, modes, cutoffs = [], [], []
    for material in materials:
        base = material.base_color_factor.tolist()
        rows.append([*base, material.metallic_factor, material.roughness_factor, material.alpha_factor])
        modes.append(int(material.alpha_mode))
        cutoffs.append(material.alpha_cutoff)
    return MaterialTable(
        layers=tuple(_layers_of(material, device) for material in materials),
        factor=torch.tensor([*rows, _DEFAULT], device=device),
        mode=torch.tensor([*modes, int(AlphaMode.OPAQUE)], device=device),
        cutoff=torch.tensor([*cutoffs, 0.5], device=device),
        opaque=all(mode == AlphaMode.OPAQUE for mode in modes),
    )


def _layers_of(material: PbrMaterial, device: torch.device) -> tuple[_Layer, ...]:
    slots = [(material.base_color_texture, (0, 1, 2)), (material.metallic_texture, (3,))]
    slots += [(material.roughness_texture, (4,))]
    if material.alpha_mode != AlphaMode.OPAQUE:
        slots += [(material.alpha_texture, (5,))]
    groups: dict[tuple[Any, ...], list[tuple[Tensor, tuple[int, ...]]]] = {}
    for texture, columns in slots:
        if texture is None:
            continue
        image = texture.image.to(device, torch.float32)
        image = image[..., : len(columns)] if image.shape[2] >= len(columns) else image[..., :1]
        image = image.expand(-1, -1, len(columns))
        key = (tuple(image.shape[:2]), texture.filter_mode, texture.wrap_mode)
        groups.setdefault(key, []).append((image, columns))
    layers = []
    for (_, filter_mode, wrap_mode), members in groups.items():
        image = torch.cat([image for image, _ in members], dim=2).contiguous()
        stacked = Texture(image, filter_mode, wrap_mode)
        layers.append(_Layer(stacked, tuple(c for _, columns in members for c in columns), _mips(stacked)))
    return tuple(layers)


def _mips(texture: Texture) -> Any:
    from o_voxel.rasterize import build_mips

    return None if texture.filter_mode == TextureFilterMode.CLOSEST else build_mips(texture.image)


def sample_texture(texture: Texture, uv: Tensor, uv_da: Tensor | None = None, mips: Any = None) -> Tensor:
    """Filtered values `[n, C]` at `uv [n, 2]` (v = 0 is tensor row 0).

    With `uv_da [n, 4]`, the derivatives of u and v by sample (du/dX, du/dY, dv/dX, dv/dY), minified points read from
    mip levels (`mips`, made if not given).
    """
    from o_voxel.rasterize import texture as look_up

    image = texture.image.to(uv.device, torch.float32)
    boundary: Any = _BOUNDARY[texture.wrap_mode]
    at = uv[None, None].contiguous()
    if not len(uv):
        return image.new_zeros(0, image.shape[2])
    if texture.filter_mode == TextureFilterMode.CLOSEST:
        return look_up(image, at, filter_mode="nearest", boundary_mode=boundary)[0, 0]
    if uv_da is None:
        return look_up(image, at, filter_mode="linear", boundary_mode=boundary)[0, 0]
    footprint = uv_da[None, None].contiguous()
    return look_up(image, at, footprint, mip=mips, filter_mode="linear-mipmap-linear", boundary_mode=boundary)[0, 0]
