"""Triton kernel of `quantize_rows`: rows to 8-bit floating point with one scale each, behind an optional GELU.

Letters: T rows, C channels. Imported only where Triton is present.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import on_device

__all__ = ["launch_quantize_rows"]


@triton.jit
def _tanh(x):
    # 1 − 2 / (e^{2x} + 1): exact at both ends, since e^{2x} goes to infinity or zero there
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def _quantize_rows_kernel(
    x_ptr,  # [T, C]
    codes_ptr,  # [T, C] out, 8-bit floating point
    scale_ptr,  # [T] out, float32
    num_rows,
    largest_code,
    smallest,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    GELU: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK_C)
    mask = cols < C
    x = tl.load(x_ptr + row * C + cols, mask=mask, other=0.0).to(tl.float32)
    if GELU:
        x = 0.5 * x * (1.0 + _tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    scale = tl.maximum(tl.max(tl.abs(x), axis=0), smallest) / largest_code
    codes = tl.clamp(x / scale, -largest_code, largest_code)
    tl.store(codes_ptr + row * C + cols, codes.to(codes_ptr.dtype.element_ty), mask=mask)
    tl.store(scale_ptr + row, scale)


def launch_quantize_rows(
    x: Tensor,  # [T, C] contiguous
    dtype: torch.dtype,
    largest_code: float,
    smallest: float,
    gelu: bool,
) -> tuple[Tensor, Tensor]:
    """Codes [T, C] of `dtype` and scales [T, 1] float32."""
    num_rows, channels = x.shape
    codes = torch.empty(x.shape, dtype=dtype, device=x.device)
    scale = torch.empty((num_rows, 1), dtype=torch.float32, device=x.device)
    if num_rows == 0:
        return codes, scale
    block = triton.next_power_of_2(channels)
    with on_device(x):
        _quantize_rows_kernel[(num_rows,)](
            x,
            codes,
            scale,
            num_rows,
            largest_code,
            smallest,
            C=channels,
            BLOCK_C=block,
            GELU=gelu,
            num_warps=max(1, min(16, block // 512)),
        )
    return codes, scale
