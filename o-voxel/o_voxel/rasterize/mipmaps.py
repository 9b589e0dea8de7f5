"""Mip chains of textures (differentiable)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from o_voxel.rasterize import core
from o_voxel.rasterize.selection import RasterBackend, select_backend
from o_voxel.reference.texture import downsample_reference

__all__ = ["MipChain", "build_mips", "check_texture", "num_mip_levels"]


@dataclass(frozen=True)
class MipChain:
    """A texture's levels 1, 2, ... as `texture` takes them; made once by `build_mips`, used for any number of calls."""

    levels: tuple[Tensor, ...]  # level i: [B or 1, max(1, H >> i), max(1, W >> i), C]


def check_texture(tex: Tensor) -> Tensor:
    """`tex` as [B, H, W, C]; raises TypeError or ValueError if it is no texture."""
    if not isinstance(tex, Tensor) or not tex.dtype.is_floating_point:
        raise TypeError(f"tex must be a floating-point tensor, got {getattr(tex, 'dtype', type(tex).__name__)}")
    table = tex[None] if tex.ndim == 3 else tex
    if table.ndim != 4 or 0 in table.shape[1:3] or max(table.shape[1:3]) > 1 << 16:
        raise ValueError(f"tex must have shape [H, W, C] or [B, H, W, C] with H, W in 1..65536, got {list(tex.shape)}")
    return table


def num_mip_levels(height: int, width: int) -> int:
    """Levels below the texture itself, down to 1 x 1."""
    return max(height, width).bit_length() - 1


class _BuildMips(torch.autograd.Function):
    """The compiled box filter."""

    @staticmethod
    def forward(ctx, tex, count):
        ctx.shape = tex.shape
        return tuple(core.build_mips(tex, count))

    @staticmethod
    def backward(ctx, *grads):
        scratch = [grad.clone(memory_format=torch.contiguous_format) for grad in grads]
        return core.build_mips_grad([torch.zeros(ctx.shape, device=scratch[0].device), *scratch]), None


def build_mips(
    tex: Tensor,  # [H, W, C] or [B, H, W, C] float
    max_mip_level: int | None = None,
    *,
    backend: RasterBackend = "auto",
) -> MipChain:
    """Levels 1 .. `max_mip_level` (default: down to 1 x 1), each the exact box filter of the one above.

    Every extent is halved and rounded down; odd extents are filtered with three texels that count by the part of them
    that is covered, so any size will do. Differentiable. Runs on the device of `tex`.
    """
    table = check_texture(tex)
    count = num_mip_levels(*table.shape[1:3])
    if max_mip_level is not None:
        if max_mip_level < 0:
            raise ValueError(f"max_mip_level must not be negative, got {max_mip_level}")
        count = min(count, max_mip_level)
    if count and select_backend(backend, table) == "native" and table.dtype == torch.float32:
        return MipChain(_BuildMips.apply(table, count))
    levels: list[Tensor] = []
    for _ in range(count):
        levels.append(downsample_reference(levels[-1] if levels else table))
    return MipChain(tuple(levels))
