"""Which active voxel lies under each kernel tap: the neighbour map of a submanifold convolution.

Letters: N voxels, V kernel taps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import backends
from .neighborhood import Neighborhood
from .taps import MAX_REACH, kernel_offsets
from .triton_support import triton_unavailable

__all__ = [
    "COORD_LIMIT",
    "build_neighbor_map",
    "build_neighbor_map_reference",
    "find_neighbors",
    "kernel_offsets",
    "pack_coords",
    "refine_neighbors",
]

OP = "neighbor_map"
OP_REFINED = "refined_neighbor_map"

_BITS = 16
_BIAS = MAX_REACH
COORD_LIMIT = 1 << (_BITS - 1)
"""Coordinates must lie in [0, COORD_LIMIT); a tap may reach MAX_REACH − 1 voxels beyond on either side."""


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


def find_neighbors(
    coords: Tensor,  # [N, 4] int32, (batch, x, y, z), rows unique
    kernel_size: Sequence[int],
    dilation: Sequence[int] = (1, 1, 1),
) -> Neighborhood:
    """The neighbour map with everything that convolutions derive from it, by the backend chosen for the device.

    Same map and same errors as `build_neighbor_map`; on a GPU coordinates that have no map are reported when the
    map is first used, so that nothing waits for the device here.
    """
    _check(coords)
    return backends.selected(OP, coords.device).run(coords, tuple(kernel_size), tuple(dilation))


def _run_sorted(coords: Tensor, kernel_size: tuple[int, ...], dilation: tuple[int, ...]) -> Neighborhood:
    return Neighborhood(build_neighbor_map(coords, kernel_size, dilation))


def _run_hashed(coords: Tensor, kernel_size: tuple[int, ...], dilation: tuple[int, ...]) -> Neighborhood:
    """Hashing for the 3³ kernel, which all networks use; sorted keys for the others."""
    if kernel_size != (3, 3, 3) or dilation != (1, 1, 1) or coords.shape[0] == 0:
        return _run_sorted(coords, kernel_size, dilation)
    from .triton_neighbors import build_hashed

    table, masks, status = build_hashed(coords.int())
    host = status.to("cpu", non_blocking=True)
    arrived = torch.cuda.current_stream(coords.device).record_event() if coords.is_cuda else None

    def check() -> None:
        if arrived is not None:
            arrived.synchronize()
        if int(host) != -1:
            build_neighbor_map(coords, kernel_size, dilation)  # raises, and says what is wrong

    return Neighborhood(table, masks, check=check)


def refine_neighbors(
    coarse: Neighborhood,  # 3³ map [M, 27] of the parents
    coords: Tensor,  # [T, 4] int32 of the children
    parents: Tensor,  # [T] int64
    cells: Tensor,  # [M, 8] int32 row of each child, −1 if there is none; child x + 2y + 4z
) -> Neighborhood:  # [T, 27]
    """3³ neighbour map of a grid whose 2× coarser grid has one: the neighbours of a child are children of neighbours.

    Nothing is checked: coords must be the children that `parents` and `cells` name.
    """
    if coarse.shape[1] != 27 or cells.shape != (coarse.shape[0], 8):
        raise ValueError(f"need a 3³ map and cells [M, 8], got {tuple(coarse.shape)} and {tuple(cells.shape)}")
    return backends.selected(OP_REFINED, coords.device).run(coarse, coords, parents, cells)


def _run_refined(coarse: Neighborhood, coords: Tensor, parents: Tensor, cells: Tensor) -> Neighborhood:
    from .triton_neighbors import build_from_parents

    return Neighborhood(*build_from_parents(coords, parents, cells, coarse.table))


def _run_anew(coarse: Neighborhood, coords: Tensor, parents: Tensor, cells: Tensor) -> Neighborhood:
    return find_neighbors(coords, (3, 3, 3))


backends.register(OP_REFINED, "triton", triton_unavailable, _run_refined, priority=10)
backends.register(OP_REFINED, backends.REFERENCE, lambda device: None, _run_anew)
backends.register(OP, "triton", triton_unavailable, _run_hashed, priority=10)
backends.register(OP, "reference", lambda device: None, _run_sorted)
