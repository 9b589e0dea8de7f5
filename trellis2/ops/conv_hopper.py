"""Launch of the Hopper convolution kernel. Letters as in `triton_conv`."""

from __future__ import annotations

import functools
import importlib.util

import torch
import triton
from torch import Tensor

from .conv_configs import ConvConfig, WeightGradConfig
from .neighborhood import Arrangement
from .triton_support import interpreting

__all__ = ["hopper_possible", "launch_hopper", "launch_weight_grad_hopper"]

_TESTED_TRITON = ((3, 5), (3, 8))
"""Versions [from, to) of triton whose Gluon language the kernel is written in; it is experimental and changes."""


@functools.cache
def _hopper_device(index: int | None) -> bool:
    version = tuple(int(part) for part in triton.__version__.split(".")[:2])
    known = _TESTED_TRITON[0] <= version < _TESTED_TRITON[1]
    present = importlib.util.find_spec("triton.experimental.gluon") is not None
    return known and present and torch.cuda.get_device_capability(index)[0] == 9


def hopper_possible(feats: Tensor, weight: Tensor, ck: int, cn: int, volume: int) -> bool:
    """Whether the kernel takes these shapes: 16-bit types, channels in multiples of 64."""
    if interpreting() or feats.device.type != "cuda" or feats.dtype not in (torch.float16, torch.bfloat16):
        return False
    if ck % 64 or cn % 64 or (cn > 64 and cn % 128) or (cn > 128 and cn % 256) or volume > 64:
        return False
    return weight.data_ptr() % 16 == 0 and feats.data_ptr() % 16 == 0 and _hopper_device(feats.device.index)


@functools.cache
def _multiprocessors(index: int | None) -> int:
    return torch.cuda.get_device_properties(index if index is not None else "cuda").multi_processor_count


def launch_hopper(
    feats: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    arranged: Arrangement,
    cfg: ConvConfig,
    mirror: bool,
) -> None:
    """Fill target [N, Cn], or [G, N, Cn]; see `triton_conv.conv_rows` and `conv_children`."""
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    from .triton_kernels.conv_gemm_hopper import conv_gemm_hopper_kernel

    neighbors, places, slots = arranged.neighbors, arranged.places, arranged.slots
    num_rows, cn = target.shape[-2:]
    tiles, volume = arranged.counts.shape[1], weight.shape[1]
    items = tiles * cfg.groups * (cn // cfg.bn)
    matrix = weight.view(weight.shape[0], -1)
    block = [cfg.bk, cfg.bn] if mirror else [cfg.bn, cfg.bk]
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    conv_gemm_hopper_kernel[(min(items, _multiprocessors(feats.device.index)),)](
        feats,
        TensorDescriptor(matrix, list(matrix.shape), list(matrix.stride()), block, layout),
        bias if bias is not None else feats,
        target,
        neighbors,
        arranged.order,
        arranged.taps,
        arranged.counts,
        neighbors if places is None else places,
        neighbors if slots is None else slots,
        neighbors if arranged.schedule is None else arranged.schedule,
        num_rows,
        neighbors.shape[1],
        tiles,
        items,
        feats.shape[1],
        cn,
        weight.stride(1),
        V=volume,
        BM=cfg.bm // 2,
        BN=cfg.bn,
        BK=cfg.bk,
        STAGES=cfg.stages,
        SCHEDULED=arranged.schedule is not None,
        MIRROR=mirror,
        HAS_BIAS=bias is not None,
        PARTIAL=cfg.groups > 1,
        CHILDREN=places is not None,
        CACHE=cfg.cache,
        PRODUCER_WARPS=cfg.warps,
        CONSUMER_REGISTERS=208 if cfg.warps == 4 else 200,
        PRODUCER_REGISTERS=88 if cfg.warps == 4 else 56,
        num_warps=4,
    )


def launch_weight_grad_hopper(
    grad: Tensor,
    feats: Tensor,
    rows_out: Tensor,
    rows_in: Tensor,
    items: Tensor,  # [2, W] int64 first pair and one past the last of each item
    partial: Tensor,  # [W, Co, Ci] float32
    cfg: WeightGradConfig,
) -> None:
    """Fill `partial`; see `triton_conv.weight_gradient`. The tiles must divide Co and Ci."""
    from .triton_kernels.conv_weight_grad_hopper import weight_grad_hopper_kernel

    co, ci = grad.shape[1], feats.shape[1]
    programs = items.shape[1] * (co // cfg.bm) * (ci // cfg.bn)
    weight_grad_hopper_kernel[(min(programs, _multiprocessors(feats.device.index)),)](
        grad,
        feats,
        rows_out,
        rows_in,
        items[0],
        items[1],
        partial,
        co,
        ci,
        programs,
        BM=cfg.bm // 2,
        BN=cfg.bn,
        BK=cfg.bk,
        STAGES=cfg.stages,
        PRODUCER_WARPS=cfg.warps,
        CONSUMER_REGISTERS=208 if cfg.warps == 4 else 200,
        PRODUCER_REGISTERS=88 if cfg.warps == 4 else 56,
        num_warps=4,
    )
