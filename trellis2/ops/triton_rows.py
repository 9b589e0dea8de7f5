"""Launches of the row kernels. Letters: N rows, C channels, H hidden channels."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .row_mlp import MlpWeights
from .triton_kernels.row_mlp import (
    child_coords_kernel,
    child_skip_kernel,
    norm_linear_kernel,
    norm_mlp_kernel,
    norm_silu_kernel,
)
from .triton_support import on_device

__all__ = ["launch_child_coords", "launch_child_skip", "launch_norm_linear", "launch_norm_mlp", "launch_norm_silu"]


def launch_norm_silu(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, silu: bool, out: Tensor | None = None
) -> Tensor:
    """x [N, C] -> SiLU(layer norm), or the norm alone; into `out` if given."""
    x = x.contiguous()
    out = torch.empty_like(x) if out is None else out
    num_rows, channels = x.shape
    if x.numel() == 0:
        return out
    block = triton.next_power_of_2(channels)
    rows = max(1, 2048 // block)
    with on_device(x):
        norm_silu_kernel[(triton.cdiv(num_rows, rows),)](
            x,
            x if weight is None else weight,
            x if bias is None else bias,
            out,
            num_rows,
            channels,
            eps,
            ROWS=rows,
            BLOCK_C=block,
            AFFINE=weight is not None,
            SILU=silu,
            num_warps=4,
        )
    return out


def launch_norm_mlp(
    h: Tensor,
    residual: Tensor,
    weights: MlpWeights,
    eps: float,
    out: Tensor | None = None,
    *,
    block_rows: int = 64,
    block_hidden: int = 32,
    stages: int = 3,
    warps: int = 4,
) -> Tensor:
    """residual + MLP(layer norm(h)) for C a power of two; see `row_mlp.norm_mlp`."""
    h, residual = h.contiguous(), residual.contiguous()
    out = torch.empty_like(h) if out is None else out
    num_rows, channels = h.shape
    if h.numel() == 0:
        return out
    norm_weight, norm_bias, w1, b1, w2, b2 = weights
    with on_device(h):
        norm_mlp_kernel[(triton.cdiv(num_rows, block_rows),)](
            h,
            residual,
            norm_weight,
            norm_bias,
            w1.contiguous(),
            b1,
            w2.contiguous(),
            b2,
            out,
            num_rows,
            eps,
            C=channels,
            H=w1.shape[0],
            BM=block_rows,
            BH=block_hidden,
            num_stages=stages,
            num_warps=warps,
        )
    return out


def launch_child_skip(out: Tensor, feats: Tensor, parents: Tensor, places: Tensor) -> Tensor:
    """See `child_conv.add_child_skip_`."""
    if out.numel() == 0:
        return out
    num_rows, channels = out.shape
    block = triton.next_power_of_2(channels)
    rows = max(1, 2048 // block)
    feats = feats.contiguous()
    with on_device(out):
        child_skip_kernel[(triton.cdiv(num_rows, rows),)](
            out,
            feats,
            parents.contiguous(),
            places.contiguous(),
            num_rows,
            feats.shape[1],
            channels,
            channels // (feats.shape[1] // 8),
            ROWS=rows,
            BLOCK_C=block,
            num_warps=4,
        )
    return out


def launch_norm_linear(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """See `row_mlp.norm_linear`; for a handful of outputs."""
    num_rows, channels = x.shape
    outputs = weight.shape[0]
    out = torch.empty((num_rows, outputs), dtype=dtype, device=x.device)
    if out.numel() == 0:
        return out
    block = triton.next_power_of_2(channels)
    rows = max(1, 4096 // block)
    with on_device(x):
        norm_linear_kernel[(triton.cdiv(num_rows, rows),)](
            x.contiguous(),
            weight.contiguous(),
            bias,
            out,
            num_rows,
            channels,
            eps,
            K=outputs,
            ROWS=rows,
            BLOCK_C=block,
            BLOCK_K=triton.next_power_of_2(outputs),
            num_warps=4,
        )
    return out


def launch_child_coords(coords: Tensor, idx: Tensor, subidx: Tensor, factor: int) -> Tensor:
    """See `child_coords.child_coords`."""
    num_rows = idx.shape[0]
    out = torch.empty((num_rows, 4), dtype=torch.int32, device=coords.device)
    if num_rows:
        with on_device(coords):
            child_coords_kernel[(triton.cdiv(num_rows, 512),)](
                coords.contiguous(), idx.contiguous(), subidx.contiguous(), out, num_rows, factor, BLOCK=512
            )
    return out
