"""Weight gradient of the submanifold convolution: one product per tap over the pairs of rows that it joins.

Letters: L pairs, V taps, W work items (runs of pairs of one tap).
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["column_sums_kernel", "reduce_taps_kernel", "weight_grad_kernel"]


@triton.jit
def weight_grad_kernel(
    grad,  # [N, Co]
    feats,  # [N, Ci]
    rows_out,  # [L] int32
    rows_in,  # [L] int32
    item_start,  # [W] int64
    item_stop,  # [W] int64
    partial,  # [W, Co, Ci] float32
    co,
    ci,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    EVEN: tl.constexpr,  # tiles divide Co and Ci
    PRECISION: tl.constexpr,
):
    """partial[w] = Σ over the pairs of item w of grad[out] ⊗ feats[in], one [BM, BN] tile a program."""
    tiles_n = tl.cdiv(ci, BN)
    tiles_m = tl.cdiv(co, BM)
    pid = tl.program_id(0)
    pid_n = pid % tiles_n
    pid_m = pid // tiles_n % tiles_m
    item = pid // (tiles_n * tiles_m)
    m = pid_m * BM + tl.arange(0, BM)
    n = pid_n * BN + tl.arange(0, BN)
    start = tl.load(item_start + item)
    stop = tl.load(item_stop + item)
    length = (stop - start).to(tl.int32)
    offs = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, length, BK):
        inside = (k + offs) < length
        out_row = tl.load(rows_out + start + k + offs, mask=inside, other=0).to(tl.int64)
        in_row = tl.load(rows_in + start + k + offs, mask=inside, other=0).to(tl.int64)
        if EVEN:
            g = tl.load(grad + out_row[:, None] * co + m[None, :], mask=inside[:, None], other=0.0)
            x = tl.load(feats + in_row[:, None] * ci + n[None, :], mask=inside[:, None], other=0.0)
        else:
            g = tl.load(grad + out_row[:, None] * co + m[None, :], mask=inside[:, None] & (m < co)[None, :], other=0.0)
            x = tl.load(feats + in_row[:, None] * ci + n[None, :], mask=inside[:, None] & (n < ci)[None, :], other=0.0)
        acc = tl.dot(tl.trans(g), x, acc, input_precision=PRECISION)
    at = item.to(tl.int64) * co * ci + m.to(tl.int64)[:, None] * ci + n[None, :]
    tl.store(partial + at, acc, mask=(m < co)[:, None] & (n < ci)[None, :])


@triton.jit
def reduce_taps_kernel(
    partial,  # [W, Co, Ci] float32
    tap_start,  # [V + 1] int32 first item of each tap
    out,  # [Co, V, Ci]
    co,
    ci,
    V: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum of the items of every tap, in their order, cast once; zero for taps without pairs."""
    tap = tl.program_id(1)
    area = tl.cast(co, tl.int64) * ci
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < area
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for item in range(tl.load(tap_start + tap), tl.load(tap_start + tap + 1)):
        total += tl.load(partial + tl.cast(item, tl.int64) * area + at, mask=keep, other=0.0)
    to = (at // ci) * V * ci + tap * ci + at % ci
    tl.store(out + to, total.to(out.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["num_rows"])
def column_sums_kernel(
    x,  # [N, C]
    partial,  # [blocks, C] float64 out
    num_rows,
    c,
    ROWS: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sums over ROWS·STEPS rows of every column."""
    first = tl.program_id(0).to(tl.int64) * (ROWS * STEPS)
    col = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    total = tl.zeros((ROWS, BLOCK_C), dtype=tl.float32)
    for step in range(STEPS):
        row = first + step * ROWS + tl.arange(0, ROWS)
        keep = (row < num_rows)[:, None] & (col < c)[None, :]
        total += tl.load(x + row[:, None] * c + col[None, :], mask=keep, other=0.0).to(tl.float32)
    at = tl.program_id(0).to(tl.int64) * c + col
    tl.store(partial + at, tl.sum(total.to(tl.float64), axis=0), mask=col < c)
