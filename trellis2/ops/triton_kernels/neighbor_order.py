"""Kernels that bring the rows of a neighbour map into the order in which the convolution visits them.

Letters: N rows, V taps, P positions (N rounded up to the tile), G groups of taps.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["arrange_kernel", "place_children_kernel", "sort_keys_kernel", "tile_taps_kernel"]


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


@triton.jit(do_not_specialize=["num_positions"])
def place_children_kernel(
    cells,  # [M, 8] int32 row of each child, −1 if there is none
    order,  # [P] int32 parent row at a position, −1 past the end
    ranks,  # [8, P] int32 how many children of that place there are up to and including a position
    starts,  # [8] int64 first position of the children of each place
    places,  # [P'] int32 out: position of the parent
    rows,  # [P'] int32 out: row of the child
    num_positions,
    BLOCK: tl.constexpr,
):
    """Lay the children out place by place, each in the order of their parents."""
    position = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    slot = tl.program_id(1)
    valid = position < num_positions
    parent = tl.load(order + position, mask=valid, other=-1)
    child = tl.load(cells + parent.to(tl.int64) * 8 + slot, mask=parent >= 0, other=-1)
    exists = child >= 0
    rank = tl.load(ranks + slot.to(tl.int64) * num_positions + position, mask=exists, other=1)
    to = tl.load(starts + slot) + rank - 1
    tl.store(places + to, position.to(tl.int32), mask=exists)
    tl.store(rows + to, child, mask=exists)


@triton.jit
def tile_taps_kernel(
    masks,  # [M] int32
    order,  # [P] int32 row at a position of the map
    places,  # [P'] int32 position in the map, −1 where a tile is not full
    taps,  # [tiles, V] int32 out
    counts,  # [tiles] int32 out
    V: tl.constexpr,
    TILE: tl.constexpr,
):
    """Taps that some row of a tile has."""
    tile = tl.program_id(0).to(tl.int64)
    place = tl.load(places + tile * TILE + tl.arange(0, TILE))
    row = tl.load(order + place, mask=place >= 0, other=-1)
    mask = tl.load(masks + row, mask=row >= 0, other=0)
    count = 0
    for v in range(V):
        if tl.max((mask >> v) & 1, axis=0) > 0:
            tl.store(taps + tile * V + count, v)
            count += 1
    tl.store(counts + tile, count)
