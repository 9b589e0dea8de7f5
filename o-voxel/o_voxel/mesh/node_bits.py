"""Bit sets of grid nodes as NumPy arrays: int64 words of 64 nodes along z, to and from arrays of bool."""

from __future__ import annotations

import numpy as np

__all__ = ["members", "pack", "rank", "unpack"]

Size = tuple[int, int, int]


def pack(nodes: np.ndarray) -> np.ndarray:
    """[x, y, z] bool -> [words] int64."""
    bits = np.packbits(nodes, axis=2, bitorder="little")
    bits = np.pad(bits, ((0, 0), (0, 0), (0, -bits.shape[2] % 8)))
    return np.ascontiguousarray(bits).view(np.int64).reshape(-1)


def unpack(words: np.ndarray, size: Size) -> np.ndarray:
    """[words] int64 -> [x, y, z] bool."""
    x, y, z = size
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8).reshape(x, y, -1), axis=2, bitorder="little")
    return bits[:, :, :z].astype(bool)


def members(words: np.ndarray, size: Size, sets: int) -> np.ndarray:
    """[sets * words] int64 -> [sets, x, y, z] bool."""
    return np.stack([unpack(part, size) for part in words.reshape(sets, -1)])


def rank(words: np.ndarray, before: np.ndarray, size: Size, nodes: np.ndarray, part: int = 0) -> np.ndarray:
    """Number of each node [N, 3] among the members of its set; `part` is the set among several."""
    x, y, z = size
    column = (z + 63) // 64
    word = part * x * y * column + (nodes[:, 0] * y + nodes[:, 1]) * column + nodes[:, 2] // 64
    lower = (np.uint64(1) << (nodes[:, 2] % 64).astype(np.uint64)) - np.uint64(1)
    masked = words.view(np.uint64)[word] & lower
    return before[word] + np.unpackbits(masked.view(np.uint8).reshape(-1, 8), axis=1).sum(1, dtype=np.int64)
