"""Slow octree coding in plain Python, for one voxel set at a time; shares no code with `o_voxel.io.svo`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["decode_octree_reference", "encode_octree_reference", "parent_delta_reference"]


def _children(codes: Sequence[int], level: int, depth: int) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for code in codes:
        groups.setdefault(code >> 3 * (depth - level - 1) & 7, []).append(code)
    return groups


def encode_octree_reference(codes: Sequence[int], depth: int, level: int = 0) -> bytes:
    """Pre-order bytes of the octree over ascending codes."""
    groups = _children(codes, level, depth)
    out = bytes([sum(1 << digit for digit in groups)])
    if level < depth - 1:
        for group in groups.values():
            out += encode_octree_reference(group, depth, level + 1)
    return out


def decode_octree_reference(data: bytes, depth: int, max_leaves: int) -> np.ndarray[Any, Any]:
    """Ascending leaf codes int64 [N]; ValueError on malformed bytes."""
    codes: list[int] = []
    stack = [(0, 0)]  # (level, code prefix) of nodes still to read, next one last
    for position, byte in enumerate(data):
        if not stack:
            raise ValueError(f"octree has {len(data) - position} bytes after its last node")
        if byte == 0:
            raise ValueError(f"octree byte {position} is a node without children")
        level, prefix = stack.pop()
        children = [prefix << 3 | digit for digit in range(8) if byte >> digit & 1]
        if level == depth - 1:
            codes += children
            if len(codes) > max_leaves:
                raise ValueError(f"octree has more than {max_leaves} voxels")
        else:
            stack += [(level + 1, child) for child in reversed(children)]
    if stack:
        raise ValueError(f"octree ends early, after {len(data)} bytes")
    return np.array(codes, dtype=np.int64)


def parent_delta_reference(codes: Sequence[int], values: Sequence[int], depth: int) -> list[int]:
    """Deltas of the `parent` filter for one channel (values mod 256)."""
    value_of = dict(zip(codes, values))
    rows = [value_of[codes[0]]]

    def visit(leaves: Sequence[int], level: int) -> None:
        groups = list(_children(leaves, level, depth).values())
        for before, after in itertools.pairwise(groups):
            rows.append((value_of[after[0]] - value_of[before[0]]) % 256)
        if level < depth - 1:
            for group in groups:
                visit(group, level + 1)

    visit(codes, 0)
    return rows
