"""Implicit-GEMM kernel of the submanifold convolution for Hopper: warps that gather, warps that multiply.

The same sums as `conv_gemm`, in 16-bit types. One group of warps copies the rows of the neighbours (`cp.async`) and the
weights (bulk tensor copies) into a ring of buffers; two warpgroups multiply, each with its own rows and its own set of
active taps, so that both share the weights of a tap and neither multiplies rows of zeros for the other.

Letters as in `conv_gemm`; W consumers.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    async_copy,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

__all__ = ["conv_gemm_hopper_kernel"]


@gluon.jit
def _work(item, n_tiles, num_tiles, schedule, SCHEDULED: gl.constexpr):
    """Item -> (row tile, group, column tile): column tiles fastest, then row tiles inside a group."""
    tile_n = item % n_tiles
    rest = item // n_tiles
    tile = rest % num_tiles
    if SCHEDULED:
        tile = gl.load(schedule + rest)
    return tile, rest // num_tiles, tile_n


@gluon.jit
def _produce(
    feats,
    weight,
    neighbors,
    taps,
    counts,
    places,
    slots,
    schedule,
    num_positions,
    num_tiles,
    num_items,
    n_tiles,
    ck,
    cn,
    wv_stride,
    a_ring,
    b_ring,
    full,
    empty,
    V: gl.constexpr,
    BM: gl.constexpr,
    BN: gl.constexpr,
    BK: gl.constexpr,
    STAGES: gl.constexpr,
    CONSUMERS: gl.constexpr,
    SCHEDULED: gl.constexpr,
    MIRROR: gl.constexpr,
    CHILDREN: gl.constexpr,
    WARPS: gl.constexpr,
):
    copy: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [WARPS, 1], [1, 0])
    lane = gl.arange(0, BM, layout=gl.SliceLayout(1, copy))
    cols = gl.arange(0, BK, layout=gl.SliceLayout(0, copy))
    k_steps = ck // BK
    step = 0
    for item in range(gl.program_id(0), num_items, gl.num_programs(0)):
        tile, group, tile_n = _work(item, n_tiles, num_tiles, schedule, SCHEDULED)
        list_at = (group * num_tiles + tile).to(gl.int64)
        count = gl.load(counts + list_at)
        first_col = tile_n * BN
        upper = tile.to(gl.int64) * (BM * CONSUMERS) + lane
        lower = upper + BM
        if CHILDREN:
            first_col += gl.load(slots + tile) * cn
            upper = gl.maximum(gl.load(places + upper), 0).to(gl.int64)
            lower = gl.maximum(gl.load(places + lower), 0).to(gl.int64)
        # The rows of a tap are read while those of the tap before are copied, the tap itself one tap earlier still.
        taps_at = taps + list_at * V
        last = gl.maximum(count - 1, 0)
        tap = gl.load(taps_at) & 65535
        after = gl.load(taps_at + gl.minimum(1, last)) & 65535
        next_upper, next_lower = _rows_of_tap(neighbors, tap, count, num_positions, upper, lower)
        for t in range(count):
            from_upper, from_lower, current = next_upper, next_lower, tap
            tap = after
            after = gl.load(taps_at + gl.minimum(t + 2, last)) & 65535
            next_upper, next_lower = _rows_of_tap(neighbors, tap, count, num_positions, upper, lower)
            w_tap = V - 1 - current if MIRROR else current
            for k in range(k_steps):
                at = step % STAGES
                mbarrier.wait(empty.index(at), ((step // STAGES) & 1) ^ 1)
                mbarrier.expect(full.index(at), BN * BK * 2)
                if MIRROR:
                    corner = [k * BK, w_tap * wv_stride + first_col]
                else:
                    corner = [first_col, w_tap * wv_stride + k * BK]
                tma.async_copy_global_to_shared(weight, corner, full.index(at), b_ring.index(at))
                _copy_rows(feats, from_upper, ck, k * BK + cols, a_ring.index(at * CONSUMERS))
                _copy_rows(feats, from_lower, ck, k * BK + cols, a_ring.index(at * CONSUMERS + 1))
                async_copy.mbarrier_arrive(full.index(at), increment_count=False)
                step += 1


@gluon.jit
def _rows_of_tap(neighbors, tap, count, num_positions, upper, lower):
    """Rows under a tap at the positions of both consumers; −1 for tiles without taps."""
    base = neighbors + tap.to(gl.int64) * num_positions
    return gl.load(base + upper, mask=count > 0, other=-1), gl.load(base + lower, mask=count > 0, other=-1)


@gluon.jit
def _copy_rows(feats, rows, ck, cols, buffer):
    """Start copying columns of the rows; zeros for rows of −1."""
    pointers = gl.expand_dims(feats + rows.to(gl.int64) * ck, 1) + gl.expand_dims(cols, 0)
    async_copy.async_copy_global_to_shared(buffer, pointers, mask=gl.expand_dims(rows >= 0, 1))


@gluon.jit
def _consume(
    out,
    bias,
    order,
    taps,
    counts,
    slots,
    schedule,
    num_rows,
    num_positions,
    num_tiles,
    num_items,
    n_tiles,
    ck,
    cn,
    a_ring,
    b_ring,
    full,
    empty,
    WHICH: gl.constexpr,
    V: gl.constexpr,
    BM: gl.constexpr,
    BN: gl.constexpr,
    BK: gl.constexpr,
    STAGES: gl.constexpr,
    CONSUMERS: gl.constexpr,
    SCHEDULED: gl.constexpr,
    MIRROR: gl.constexpr,
    HAS_BIAS: gl.constexpr,
    PARTIAL: gl.constexpr,
    CHILDREN: gl.constexpr,
    CACHE: gl.constexpr,
):
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BN, 16])
    k_steps = ck // BK
    step = 0
    for item in range(gl.program_id(0), num_items, gl.num_programs(0)):
        tile, group, tile_n = _work(item, n_tiles, num_tiles, schedule, SCHEDULED)
        list_at = (group * num_tiles + tile).to(gl.int64)
        count = gl.load(counts + list_at)
        acc = gl.zeros((BM, BN), dtype=gl.float32, layout=mma)
        for t in range(count):
            active = (gl.load(taps + list_at * V + t) >> (16 + WHICH)) & 1
            for _ in range(k_steps):
                at = step % STAGES
                mbarrier.wait(full.index(at), (step // STAGES) & 1)
                if active != 0:
                    a = a_ring.index(at * CONSUMERS + WHICH)
                    b = b_ring.index(at) if MIRROR else b_ring.index(at).permute([1, 0])
                    token = warpgroup_mma(a, b, acc, is_async=True)
                    acc = warpgroup_mma_wait(0, deps=[token])
                    gl.thread_barrier()
                mbarrier.arrive(empty.index(at), count=1)
                step += 1

        first_row = tile.to(gl.int64) * (BM * CONSUMERS) + WHICH * BM
        order_at = order + group.to(gl.int64) * num_positions + first_row
        if PARTIAL:
            target = out + group.to(gl.int64) * num_rows * cn
            _store_rows(target, acc, order_at, cn, tile_n * BN, BM, BN, mma, CACHE)
        else:
            if HAS_BIAS:
                w_col = tile_n * BN + gl.arange(0, BN, layout=gl.SliceLayout(0, mma))
                if CHILDREN:
                    w_col += gl.load(slots + tile) * cn
                acc += gl.expand_dims(gl.load(bias + w_col).to(gl.float32), 0)
            # 16 bytes a thread, neighbouring threads along the row.
            across: gl.constexpr = BN // 8 if BN < 256 else 32
            wide: gl.constexpr = gl.BlockedLayout([1, 8], [32 // across, across], [4, 1], [1, 0])
            narrow = gl.convert_layout(acc.to(out.dtype.element_ty), wide)
            _store_rows(out, narrow, order_at, cn, tile_n * BN, BM, BN, wide, CACHE)


@gluon.jit
def _store_rows(
    out, values, order_at, cn, first_col, BM: gl.constexpr, BN: gl.constexpr, layout: gl.constexpr, CACHE: gl.constexpr
):
    """Values [BM, BN] to the rows that order_at[0 … BM] names, none to −1."""
    row = gl.load(order_at + gl.arange(0, BM, layout=gl.SliceLayout(1, layout)))
    col = first_col + gl.arange(0, BN, layout=gl.SliceLayout(0, layout))
    target = gl.expand_dims(out + row.to(gl.int64) * cn, 1) + gl.expand_dims(col, 0)
    gl.store(target, values, mask=gl.expand_dims(row >= 0, 1), cache_modifier=CACHE)


@gluon.jit(do_not_specialize=["num_rows", "num_tiles", "num_items"])
def conv_gemm_hopper_kernel(
    feats,  # [N, Ck]
    weight,  # descriptor over the weights as a matrix [Co, V·Ci]
    bias,  # [Cn]
    out,  # [N, Cn] in the type of feats; with PARTIAL [G, N, Cn] float32
    neighbors,  # [V, P] int32
    order,  # [G, P'] int32
    taps,  # [G, tiles, V] int32: tap | (set of halves of the tile that have it) << 16
    counts,  # [G, tiles] int32
    places,  # [P'] int32; only with CHILDREN
    slots,  # [tiles] int32; only with CHILDREN
    schedule,  # [G, tiles] int32 order in which tiles are taken; only with SCHEDULED
    num_rows,
    num_positions,
    num_tiles,
    num_items,
    ck,
    cn,
    wv_stride,
    V: gl.constexpr,
    BM: gl.constexpr,  # rows of a consumer
    BN: gl.constexpr,
    BK: gl.constexpr,
    STAGES: gl.constexpr,
    SCHEDULED: gl.constexpr,
    MIRROR: gl.constexpr,
    HAS_BIAS: gl.constexpr,
    PARTIAL: gl.constexpr,
    CHILDREN: gl.constexpr,
    CACHE: gl.constexpr,  # cache modifier of the stores
    PRODUCER_WARPS: gl.constexpr,
    CONSUMER_REGISTERS: gl.constexpr,
    PRODUCER_REGISTERS: gl.constexpr,
):
    """Programs walk over the items (row tile, group, column tile) in steps of the grid."""
    CONSUMERS: gl.constexpr = 2
    dtype: gl.constexpr = feats.dtype.element_ty
    a_layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    a_ring = gl.allocate_shared_memory(dtype, [STAGES * CONSUMERS, BM, BK], a_layout)
    b_ring = gl.allocate_shared_memory(dtype, [STAGES] + weight.block_type.shape, weight.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=PRODUCER_WARPS * 32 + 1)
        mbarrier.init(empty.index(i), count=CONSUMERS)
    n_tiles = gl.cdiv(cn, BN)
    # Constants keep their nature only when written into the argument lists themselves.
    gl.warp_specialize(
        [
            (_consume, (
                out, bias, order, taps, counts, slots, schedule, num_rows, num_positions, num_tiles, num_items, n_tiles,
                ck, cn, a_ring, b_ring, full, empty, gl.constexpr(0),
                V, BM, BN, BK, STAGES, CONSUMERS, SCHEDULED, MIRROR, HAS_BIAS, PARTIAL, CHILDREN, CACHE,
            )),
            (_consume, (
                out, bias, order, taps, counts, slots, schedule, num_rows, num_positions, num_tiles, num_items, n_tiles,
                ck, cn, a_ring, b_ring, full, empty, gl.constexpr(1),
                V, BM, BN, BK, STAGES, CONSUMERS, SCHEDULED, MIRROR, HAS_BIAS, PARTIAL, CHILDREN, CACHE,
            )),
            (_produce, (
                feats, weight, neighbors, taps, counts, places, slots, schedule, num_positions, num_tiles, num_items,
                n_tiles, ck, cn, wv_stride, a_ring, b_ring, full, empty,
                V, BM, BN, BK, STAGES, CONSUMERS, SCHEDULED, MIRROR, CHILDREN, PRODUCER_WARPS,
            )),
        ],
        [4, PRODUCER_WARPS],
        [CONSUMER_REGISTERS, PRODUCER_REGISTERS],
    )  # fmt: skip
    for i in gl.static_range(STAGES):
        mbarrier.invalidate(full.index(i))
        mbarrier.invalidate(empty.index(i))
