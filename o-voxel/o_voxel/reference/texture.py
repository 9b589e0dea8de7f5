"""Mip chains and texture look-up in plain PyTorch: what `o_voxel.rasterize.build_mips` and `texture` compute.

B batch, H, W texels, C channels, h, w pixels, L levels (level 0 is the texture itself).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["downsample_reference", "mip_level_reference", "texture_reference"]


def _halve(values: Tensor, dim: int) -> Tensor:
    """Mean over the interval that each new texel covers: pairs for an even extent, else three texels of which the
    outer two count in part (D. Wyman, C. Guinot, "Non-Power-of-Two Mipmapping", 2005)."""
    size = values.shape[dim]
    half = size // 2
    if size == 1:
        return values
    first, second = (values.index_select(dim, torch.arange(i, 2 * half, 2, device=values.device)) for i in (0, 1))
    if size % 2 == 0:
        return (first + second) / 2
    third = values.index_select(dim, torch.arange(2, size, 2, device=values.device))
    shape = [1] * values.ndim
    shape[dim] = half
    i = torch.arange(half, device=values.device, dtype=values.dtype).reshape(shape)
    return ((half - i) * first + half * second + (i + 1) * third) / size


def downsample_reference(tex: Tensor) -> Tensor:
    """The next mip level `[B, max(1, H // 2), max(1, W // 2), C]` of `[B, H, W, C]` by an exact box filter."""
    return _halve(_halve(tex, 1), 2)


def mip_level_reference(
    height: int,
    width: int,
    uv_da: Tensor | None,  # [B, h, w, 4]: du/dX, du/dY, dv/dX, dv/dY
    bias: Tensor | None,  # [B, h, w]
    last: int,
) -> Tensor:  # [B, h, w]
    """Level whose texels match the longer axis of the pixel's footprint, in [0, last]; the bias alone without `uv_da`.

    With the footprint ellipse's s = derivatives times size: 0.5 log2 of the larger eigenvalue of J J^T. Values that
    are not finite read as the nearest end; a footprint of zero is level 0.
    """
    if uv_da is None:
        assert bias is not None
        level = bias
    else:
        scale = uv_da.new_tensor([width, width, height, height])
        sx, sy, tx, ty = (uv_da * scale).unbind(-1)
        a, b, c = sx * sx + tx * tx, sy * sy + ty * ty, sx * sy + tx * ty
        gap = 0.25 * (a - b) ** 2 + c * c
        root = torch.where(gap > 0, torch.where(gap > 0, gap, 1).sqrt(), 0)
        major = 0.5 * (a + b) + root
        level = 0.5 * torch.log2(torch.where(major > 0, major, 1))
        level = torch.where(major > 0, level, torch.full_like(level, -torch.inf))
        if bias is not None:
            level = level + bias
    return torch.nan_to_num(level, nan=0.0).clamp(0, last)


def _texel(index: Tensor, size: Tensor, boundary: str) -> Tensor:
    """Map any integer texel index into 0 .. size - 1."""
    if boundary == "wrap":
        return index.remainder(size)
    if boundary == "mirror":
        folded = index.remainder(2 * size)
        return torch.minimum(folded, 2 * size - 1 - folded)
    return torch.minimum(index.clamp(min=0), size - 1)


class _Levels:
    """All levels in one table, so that every pixel can read from a level of its own."""

    def __init__(self, levels: Sequence[Tensor], boundary: str) -> None:
        self.boundary = boundary
        self.channels = levels[0].shape[3]
        self.flat = torch.cat([level.reshape(level.shape[0], -1, self.channels) for level in levels], 1)
        sizes = torch.tensor([level.shape[1:3] for level in levels], device=levels[0].device)
        self.heights, self.widths = sizes.unbind(1)
        self.offsets = sizes.prod(1).cumsum(0) - sizes.prod(1)

    def sample(self, uv: Tensor, level: Tensor, linear: bool) -> Tensor:
        """[B, h, w, C] from integer `level [B, h, w]`."""
        height, width, offset = self.heights[level], self.widths[level], self.offsets[level]
        # Beyond 2^24 texels float32 has no fraction left; bounding keeps the integer conversion defined.
        limit = 2.0**30
        x, y = (uv[..., 0] * width).clamp(-limit, limit), (uv[..., 1] * height).clamp(-limit, limit)
        if linear:
            x, y = x - 0.5, y - 0.5
        column, row = x.detach().floor(), y.detach().floor()
        batch: int | Tensor = 0
        if self.flat.shape[0] > 1:
            batch = torch.arange(uv.shape[0], device=uv.device)[:, None, None]

        def fetch(dx: int, dy: int) -> Tensor:
            at_x, at_y = column.long() + dx, row.long() + dy
            index = _texel(at_y, height, self.boundary) * width + _texel(at_x, width, self.boundary)
            value = self.flat[batch, offset + index]
            if self.boundary == "zero":
                inside = (at_x >= 0) & (at_x < width) & (at_y >= 0) & (at_y < height)
                value = torch.where(inside[..., None], value, 0)
            return value

        if not linear:
            return fetch(0, 0)
        fx, fy = (x - column)[..., None].to(self.flat.dtype), (y - row)[..., None].to(self.flat.dtype)
        top = fetch(0, 0) * (1 - fx) + fetch(1, 0) * fx
        return top * (1 - fy) + (fetch(0, 1) * (1 - fx) + fetch(1, 1) * fx) * fy


def texture_reference(
    levels: Sequence[Tensor],  # L of [B or 1, H_l, W_l, C]
    uv: Tensor,  # [B, h, w, 2]
    level: Tensor | None,  # [B, h, w] from mip_level_reference
    filter_mode: str,  # "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"
    boundary_mode: str,  # "wrap", "clamp", "mirror", "zero"
) -> Tensor:  # [B, h, w, C]
    """Sample; differentiable in `levels`, `uv` and (between two levels) `level`."""
    uv = torch.where(uv.isfinite(), uv, 0).to(torch.promote_types(uv.dtype, torch.float32))
    if boundary_mode == "clamp":
        uv = uv.clamp(-1, 2)
    table = _Levels(levels, boundary_mode)
    first = torch.zeros(uv.shape[:3], dtype=torch.int64, device=uv.device)
    if level is None:
        return table.sample(uv, first, filter_mode != "nearest")
    if filter_mode == "linear-mipmap-nearest":
        return table.sample(uv, (level.detach() + 0.5).floor().long().clamp(max=len(levels) - 1), True)
    first = level.detach().floor().long().clamp(0, len(levels) - 1)
    second = (first + 1).clamp(max=len(levels) - 1)
    blend = (level - first)[..., None].to(levels[0].dtype)
    return table.sample(uv, first, True) * (1 - blend) + table.sample(uv, second, True) * blend
