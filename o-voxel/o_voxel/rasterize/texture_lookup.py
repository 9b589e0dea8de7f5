"""Texture look-up at arbitrary coordinates (differentiable)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from o_voxel.rasterize import core, external
from o_voxel.rasterize.mipmaps import MipChain, build_mips, check_texture, num_mip_levels
from o_voxel.rasterize.selection import RasterBackend, select_backend
from o_voxel.reference.texture import mip_level_reference, texture_reference

__all__ = ["BoundaryMode", "FilterMode", "texture"]

FilterMode = Literal["auto", "nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"]
BoundaryMode = Literal["wrap", "clamp", "mirror", "zero"]


def _check_pixels(name: str, value: Tensor, uv: Tensor, channels: int) -> None:
    expected = [*uv.shape[:3], channels] if channels > 1 else list(uv.shape[:3])
    if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
        raise TypeError(f"{name} must be a floating-point tensor, got {getattr(value, 'dtype', type(value).__name__)}")
    if list(value.shape) != expected or value.device != uv.device:
        raise ValueError(f"{name} must have shape {expected} on {uv.device}, got {list(value.shape)} on {value.device}")


def _resolve_filter(filter_mode: str, boundary_mode: str, has_level: bool) -> str:
    if filter_mode not in get_args(FilterMode):
        raise ValueError(f"filter_mode must be one of {get_args(FilterMode)}, got {filter_mode!r}")
    if boundary_mode not in get_args(BoundaryMode):
        raise ValueError(f"boundary_mode must be one of {get_args(BoundaryMode)}, got {boundary_mode!r}")
    if filter_mode == "auto":
        return "linear-mipmap-linear" if has_level else "linear"
    if "mipmap" in filter_mode and not has_level:
        raise ValueError(f"filter_mode={filter_mode!r} needs uv_da or mip_level_bias")
    return filter_mode


def _check_levels(table: Tensor, mip: MipChain | Sequence[Tensor], limit: int | None) -> list[Tensor]:
    levels = [level[None] if level.ndim == 3 else level for level in (mip.levels if isinstance(mip, MipChain) else mip)]
    height, width = table.shape[1:3]
    for i, level in enumerate(levels, 1):
        want = (table.shape[0], max(1, height >> i), max(1, width >> i), table.shape[3])
        if level.shape != want or level.dtype != table.dtype or level.device != table.device:
            raise ValueError(
                f"mip level {i} must be {table.dtype} {list(want)} on {table.device}, "
                f"got {level.dtype} {list(level.shape)} on {level.device}"
            )
    if len(levels) > num_mip_levels(height, width):
        raise ValueError(f"mip must have at most {num_mip_levels(height, width)} levels, got {len(levels)}")
    return levels if limit is None else levels[:limit]


class _Texture(torch.autograd.Function):
    """The compiled look-up; `num_mips` levels are made from the only one given, or (0) all are given."""

    @staticmethod
    def forward(ctx, uv, uv_da, bias, filter_mode, boundary, num_mips, *levels):
        chain = [*levels, *core.build_mips(levels[0], num_mips)] if num_mips else levels
        ctx.save_for_backward(uv, uv_da, bias, *chain)
        ctx.modes = (filter_mode, boundary, num_mips)
        return core.texture(chain, uv, uv_da, bias, filter_mode, boundary)

    @staticmethod
    def backward(ctx, grad):
        uv, uv_da, bias, *levels = ctx.saved_tensors
        need = ctx.needs_input_grad
        mode, boundary, num_mips = ctx.modes
        wanted = (any(need[6:]), need[0], need[1], need[2])
        to_levels, *grads = core.texture_grad(levels, uv, uv_da, bias, mode, boundary, grad, wanted)
        if wanted[0] and num_mips:
            core.build_mips_grad(to_levels)
            to_levels = to_levels[:1]
        return *grads, None, None, None, *(to_levels if wanted[0] else (None for _ in need[6:]))


def texture(
    tex: Tensor,  # [H, W, C] or [B or 1, H, W, C] float
    uv: Tensor,  # [B, h, w, 2] float, (0, 0) = corner of texel (row 0, column 0), (1, 1) = opposite corner
    uv_da: Tensor | None = None,  # [B, h, w, 4] float: du/dX, du/dY, dv/dX, dv/dY, from `interpolate`
    mip_level_bias: Tensor | None = None,  # [B, h, w] float, added to the level; without uv_da it is the level
    mip: MipChain | Sequence[Tensor] | None = None,  # levels 1, 2, ...; made from tex if not given
    filter_mode: FilterMode = "auto",
    boundary_mode: BoundaryMode = "wrap",
    max_mip_level: int | None = None,
    *,
    backend: RasterBackend = "auto",
) -> Tensor:  # [B, h, w, C]
    """Sample a texture; v = 0 is tensor row 0, texel centres at (i + 0.5) / size.

    Filters: `nearest`, `linear`, `linear-mipmap-nearest` (the level rounded), `linear-mipmap-linear` (blend of two
    levels); `auto` is `linear` without `uv_da` and `mip_level_bias`, else `linear-mipmap-linear`. The level is half the
    base-2 logarithm of the larger eigenvalue of J J^T, J being the derivatives in texels, plus the bias, bounded to
    0 .. `max_mip_level` and the levels there are. Boundaries, at every level: `wrap` repeats, `mirror` repeats
    mirrored, `clamp` extends the edge texels, `zero` counts texels outside as 0. Non-finite coordinates read as 0.

    Differentiable in `tex`, `mip` and, but for `nearest`, in `uv`; between two levels also in `uv_da` and
    `mip_level_bias`. The compiled path serves float32; other types go through PyTorch. Gradients of texels are summed
    in a fixed order on CPU, with atomic adds on CUDA. The form `texture(tex, uv, filter_mode, boundary_mode)` is
    understood too. Raises TypeError or ValueError on wrong types, shapes and modes.
    """
    if isinstance(uv_da, str):
        uv_da, filter_mode = None, uv_da
        if isinstance(mip_level_bias, str):
            mip_level_bias, boundary_mode = None, mip_level_bias
    table = check_texture(tex)
    if not isinstance(uv, Tensor) or uv.ndim != 4 or uv.shape[-1] != 2:
        raise ValueError(f"uv must have shape [B, h, w, 2], got {list(getattr(uv, 'shape', []))}")
    batch = uv.shape[0]
    if table.shape[0] not in (1, batch):
        raise ValueError(f"tex must have shape [H, W, C] or [{batch}, H, W, C], got {list(tex.shape)}")
    if table.device != uv.device:
        raise ValueError(f"tex and uv must be on one device, got {table.device} and {uv.device}")
    if uv_da is not None:
        _check_pixels("uv_da", uv_da, uv, 4)
    if mip_level_bias is not None:
        _check_pixels("mip_level_bias", mip_level_bias, uv, 1)
    if max_mip_level is not None and max_mip_level < 0:
        raise ValueError(f"max_mip_level must not be negative, got {max_mip_level}")
    mode = _resolve_filter(filter_mode, boundary_mode, uv_da is not None or mip_level_bias is not None)
    use = select_backend(backend, uv)
    if use == "nvdiffrast":
        given = mip.levels if isinstance(mip, MipChain) else mip
        return external.texture(table, uv, uv_da, mip_level_bias, given, mode, boundary_mode, max_mip_level)
    levels, num_mips = [table], 0
    if "mipmap" in mode and mip is not None:
        levels += _check_levels(table, mip, max_mip_level)
    elif "mipmap" in mode:
        num_mips = num_mip_levels(table.shape[1], table.shape[2])
        num_mips = num_mips if max_mip_level is None else min(num_mips, max_mip_level)
    if use == "native" and table.dtype == uv.dtype == torch.float32:
        several = num_mips > 0 or len(levels) > 1
        da = uv_da.float() if uv_da is not None and several else None
        bias = mip_level_bias.float() if mip_level_bias is not None and several else None
        if not several and mode != "nearest":
            mode = "linear"
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (uv, da, bias, *levels)):
            return _Texture.apply(uv, da, bias, mode, boundary_mode, num_mips, *levels)
        chain = [*levels, *core.build_mips(table, num_mips)] if num_mips else levels
        return core.texture(chain, uv, da, bias, mode, boundary_mode)
    if num_mips:
        levels += build_mips(table, num_mips, backend=backend).levels
    level = None
    if "mipmap" in mode:
        level = mip_level_reference(table.shape[1], table.shape[2], uv_da, mip_level_bias, len(levels) - 1)
    return texture_reference(levels, uv, level, mode, boundary_mode)
