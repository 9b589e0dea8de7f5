"""Metallic-roughness attributes at surface points, from textured materials.

n points, F faces. Attribute columns: base colour 3 (as stored, not linearised), metallic, roughness, alpha.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trellis2.representations import AlphaMode, MeshWithPbrMaterial, Texture, TextureFilterMode, TextureWrapMode

from .surface import Hits, interpolate_corners

__all__ = ["evaluate_materials", "face_uv_density", "sample_texture"]


def face_uv_density(clip: Tensor, faces: Tensor, uv_coords: Tensor, size: int) -> Tensor:
    """Texture area in uv units per sample `[F]`, which times H * W is the number of texels a sample covers."""
    screen = clip[:, :2] / clip[:, 3:].clamp_min(1e-6) * (0.5 * size)
    a, b, c = (screen[faces[:, i].long()] for i in range(3))
    drawn = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs()
    e, f = uv_coords[:, 1] - uv_coords[:, 0], uv_coords[:, 2] - uv_coords[:, 0]
    return (e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]).abs() / drawn.clamp_min(1e-6)


def evaluate_materials(
    mesh: MeshWithPbrMaterial,
    hits: Hits,
    density: Tensor,  # [F] from `face_uv_density`
) -> Tensor:  # [n, 6]
    """Attributes of points on a mesh. Faces whose material id is outside the list are the default grey."""
    face = hits.face
    uv = interpolate_corners(mesh.uv_coords, hits)
    uv = torch.nan_to_num(uv, nan=0.0, posinf=1000.0, neginf=-1000.0).clamp(-1000.0, 1000.0)
    ids = mesh.material_ids[face].long()
    out = uv.new_tensor([0.8, 0.8, 0.8, 0.0, 0.5, 1.0]).repeat(len(face), 1)
    for index, material in enumerate(mesh.materials):
        rows = torch.nonzero(ids == index)[:, 0]
        if not len(rows):
            continue
        at, spread = uv[rows], density[face[rows]]
        factor = material.base_color_factor.to(out)
        out[rows, 0:3] = _textured(material.base_color_texture, at, spread, 3) * factor
        out[rows, 3:4] = _textured(material.metallic_texture, at, spread, 1) * material.metallic_factor
        out[rows, 4:5] = _textured(material.roughness_texture, at, spread, 1) * material.roughness_factor
        if material.alpha_mode == AlphaMode.OPAQUE:
            out[rows, 5] = 1.0
            continue
        alpha = _textured(material.alpha_texture, at, spread, 1)[:, 0] * material.alpha_factor
        if material.alpha_mode == AlphaMode.MASK:
            alpha = (alpha > material.alpha_cutoff).to(out.dtype)
        out[rows, 5] = alpha
    return out


def _textured(texture: Texture | None, uv: Tensor, density: Tensor, channels: int) -> Tensor:
    if texture is None:
        return uv.new_ones((len(uv), channels))
    values = sample_texture(texture, uv, density)
    if values.shape[1] < channels:
        values = values[:, :1].expand(-1, channels)
    return values[:, :channels]


def sample_texture(texture: Texture, uv: Tensor, density: Tensor | None = None) -> Tensor:
    """Filtered values `[n, C]` at `uv [n, 2]` (v = 0 is tensor row 0).

    With `density [n]` (uv area per sample) minified points read from an area-averaged smaller level.
    """
    image = texture.image.to(uv.device, torch.float32)
    height, width = image.shape[:2]
    if texture.filter_mode == TextureFilterMode.CLOSEST:
        x = _wrapped((uv[:, 0] * width).floor().long(), width, texture.wrap_mode)
        y = _wrapped((uv[:, 1] * height).floor().long(), height, texture.wrap_mode)
        return image[y, x]
    if density is None:
        return _bilinear(image, uv, texture.wrap_mode)
    texels = (density * (height * width)).clamp(1.0, 4.0**16)
    level = (0.5 * texels.log2()).round().long()
    out = uv.new_empty((len(uv), image.shape[2]))
    for k in torch.unique(level).tolist():
        rows = torch.nonzero(level == k)[:, 0]
        out[rows] = _bilinear(_reduced(image, k), uv[rows], texture.wrap_mode)
    return out


def _reduced(image: Tensor, level: int) -> Tensor:
    """Area-averaged level of any image size."""
    if level == 0:
        return image
    size = (max(1, image.shape[0] >> level), max(1, image.shape[1] >> level))
    return F.adaptive_avg_pool2d(image.permute(2, 0, 1)[None], size)[0].permute(1, 2, 0)


def _bilinear(image: Tensor, uv: Tensor, wrap: TextureWrapMode) -> Tensor:
    height, width, channels = image.shape
    flat = image.reshape(-1, channels)
    x, y = uv[:, 0] * width - 0.5, uv[:, 1] * height - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    left, right = _wrapped(x0.long(), width, wrap), _wrapped(x0.long() + 1, width, wrap)
    top, bottom = _wrapped(y0.long(), height, wrap) * width, _wrapped(y0.long() + 1, height, wrap) * width
    upper = flat[top + left] * (1 - fx) + flat[top + right] * fx
    lower = flat[bottom + left] * (1 - fx) + flat[bottom + right] * fx
    return upper * (1 - fy) + lower * fy


def _wrapped(index: Tensor, size: int, wrap: TextureWrapMode) -> Tensor:
    if wrap == TextureWrapMode.CLAMP_TO_EDGE:
        return index.clamp(0, size - 1)
    if wrap == TextureWrapMode.MIRRORED_REPEAT:
        index = index % (2 * size)
        return torch.where(index >= size, 2 * size - 1 - index, index)
    return index % size
