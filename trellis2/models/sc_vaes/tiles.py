"""Up-sampling in tiles with a halo: the finest level never exists as a whole, only its result does.

A tile is a run of parents. Its children need, for the second convolution, the hidden features of their neighbours,
which are children of the tile's neighbours (first ring), and those need for the first convolution the second ring.
Rings are computed again for every tile; consecutive rows are spatially compact, so that a ring is thin.

Letters: T fine rows, M coarse rows, C channels, V kernel taps; R1, R2 parents with one and two rings.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...modules.sparse import SparseTensor
from ...modules.sparse.conv import neighbor_map_of
from ...modules.sparse.spatial.structure import refine, up_tensor
from ...ops.child_conv import add_child_skip_, child_cells, sparse_conv3d_children
from ...ops.neighbor_map import refine_neighbors
from ...ops.neighborhood import Neighborhood
from ...ops.rows import gather_rows
from ...ops.sparse_conv import sparse_conv3d
from ...utils.memory import MemoryBudget
from .row_chunks import ELEMENTS, Finish, apply_rows, norm_silu_rows

if TYPE_CHECKING:
    from .blocks import SparseResBlockC2S3d

__all__ = ["c2s_tiles", "tile_rows"]

_log = logging.getLogger(__name__)
_MAP_BYTES = 2 * 27 * 4 + 32
"""Of a voxel: its row of the neighbour map, and the arrangement that a convolution makes of it."""
_RINGS = 1.4
"""Parents that are computed for one parent of a tile of some ten thousand."""
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
    chunk = 8 * ELEMENTS
    structure = 72 * num_children  # coordinates, parents, places, and what finds them
    ratio = num_children / max(1, num_parents)
    first = num_parents * (wide + 96) + num_children * (narrow + 16)
    second = num_children * (2 * narrow + _MAP_BYTES)
    child = 2 * narrow + _MAP_BYTES + 96
    per_parent = _RINGS * (2 * wide + 4 * _MAP_BYTES + 96 + ratio * child)
    kept = num_children * (16 + narrow)
    return _Costs(structure + max(first, second) + chunk, kept + 27 * num_parents + chunk, int(per_parent))


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


def _part(hood: Neighborhood, rows: Tensor, sources: Tensor) -> Neighborhood:
    """The map of `rows` [n], pointing into `sources` (sorted); neighbours that are not among them are left out."""
    place = torch.full((hood.num_sources + 1,), sources.shape[0], dtype=torch.int32, device=rows.device)
    place[sources] = torch.arange(sources.shape[0], dtype=torch.int32, device=rows.device)
    return Neighborhood(place[hood.table[rows].long()], None, sources.shape[0], hood.whole_rows)


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
    hood = neighbor_map_of(x, block.conv1.kernel_size, block.conv1.dilation)
    offsets = F.pad(subdivision.sum(1).cumsum(0), (1, 0))
    starts = list(range(0, num_parents, rows_per_tile))
    bounds = offsets[torch.tensor([*starts, num_parents], device=offsets.device)].tolist()
    coords = x.coords.new_empty((bounds[-1], 4))
    out: Tensor | None = None
    for start, begin, end in zip(starts, bounds, bounds[1:]):
        stop = min(num_parents, start + rows_per_tile)
        coords[begin:end], feats = _tile(block, x, subdivision, hood, range(start, stop), bounds[-1])
        finished = feats if finish is None else apply_rows(finish, feats)
        if out is None:
            out = finished.new_empty((bounds[-1], finished.shape[1]))
        out[begin:end] = finished
        del feats, finished
    if out is None:
        empty = x.feats.new_empty((0, block.out_channels))
        out = empty if finish is None else finish(empty)
    return up_tensor(x, out, coords, 2, shared=False)


def _tile(
    block: SparseResBlockC2S3d,
    x: SparseTensor,
    subdivision: Tensor,
    hood: Neighborhood,
    rows: range,
    all_children: int,
) -> tuple[Tensor, Tensor]:
    """Coordinates [t, 4] and features [t, C'] of the children of the parents in `rows`."""
    conv1, conv2, num_parents = block.conv1, block.conv2, x.feats.shape[0]
    inner = _ring(hood.table[rows.start : rows.stop], num_parents)  # [R1]
    outer = _ring(hood.table[inner], num_parents)  # [R2]
    normed = gather_rows(x.feats, outer)
    normed = norm_silu_rows(block.norm1, normed, out=normed)
    structure = refine(x.coords[inner], subdivision[inner], 2)
    num_children = structure.idx.shape[0]
    cells = child_cells(structure.idx, structure.subidx, inner.shape[0])
    hidden = sparse_conv3d_children(
        normed, conv1.weight, conv1.bias, _part(hood, inner, outer), cells, num_children, backend=conv1.backend
    )
    del normed
    hidden = norm_silu_rows(block.norm2, hidden, out=hidden)

    # The tile's own parents are consecutive in `inner`, and so are their children.
    first, last = torch.searchsorted(inner, torch.tensor([rows.start, rows.stop], device=inner.device)).tolist()
    begin, end = torch.searchsorted(structure.idx, torch.tensor([first, last], device=inner.device)).tolist()
    own = slice(begin, end)
    fine = refine_neighbors(_part(hood, inner, inner), structure.coords, structure.idx, cells)
    fine.whole_rows = all_children
    feats = sparse_conv3d(hidden, conv2.weight, conv2.bias, fine[own], backend=conv2.backend)
    del hidden, fine
    add_child_skip_(feats, x.feats, inner[structure.idx[own]], structure.subidx[own])
    return structure.coords[own], feats
