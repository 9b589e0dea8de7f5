"""Triton kernel of `fused_norm`: residual, layer norm and modulation of a row in one pass.

Letters: T rows, C channels, N samples. Imported only where Triton is present.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import on_device

__all__ = ["launch_residual_norm"]


@triton.jit
def _residual_norm_kernel(
    x_ptr,  # [T, C]
    branch_ptr,  # [T, C], or [N, C] in rows of `branch_stride` if SHARED_BRANCH, or unused
    gate_ptr,  # [N, C] in rows of `gate_stride`, or unused
    weight_ptr,  # [C], or unused
    bias_ptr,  # [C], or unused
    shift_ptr,  # [N, C] in rows of `mod_stride`, or unused
    scale_ptr,  # [N, C] in rows of `mod_stride`, or unused
    row_sample_ptr,  # [T] int64, or unused
    sum_ptr,  # [T, C] out, or unused
    out_ptr,  # [T, C] out, or unused
    out_scale_ptr,  # [T] float32 out: what the quantised row is multiplied by, or unused
    num_rows,
    rows_per_sample,
    branch_stride,
    gate_stride,
    mod_stride,
    eps,
    C: tl.constexpr,
    BLOCK_C: tl.constexpr,
    ROWS: tl.constexpr,
    HAS_BRANCH: tl.constexpr,
    SHARED_BRANCH: tl.constexpr,
    HAS_GATE: tl.constexpr,
    HAS_NORM: tl.constexpr,
    AFFINE: tl.constexpr,
    MODULATE: tl.constexpr,
    RAGGED: tl.constexpr,
    QUANT_MAX: tl.constexpr,  # largest value of the quantised type; 0 keeps the input's type
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    row_ok = rows < num_rows
    cols = tl.arange(0, BLOCK_C)
    col_ok = cols < C
    mask = row_ok[:, None] & col_ok[None, :]
    offsets = rows[:, None] * C + cols[None, :]
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0)
    if HAS_GATE or MODULATE or SHARED_BRANCH:
        if RAGGED:
            sample = tl.load(row_sample_ptr + rows, mask=row_ok, other=0)
        else:
            sample = rows // rows_per_sample
    if HAS_BRANCH:
        total = x.to(tl.float32)
        if SHARED_BRANCH:
            branch = tl.load(branch_ptr + sample[:, None] * branch_stride + cols[None, :], mask=mask, other=0.0)
        else:
            branch = tl.load(branch_ptr + offsets, mask=mask, other=0.0)
        branch = branch.to(tl.float32)
        if HAS_GATE:
            gate = tl.load(gate_ptr + sample[:, None] * gate_stride + cols[None, :], mask=mask, other=0.0)
            branch = branch * gate.to(tl.float32)
        x = (total + branch).to(x.dtype)
        tl.store(sum_ptr + offsets, x, mask=mask)
    if HAS_NORM:
        h = x.to(tl.float32)
        mean = tl.sum(h, axis=1) / C
        h = tl.where(mask, h - mean[:, None], 0.0)
        variance = tl.sum(h * h, axis=1) / C
        h = h * (1.0 / tl.sqrt(variance + eps))[:, None]
        if AFFINE:
            weight = tl.load(weight_ptr + cols, mask=col_ok, other=0.0).to(tl.float32)
            bias = tl.load(bias_ptr + cols, mask=col_ok, other=0.0).to(tl.float32)
            h = h * weight[None, :] + bias[None, :]
        if MODULATE:
            at = sample[:, None] * mod_stride + cols[None, :]
            scale = tl.load(scale_ptr + at, mask=mask, other=0.0).to(tl.float32)
            shift = tl.load(shift_ptr + at, mask=mask, other=0.0).to(tl.float32)
            h = h * (1.0 + scale) + shift
        if QUANT_MAX > 0:
            largest = tl.max(tl.where(mask, tl.abs(h), 0.0), axis=1)
            step = tl.maximum(largest, 1e-12) / QUANT_MAX
            tl.store(out_scale_ptr + rows, step, mask=row_ok)
            h = tl.clamp(h / step[:, None], -QUANT_MAX, QUANT_MAX)
        tl.store(out_ptr + offsets, h.to(out_ptr.dtype.element_ty), mask=mask)


def launch_residual_norm(
    x: Tensor,  # [T, C] contiguous
    branch: Tensor | None,  # [T, C] contiguous, or [N, C] with unit stride in C if shared_branch
    gate: Tensor | None,  # [N, C], unit stride in C
    weight: Tensor | None,  # [C]
    bias: Tensor | None,  # [C]
    shift: Tensor | None,  # [N, C], strides as `scale`
    scale: Tensor | None,  # [N, C]
    row_sample: Tensor | None,  # [T] int64
    rows_per_sample: int,
    eps: float,
    *,
    norm: bool = True,
    shared_branch: bool = False,
    out_dtype: torch.dtype | None = None,
    rows_per_program: int = 1,
    num_warps: int = 4,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Returns (sum or x, normed rows or None, scale of quantised rows or None)."""
    num_rows, channels = x.shape
    total = torch.empty_like(x) if branch is not None else x
    quantised = out_dtype is not None and out_dtype != x.dtype
    out = torch.empty(x.shape, dtype=out_dtype or x.dtype, device=x.device) if norm else None
    out_scale = torch.empty(num_rows, dtype=torch.float32, device=x.device) if quantised else None
    if num_rows == 0:
        return total, out, out_scale
    mod = shift if shift is not None else x
    grid = (triton.cdiv(num_rows, rows_per_program),)
    with on_device(x):
        _residual_norm_kernel[grid](
            x,
            x if branch is None else branch,
            x if gate is None else gate,
            x if weight is None else weight,
            x if bias is None else bias,
            mod,
            x if scale is None else scale,
            x if row_sample is None else row_sample,
            total,
            x if out is None else out,
            x if out_scale is None else out_scale,
            num_rows,
            max(1, rows_per_sample),
            0 if branch is None else branch.stride(0),
            0 if gate is None else gate.stride(0),
            mod.stride(0),
            eps,
            C=channels,
            BLOCK_C=triton.next_power_of_2(channels),
            ROWS=rows_per_program,
            HAS_BRANCH=branch is not None,
            SHARED_BRANCH=shared_branch,
            HAS_GATE=gate is not None,
            HAS_NORM=norm,
            AFFINE=weight is not None,
            MODULATE=scale is not None,
            RAGGED=row_sample is not None,
            QUANT_MAX=float(torch.finfo(out_dtype).max) if quantised and out_dtype is not None else 0.0,
            num_warps=num_warps,
        )
    return total, out, out_scale
