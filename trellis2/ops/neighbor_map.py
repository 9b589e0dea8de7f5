"""Which active voxel lies under each kernel tap: the neighbour map of a submanifold convolution.

Letters: N voxels, V kernel taps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["COORD_LIMIT", "build_neighbor_map", "build_neighbor_map_reference", "kernel_offsets", "pack_coords"]

_BITS = 16
_BIAS = 1 << (_BITS - 2)
COORD_LIMIT = 1 << (_BITS - 1)
"""Coordinates must lie in [0, COORD_LIMIT); a tap may reach `_BIAS` voxels beyond on either side."""


def kernel_offsets(kernel_size: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int, int]]:
    """Offsets of the taps in voxels, in the order v = (k1·K2 + k2)·K3 + k3; offset v is minus offset V−1−v.

    Raises ValueError for even or non-positive kernel extents, dilations below 1, and reaches over 16383 voxels.
    """
    if len(kernel_size) != 3 or len(dilation) != 3:
        raise ValueError(f"kernel_size and dilation need three values, got {tuple(kernel_size)} and {tuple(dilation)}")
    if any(k < 1 or k % 2 == 0 for k in kernel_size):
        raise ValueError(f"kernel_size must be odd and positive on every axis, got {tuple(kernel_size)}")
    if any(d < 1 for d in dilation):
        raise ValueError(f"dilation must be at least 1 on every axis, got {tuple(dilation)}")
    if any((k // 2) * d >= _BIAS for k, d in zip(kernel_size, dilation)):
        raise ValueError(f"kernel reach must stay below {_BIAS} voxels, got kernel {kernel_size}, dilation {dilation}")
    ranges = [[(k - n // 2) * d for k in range(n)] for n, d in zip(kernel_size, dilation)]
    return [(x, y, z) for x in ranges[0] for y in ranges[1] for z in ranges[2]]


def pack_coords(coords: Tensor) -> Tensor:
    """Pack (batch, x, y, z) rows into one int64 key each; keys order like the rows do lexicographically.

    coords: [N, 4] integer. Returns [N] int64. Adding a packed offset to a key gives the key of the shifted voxel.
    """
    c = coords.long()
    key = c[:, 0] << (3 * _BITS)
    for axis in range(3):
        key = key + ((c[:, 1 + axis] + _BIAS) << ((2 - axis) * _BITS))
    return key


def _pack_offset(offset: tuple[int, int, int]) -> int:
    return (offset[0] << (2 * _BITS)) + (offset[1] << _BITS) + offset[2]


def _check(coords: Tensor) -> None:
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.is_floating_point():
        raise ValueError(f"coords must be integer of shape [N, 4], got {coords.dtype} {tuple(coords.shape)}")


def build_neighbor_map(
    coords: Tensor,  # [N, 4] int32, (batch, x, y, z), rows unique
    kernel_size: Sequence[int],
    dilation: Sequence[int] = (1, 1, 1),
) -> Tensor:  # [N, V] int32
    """Row of the voxel under each tap; N (one past the last row) where there is none.

    Sorts 64-bit keys once and finds each run of taps along z with one binary search, walking on from there when the
    z dilation is 1. One host synchronisation for the validity check. Deterministic.
    Raises ValueError for coordinates outside [0, 32768), more than 32767 samples, and duplicated rows.
    """
    _check(coords)
    offsets = kernel_offsets(kernel_size, dilation)
    num_rows, num_z = coords.shape[0], kernel_size[2]
    if num_rows == 0:
        return torch.empty((0, len(offsets)), dtype=torch.int32, device=coords.device)
    keys = pack_coords(coords)
    sorted_keys, order = torch.sort(keys)
    outside = (coords < 0).any() | (coords >= COORD_LIMIT).any()
    duplicate = (sorted_keys[1:] == sorted_keys[:-1]).any()
    status = int(outside.int() + 2 * duplicate.int())
    if status & 1:
        raise ValueError(
            f"coords must lie in [0, {COORD_LIMIT}), got {coords.amin(0).tolist()} to {coords.amax(0).tolist()}"
        )
    if status & 2:
        raise ValueError("coords must be unique, got a voxel twice in one sample")

    # A sentinel past the end keeps the walk in range; no voxel has this key.
    sentinel = torch.full((1,), torch.iinfo(torch.int64).max, device=coords.device)
    sorted_keys = torch.cat([sorted_keys, sentinel])
    order = torch.cat([order.int(), torch.full((1,), num_rows, dtype=torch.int32, device=coords.device)])
    missing = torch.tensor(num_rows, dtype=torch.int32, device=coords.device)
    walk = dilation[2] == 1
    columns: list[Tensor] = []
    position = None
    for v, offset in enumerate(offsets):
        if all(o == 0 for o in offset) and not walk:
            columns.append(torch.arange(num_rows, dtype=torch.int32, device=coords.device))
            continue
        query = keys + _pack_offset(offset)
        if position is None or not walk or v % num_z == 0:
            position = torch.searchsorted(sorted_keys, query)
        hit = sorted_keys[position] == query
        columns.append(torch.where(hit, order[position], missing))
        position = position + hit
    return torch.stack(columns, dim=1)


def build_neighbor_map_reference(
    coords: Tensor,  # [N, 4] int32
    kernel_size: Sequence[int],
    dilation: Sequence[int] = (1, 1, 1),
) -> Tensor:  # [N, V] int32
    """The same map from a Python dictionary of rows: slow and obviously right."""
    _check(coords)
    rows = {tuple(c): i for i, c in enumerate(coords.tolist())}
    num_rows = coords.shape[0]
    table = [
        [rows.get((b, x + dx, y + dy, z + dz), num_rows) for dx, dy, dz in kernel_offsets(kernel_size, dilation)]
        for b, x, y, z in coords.tolist()
    ]
    volume = len(kernel_offsets(kernel_size, dilation))
    return torch.tensor(table, dtype=torch.int32, device=coords.device).reshape(num_rows, volume)
