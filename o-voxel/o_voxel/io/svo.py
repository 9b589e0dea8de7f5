"""Sparse voxel octrees: z-order codes, and occupied voxels as one byte per internal node.

N leaves (voxels), D depth (levels), side 2^D. Codes are ascending and unique; the three bits of a level, most
significant level first, are the child index 4 x + 2 y + z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from o_voxel._native import native_module
from o_voxel.reference.svo import decode_octree_reference

__all__ = ["POPCOUNT", "Octree", "build_octree", "codes_to_coords", "coords_to_codes", "decode_octree"]

Array = np.ndarray[Any, Any]
POPCOUNT = np.array([bin(i).count("1") for i in range(256)], dtype=np.int64)


def _spread(value: Array) -> Array:
    """Move bit b of 10-bit integers to bit 3 b."""
    value = (value | value << 16) & 0x030000FF
    value = (value | value << 8) & 0x0300F00F
    value = (value | value << 4) & 0x030C30C3
    return cast(Array, (value | value << 2) & 0x09249249)


def _gather(value: Array) -> Array:
    value = value & 0x09249249
    value = (value | value >> 2) & 0x030C30C3
    value = (value | value >> 4) & 0x0300F00F
    value = (value | value >> 8) & 0x030000FF
    return cast(Array, (value | value >> 16) & 0x3FF)


def coords_to_codes(coords: Array) -> Array:
    """Z-order codes int64 [N] of coordinates [N, 3] in 0 .. 1023, x most significant."""
    return _spread(coords[:, 0]) << 2 | _spread(coords[:, 1]) << 1 | _spread(coords[:, 2])


def codes_to_coords(codes: Array) -> Array:
    """Coordinates [N, 3] of z-order codes [N], same dtype."""
    coords = np.empty((len(codes), 3), codes.dtype)
    for axis in range(3):
        coords[:, axis] = _gather(codes >> (2 - axis))
    return coords


@dataclass(frozen=True)
class Octree:
    """The internal nodes over sorted codes, and how leaves hang on them.

    Leaf i opens the nodes of levels `first_level[i]` .. D - 1 (those not shared with leaf i - 1), which sit at
    positions `node_start[i]` onwards in pre-order.
    """

    codes: Array  # int64 [N]
    depth: int
    first_level: Array  # int64 [N], 0 .. D
    node_start: Array  # int64 [N]
    nodes: Array  # uint8 [number of internal nodes], pre-order

    @property
    def num_children(self) -> Array:  # int64 [nodes]
        return POPCOUNT[self.nodes]

    def node_of(self, level: int, leaves: Array) -> Array:
        """Pre-order positions of the nodes of a level that hold the given leaves."""
        return _node_of(self.first_level, self.node_start, level, leaves)


def _node_of(first_level: Array, node_start: Array, level: int, leaves: Array) -> Array:
    openers = np.flatnonzero(first_level <= level)
    opener = openers[np.searchsorted(openers, leaves, side="right") - 1]
    return cast(Array, node_start[opener] + (level - first_level[opener]))


def build_octree(codes: Array, depth: int) -> Octree:
    """Octree over ascending, unique codes int64 [N], N >= 1, each below 8^depth. Linear in N per level."""
    first_level = np.zeros(len(codes), dtype=np.int64)
    changed = codes[1:] ^ codes[:-1]
    first_level[1:] = depth - (np.frexp(changed.astype(np.float64))[1] - 1) // 3
    opened = depth - first_level
    node_start = np.cumsum(opened) - opened
    bits = np.zeros(int(opened.sum()), dtype=np.float64)
    for level in range(depth):
        children = np.flatnonzero(first_level <= level + 1)  # first leaves of the children of this level's nodes
        opener = np.maximum.accumulate(np.where(first_level[children] <= level, children, 0))
        parent = node_start[opener] + (level - first_level[opener])
        digit = (codes[children] >> 3 * (depth - level - 1)) & 7
        bits += np.bincount(parent, weights=(1 << digit).astype(np.float64), minlength=len(bits))
    return Octree(codes, depth, first_level, node_start, bits.astype(np.uint8))


def decode_octree(data: bytes, depth: int, max_leaves: int) -> Array:
    """Ascending leaf codes int32 [N] of pre-order octree bytes.

    Raises ValueError if the bytes end early, are too many, hold a node without children, or give more than
    `max_leaves`.
    """
    native = native_module()
    if native is None:
        return decode_octree_reference(data, depth, max_leaves).astype(np.int32)
    return cast(Array, native.decode_octree(data, depth, max_leaves))
