"""Submanifold convolution with Triton: launches, and the autograd function that ties them together.

Letters: N rows, V taps, Co / Ci output / input channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor

from .conv_configs import ConvConfig, ConvProblem, WeightGradConfig
from .conv_hopper import hopper_possible, launch_hopper, launch_weight_grad_hopper
from .conv_tuning import choose_conv, choose_weight_grad
from .neighborhood import Arrangement, Neighborhood
from .triton_kernels.conv_gemm import conv_gemm_kernel, reduce_slices_kernel
from .triton_kernels.conv_weight_grad import column_sums_kernel, reduce_taps_kernel, weight_grad_kernel
from .triton_neighbors import arrange_children
from .triton_support import capability_of, interpreting, on_device

__all__ = ["SUPPORTED_DTYPES", "column_sums", "conv_children", "conv_rows", "triton_conv", "weight_gradient"]

SUPPORTED_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def _precision(dtype: torch.dtype) -> str:
    """fp32 is exact unless PyTorch's own setting allows TF32."""
    return "tf32" if dtype != torch.float32 or torch.backends.cuda.matmul.allow_tf32 else "ieee"


def _tma_possible(weight: Tensor) -> bool:
    if interpreting() or weight.device.type != "cuda" or capability_of(weight.device.index)[0] < 9:
        return False
    return weight.element_size() == 2 and weight.shape[-1] % 8 == 0 and weight.data_ptr() % 16 == 0


def _weight_descriptor(weight: Tensor, config: ConvConfig, mirror: bool) -> Any:
    from triton.tools.tensor_descriptor import TensorDescriptor

    block = [config.bk, 1, config.bn] if mirror else [config.bn, 1, config.bk]
    return TensorDescriptor(weight, list(weight.shape), list(weight.stride()), block)


def conv_rows(
    feats: Tensor,  # [N, Ck]
    weight: Tensor,  # [Co, V, Ci]
    bias: Tensor | None,  # [Cn]
    hood: Neighborhood,
    *,
    mirror: bool = False,
    config: ConvConfig | None = None,
) -> Tensor:  # [N, Cn]
    """The convolution (Ck = Ci, Cn = Co), or with `mirror` its transpose of output gradients (Ck = Co, Cn = Ci).

    Same result bit for bit in every run, whatever the tile sizes: the order of additions follows from the shapes.
    """
    ck = feats.shape[1]
    num_rows, volume = hood.shape
    cn = weight.shape[2] if mirror else weight.shape[0]
    out = feats.new_empty(num_rows, cn)
    if out.numel() == 0:
        return out
    feats, weight = feats.contiguous(), weight.contiguous()
    cfg = config
    if cfg is None:
        problem = ConvProblem("input_grad" if mirror else "forward", feats.dtype, hood.whole_rows, ck, cn, volume)
        possible = hopper_possible(feats, weight, ck, cn, volume)
        cfg = choose_conv(
            problem, feats.device, possible, lambda c: conv_rows(feats, weight, bias, hood, mirror=mirror, config=c)
        )
    arranged = hood.arranged(cfg.bm, cfg.groups)
    parts = cfg.groups * cfg.slices
    whole = parts == 1
    target = out if whole else torch.empty((parts, num_rows, cn), dtype=torch.float32, device=feats.device)
    _launch(feats, weight, bias if whole else None, target, arranged, cfg, mirror)
    if not whole:
        block = 1024
        reduce_slices_kernel[(triton.cdiv(out.numel(), block),)](
            target,
            bias if bias is not None else out,
            out,
            out.numel(),
            cn,
            SLICES=parts,
            HAS_BIAS=bias is not None,
            BLOCK=block,
        )
    return out


def _launch(
    feats: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    arranged: Arrangement,
    cfg: ConvConfig,
    mirror: bool,
) -> None:
    """Fill target [N, Cn], or [G·S, N, Cn] with the parts of the sum."""
    num_rows, cn = target.shape[-2:]
    neighbors, places, slots = arranged.neighbors, arranged.places, arranged.slots
    parts = cfg.groups * cfg.slices
    tiles, volume = arranged.counts.shape[1], weight.shape[1]
    if cfg.hopper:
        launch_hopper(feats, weight, bias, target, arranged, cfg, mirror)
        return
    use_tma = cfg.tma and _tma_possible(weight)
    strides = (weight.stride(2), weight.stride(0)) if mirror else (weight.stride(0), weight.stride(2))
    ck = feats.shape[1]
    conv_gemm_kernel[(tiles * parts * triton.cdiv(cn, cfg.bn),)](
        feats,
        _weight_descriptor(weight, cfg, mirror) if use_tma else weight,
        bias if bias is not None else feats,
        target,
        neighbors,
        arranged.order,
        arranged.taps,
        arranged.counts,
        neighbors if places is None else places,
        neighbors if slots is None else slots,
        num_rows,
        neighbors.shape[1],
        tiles,
        ck,
        cn,
        strides[0],
        strides[1],
        weight.stride(1),
        V=volume,
        BM=cfg.bm,
        BN=cfg.bn,
        BK=cfg.bk,
        GROUPS=cfg.groups,
        SLICES=cfg.slices,
        MIRROR=mirror,
        HAS_BIAS=bias is not None,
        PARTIAL=parts > 1,
        EVEN_K=ck % cfg.bk == 0,
        EVEN_N=cn % cfg.bn == 0,
        USE_TMA=use_tma,
        PRECISION=_precision(feats.dtype),
        CACHE=cfg.cache,
        CHILDREN=places is not None,
        num_stages=cfg.stages,
        num_warps=cfg.warps,
    )


def conv_children(
    feats: Tensor,  # [M, Ci]
    weight: Tensor,  # [8·C', V, Ci]
    bias: Tensor | None,  # [8·C']
    hood: Neighborhood,
    cells: Tensor,  # [M, 8] int32 row of each child, −1 if there is none
    num_children: int,
    *,
    config: ConvConfig | None = None,
) -> Tensor:  # [T, C']
    """Convolution to 8·C' channels of which a row keeps, for each child that exists, the C' that are the child's.

    Only these are computed. Same bits in every run.
    """
    cn = weight.shape[0] // 8
    out = feats.new_empty(num_children, cn)
    if out.numel() == 0:
        return out
    feats, weight = feats.contiguous(), weight.contiguous()
    cfg = config
    if cfg is None:
        ck, volume = feats.shape[1], hood.shape[1]
        problem = ConvProblem("children", feats.dtype, num_children, ck, cn, volume)
        possible = hopper_possible(feats, weight, ck, cn, volume)
        cfg = choose_conv(
            problem,
            feats.device,
            possible,
            lambda c: conv_children(feats, weight, bias, hood, cells, num_children, config=c),
        )
    with on_device(feats):
        arranged = arrange_children(hood, cells, num_children, cfg.bm)
        _launch(feats, weight, bias, out, arranged, cfg, False)
    return out


def weight_gradient(
    grad: Tensor,  # [N, Co]
    feats: Tensor,  # [N, Ci]
    hood: Neighborhood,
    *,
    config: WeightGradConfig | None = None,
) -> Tensor:  # [Co, V, Ci]
    """Gradient of the weights in the type of feats, accumulated in float32 in a fixed order."""
    co, ci, volume = grad.shape[1], feats.shape[1], hood.shape[1]
    out = feats.new_empty(co, volume, ci)
    if out.numel() == 0:
        return out
    grad, feats = grad.contiguous(), feats.contiguous()
    pairs = hood.pairs()
    cfg = config
    if cfg is None:
        problem = ConvProblem("weight_grad", feats.dtype, pairs.starts[-1], ci, co, volume)
        possible = hopper_possible(feats, grad, ci, co, volume)
        run = partial(weight_gradient, grad, feats, hood)
        cfg = choose_weight_grad(problem, feats.device, possible, lambda c: run(config=c))
    table, taps = hood.work_items(cfg.chunk)
    items = table.shape[1]
    sums = torch.empty((items, co, ci), dtype=torch.float32, device=feats.device)
    if items and cfg.hopper:
        launch_weight_grad_hopper(grad, feats, pairs.rows_out, pairs.rows_in, table, sums, cfg)
    elif items:
        weight_grad_kernel[(items * triton.cdiv(co, cfg.bm) * triton.cdiv(ci, cfg.bn),)](
            grad,
            feats,
            pairs.rows_out,
            pairs.rows_in,
            table[0],
            table[1],
            sums,
            co,
            ci,
            BM=cfg.bm,
            BN=cfg.bn,
            BK=cfg.bk,
            EVEN=co % cfg.bm == 0 and ci % cfg.bn == 0,
            PRECISION=_precision(feats.dtype),
            num_stages=cfg.stages,
            num_warps=cfg.warps,
        )
    block = 1024
    reduce_taps_kernel[(triton.cdiv(co * ci, block), volume)](sums, taps, out, co, ci, V=volume, BLOCK=block)
    return out


def column_sums(x: Tensor) -> Tensor:
    """[N, C] contiguous -> [C] float64; blocks of rows are added in their order.

    Sums of a million rows whose values cancel would lose their digits in float32.
    """
    num_rows, channels = x.shape
    block = min(256, triton.next_power_of_2(channels))
    rows, steps = max(1, 8192 // block), 16
    blocks = triton.cdiv(num_rows, rows * steps)
    partial = torch.empty((blocks, channels), dtype=torch.float64, device=x.device)
    if partial.numel():
        grid = (blocks, triton.cdiv(channels, block))
        column_sums_kernel[grid](x, partial, num_rows, channels, ROWS=rows, STEPS=steps, BLOCK_C=block, num_warps=8)
    return partial.sum(0)


class _TritonConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feats: Tensor, weight: Tensor, bias: Tensor | None, hood: Neighborhood) -> Tensor:
        ctx.save_for_backward(feats, weight)
        ctx.hood = hood
        ctx.has_bias = bias is not None
        return conv_rows(feats, weight.flatten(1, 3), bias, hood)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        feats, weight = ctx.saved_tensors
        grad = grads[0].to(feats.dtype).contiguous()
        grad_feats = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_feats = conv_rows(grad, weight.flatten(1, 3), None, ctx.hood, mirror=True)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(grad, feats, ctx.hood).view(weight.shape)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            grad_bias = column_sums(grad).to(weight.dtype)
        return grad_feats, grad_weight, grad_bias, None


def triton_conv(feats: Tensor, weight: Tensor, bias: Tensor | None, hood: Neighborhood) -> Tensor:
    """[N, Ci], [Co, K1, K2, K3, Ci], [Co] -> [N, Co]; differentiable in all three."""
    with on_device(feats):
        return _TritonConv.apply(feats, weight, bias, hood)
