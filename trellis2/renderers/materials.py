"""Metallic-roughness attributes at surface points, from textured materials.

n points, F faces, M materials. Attribute columns: base colour 3 (as stored, not linearised), metallic, roughness,
alpha; where a material has relief or light of its own also normal 3 (tangent space) and emitted radiance 3 (linear).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
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

__all__ = ["MaterialTable", "apply_relief", "make_material_table", "sample_texture"]

_BOUNDARY = {
    TextureWrapMode.CLAMP_TO_EDGE: "clamp",
    TextureWrapMode.REPEAT: "wrap",
    TextureWrapMode.MIRRORED_REPEAT: "mirror",
}
_DEFAULT = (0.8, 0.8, 0.8, 0.0, 0.5, 1.0)  # of faces whose material id is outside the list
_NO_RELIEF, _NO_LIGHT = (0.5, 0.5, 1.0), (0.0, 0.0, 0.0)


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
    factor: Tensor  # [M + 1, 6 or 12]
    mode: Tensor  # [M + 1] int64, `AlphaMode`
    cutoff: Tensor  # [M + 1]
    opaque: bool  # one depth layer shows everything
    normal_scale: Tensor  # [M + 1]

    @property
    def textured(self) -> bool:
        """Whether any material has a texture."""
        return any(self.layers)

    def evaluate(self, mesh: MeshWithPbrMaterial, hits: Hits) -> Tensor:
        """Attributes `[n, 6]`, with relief or emission `[n, 12]`, of points on the mesh that the table was made for.

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
        if out.shape[1] > 6:
            out[:, 6:9] = out[:, 6:9] * 2 - 1
            out[:, 6:8] *= self.normal_scale[ids][:, None]
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
    extras = any(m.normal_texture is not None or bool((m.emissive_factor > 0).any()) for m in materials)
    rows, modes, cutoffs, scales = [], [], [], []
    for material in materials:
        base = material.base_color_factor.tolist()
        row = [*base, material.metallic_factor, material.roughness_factor, material.alpha_factor]
        if extras:
            relief = _NO_RELIEF if material.normal_texture is None else (1.0, 1.0, 1.0)
            row += [*relief, *material.emissive_factor.tolist()]
        rows.append(row)
        modes.append(int(material.alpha_mode))
        cutoffs.append(material.alpha_cutoff)
        scales.append(material.normal_scale)
    default = (*_DEFAULT, *_NO_RELIEF, *_NO_LIGHT) if extras else _DEFAULT
    return MaterialTable(
        layers=tuple(_layers_of(material, device) for material in materials),
        factor=torch.tensor([*rows, default], device=device),
        mode=torch.tensor([*modes, int(AlphaMode.OPAQUE)], device=device),
        cutoff=torch.tensor([*cutoffs, 0.5], device=device),
        opaque=all(mode == AlphaMode.OPAQUE for mode in modes),
        normal_scale=torch.tensor([*scales, 1.0], device=device),
    )


def apply_relief(normal: Tensor, relief: Tensor, vertices: Tensor, mesh: MeshWithPbrMaterial, hits: Hits) -> Tensor:
    """Unit shading `normal [n, 3]` of `mesh` at `vertices [V, 3]`, bent by tangent-space normals `relief [n, 3]`.

    Tangents are those of the face, made perpendicular to the normal; where texture coordinates span no area the normal
    stays.
    """
    corners = mesh.faces[hits.face].long()
    a, b, c = (vertices[corners[:, i]] for i in range(3))
    uv = mesh.uv_coords[hits.face]
    (du1, dv1), (du2, dv2) = ((uv[:, i] - uv[:, 0]).unbind(1) for i in (1, 2))
    area = du1 * dv2 - du2 * dv1
    sign = torch.sign(area)[:, None]
    along_u = ((b - a) * dv2[:, None] - (c - a) * dv1[:, None]) * sign
    along_v = ((c - a) * du1[:, None] - (b - a) * du2[:, None]) * sign
    tangents = []
    for direction in (along_u, -along_v):
        level = direction - (direction * normal).sum(1, keepdim=True) * normal
        tangents.append(F.normalize(level, dim=1, eps=1e-20))
    bent = tangents[0] * relief[:, 0:1] + tangents[1] * relief[:, 1:2] + normal * relief[:, 2:3]
    length = bent.norm(dim=1, keepdim=True)
    sound = (area[:, None].abs() > 0) & torch.isfinite(length) & (length > 1e-6)
    return torch.where(sound, bent / length, normal)


def _layers_of(material: PbrMaterial, device: torch.device) -> tuple[_Layer, ...]:
    slots = [(material.base_color_texture, (0, 1, 2)), (material.metallic_texture, (3,))]
    slots += [(material.roughness_texture, (4,))]
    if material.alpha_mode != AlphaMode.OPAQUE:
        slots += [(material.alpha_texture, (5,))]
    slots += [(material.normal_texture, (6, 7, 8))]
    if bool((material.emissive_factor > 0).any()):
        slots += [(material.emissive_texture, (9, 10, 11))]
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
