"""Triton kernel of `fused_rope`: root-mean-square norm per head and rotary embedding, in place.

Letters: T tokens, J heads (queries and keys together), D head dim. Imported only where Triton is present.
"""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import on_device

__all__ = ["launch_norm_rope"]


@triton.jit
def _norm_rope_kernel(
    x_ptr,  # [T, J, D] in tokens of `token_stride`, heads dense
    gamma_ptr,  # [J or J/2, D] float32, or unused
    second_gamma_ptr,  # [J/2, D] float32 of the second half of the heads, or unused
    phase_ptr,  # [P, D/2, 2] float32 (cos, sin), or unused
    num_rows,  # T·J
    num_phases,  # P: the phase of token t is t mod P
    token_stride,
    eps,
    J: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    HAS_NORM: tl.constexpr,
    TWO: tl.constexpr,
    HAS_ROPE: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    token, head = rows // J, rows % J
    cols = tl.arange(0, BLOCK_D)
    mask = (rows < num_rows)[:, None] & (cols < D)[None, :]
    at = token[:, None] * token_stride + head[:, None] * D + cols[None, :]
    raw = tl.load(x_ptr + at, mask=mask, other=0.0)
    x = raw.to(tl.float32)
    if HAS_NORM:
        mean_square = tl.sum(x * x, axis=1) / D
        if TWO:
            first = (head < J // 2)[:, None]
            gamma = tl.load(gamma_ptr + head[:, None] * D + cols[None, :], mask=mask & first, other=0.0)
            second = (head - J // 2)[:, None] * D + cols[None, :]
            gamma += tl.load(second_gamma_ptr + second, mask=mask & (first == 0), other=0.0)
        else:
            gamma = tl.load(gamma_ptr + head[:, None] * D + cols[None, :], mask=mask, other=0.0)
        x = x * (1.0 / tl.sqrt(mean_square + eps))[:, None] * gamma
    if HAS_ROPE:
        place = (token % num_phases)[:, None] * D + cols[None, :]
        phase = tl.load(phase_ptr + place, mask=mask, other=0.0)
        cos, sin = tl.split(tl.reshape(phase, (ROWS, BLOCK_D // 2, 2)))
        a, b = tl.split(tl.reshape(x, (ROWS, BLOCK_D // 2, 2)))
        x = tl.reshape(tl.join(a * cos - b * sin, a * sin + b * cos), (ROWS, BLOCK_D))
    tl.store(x_ptr + at, x.to(raw.dtype), mask=mask)


def launch_norm_rope(
    x: Tensor,  # [T, J, D], heads and channels dense, changed in place
    gammas: Sequence[Tensor],  # none, one [J, D], or two [J/2, D]; float32 contiguous
    phases: Tensor | None,  # [P, D/2, 2] float32 contiguous
    eps: float,
    *,
    rows_per_program: int = 8,
    num_warps: int = 2,
) -> None:
    """Norm and rotate `x` where it lies."""
    tokens, heads, dim = x.shape
    num_rows = tokens * heads
    if num_rows == 0:
        return
    with on_device(x):
        _norm_rope_kernel[(triton.cdiv(num_rows, rows_per_program),)](
            x,
            gammas[0] if gammas else x,
            gammas[-1] if gammas else x,
            x if phases is None else phases,
            num_rows,
            1 if phases is None else phases.shape[0],
            x.stride(0),
            eps,
            J=heads,
            D=dim,
            ROWS=rows_per_program,
            BLOCK_D=triton.next_power_of_2(dim),
            HAS_NORM=len(gammas) > 0,
            TWO=len(gammas) > 1,
            HAS_ROPE=phases is not None,
            num_warps=num_warps,
        )
