"""Texture look-up at arbitrary coordinates (differentiable)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend

__all__ = ["BoundaryMode", "FilterMode", "texture"]

FilterMode = Literal["linear", "nearest"]
BoundaryMode = Literal["wrap", "clamp", "mirror", "zero"]


def _texel(index: Tensor, size: int, boundary: BoundaryMode) -> Tensor:
    """Map any integer texel index into 0 .. size - 1."""
    if boundary == "wrap":
        return index.remainder(size)
    if boundary == "mirror":
        folded = index.remainder(2 * size)
        return torch.minimum(folded, 2 * size - 1 - folded)
    return index.clamp(0, size - 1)


def texture(
    tex: Tensor,  # [H, W, C] or [B or 1, H, W, C] float
    uv: Tensor,  # [B, h, w, 2] float, (0, 0) = corner of texel (row 0, column 0), (1, 1) = opposite corner
    filter_mode: FilterMode = "linear",
    boundary_mode: BoundaryMode = "wrap",
    *,
    backend: Backend = "auto",
) -> Tensor:  # [B, h, w, C]
    """Sample a texture; v = 0 is tensor row 0, texel centres at (i + 0.5) / size.

    `wrap` repeats, `mirror` repeats mirrored, `clamp` extends the edge texels, `zero` counts texels outside as 0.
    Non-finite coordinates read as 0. Differentiable in `tex` and, for `linear`, in `uv`.
    The native path serves float32 on CPU when no gradient is asked for.
    Raises TypeError or ValueError on wrong types, shapes and modes.
    """
    if not isinstance(tex, Tensor) or not tex.dtype.is_floating_point:
        raise TypeError(f"tex must be a floating-point tensor, got {getattr(tex, 'dtype', type(tex).__name__)}")
    if filter_mode not in get_args(FilterMode):
        raise ValueError(f"filter_mode must be one of {get_args(FilterMode)}, got {filter_mode!r}")
    if boundary_mode not in get_args(BoundaryMode):
        raise ValueError(f"boundary_mode must be one of {get_args(BoundaryMode)}, got {boundary_mode!r}")
    if uv.ndim != 4 or uv.shape[-1] != 2:
        raise ValueError(f"uv must have shape [B, h, w, 2], got {list(uv.shape)}")
    table = tex[None] if tex.ndim == 3 else tex
    batch = uv.shape[0]
    if table.ndim != 4 or table.shape[0] not in (1, batch) or 0 in table.shape[1:3]:
        raise ValueError(f"tex must have shape [H, W, C] or [{batch}, H, W, C] with H, W >= 1, got {list(tex.shape)}")
    height, width, channels = table.shape[1:]
    tracked = torch.is_grad_enabled() and (tex.requires_grad or uv.requires_grad)
    plain = tex.device.type == uv.device.type == "cpu" and tex.dtype == uv.dtype == torch.float32 and not tracked
    if resolve_backend(backend) == "native" and plain:
        native = native_module()
        assert native is not None
        sampled = torch.empty(batch, uv.shape[1] * uv.shape[2], channels)
        at = uv.detach().reshape(batch, -1, 2).contiguous()
        boundary = get_args(BoundaryMode).index(boundary_mode)
        native.sample_texture(table.detach().contiguous(), at, sampled, filter_mode == "linear", boundary)
        return sampled.reshape(*uv.shape[:3], channels)
    flat = table.reshape(-1, channels)
    base: Tensor | int = 0
    if table.shape[0] > 1:
        base = (torch.arange(batch, device=uv.device) * (height * width))[:, None, None]

    # Beyond 2^24 texels float32 has no fraction left; bounding keeps the integer conversion defined.
    uv = torch.where(uv.isfinite(), uv, 0).to(torch.promote_types(uv.dtype, torch.float32))
    if boundary_mode == "clamp":
        uv = uv.clamp(-1, 2)
    x, y = uv[..., 0] * width, uv[..., 1] * height
    x, y = x.clamp(-(2.0**30), 2.0**30), y.clamp(-(2.0**30), 2.0**30)

    def fetch(column: Tensor, row: Tensor) -> Tensor:
        index = base + _texel(row, height, boundary_mode) * width + _texel(column, width, boundary_mode)
        value = flat[index.reshape(-1)].reshape(*uv.shape[:3], channels)
        if boundary_mode == "zero":
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            value = torch.where(inside[..., None], value, 0)
        return value

    if filter_mode == "nearest":
        return fetch(x.detach().floor().long(), y.detach().floor().long())
    x, y = x - 0.5, y - 0.5
    column, row = x.detach().floor(), y.detach().floor()
    fx, fy = (x - column)[..., None].to(tex.dtype), (y - row)[..., None].to(tex.dtype)
    c0, r0 = column.long(), row.long()
    top = torch.lerp(fetch(c0, r0), fetch(c0 + 1, r0), fx.expand(*uv.shape[:3], channels))
    bottom = torch.lerp(fetch(c0, r0 + 1), fetch(c0 + 1, r0 + 1), fx.expand(*uv.shape[:3], channels))
    return torch.lerp(top, bottom, fy.expand(*uv.shape[:3], channels))
