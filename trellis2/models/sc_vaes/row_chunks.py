"""Inference of the SC-VAE blocks in chunks of rows, so that wide intermediates never exist for all voxels at once.

Everything but the convolutions works voxel by voxel, and a convolution of some rows reads its neighbours from the
whole input: no row is computed twice. The chunk length is a function of the width alone. It depends neither on free
memory nor on the number of voxels, so that the matrix products, and with them the last bit of the results, do not
either.

Letters: T fine rows, M coarse rows, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...modules.sparse import SparseTensor
from ...modules.sparse.conv import neighbor_map_of, share_neighbors_with_children
from ...modules.sparse.spatial.structure import FineStructure, coarsen, up_tensor
from ...ops.child_conv import add_child_skip_, child_cells, sparse_conv3d_children
from ...ops.row_mlp import MlpWeights, norm_mlp, norm_rows_silu
from ...ops.rows import gather_rows

if TYPE_CHECKING:
    from .blocks import SparseConvNeXtBlock3d, SparseResBlockC2S3d, SparseResBlockS2C3d

__all__ = [
    "ELEMENTS",
    "Finish",
    "apply_rows",
    "c2s_rows",
    "convnext_rows",
    "norm_silu_rows",
    "row_chunks",
    "s2c_rows",
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
    first: Any = block.mlp[0]
    last: Any = block.mlp[-1]
    norm = block.norm
    weights = MlpWeights(norm.weight, norm.bias, first.weight, first.bias, last.weight, last.bias)
    return x.replace(norm_mlp(h, x.feats, weights, norm.eps, out=h))


def norm_silu_rows(norm: nn.LayerNorm, x: Tensor, out: Tensor | None = None) -> Tensor:
    """SiLU(norm(x)) [T, C], into `out` (which may be x) if given."""
    return norm_rows_silu(x, norm.weight, norm.bias, norm.eps, out=out)


def s2c_rows(block: SparseResBlockS2C3d, x: SparseTensor) -> SparseTensor:
    """The down-sampling block; the stacked children of the skip connection exist for a chunk of parents at a time."""
    normed = norm_silu_rows(block.norm1, x.feats)
    h = block.conv1(x.replace(normed))
    del normed
    h = block.updown(h)
    h = block.conv2(h.replace(norm_silu_rows(block.norm2, h.feats, out=h.feats)))
    structure = coarsen(x, 2)
    cells = child_cells(structure.idx, structure.subidx, h.feats.shape[0])
    groups = (block.out_channels, 8 * block.channels // block.out_channels)
    for rows in row_chunks(h.feats.shape[0], 8 * block.channels):
        children = cells[rows].reshape(-1)
        stacked = gather_rows(x.feats, children.clamp(min=0).long())  # [8·m, C]
        stacked = stacked.masked_fill_((children < 0)[:, None], 0).view(-1, 8 * block.channels)
        h.feats[rows] += stacked.unflatten(1, groups).mean(dim=-1)
    return h


def c2s_rows(
    block: SparseResBlockC2S3d, x: SparseTensor, structure: FineStructure, shared: bool, finish: Finish = None
) -> SparseTensor:
    """The up-sampling block on a known structure; the wide result of conv1 never exists for all parents."""
    conv1, num_children = block.conv1, structure.idx.shape[0]
    cells = child_cells(structure.idx, structure.subidx, x.feats.shape[0])
    normed = norm_silu_rows(block.norm1, x.feats)
    hood = neighbor_map_of(x, conv1.kernel_size, conv1.dilation)
    hidden = sparse_conv3d_children(normed, conv1.weight, conv1.bias, hood, cells, num_children, backend=conv1.backend)
    del normed
    hidden = norm_silu_rows(block.norm2, hidden, out=hidden)
    fine = up_tensor(x, hidden, structure.coords, 2, shared)
    share_neighbors_with_children(x, fine, structure.idx, cells)
    out = block.conv2(fine)
    del hidden, fine
    add_child_skip_(out.feats, x.feats, structure.idx, structure.subidx)
    if finish is None:
        return out
    feats = out.feats
    del out  # with the neighbour map, which nothing needs any more
    return up_tensor(x, finish(feats), structure.coords, 2, shared)
