"""Up-sampling in tiles with a halo: the finest level never exists as a whole, only its result does.

A tile is a run of parents. Its children need, for the second convolution, the hidden features of their neighbours,
which are children of the tile's neighbours (first ring), and those need for the first convolution the second ring.
Rings are computed again for every tile; consecutive rows are spatially compact, so that a ring is thin.

Letters: T fine rows, M coarse rows, C channels, V kernel taps; R1, R2 parents with one and two rings.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...modules.sparse import SparseTensor
from ...modules.sparse.conv import neighbor_map_of
from ...modules.sparse.spatial.structure import refine, up_tensor
from ...ops.neighbor_map import find_neighbors
from ...ops.neighborhood import Neighborhood
from ...ops.rows import gather_rows
from ...ops.sparse_conv import sparse_conv3d
from ...utils.memory import MemoryBudget
from .row_chunks import ELEMENTS, Finish, apply_rows, norm_silu_rows, skip_of_children

if TYPE_CHECKING:
    from .blocks import SparseResBlockC2S3d

__all__ = ["c2s_tiles", "tile_rows"]

_log = logging.getLogger(__name__)
_MAP_BYTES = 2 * 27 * 4 + 16
"""Of a voxel: its row of the neighbour map, and the arrangement that a convolution makes of it."""
_MIN_TILE = 2048
"""Parents of the smallest tile; below, rings would be most of the work."""


class _Costs(NamedTuple):
    """Bytes of an up-sampling block beyond its input."""

    whole: int  # all at once
    fixed: int  # in tiles: what does not depend on the tile
    per_parent: int  # in tiles: for every parent of a tile, rings included


def _costs(block: SparseResBlockC2S3d, num_parents: int, num_children: int, element: int) -> _Costs:
    """Estimates from the sizes of the tensors that are alive together."""
    wide, narrow = block.channels * element, block.out_channels * element
    chunk = 8 * ELEMENTS * element
    structure = 64 * num_children
    first = num_parents * wide + num_children * narrow + chunk
    second = num_children * (2 * narrow + _MAP_BYTES) + chunk
    ratio = num_children / max(1, num_parents)
    ring = 1.5
    per_parent = ring * (6 * wide + 2 * _MAP_BYTES + ratio * (2 * narrow + 64 + _MAP_BYTES))
    return _Costs(structure + max(first, second), num_children * (16 + narrow) + chunk // 2, int(per_parent))


def tile_rows(block: SparseResBlockC2S3d, x: SparseTensor, num_children: int, budget: MemoryBudget) -> int | None:
    """Parents per tile that keep the block within the budget; None if it fits as a whole.

    Warns if not even small tiles fit.
    """
    costs = _costs(block, x.feats.shape[0], num_children, x.feats.element_size())
    available = budget.available()
    if costs.whole <= available:
        return None
    rows = int((available - costs.fixed) / costs.per_parent)
    if rows < _MIN_TILE:
        need = costs.fixed + _MIN_TILE * costs.per_parent
        _log.warning(
            "up-sampling to %d voxels needs about %.2f GB, but %.2f GB are left of the memory budget; "
            "going on with the smallest tiles",
            num_children, need / 1e9, available / 1e9,
        )  # fmt: skip
    return max(_MIN_TILE, rows)


def _ring(neighbors: Tensor, num_rows: int) -> Tensor:
    """Rows named by [n, V] entries of a neighbour table -> sorted int64, each once."""
    member = torch.zeros(num_rows + 1, dtype=torch.bool, device=neighbors.device)
    member[neighbors.reshape(-1).long()] = True
    return member[:num_rows].nonzero().squeeze(1)


def _renumber(neighbors: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Entries of a table [n, V] into all rows -> places in `rows` (sorted), which holds all that occur."""
    place = torch.full((num_rows + 1,), rows.shape[0], dtype=torch.int32, device=rows.device)
    place[rows] = torch.arange(rows.shape[0], dtype=torch.int32, device=rows.device)
    return place[neighbors.long()]


def c2s_tiles(
    block: SparseResBlockC2S3d,
    x: SparseTensor,
    subdivision: Tensor,  # [M, 8] bool
    rows_per_tile: int,
    finish: Finish = None,
) -> SparseTensor:  # feats [T, C'']
    """The up-sampled features, or what `finish` makes of rows [t, out_channels] of them.

    The children are those of `subdivision`, in the order of `refine`. Values only, no gradients.
    """
    num_parents = x.feats.shape[0]
    neighbors = neighbor_map_of(x, block.conv1.kernel_size, block.conv1.dilation)
    offsets = F.pad(subdivision.sum(1).cumsum(0), (1, 0))
    starts = list(range(0, num_parents, rows_per_tile))
    bounds = offsets[torch.tensor([*starts, num_parents], device=offsets.device)].tolist()
    coords = x.coords.new_empty((bounds[-1], 4))
    out: Tensor | None = None
    for start, begin, end in zip(starts, bounds, bounds[1:]):
        stop = min(num_parents, start + rows_per_tile)
        fine_coords, feats = _tile(block, x, subdivision, neighbors, start, stop, end - begin)
        coords[begin:end] = fine_coords
        finished = feats if finish is None else apply_rows(finish, feats)
        if out is None:
            out = finished.new_empty((bounds[-1], finished.shape[1]))
        out[begin:end] = finished
    if out is None:
        empty = x.feats.new_empty((0, block.out_channels))
        out = empty if finish is None else finish(empty)
    return up_tensor(x, out, coords, 2, shared=False)


def _tile(
    block: SparseResBlockC2S3d,
    x: SparseTensor,
    subdivision: Tensor,
    neighbors: Neighborhood,
    start: int,
    stop: int,
    num_children: int,
) -> tuple[Tensor, Tensor]:
    """Coordinates [t, 4] and features [t, C'] of the children of parents start … stop."""
    num_parents = x.feats.shape[0]
    inner = _ring(neighbors.table[start:stop], num_parents)  # [R1], the tile's own rows are consecutive in it
    table = neighbors.table[inner]  # [R1, V]
    outer = _ring(table, num_parents)  # [R2]
    normed = norm_silu_rows(block.norm1, gather_rows(x.feats, outer))
    masks = None if neighbors.masks is None else neighbors.masks[inner]
    local = Neighborhood(_renumber(table, outer, num_parents), masks, outer.shape[0])
    del table, masks
    structure = refine(x.coords[inner], subdivision[inner], 2)
    places = structure.idx * 8 + structure.subidx
    hidden = x.feats.new_empty((structure.idx.shape[0], block.out_channels))
    step = max(1, ELEMENTS // block.channels)
    bounds = torch.searchsorted(
        structure.idx, torch.arange(0, inner.shape[0] + step, step, device=structure.idx.device)
    ).tolist()
    for i, (begin, end) in enumerate(pairwise(bounds)):
        wide = sparse_conv3d(
            normed, block.conv1.weight, block.conv1.bias, local[i * step : (i + 1) * step], backend=block.conv1.backend
        )  # [n, 8·C']
        kids = gather_rows(wide.view(-1, block.out_channels), places[begin:end] - 8 * i * step)
        del wide
        hidden[begin:end] = F.silu(block.norm2(kids), inplace=True)
    del normed, local
    first = int(torch.searchsorted(inner, start))
    own = int(torch.searchsorted(structure.idx, first))  # children of the tile: [own, own + num_children)
    fine = find_neighbors(structure.coords, block.conv2.kernel_size, block.conv2.dilation)
    part = slice(own, own + num_children)
    feats = sparse_conv3d(hidden, block.conv2.weight, block.conv2.bias, fine[part], backend=block.conv2.backend)
    del hidden, fine
    places = inner[structure.idx[part]] * 8 + structure.subidx[part]
    for rows in (slice(i, i + step) for i in range(0, num_children, step)):
        feats[rows] += skip_of_children(block, x.feats, places[rows])
    return structure.coords[part], feats
