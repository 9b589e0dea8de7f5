"""Neighbour maps and visiting orders on the device, with Triton. Letters as in `neighborhood`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
from torch import Tensor

from .neighborhood import MAX_MASK_TAPS, Arrangement, Neighborhood, Pairs
from .triton_kernels.neighbor_hash import (
    block_keys_kernel,
    block_links_kernel,
    insert_blocks_kernel,
    neighbor_rows_kernel,
)
from .triton_kernels.neighbor_order import (
    arrange_kernel,
    count_children_kernel,
    place_children_kernel,
    schedule_kernel,
    sort_keys_kernel,
    tile_taps_kernel,
)
from .triton_kernels.neighbor_pairs import count_pairs_kernel, write_pairs_kernel

__all__ = ["arrange", "arrange_children", "build_from_parents", "build_hashed", "list_pairs"]

_WINDOW_BITS = 5
_CHILD_ROWS = 256
_SCHEDULED_TILES = 1024
"""Up to so many tiles the order in which they are taken matters more than where their rows lie."""
FEATURE_ROWS = 131072
"""Rows up to which they are sorted by what of the kernel's sides and edges is empty."""
WINDOW_ROWS = 262144
"""Rows sorted together: more make purer tiles, fewer keep the gathered rows in the cache."""


def _taps_where(keep: Callable[[tuple[int, int, int]], bool]) -> int:
    """Set of the taps of the 3³ kernel whose offsets (dx, dy, dz) pass, as bits."""
    return sum(1 << v for v in range(27) if keep((v // 9 - 1, v // 3 % 3 - 1, v % 3 - 1)))


_SIDES = [_taps_where(lambda d, a=a, s=s: d[a] == s) for a in range(3) for s in (-1, 1)]  # type: ignore[misc]
_EDGES = [
    _taps_where(lambda d, a=a, b=b, s=s, t=t: d[a] == s and d[b] == t)  # type: ignore[misc]
    for a, b in ((0, 1), (0, 2), (1, 2))
    for s in (-1, 1)
    for t in (-1, 1)
]
_FEATURES = (*_SIDES, *_EDGES)
"""The 6 sides and 12 edges of the 3³ kernel. Whether they hold any voxel says most about a surface."""
_SINGLES = (4, 22, 10, 16, 12, 14, 0, 2, 6, 8, 18, 20, 24)
"""Taps that follow in the key of 31 bits: the middles of the sides, then corners."""


def build_hashed(coords: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """3³ map of coords [N, 4] int32 by hashing 2³ blocks.

    Returns the table [N, 27] int32, masks [N] int32, and a status [1] int32 on the device: −1 if all is well, bit 0
    clear when coordinates lie outside [0, 32768), bit 1 clear when a voxel is there twice; the map is meaningless then.
    """
    num_rows, device = coords.shape[0], coords.device
    coords = coords.contiguous()
    slots = triton.next_power_of_2(max(64, num_rows + num_rows // 2))
    scratch = torch.full((slots + 8 * num_rows + 1,), -1, dtype=torch.int32, device=device)
    cells, table, status = scratch[: 8 * num_rows].view(num_rows, 8), scratch[8 * num_rows : -1], scratch[-1:]
    links = torch.empty((num_rows, 8), dtype=torch.int32, device=device)
    keys = torch.empty(num_rows, dtype=torch.int64, device=device)
    block_keys_kernel[(triton.cdiv(num_rows, 1024),)](coords, keys, num_rows, BLOCK=1024)
    insert_blocks_kernel[(triton.cdiv(num_rows, 512),)](
        coords, keys, table, cells, status, num_rows, slots, BLOCK=512, num_warps=4
    )
    block_links_kernel[(triton.cdiv(num_rows, 128),)](
        coords, keys, table, links, num_rows, slots, BLOCK=128, num_warps=4
    )
    neighbors, masks = _rows_under_taps(coords, links, None, cells, num_rows)
    return neighbors, masks, status


def build_from_parents(coords: Tensor, parents: Tensor, cells: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
    """3³ map of a grid from the 3³ map of its 2× coarser grid, without any search.

    coords [N, 4] int32; parents [N] int64 row of the coarse voxel; cells [M, 8] int32 fine row of each child, x
    fastest, −1 if there is none; coarse [M, 27] int32. Returns the table [N, 27] and masks [N], int32.
    """
    return _rows_under_taps(coords.contiguous(), coarse, parents.contiguous(), cells, coarse.shape[0])


def _rows_under_taps(
    coords: Tensor, links: Tensor, parents: Tensor | None, cells: Tensor, num_blocks: int
) -> tuple[Tensor, Tensor]:
    num_rows, device = coords.shape[0], coords.device
    neighbors = torch.empty((num_rows, 27), dtype=torch.int32, device=device)
    masks = torch.empty(num_rows, dtype=torch.int32, device=device)
    if num_rows:
        neighbor_rows_kernel[(triton.cdiv(num_rows, 32),)](
            coords,
            links,
            parents if parents is not None else links,
            cells,
            neighbors,
            masks,
            num_rows,
            num_blocks,
            PARENTS=parents is not None,
            BLOCK=32,
            num_warps=4,
        )
    return neighbors, masks


def _permutation(hood: Neighborhood, groups: int) -> Tensor:
    """[G, N] int64: G·N numbers, g·N + the row at each position of group g."""
    (num_rows, volume), device = hood.shape, hood.device
    if volume > MAX_MASK_TAPS:
        return torch.arange(groups * num_rows, device=device).view(groups, num_rows)
    masks = hood.tap_masks()
    width = volume - 1 if groups == 1 else -(-volume // groups)
    by_features = volume == 27 and groups == 1 and num_rows <= FEATURE_ROWS
    windows = min(1 << _WINDOW_BITS, max(1, num_rows // WINDOW_ROWS)) if groups == 1 else 1
    short = groups > 1 and groups << width <= 1 << 15
    keys = torch.empty((groups, num_rows), dtype=torch.int16 if short else torch.int32, device=device)
    sort_keys_kernel[(triton.cdiv(num_rows, 1024), groups)](
        masks,
        keys,
        num_rows,
        -(-num_rows // windows),
        GROUPS=groups,
        CENTRE=volume // 2,
        WIDTH=width,
        FEATURES=_FEATURES if by_features else (),
        SINGLES=_SINGLES if by_features else (),
        BLOCK=1024,
    )
    # Ties keep the order of the rows: the arrangement does not depend on the sorting algorithm.
    return torch.sort(keys.view(-1), stable=True).indices.view(groups, num_rows)


def arrange(hood: Neighborhood, tile: int, groups: int) -> Arrangement:
    """Rows sorted by the set of their neighbours inside windows of rows, and the taps that each tile needs.

    groups cuts the taps in so many runs of ⌈V / groups⌉, each with an order of its own. Deterministic.
    """
    (num_rows, volume), device = hood.shape, hood.device
    tiles = triton.cdiv(num_rows, tile)
    positions = tiles * tile
    perm = _permutation(hood, groups)
    neighbors = torch.empty((volume, positions), dtype=torch.int32, device=device)
    order = torch.empty((groups, positions), dtype=torch.int32, device=device)
    taps = torch.empty((groups, tiles, volume), dtype=torch.int32, device=device)
    counts = torch.empty((groups, tiles), dtype=torch.int32, device=device)
    arrange_kernel[(tiles, groups)](
        hood.unconfirmed,
        perm,
        neighbors,
        order,
        taps,
        counts,
        num_rows,
        hood.num_sources,
        positions,
        tiles,
        V=volume,
        WIDTH=-(-volume // groups),
        BLOCK_V=triton.next_power_of_2(-(-volume // groups)),
        TILE=tile,
        num_warps=4,
    )
    return Arrangement(tile, groups, neighbors, order, taps, counts, schedule=_heaviest_first(counts))


def _heaviest_first(counts: Tensor) -> Tensor | None:
    """counts [G, tiles] of active taps -> tiles from the longest list to the shortest [G, tiles] int32."""
    if counts.shape[1] > _SCHEDULED_TILES:
        return None
    groups, tiles = counts.shape
    schedule = torch.empty_like(counts)
    schedule_kernel[(triton.cdiv(tiles, 64), groups)](counts, schedule, tiles, BLOCK=64, OTHERS=128)
    return schedule


def arrange_children(hood: Neighborhood, cells: Tensor, num_children: int, tile: int) -> Arrangement:
    """Visiting order of a convolution that makes only the children that exist; V ≤ 30.

    cells [M, 8] int32: row of each child of the M rows of the map, −1 if there is none; num_children of them exist.
    Tiles hold children of one place, in the order in which `arranged` has their parents. Deterministic.
    """
    base = hood.arranged_once(tile)
    parents = base.order[0]
    num_positions, device = parents.shape[0], hood.device
    blocks = max(1, triton.cdiv(num_positions, _CHILD_ROWS))
    counts = torch.zeros((8, blocks), dtype=torch.int32, device=device)
    if num_positions:
        count_children_kernel[(blocks,)](cells, parents, counts, num_positions, blocks, ROWS=_CHILD_ROWS)
    ranks = torch.cumsum(counts, 1)  # [8, blocks] children of a place up to and including a block
    ends = torch.cumsum((ranks[:, -1] + tile - 1) // tile, 0)  # tiles up to and including a place
    tiles = triton.cdiv(num_children, tile) + 8
    places = torch.full((tiles * tile,), -1, dtype=torch.int32, device=device)
    order = torch.full((1, tiles * tile), -1, dtype=torch.int32, device=device)
    first_tile = torch.cat([ends.new_zeros(1), ends[:-1]])
    starts = first_tile[:, None] * tile + ranks - counts
    if num_positions:
        place_children_kernel[(blocks,)](cells, parents, starts, places, order, num_positions, blocks, ROWS=_CHILD_ROWS)
    # Tiles past the last child have no rows; any slot does.
    slots = torch.searchsorted(ends, torch.arange(tiles, device=device), right=True).clamp_(max=7).int()
    taps = torch.empty((1, tiles, hood.shape[1]), dtype=torch.int32, device=device)
    lengths = torch.empty((1, tiles), dtype=torch.int32, device=device)
    tile_taps_kernel[(tiles,)](hood.tap_masks(), parents, places, taps, lengths, V=hood.shape[1], TILE=tile)
    return Arrangement(tile, 1, base.neighbors, order, taps, lengths, places, slots, _heaviest_first(lengths))


def list_pairs(hood: Neighborhood) -> Pairs:
    """The pair lists of a map, ascending output row inside a tap. One host synchronisation."""
    (num_rows, volume), device, table = hood.shape, hood.device, hood.table
    rows = max(16, 4096 // triton.next_power_of_2(volume))
    blocks = max(1, triton.cdiv(num_rows, rows))
    sizes = (num_rows, hood.num_sources, blocks)
    shape = {"V": volume, "BLOCK_V": triton.next_power_of_2(volume), "ROWS": rows}
    counts = torch.zeros((volume, blocks), dtype=torch.int32, device=device)
    if num_rows:
        count_pairs_kernel[(blocks,)](table, counts, *sizes, **shape)
    ends = torch.cumsum(counts.view(-1), 0)
    starts = (ends - counts.view(-1)).view(volume, blocks)
    bounds = (0, *ends.view(volume, blocks)[:, -1].tolist())
    rows_out = torch.empty(bounds[-1], dtype=torch.int32, device=device)
    rows_in = torch.empty(bounds[-1], dtype=torch.int32, device=device)
    if bounds[-1]:
        write_pairs_kernel[(blocks,)](table, starts, rows_out, rows_in, *sizes, **shape)
    return Pairs(rows_out, rows_in, bounds)
