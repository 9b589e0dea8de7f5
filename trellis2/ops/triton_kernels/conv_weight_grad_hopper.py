"""Weight gradient of the submanifold convolution for Hopper: warps that gather both operands, warps that multiply.

The same sums as `conv_weight_grad`, in 16-bit types. Letters as there.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    async_copy,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

__all__ = ["weight_grad_hopper_kernel"]


@gluon.jit
def _row_numbers(rows, length, offset, BK: gl.constexpr, layout: gl.constexpr):
    """rows[offset … offset + BK], −1 past `length`."""
    lane = offset + gl.arange(0, BK, layout=gl.SliceLayout(1, layout))
    return gl.load(rows + lane, mask=lane < length, other=-1)


@gluon.jit
def _copy_rows(source, rows, width, first, buffer, C: gl.constexpr, layout: gl.constexpr):
    """Start copying columns first … first + C of the rows into a buffer [BK, C]; zeros for rows of −1."""
    cols = first + gl.arange(0, C, layout=gl.SliceLayout(0, layout))
    pointers = gl.expand_dims(source + rows.to(gl.int64) * width, 1) + gl.expand_dims(cols, 0)
    async_copy.async_copy_global_to_shared(buffer, pointers, mask=gl.expand_dims(rows >= 0, 1))


@gluon.jit
def _produce(
    grad, feats, rows_out, rows_in, item_start, item_stop, co, ci, num_programs, tiles_m, tiles_n,
    g_ring, x_ring, full, empty,
    BM: gl.constexpr, BN: gl.constexpr, BK: gl.constexpr, STAGES: gl.constexpr, CONSUMERS: gl.constexpr,
    WARPS: gl.constexpr,
):  # fmt: skip
    # 16 bytes a thread, neighbouring threads along the row.
    g_across: gl.constexpr = BM // 8 if BM < 256 else 32
    x_across: gl.constexpr = BN // 8 if BN < 256 else 32
    g_layout: gl.constexpr = gl.BlockedLayout([1, 8], [32 // g_across, g_across], [WARPS, 1], [1, 0])
    x_layout: gl.constexpr = gl.BlockedLayout([1, 8], [32 // x_across, x_across], [WARPS, 1], [1, 0])
    step = 0
    for program in range(gl.program_id(0), num_programs, gl.num_programs(0)):
        tile_n = program % tiles_n
        tile_m = program // tiles_n % tiles_m
        item = program // (tiles_n * tiles_m)
        start = gl.load(item_start + item)
        length = (gl.load(item_stop + item) - start).to(gl.int32)
        next_out = _row_numbers(rows_out + start, length, 0, BK, g_layout)
        next_in = _row_numbers(rows_in + start, length, 0, BK, x_layout)
        for offset in range(0, length, BK):
            from_out, from_in = next_out, next_in
            next_out = _row_numbers(rows_out + start, length, offset + BK, BK, g_layout)
            next_in = _row_numbers(rows_in + start, length, offset + BK, BK, x_layout)
            at = step % STAGES
            mbarrier.wait(empty.index(at), ((step // STAGES) & 1) ^ 1)
            for w in gl.static_range(CONSUMERS):
                first = (tile_m * CONSUMERS + w) * BM
                _copy_rows(grad, from_out, co, first, g_ring.index(at * CONSUMERS + w), BM, g_layout)
            _copy_rows(feats, from_in, ci, tile_n * BN, x_ring.index(at), BN, x_layout)
            async_copy.mbarrier_arrive(full.index(at), increment_count=False)
            step += 1


@gluon.jit
def _consume(
    partial, item_start, item_stop, co, ci, num_programs, tiles_m, tiles_n, g_ring, x_ring, full, empty,
    WHICH: gl.constexpr, BM: gl.constexpr, BN: gl.constexpr, BK: gl.constexpr, STAGES: gl.constexpr,
    CONSUMERS: gl.constexpr,
):  # fmt: skip
    mma: gl.constexpr = gl.NVMMADistributedLayout(version=[3, 0], warps_per_cta=[4, 1], instr_shape=[16, BN, 16])
    step = 0
    for program in range(gl.program_id(0), num_programs, gl.num_programs(0)):
        tile_n = program % tiles_n
        tile_m = program // tiles_n % tiles_m
        item = program // (tiles_n * tiles_m)
        length = (gl.load(item_stop + item) - gl.load(item_start + item)).to(gl.int32)
        acc = gl.zeros((BM, BN), dtype=gl.float32, layout=mma)
        for _ in range(0, length, BK):
            at = step % STAGES
            mbarrier.wait(full.index(at), (step // STAGES) & 1)
            token = warpgroup_mma(
                g_ring.index(at * CONSUMERS + WHICH).permute([1, 0]), x_ring.index(at), acc, is_async=True
            )
            acc = warpgroup_mma_wait(0, deps=[token])
            gl.thread_barrier()
            mbarrier.arrive(empty.index(at), count=1)
            step += 1
        row = (tile_m * CONSUMERS + WHICH) * BM + gl.arange(0, BM, layout=gl.SliceLayout(1, mma))
        col = tile_n * BN + gl.arange(0, BN, layout=gl.SliceLayout(0, mma))
        target = partial + item.to(gl.int64) * co * ci + gl.expand_dims(row.to(gl.int64) * ci, 1)
        gl.store(target + gl.expand_dims(col, 0), acc)


@gluon.jit(do_not_specialize=["num_programs"])
def weight_grad_hopper_kernel(
    grad,  # [N, Co]
    feats,  # [N, Ci]
    rows_out,  # [L] int32
    rows_in,  # [L] int32
    item_start,  # [W] int64
    item_stop,  # [W] int64
    partial,  # [W, Co, Ci] float32
    co,  # a multiple of 2·BM
    ci,  # a multiple of BN
    num_programs,  # items times tiles
    BM: gl.constexpr,  # produced rows of a consumer
    BN: gl.constexpr,
    BK: gl.constexpr,
    STAGES: gl.constexpr,
    PRODUCER_WARPS: gl.constexpr,
    CONSUMER_REGISTERS: gl.constexpr,
    PRODUCER_REGISTERS: gl.constexpr,
):
    """partial[w] = Σ over the pairs of item w of grad[out] ⊗ feats[in]; two consumers make [BM, BN] each."""
    CONSUMERS: gl.constexpr = 2
    dtype: gl.constexpr = feats.dtype.element_ty
    layout: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    g_ring = gl.allocate_shared_memory(dtype, [STAGES * CONSUMERS, BK, BM], layout)
    x_ring = gl.allocate_shared_memory(dtype, [STAGES, BK, BN], layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=PRODUCER_WARPS * 32)
        mbarrier.init(empty.index(i), count=CONSUMERS)
    tiles_m = co // (BM * CONSUMERS)
    tiles_n = ci // BN
    gl.warp_specialize(
        [
            (_consume, (
                partial, item_start, item_stop, co, ci, num_programs, tiles_m, tiles_n, g_ring, x_ring, full, empty,
                gl.constexpr(0), BM, BN, BK, STAGES, CONSUMERS,
            )),
            (_consume, (
                partial, item_start, item_stop, co, ci, num_programs, tiles_m, tiles_n, g_ring, x_ring, full, empty,
                gl.constexpr(1), BM, BN, BK, STAGES, CONSUMERS,
            )),
            (_produce, (
                grad, feats, rows_out, rows_in, item_start, item_stop, co, ci, num_programs, tiles_m, tiles_n,
                g_ring, x_ring, full, empty, BM, BN, BK, STAGES, CONSUMERS, PRODUCER_WARPS,
            )),
        ],
        [4, PRODUCER_WARPS],
        [CONSUMER_REGISTERS, PRODUCER_REGISTERS],
    )  # fmt: skip
    for i in gl.static_range(STAGES):
        mbarrier.invalidate(full.index(i))
        mbarrier.invalidate(empty.index(i))
