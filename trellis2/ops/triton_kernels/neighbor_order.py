"""Kernels that bring the rows of a neighbour map into the order in which the convolution visits them.

Letters: N rows, V taps, P positions (N rounded up to the tile), G groups of taps.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "arrange_kernel",
    "count_children_kernel",
    "place_children_kernel",
    "schedule_kernel",
    "sort_keys_kernel",
    "tile_taps_kernel",
]


@triton.jit
def _gray_rank(code):
    """Rank of a 31-bit word in the Gray code: neighbours in rank differ in one bit."""
    code = code ^ (code >> 1)
    code = code ^ (code >> 2)
    code = code ^ (code >> 4)
    code = code ^ (code >> 8)
    return code ^ (code >> 16)


@triton.jit(do_not_specialize=["num_rows", "window"])
def sort_keys_kernel(
    masks,  # [N] int32
    keys,  # [G, N] integers out; those of a group follow those of the group before
    num_rows,
    window,  # rows of a window; only with one group and without FEATURES
    GROUPS: tl.constexpr,
    CENTRE: tl.constexpr,  # bit that is always set, left out of the key
    WIDTH: tl.constexpr,  # bits of a group
    FEATURES: tl.constexpr,  # sets of taps, as bits: whether they hold any voxel leads the key; () for none
    SINGLES: tl.constexpr,  # taps that follow
    BLOCK: tl.constexpr,
):
    """Key of every row, so that rows with equal and similar neighbours meet.

    The window and the Gray rank of the mask (of the group's own taps if there are several groups); or, for few rows,
    the Gray rank of which sides and edges hold any voxel, followed by single taps: tiles then have about 8 % fewer
    active taps, because a whole side drops out at once.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = row < num_rows
    mask = tl.load(masks + row.to(tl.int64), mask=valid, other=0)
    if len(FEATURES) > 0:
        code = tl.zeros((BLOCK,), dtype=tl.int32)
        for i in tl.static_range(len(FEATURES)):
            code = (code << 1) | ((mask & FEATURES[i]) != 0).to(tl.int32)
        for i in tl.static_range(len(SINGLES)):
            code = (code << 1) | ((mask >> SINGLES[i]) & 1)
        key = _gray_rank(code)
    else:
        if GROUPS == 1:
            code = (mask & ((1 << CENTRE) - 1)) | ((mask >> 1) & ~((1 << CENTRE) - 1))
            code = code & ((1 << WIDTH) - 1)
        else:
            code = (mask >> (tl.program_id(1) * WIDTH)) & ((1 << WIDTH) - 1)
        lead = row // window if GROUPS == 1 else tl.program_id(1)
        key = (lead << WIDTH) | _gray_rank(code)
    tl.store(keys + tl.program_id(1).to(tl.int64) * num_rows + row, key, mask=valid)


@triton.jit
def _list_taps(flags, tap, taps, counts, list_at, V: tl.constexpr):
    """Write the taps whose flags are set, ascending, with their flags above bit 16, and how many there are."""
    active = (flags > 0).to(tl.int32)
    place = tl.cumsum(active, axis=0) - 1
    tl.store(taps + list_at * V + place, tap | (flags << 16), mask=flags > 0)
    tl.store(counts + list_at, tl.sum(active, axis=0))


@triton.jit
def _halves(present, TILE: tl.constexpr, WIDTH: tl.constexpr):
    """present [TILE, WIDTH] of 0 and 1 -> [WIDTH]: bit h set when half h of the rows has a 1."""
    halves = tl.max(tl.reshape(present, (2, TILE // 2, WIDTH)), axis=1)
    return tl.sum(halves << tl.arange(0, 2)[:, None], axis=0)


@triton.jit(do_not_specialize=["num_rows", "num_sources", "num_tiles"])
def arrange_kernel(
    table,  # [N, V] int32, num_sources where there is no voxel
    perm,  # [G, N] int64 row at each position, for each group g with g·N added
    neighbors,  # [V, P] int32 out, −1 where there is no voxel
    order,  # [G, P] int32 out, −1 past the end
    taps,  # [G, tiles, V] int32 out: tap | (halves of the tile that have it) << 16
    counts,  # [G, tiles] int32 out
    num_rows,
    num_sources,
    num_positions,
    num_tiles,
    V: tl.constexpr,
    WIDTH: tl.constexpr,  # taps of a group
    BLOCK_V: tl.constexpr,  # WIDTH rounded up to a power of two
    TILE: tl.constexpr,
):
    """Rows under the taps of one group for one tile of positions, and the list of taps that have any."""
    tile = tl.program_id(0)
    group = tl.program_id(1)
    position = tile.to(tl.int64) * TILE + tl.arange(0, TILE)
    valid = position < num_rows
    before = group.to(tl.int64) * num_rows
    row = tl.load(perm + before + position, mask=valid, other=0) - tl.where(valid, before, 0)
    tl.store(order + group.to(tl.int64) * num_positions + position, tl.where(valid, row, -1).to(tl.int32))
    tap = group * WIDTH + tl.arange(0, BLOCK_V)
    wanted = (tl.arange(0, BLOCK_V) < WIDTH) & (tap < V)
    found = tl.load(table + row[:, None] * V + tap[None, :], mask=valid[:, None] & wanted[None, :], other=num_sources)
    present = found < num_sources
    at = tap.to(tl.int64)[None, :] * num_positions + position[:, None]
    tl.store(neighbors + at, tl.where(present, found, -1), mask=wanted[None, :] & (position >= 0)[:, None])
    flags = _halves(present.to(tl.int32), TILE, BLOCK_V)
    _list_taps(flags, tap, taps, counts, group.to(tl.int64) * num_tiles + tile, V)


@triton.jit
def _children(cells, order, num_positions, ROWS: tl.constexpr):
    """Rows [ROWS, 8] of the children at a block of parent positions, −1 where there is none."""
    position = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    parent = tl.load(order + position, mask=position < num_positions, other=-1)
    at = cells + parent.to(tl.int64)[:, None] * 8 + tl.arange(0, 8)[None, :]
    return position, tl.load(at, mask=(parent >= 0)[:, None], other=-1)


@triton.jit(do_not_specialize=["num_positions", "num_blocks"])
def count_children_kernel(
    cells,  # [M, 8] int32 row of each child, −1 if there is none
    order,  # [P] int32 parent row at a position, −1 past the end
    counts,  # [8, blocks] int32 out: children of each place in a block of positions
    num_positions,
    num_blocks,
    ROWS: tl.constexpr,
):
    """Children of every place in one block of positions."""
    _, child = _children(cells, order, num_positions, ROWS)
    total = tl.sum((child >= 0).to(tl.int32), axis=0)
    tl.store(counts + tl.arange(0, 8).to(tl.int64) * num_blocks + tl.program_id(0), total)


@triton.jit(do_not_specialize=["num_positions", "num_blocks"])
def place_children_kernel(
    cells,  # [M, 8] int32
    order,  # [P] int32
    starts,  # [8, blocks] int64 position of the first child of each place in a block
    places,  # [Q] int32 out: position of the parent
    rows,  # [Q] int32 out: row of the child
    num_positions,
    num_blocks,
    ROWS: tl.constexpr,
):
    """Lay the children out place by place, each in the order of their parents."""
    position, child = _children(cells, order, num_positions, ROWS)
    exists = child >= 0
    rank = tl.cumsum(exists.to(tl.int32), axis=0) - 1
    first = tl.load(starts + tl.arange(0, 8).to(tl.int64) * num_blocks + tl.program_id(0))
    to = first[None, :] + rank
    tl.store(places + to, position.to(tl.int32)[:, None] + tl.zeros_like(child), mask=exists)
    tl.store(rows + to, child, mask=exists)


@triton.jit
def tile_taps_kernel(
    masks,  # [M] int32
    order,  # [P] int32 row at a position of the map
    places,  # [P'] int32 position in the map, −1 where a tile is not full
    taps,  # [tiles, V] int32 out, as in arrange_kernel
    counts,  # [tiles] int32 out
    V: tl.constexpr,
    TILE: tl.constexpr,
):
    """Taps that some row of a tile has."""
    tile = tl.program_id(0).to(tl.int64)
    place = tl.load(places + tile * TILE + tl.arange(0, TILE))
    row = tl.load(order + place, mask=place >= 0, other=-1)
    mask = tl.load(masks + row, mask=row >= 0, other=0)
    tap = tl.arange(0, 32)
    _list_taps(_halves((mask[:, None] >> tap[None, :]) & 1, TILE, 32), tap, taps, counts, tile, V)


@triton.jit(do_not_specialize=["num_tiles"])
def schedule_kernel(
    counts,  # [G, tiles] int32
    schedule,  # [G, tiles] int32 out: tiles from the largest count to the smallest, equal ones in their order
    num_tiles,
    BLOCK: tl.constexpr,
    OTHERS: tl.constexpr,
):
    """Sorting by counting, for a few hundred tiles: the place of a tile is the number of tiles that go before it."""
    row = tl.program_id(1).to(tl.int64) * num_tiles
    tile = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = tile < num_tiles
    count = tl.load(counts + row + tile, mask=valid, other=0)
    place = tl.zeros((BLOCK,), dtype=tl.int32)
    for first in range(0, num_tiles, OTHERS):
        other = first + tl.arange(0, OTHERS)
        rival = tl.load(counts + row + other, mask=other < num_tiles, other=-1)
        equal_before = (rival[None, :] == count[:, None]) & (other[None, :] < tile[:, None])
        place += tl.sum(((rival[None, :] > count[:, None]) | equal_before).to(tl.int32), axis=1)
    tl.store(schedule + row + place, tile, mask=valid)
