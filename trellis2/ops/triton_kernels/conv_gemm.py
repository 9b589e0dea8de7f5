"""Implicit-GEMM kernel of the submanifold convolution: output rows (or input gradients) from gathered rows.

Letters: N rows, V taps, Ck channels summed over, Cn channels produced, P sorted positions (N rounded up to the tile),
G groups of taps, S slices of the sum.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["conv_gemm_kernel", "reduce_slices_kernel"]


@triton.jit
def _first_step(
    piece,
    taps,  # [V] active taps of a tile, ascending
    count,
    group,
    ck,
    V: tl.constexpr,
    BK: tl.constexpr,
    GROUPS: tl.constexpr,
    SLICES: tl.constexpr,
):
    """Step of a tile at which a piece of its sum begins.

    The sum is cut by tap and channel (in units of 64), not by what the tile holds: a row then gets the same bits in
    whatever tile it lies, and for whatever BK.
    """
    WIDTH: tl.constexpr = (V + GROUPS - 1) // GROUPS  # taps of a group
    units = tl.cdiv(ck, 64)
    at = tl.minimum(piece * tl.cdiv(WIDTH * units, SLICES), WIDTH * units)
    tap = group * WIDTH + at // units
    index = tl.arange(0, triton.next_power_of_2(V))
    listed = tl.load(taps + index, mask=index < count, other=-1)
    before = tl.sum(((listed >= 0) & ((listed & 65535) < tap)).to(tl.int32), axis=0)
    there = tl.sum(((listed >= 0) & ((listed & 65535) == tap)).to(tl.int32), axis=0)
    k_steps = tl.cdiv(ck, BK)
    return before * k_steps + there * tl.minimum(at % units * (64 // BK), k_steps)


@triton.jit(do_not_specialize=["num_rows", "num_tiles"])
def conv_gemm_kernel(
    feats,  # [N, Ck]
    weight,  # [Co, V, Ci], or a descriptor over it when USE_TMA
    bias,  # [Cn]
    out,  # [N, Cn] in the type of feats; with PARTIAL [S·G, N, Cn] float32
    neighbors,  # [V, P] int32 row under tap v at a sorted position, −1 if none
    order,  # [G, P] int32 row at a sorted position, −1 past the end
    taps,  # [G, tiles, V] int32 active taps of a row tile, ascending, in the low 16 bits
    counts,  # [G, tiles] int32 number of active taps
    places,  # [P'] int32 place in `neighbors` of every position; only with CHILDREN
    slots,  # [tiles] int32 block of produced channels that a tile computes; only with CHILDREN
    num_rows,
    num_positions,
    num_tiles,
    ck,
    cn,
    wn_stride,  # elements between weights of neighbouring produced channels
    wk_stride,  # … and of neighbouring summed channels
    wv_stride,  # … and of neighbouring taps
    V: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUPS: tl.constexpr,
    SLICES: tl.constexpr,
    MIRROR: tl.constexpr,  # use the weights of tap V−1−v: the input gradient
    HAS_BIAS: tl.constexpr,
    PARTIAL: tl.constexpr,
    EVEN_K: tl.constexpr,
    EVEN_N: tl.constexpr,
    USE_TMA: tl.constexpr,
    PRECISION: tl.constexpr,  # input_precision of tl.dot
    CACHE: tl.constexpr,  # cache modifier of the stores of the result
    CHILDREN: tl.constexpr = False,  # rows of a tile produce one of several blocks of cn channels each
    ACC: tl.constexpr = tl.float32,
):
    """One program computes a [BM, BN] tile over the active taps of its rows; sums are kept in float32."""
    n_tiles = tl.cdiv(cn, BN)
    pid = tl.program_id(0)
    pid_n = pid % n_tiles
    rest = pid // n_tiles
    part = rest % (GROUPS * SLICES)
    tile = rest // (GROUPS * SLICES)
    group = part % GROUPS
    piece = part // GROUPS

    position = tile.to(tl.int64) * BM + tl.arange(0, BM)
    offs_k = tl.arange(0, BK)
    col = pid_n * BN + tl.arange(0, BN)
    list_at = (group * num_tiles + tile).to(tl.int64)
    k_steps = tl.cdiv(ck, BK)
    count = tl.load(counts + list_at)
    first = 0
    last = count * k_steps
    if SLICES > 1:
        first = _first_step(piece, taps + list_at * V, count, group, ck, V, BK, GROUPS, SLICES)
        last = _first_step(piece + 1, taps + list_at * V, count, group, ck, V, BK, GROUPS, SLICES)

    first_col = pid_n * BN
    from_place = position
    if CHILDREN:
        first_col += tl.load(slots + tile) * cn
        from_place = tl.maximum(tl.load(places + position), 0).to(tl.int64)
    w_col = first_col + tl.arange(0, BN)

    acc = tl.zeros((BM, BN), dtype=ACC)
    for step in range(first, last):
        k = (step % k_steps) * BK
        tap = tl.load(taps + list_at * V + step // k_steps) & 65535
        w_tap = V - 1 - tap if MIRROR else tap
        source = tl.load(neighbors + tap.to(tl.int64) * num_positions + from_place)
        present = (source >= 0)[:, None]
        if not EVEN_K:
            present = present & ((k + offs_k) < ck)[None, :]
        a = tl.load(
            feats + source.to(tl.int64)[:, None] * ck + (k + offs_k)[None, :],
            mask=present,
            other=0.0,
        )
        if USE_TMA:
            if MIRROR:
                b = weight.load([k, w_tap, first_col]).reshape(BK, BN)
            else:
                b = weight.load([first_col, w_tap, k]).reshape(BN, BK).T
        else:
            w_at = weight + w_tap.to(tl.int64) * wv_stride
            w_at += (k + offs_k).to(tl.int64)[:, None] * wk_stride + w_col.to(tl.int64)[None, :] * wn_stride
            if EVEN_K and EVEN_N:
                b = tl.load(w_at)
            else:
                b = tl.load(w_at, mask=((k + offs_k) < ck)[:, None] & (col < cn)[None, :], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)

    row = tl.load(order + group.to(tl.int64) * num_positions + position)
    keep = (row >= 0)[:, None]
    if not EVEN_N:
        keep = keep & (col < cn)[None, :]
    at = row.to(tl.int64)[:, None] * cn + col[None, :]
    if PARTIAL:
        tl.store(out + part.to(tl.int64) * num_rows * cn + at, acc, mask=keep)
    else:
        if HAS_BIAS:
            acc += tl.load(bias + w_col, mask=col < cn, other=0.0).to(ACC)[None, :]
        tl.store(out + at, acc.to(out.dtype.element_ty), mask=keep, cache_modifier=CACHE)


@triton.jit(do_not_specialize=["numel"])
def reduce_slices_kernel(
    partial,  # [slices, numel] float32
    bias,  # [Cn]
    out,  # [numel]
    numel,
    cn,
    SLICES: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum of the slices in their order, plus the bias, cast once."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < numel
    total = tl.load(partial + at, mask=keep, other=0.0)
    for piece in tl.static_range(1, SLICES):
        total += tl.load(partial + piece * tl.cast(numel, tl.int64) + at, mask=keep, other=0.0)
    if HAS_BIAS:
        total += tl.load(bias + at % cn, mask=keep, other=0.0).to(total.dtype)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=keep)
