"""Triton kernel of `widen_int8`: integer weights times the scale of their row, in the type of a product.

Letters: K rows, C columns. Imported only where Triton is present.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import on_device

__all__ = ["launch_widen_int8"]

_ROWS, _COLUMNS = 4, 1024


@triton.jit
def _widen_int8_kernel(
    codes_ptr,  # [K, C] int8
    scale_ptr,  # [K] float32
    out_ptr,  # [K, C]
    num_rows,
    num_columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mask = (rows < num_rows)[:, None] & (columns < num_columns)[None, :]
    at = rows[:, None] * num_columns + columns[None, :]
    scale = tl.load(scale_ptr + rows, mask=rows < num_rows, other=0.0)
    value = tl.load(codes_ptr + at, mask=mask, other=0).to(tl.float32) * scale[:, None]
    tl.store(out_ptr + at, value.to(out_ptr.dtype.element_ty), mask=mask)


def launch_widen_int8(
    codes: Tensor,  # [K, C] int8 contiguous
    scale: Tensor,  # [K, 1] float32 contiguous
    dtype: torch.dtype,
) -> Tensor:  # [K, C] of `dtype`
    """codes · scale, computed in float32 and rounded once."""
    out = torch.empty(codes.shape, dtype=dtype, device=codes.device)
    rows, columns = codes.shape
    if codes.numel() == 0:
        return out
    grid = (triton.cdiv(rows, _ROWS), triton.cdiv(columns, _COLUMNS))
    with on_device(codes):
        _widen_int8_kernel[grid](codes, scale, out, rows, columns, ROWS=_ROWS, COLUMNS=_COLUMNS)
    return out
