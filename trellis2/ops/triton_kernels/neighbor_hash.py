"""Kernels of the 3³ neighbour map: a hash table of 2³ blocks, block links, and rows under the 27 taps.

A block is named by the row of one of its voxels (its representative), so the table holds nothing but row numbers and
its size needs no count of blocks. Which voxel represents a block depends on the race of the insertions; the map does
not. The same last step serves a grid whose 2× coarser grid has a map already: then the parents are the blocks.

Letters: N rows, M blocks.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["block_keys_kernel", "block_links_kernel", "insert_blocks_kernel", "neighbor_rows_kernel"]

_BIAS = tl.constexpr(1 << 14)
_LIMIT = tl.constexpr(1 << 15)


@triton.jit
def _block_key(b, x, y, z):
    """(batch, x, y, z) of a voxel, each coordinate above −2¹⁴, to the 64-bit key of its block."""
    key = b.to(tl.int64) << 48
    key = key | (((x + _BIAS) >> 1).to(tl.int64) << 32)
    key = key | (((y + _BIAS) >> 1).to(tl.int64) << 16)
    return key | ((z + _BIAS) >> 1).to(tl.int64)


@triton.jit
def _slot(key, slots):
    """First slot of a key: a multiplicative mix folded to 32 bits; `slots` is a power of two."""
    h = (key ^ (key >> 29)) * -4658895280553007687
    h = h ^ (h >> 32)
    return (h & (slots - 1)).to(tl.int32)


@triton.jit(do_not_specialize=["num_rows"])
def block_keys_kernel(
    coords,  # [N, 4] int32
    keys,  # [N] int64 out
    num_rows,
    BLOCK: tl.constexpr,
):
    """Key of the block of every row."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = row < num_rows
    b = tl.load(coords + row * 4, mask=valid, other=0)
    x = tl.load(coords + row * 4 + 1, mask=valid, other=0)
    y = tl.load(coords + row * 4 + 2, mask=valid, other=0)
    z = tl.load(coords + row * 4 + 3, mask=valid, other=0)
    tl.store(keys + row, _block_key(b, x, y, z), mask=valid)


@triton.jit(do_not_specialize=["num_rows", "slots"])
def insert_blocks_kernel(
    coords,  # [N, 4] int32
    keys,  # [N] int64 block key of every row
    table,  # [slots] int32, filled with −1
    cells,  # [N, 8] int32, filled with −1
    status,  # [1] int32, −1: bit 0 is cleared for coordinates out of range, bit 1 for a voxel twice
    num_rows,
    slots,
    BLOCK: tl.constexpr,
):
    """Insert every voxel's block and write its row into the block's cell; needs `block_keys_kernel` first."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = row < num_rows
    at = coords + row.to(tl.int64) * 4
    b = tl.load(at, mask=valid, other=0)
    x = tl.load(at + 1, mask=valid, other=0)
    y = tl.load(at + 2, mask=valid, other=0)
    z = tl.load(at + 3, mask=valid, other=0)
    inside = (b >= 0) & (b < _LIMIT) & (x >= 0) & (x < _LIMIT) & (y >= 0) & (y < _LIMIT) & (z >= 0) & (z < _LIMIT)
    bad = (valid & (inside == 0)).to(tl.int32)
    pending = valid & inside
    key = tl.load(keys + row.to(tl.int64), mask=valid, other=0)
    slot = _slot(key, slots)
    owner = row
    while tl.max(pending.to(tl.int32), axis=0) > 0:
        # Lanes that are done compare with a value that no slot holds, which leaves the slot as it is.
        expected = tl.where(pending, -1, -2)
        found = tl.atomic_cas(table + slot, expected, row, sem="relaxed")
        mine = pending & (found == -1)
        other = pending & (found >= 0)
        same = other & (tl.load(keys + found.to(tl.int64), mask=other, other=-1) == key)
        owner = tl.where(same, found, owner)
        pending = pending & (mine == 0) & (same == 0)
        slot = tl.where(pending, (slot + 1) & (slots - 1), slot)
    cell = ((x & 1) * 2 + (y & 1)) * 2 + (z & 1)
    placed = tl.atomic_xchg(cells + owner.to(tl.int64) * 8 + cell, row, mask=valid & inside, sem="relaxed")
    twice = (valid & inside & (placed >= 0)).to(tl.int32)
    flags = tl.max(bad, axis=0) + 2 * tl.max(twice, axis=0)
    if flags > 0:
        tl.atomic_and(status, ~flags)


@triton.jit(do_not_specialize=["num_rows", "slots"])
def block_links_kernel(
    coords,  # [N, 4] int32
    keys,  # [N] int64
    table,  # [slots] int32
    links,  # [N, 8] int32 out
    num_rows,
    slots,
    BLOCK: tl.constexpr,
):
    """Representatives of the 8 blocks within one voxel of every row, −1 where there is none.

    Along each axis these are the row's own block (bit 0) and the one on the nearer side (bit 1); x is the high bit.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = row < num_rows
    at = coords + row.to(tl.int64) * 4
    b = tl.load(at, mask=valid, other=0)[:, None]
    x = tl.load(at + 1, mask=valid, other=0)[:, None]
    y = tl.load(at + 2, mask=valid, other=0)[:, None]
    z = tl.load(at + 3, mask=valid, other=0)[:, None]
    which = tl.arange(0, 8)[None, :]
    x = x + (which >> 2) * (4 * (x & 1) - 2)
    y = y + ((which >> 1) & 1) * (4 * (y & 1) - 2)
    z = z + (which & 1) * (4 * (z & 1) - 2)
    key = _block_key(b, x, y, z)
    slot = _slot(key, slots)
    link = tl.full((BLOCK, 8), -1, dtype=tl.int32)
    pending = valid[:, None] & (which >= 0)
    while tl.max(tl.max(pending.to(tl.int32), axis=1), axis=0) > 0:
        found = tl.load(table + slot, mask=pending, other=-1)
        occupied = pending & (found >= 0)
        same = occupied & (tl.load(keys + found.to(tl.int64), mask=occupied, other=-1) == key)
        link = tl.where(same, found, link)
        pending = occupied & (same == 0)
        slot = (slot + 1) & (slots - 1)
    tl.store(links + row.to(tl.int64)[:, None] * 8 + which, link, mask=valid[:, None])


@triton.jit(do_not_specialize=["num_rows", "num_blocks"])
def neighbor_rows_kernel(
    coords,  # [N, 4] int32
    links,  # [N, 8] int32 from block_links_kernel, or with PARENTS the map [M, 27] int32 of the coarser grid
    parents,  # [N] int64 block of every row; only with PARENTS
    cells,  # [M, 8] int32 row in every cell of a block, z fastest (x fastest with PARENTS); −1 or `none` if empty
    neighbors,  # [N, 27] int32 out
    masks,  # [N] int32 out: bit v set when there is a voxel under tap v
    num_rows,
    num_blocks,  # what the coarser map holds where there is no voxel
    PARENTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Row under each of the 27 taps, `num_rows` where there is none."""
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[:, None]
    tap = tl.arange(0, 32)[None, :]
    valid = (row < num_rows) & (tap < 27)
    wide = row.to(tl.int64)
    inside = row < num_rows
    qx = (tl.load(coords + wide * 4 + 1, mask=inside, other=0) & 1) + (tap // 9 - 1)  # −1 … 2: block −1, 0, 0 or +1
    qy = (tl.load(coords + wide * 4 + 2, mask=inside, other=0) & 1) + (tap // 3 % 3 - 1)
    qz = (tl.load(coords + wide * 4 + 3, mask=inside, other=0) & 1) + (tap % 3 - 1)
    if PARENTS:
        block = tl.load(parents + wide, mask=inside, other=0).to(tl.int64)
        away = ((qx >> 1) + 1) * 9 + ((qy >> 1) + 1) * 3 + (qz >> 1) + 1
        owner = tl.load(links + block * 27 + away, mask=valid, other=0)
        found = valid & (owner < num_blocks)
        cell = (qx & 1) + 2 * (qy & 1) + 4 * (qz & 1)
    else:
        away = ((qx >> 1) & 1) * 4 + ((qy >> 1) & 1) * 2 + ((qz >> 1) & 1)
        owner = tl.load(links + wide * 8 + away, mask=valid, other=-1)
        found = valid & (owner >= 0)
        cell = ((qx & 1) * 2 + (qy & 1)) * 2 + (qz & 1)
    hit = tl.load(cells + owner.to(tl.int64) * 8 + cell, mask=found, other=-1)
    tl.store(neighbors + wide * 27 + tap, tl.where(hit >= 0, hit, num_rows), mask=valid)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(masks + at, tl.sum((hit >= 0).to(tl.int32) << tap, axis=1), mask=at < num_rows)
