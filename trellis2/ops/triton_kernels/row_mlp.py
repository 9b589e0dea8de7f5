"""Kernels on rows of features: layer norm with SiLU, the norm-MLP-residual tail of a ConvNeXt block, child skips.

Letters: N rows, C channels, H hidden channels.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["child_coords_kernel", "child_skip_kernel", "norm_linear_kernel", "norm_mlp_kernel", "norm_silu_kernel"]


@triton.jit
def _normed(x, keep, weight, bias, cols, c, eps, AFFINE: tl.constexpr):
    """Layer norm of float32 rows [R, BLOCK_C] over the first c columns."""
    mean = tl.sum(x, axis=1) / c
    x = tl.where(keep, x - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / c + eps)
    x = x * scale[:, None]
    if AFFINE:
        inside = cols < c
        w = tl.load(weight + cols, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(bias + cols, mask=inside, other=0.0).to(tl.float32)
        x = x * w[None, :] + b[None, :]
    return x


@triton.jit(do_not_specialize=["num_rows"])
def norm_silu_kernel(
    x,  # [N, C]
    weight,  # [C]
    bias,  # [C]
    out,  # [N, C], may be x
    num_rows,
    c,
    eps,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    AFFINE: tl.constexpr,
    SILU: tl.constexpr,
):
    """Layer norm in float32, SiLU of the norm rounded to the type of x, rounded again."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, BLOCK_C)
    keep = (row < num_rows)[:, None] & (cols < c)[None, :]
    at = row[:, None] * c + cols[None, :]
    value = _normed(tl.load(x + at, mask=keep, other=0.0).to(tl.float32), keep, weight, bias, cols, c, eps, AFFINE)
    if SILU:
        value = value.to(out.dtype.element_ty).to(tl.float32)
        value = value * tl.sigmoid(value)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["num_rows"])
def norm_mlp_kernel(
    h,  # [N, C]
    residual,  # [N, C]
    norm_weight,  # [C]
    norm_bias,  # [C]
    w1,  # [H, C]
    b1,  # [H]
    w2,  # [C, H]
    b2,  # [C]
    out,  # [N, C], may be h or residual
    num_rows,
    eps,
    C: tl.constexpr,  # a power of two
    H: tl.constexpr,  # a multiple of BH
    BM: tl.constexpr,
    BH: tl.constexpr,
):
    """residual + W2 SiLU(W1 norm(h) + b1) + b2 for BM rows; the hidden rows stay on the chip, BH channels at a time."""
    row = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    cols = tl.arange(0, C)
    keep = (row < num_rows)[:, None] & (cols >= 0)[None, :]
    at = row[:, None] * C + cols[None, :]
    x = tl.load(h + at, mask=keep, other=0.0).to(tl.float32)
    a = _normed(x, keep, norm_weight, norm_bias, cols, C, eps, True).to(out.dtype.element_ty)
    acc = tl.zeros((BM, C), dtype=tl.float32)
    part = tl.arange(0, BH)
    for j in range(0, H, BH):
        first = tl.load(w1 + (j + part)[None, :] * C + cols[:, None])  # [C, BH]
        u = tl.dot(a, first) + tl.load(b1 + j + part).to(tl.float32)[None, :]
        u = (u * tl.sigmoid(u)).to(out.dtype.element_ty)
        second = tl.load(w2 + cols[None, :] * H + (j + part)[:, None])  # [BH, C]
        acc = tl.dot(u, second, acc)
    acc += tl.load(b2 + cols).to(tl.float32)[None, :]
    acc += tl.load(residual + at, mask=keep, other=0.0).to(tl.float32)
    tl.store(out + at, acc.to(out.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["num_rows"])
def child_skip_kernel(
    out,  # [T, C'] in place
    feats,  # [M, C]
    parents,  # [T] int64
    places,  # [T] int64
    num_rows,
    c,
    c_out,
    repeat,  # C' / (C / 8)
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """out[t, i] += feats[parent, place·C/8 + ⌊i / repeat⌋], the sum in float32."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    valid = row < num_rows
    cols = tl.arange(0, BLOCK_C)
    keep = valid[:, None] & (cols < c_out)[None, :]
    base = tl.load(parents + row, mask=valid, other=0) * c + tl.load(places + row, mask=valid, other=0) * (c // 8)
    skip = tl.load(feats + base[:, None] + (cols // repeat)[None, :], mask=keep, other=0.0).to(tl.float32)
    at = out + row[:, None] * c_out + cols[None, :]
    value = tl.load(at, mask=keep, other=0.0).to(tl.float32) + skip
    tl.store(at, value.to(out.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["num_rows"])
def norm_linear_kernel(
    x,  # [N, C]
    weight,  # [K, C]
    bias,  # [K]
    out,  # [N, K]
    num_rows,
    c,
    eps,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Linear layer on few channels of a layer norm without parameters, all in float32."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, BLOCK_C)
    keep = (row < num_rows)[:, None] & (cols < c)[None, :]
    value = tl.load(x + row[:, None] * c + cols[None, :], mask=keep, other=0.0).to(tl.float32)
    value = _normed(value, keep, x, x, cols, c, eps, False)
    made = tl.arange(0, BLOCK_K)
    total = tl.zeros((ROWS, BLOCK_K), dtype=tl.float32)
    for k in tl.static_range(K):
        w = tl.load(weight + k * c + cols, mask=cols < c, other=0.0).to(tl.float32)
        one = tl.sum(value * w[None, :], axis=1)
        total = tl.where(made[None, :] == k, one[:, None], total)
    total += tl.load(bias + made, mask=made < K, other=0.0).to(tl.float32)[None, :]
    at = out + row[:, None] * K + made[None, :]
    tl.store(at, total.to(out.dtype.element_ty), mask=(row < num_rows)[:, None] & (made < K)[None, :])


@triton.jit(do_not_specialize=["num_rows", "factor"])
def child_coords_kernel(
    coords,  # [M, 4] int32
    parents,  # [T] int64
    places,  # [T] int64, x fastest
    out,  # [T, 4] int32
    num_rows,
    factor,
    BLOCK: tl.constexpr,
):
    """Coordinates of children on a grid `factor` times finer."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = row < num_rows
    base = coords + tl.load(parents + row, mask=valid, other=0) * 4
    place = tl.load(places + row, mask=valid, other=0).to(tl.int32)
    tl.store(out + row * 4, tl.load(base, mask=valid, other=0), mask=valid)
    for axis in tl.static_range(3):
        value = tl.load(base + 1 + axis, mask=valid, other=0) * factor + place % factor
        tl.store(out + row * 4 + 1 + axis, value, mask=valid)
        place = place // factor
