"""Predictive filters of `.vxz` attributes: `none`, `parent` (along the octree) and `neighbor` (in space).

Both predictors give every voxel at most one predecessor, so a filter is a forest over voxels: encoding subtracts the
predecessor's value, decoding sums along the path to the root (pointer doubling). All arithmetic is modulo 256.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import zstandard

from o_voxel.io.svo import POPCOUNT, Octree, build_octree, codes_to_coords

__all__ = [
    "FILTERS",
    "MIXED",
    "Filter",
    "Prediction",
    "apply_filter",
    "predict",
    "predict_codes",
    "smallest_filter",
    "undo_filter",
]

Array = np.ndarray[Any, Any]
Filter = Literal["none", "parent", "neighbor"]
FILTERS: tuple[str, ...] = get_args(Filter)
MIXED = "mixed"  # in a header: one filter for each attribute, under `attr_filter`

_BLOCK = 4  # channels
# In order of priority, as (x, y, z).
_NEIGHBORS = ((-1, -1, -1), (0, -1, -1), (-1, 0, -1), (-1, -1, 0), (0, 0, -1), (0, -1, 0), (-1, 0, 0))


class Prediction(NamedTuple):
    """Which voxel predicts which, and where deltas are stored."""

    predecessor: Array  # integer [N], N where there is none
    row: Array | None  # int64 [N]: stored row of voxel i; None: i


def _parent_prediction(tree: Octree) -> Prediction:
    count = len(tree.codes)
    predecessor = np.full(count, count, dtype=np.int64)
    row = np.zeros(count, dtype=np.int64)
    extra = tree.num_children - 1
    base = 1 + np.cumsum(extra) - extra  # first row reserved by each node
    for level in range(1, tree.depth + 1):
        firsts = np.flatnonzero(tree.first_level <= level)  # first leaves of the nodes of this level
        new = np.flatnonzero(tree.first_level[firsts] == level)  # those that are not the first child of their parent
        leaves = firsts[new]
        predecessor[leaves] = firsts[new - 1]
        parent = tree.node_of(level - 1, leaves)
        digit = (tree.codes[leaves] >> 3 * (tree.depth - level)) & 7
        lower = tree.nodes[parent].astype(np.int64) & ((1 << digit) - 1)
        row[leaves] = base[parent] + POPCOUNT[lower] - 1
    return Prediction(predecessor, row)


def _neighbor_prediction(codes: Array, depth: int) -> Prediction:
    """By look-up in the sorted voxel keys (z, y, x); 32-bit throughout: a chunk has fewer than 2^31 voxels."""
    count, side = len(codes), 1 << depth
    keys = np.zeros(count, np.int32)
    coords = codes_to_coords(codes.astype(np.int32))
    for axis in (2, 1, 0):
        keys *= side
        keys += coords[:, axis]
    del coords
    order = np.argsort(keys).astype(np.int32)
    keys = keys[order]
    found = np.full(count, count, dtype=np.int32)  # in sorted order
    open_ = np.arange(count, dtype=np.int32)
    for offset in _NEIGHBORS:
        target = keys[open_]
        inside = np.ones(len(open_), bool)
        for axis in range(3):
            if offset[axis]:
                inside &= ((target >> (axis * depth)) & (side - 1)) > 0
        asked = open_[inside]
        target = target[inside] + np.int32((offset[2] * side + offset[1]) * side + offset[0])
        place = np.searchsorted(keys, target).astype(np.int32)  # below `asked`, so always a valid index
        hit = keys[place] == target
        found[asked[hit]] = order[place[hit]]
        open_ = open_[found[open_] == count]
    predecessor = np.empty(count, dtype=np.int32)
    predecessor[order] = found
    return Prediction(predecessor, None)


def smallest_filter(values: Array, predictions: dict[str, Prediction | None]) -> str:
    """The filter after which values uint8 [N, C] take the fewest bytes, as fast Zstandard sees it; `none` on a tie."""
    encoder = zstandard.ZstdCompressor(level=3)
    sizes = {name: len(encoder.compress(apply_filter(values, p).tobytes())) for name, p in predictions.items()}
    return min(sizes, key=lambda name: (sizes[name], name != "none"))


def predict(name: str, tree: Octree) -> Prediction | None:
    """The prediction of a filter over the leaves of `tree` (in code order); None for `none`."""
    if name == "none":
        return None
    if name not in FILTERS:
        raise ValueError(f"filter must be one of {FILTERS}, got {name!r}")
    return _parent_prediction(tree) if name == "parent" else _neighbor_prediction(tree.codes, tree.depth)


def predict_codes(name: str, codes: Array, depth: int) -> Prediction | None:
    """`predict` over ascending codes [N]; the octree is built only where the filter needs it."""
    if name == "neighbor":
        return _neighbor_prediction(codes, depth)
    return None if name == "none" else predict(name, build_octree(codes.astype(np.int64), depth))


def apply_filter(values: Array, prediction: Prediction | None) -> Array:
    """Deltas uint8 [N, C] of values uint8 [N, C]."""
    if prediction is None:
        return values
    padded = np.concatenate([values, np.zeros((1, values.shape[1]), np.uint8)])
    delta = values - padded[prediction.predecessor]
    if prediction.row is None:
        return delta
    stored = np.empty_like(delta)
    stored[prediction.row] = delta
    return stored


def undo_filter(stored: Array, prediction: Prediction | None) -> Array:
    """Values uint8 [N, C] of deltas uint8 [N, C]."""
    if prediction is None:
        return stored
    count = len(stored)
    values = np.empty_like(stored)
    for first in range(0, stored.shape[1], _BLOCK):  # some channels at a time: the sums need copies
        part = stored[:, first : first + _BLOCK]
        sums = np.zeros((count + 1, part.shape[1]), np.uint8)
        sums[:count] = part if prediction.row is None else part[prediction.row]
        ancestor = np.append(prediction.predecessor, prediction.predecessor.dtype.type(count))
        while bool((ancestor != count).any()):
            sums += sums[ancestor]  # the right side is a copy: sums over twice the path length
            ancestor = ancestor[ancestor]
        values[:, first : first + _BLOCK] = sums[:count]
    return values
