"""Kernels that bring the rows of a neighbour map into the order in which the convolution visits them.

Letters: N rows, V taps, P positions (N rounded up to the tile), G groups of taps.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["arrange_kernel", "sort_keys_kernel"]


@triton.jit(do_not_specialize=["num_rows", "window"])
def sort_keys_kernel(
    masks,  # [N] int32
    keys,  # [G, N] int32 out
    num_rows,
    window,  # rows of a window
    GROUPS: tl.constexpr,
    CENTRE: tl.constexpr,  # bit that is always set, left out of the key
    WIDTH: tl.constexpr,  # bits of a group
    BLOCK: tl.constexpr,
):
    """Key of every row: its window, then the Gray rank of its mask, so that equal and similar masks meet.

    With more than one group the mask is that of the group's own taps.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = row < num_rows
    mask = tl.load(masks + row.to(tl.int64), mask=valid, other=0)
    if GROUPS == 1:
        code = (mask & ((1 << CENTRE) - 1)) | ((mask >> 1) & ~((1 << CENTRE) - 1))
        code = code & ((1 << WIDTH) - 1)
    else:
        code = (mask >> (tl.program_id(1) * WIDTH)) & ((1 << WIDTH) - 1)
    code = code ^ (code >> 1)
    code = code ^ (code >> 2)
    code = code ^ (code >> 4)
    code = code ^ (code >> 8)
    code = code ^ (code >> 16)
    key = ((row // window) << WIDTH) | code
    tl.store(keys + tl.program_id(1).to(tl.int64) * num_rows + row, key, mask=valid)


@triton.jit(do_not_specialize=["num_rows", "num_sources", "num_tiles"])
def arrange_kernel(
    table,  # [N, V] int32, num_sources where there is no voxel
    perm,  # [G, N] int64 row at each position, for each group
    neighbors,  # [V, P] int32 out, −1 where there is no voxel
    order,  # [G, P] int32 out, −1 past the end
    taps,  # [G, tiles, V] int32 out
    counts,  # [G, tiles] int32 out
    num_rows,
    num_sources,
    num_positions,
    num_tiles,
    V: tl.constexpr,
    WIDTH: tl.constexpr,  # taps of a group
    TILE: tl.constexpr,
):
    """Rows under the taps of one group for one tile of positions, and the list of taps that have any."""
    tile = tl.program_id(0)
    group = tl.program_id(1)
    position = tile.to(tl.int64) * TILE + tl.arange(0, TILE)
    valid = position < num_rows
    row = tl.load(perm + group.to(tl.int64) * num_rows + position, mask=valid, other=0)
    tl.store(order + group.to(tl.int64) * num_positions + position, tl.where(valid, row, -1).to(tl.int32))
    list_at = group.to(tl.int64) * num_tiles + tile
    count = 0
    for v in range(group * WIDTH, tl.minimum(group * WIDTH + WIDTH, V)):
        found = tl.load(table + row * V + v, mask=valid, other=num_sources)
        present = found < num_sources
        tl.store(neighbors + tl.cast(v, tl.int64) * num_positions + position, tl.where(present, found, -1))
        if tl.max(present.to(tl.int32), axis=0) > 0:
            tl.store(taps + list_at * V + count, v)
            count += 1
    tl.store(counts + list_at, count)
