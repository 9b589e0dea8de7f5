"""Inference of the SC-VAE blocks in chunks of rows, so that wide intermediates never exist for all voxels at once.

Everything but the convolutions works voxel by voxel, and a convolution of some rows reads its neighbours from the
whole input: no row is computed twice. The chunk length is a function of the width alone. It depends neither on free
memory nor on the number of voxels, so that the matrix products, and with them the last bit of the results, do not
either.

Letters: T fine rows, M coarse rows, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...modules.sparse import SparseTensor
from ...modules.sparse.spatial.structure import FineStructure, up_tensor
from ...ops.rows import gather_rows

if TYPE_CHECKING:
    from .blocks import SparseConvNeXtBlock3d, SparseResBlockC2S3d

__all__ = [
    "ELEMENTS",
    "Finish",
    "apply_rows",
    "c2s_rows",
    "convnext_rows",
    "norm_silu_rows",
    "row_chunks",
    "skip_of_children",
]

Finish = Callable[[Tensor], Tensor] | None
"""What is done to the rows [t, C] of a result before they are kept; None: nothing."""

ELEMENTS = 1 << 23
"""Values [rows, C] of one chunk. The MLP of a ConvNeXt block holds about 28 bytes for each in 16-bit types."""


def row_chunks(num_rows: int, channels: int) -> Iterator[slice]:
    """Consecutive slices that cover [0, num_rows)."""
    step = max(1, ELEMENTS // channels)
    for start in range(0, num_rows, step):
        yield slice(start, min(num_rows, start + step))


def apply_rows(function: Callable[[Tensor], Tensor], x: Tensor, channels: int | None = None) -> Tensor:
    """function(x) for a function of rows [n, C] -> [n, C'], chunk by chunk; `channels` sets the chunk length."""
    parts = list(row_chunks(x.shape[0], channels or x.shape[1]))
    if len(parts) <= 1:
        return function(x)
    first = function(x[parts[0]])
    out = first.new_empty((x.shape[0], *first.shape[1:]))
    out[parts[0]] = first
    del first
    for rows in parts[1:]:
        out[rows] = function(x[rows])
    return out


def convnext_rows(block: SparseConvNeXtBlock3d, x: SparseTensor) -> SparseTensor:
    """x + MLP(norm(conv(x))); the MLP overwrites the convolution's output."""
    h = block.conv(x).feats
    for rows in row_chunks(h.shape[0], block.channels):
        torch.add(block.mlp(block.norm(h[rows])), x.feats[rows], out=h[rows])
    return x.replace(h)


def norm_silu_rows(norm: nn.Module, x: Tensor) -> Tensor:
    """SiLU(norm(x)) [T, C]."""
    return apply_rows(lambda rows: F.silu(norm(rows), inplace=True), x)


def skip_of_children(block: SparseResBlockC2S3d, x: Tensor, children: Tensor) -> Tensor:
    """Skip connection of the children [t] int64, places in the [M, 8] children of x [M, C] -> [t, out_channels]."""
    skip = gather_rows(x.reshape(x.shape[0] * 8, block.channels // 8), children)
    return skip.repeat_interleave(block.out_channels * 8 // block.channels, dim=1)


def _parent_order(structure: FineStructure, num_parents: int) -> tuple[Tensor | None, Tensor]:
    """Fine rows sorted by parent (None if they are), and the first of each parent [M + 1] int64 on the host."""
    counts = torch.bincount(structure.idx, minlength=num_parents)
    offsets = F.pad(counts.cumsum(0), (1, 0))
    ordered = bool((structure.idx[1:] >= structure.idx[:-1]).all())
    return (None if ordered else torch.argsort(structure.idx, stable=True)), offsets


def c2s_rows(
    block: SparseResBlockC2S3d, x: SparseTensor, structure: FineStructure, shared: bool, finish: Finish = None
) -> SparseTensor:
    """The up-sampling block on a known structure; conv1 exists for a chunk of parents at a time."""
    num_parents, num_children = x.feats.shape[0], structure.idx.shape[0]
    order, offsets = _parent_order(structure, num_parents)
    places = structure.idx * 8 + structure.subidx
    normed = x.replace(norm_silu_rows(block.norm1, x.feats))
    hidden = x.feats.new_empty((num_children, block.out_channels))
    parts = list(row_chunks(num_parents, block.channels))
    bounds = offsets[torch.tensor([p.start for p in parts] + [num_parents], device=offsets.device)].tolist()
    for rows, begin, end in zip(parts, bounds, bounds[1:]):
        members = slice(begin, end) if order is None else order[begin:end]
        wide = block.conv1.rows(normed, rows).view(-1, block.out_channels)  # [m, 8·C'] -> [8·m, C']
        kids = gather_rows(wide, places[members] - 8 * rows.start)
        del wide
        hidden[members] = F.silu(block.norm2(kids), inplace=True)
        del kids
    del normed
    out = block.conv2(up_tensor(x, hidden, structure.coords, 2, shared))
    del hidden
    for rows in row_chunks(num_children, block.out_channels):
        out.feats[rows] += skip_of_children(block, x.feats, places[rows])
    return out if finish is None else out.replace(apply_rows(finish, out.feats))
