"""Kernels that list the pairs of rows that every tap joins.

Letters: N rows, V taps (BLOCK_V: rounded up to a power of two), L pairs.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["count_pairs_kernel", "write_pairs_kernel"]


@triton.jit(do_not_specialize=["num_rows", "num_sources", "num_blocks"])
def count_pairs_kernel(
    table,  # [N, V] int32, num_sources where there is no voxel
    counts,  # [V, blocks] int32 out: pairs of a tap in a block of rows
    num_rows,
    num_sources,
    num_blocks,
    V: tl.constexpr,
    BLOCK_V: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Pairs of every tap in one block of rows."""
    block = tl.program_id(0)
    row = (block.to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    tap = tl.arange(0, BLOCK_V)
    found = tl.load(table + row * V + tap[None, :], mask=(row < num_rows) & (tap < V)[None, :], other=num_sources)
    total = tl.sum((found < num_sources).to(tl.int32), axis=0)
    tl.store(counts + tap.to(tl.int64) * num_blocks + block, total, mask=tap < V)


@triton.jit(do_not_specialize=["num_rows", "num_sources", "num_blocks"])
def write_pairs_kernel(
    table,  # [N, V] int32
    starts,  # [V, blocks] int64 first pair of a tap in a block
    rows_out,  # [L] int32 out
    rows_in,  # [L] int32 out
    num_rows,
    num_sources,
    num_blocks,
    V: tl.constexpr,
    BLOCK_V: tl.constexpr,
    ROWS: tl.constexpr,
):
    """The pairs of one block of rows, in the order of the rows."""
    block = tl.program_id(0)
    row = (block.to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    tap = tl.arange(0, BLOCK_V)
    found = tl.load(table + row * V + tap[None, :], mask=(row < num_rows) & (tap < V)[None, :], other=num_sources)
    present = found < num_sources
    rank = tl.cumsum(present.to(tl.int32), axis=0) - 1
    first = tl.load(starts + tap.to(tl.int64) * num_blocks + block, mask=tap < V, other=0)
    to = first[None, :] + rank
    tl.store(rows_out + to, (row + tap[None, :] * 0).to(tl.int32), mask=present)
    tl.store(rows_in + to, found, mask=present)
