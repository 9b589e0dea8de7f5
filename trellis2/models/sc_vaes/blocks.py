"""Residual blocks of the sparse-compression VAE: ConvNeXt, and resampling by moving children into channels.

Letters: T rows, M coarse rows, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...modules.norm import LayerNorm32
from ...modules.sparse import SparseConv3d, SparseLinear, SparseTensor
from ...modules.sparse.spatial import SparseChannel2Spatial, SparseSpatial2Channel
from ...modules.sparse.spatial.spatial2channel import channels_to_children, children_to_channels
from ...modules.sparse.spatial.structure import FineStructure, coarsen, fine_structure, up_tensor
from ...modules.transformer.checkpointing import run_block
from ...modules.utils import autocast_active, zero_module
from ...utils.memory import MemoryBudget
from .row_chunks import Finish, c2s_rows, convnext_rows, s2c_rows
from .tiles import c2s_tiles, tile_rows

__all__ = [
    "SparseConvNeXtBlock3d",
    "SparseResBlockC2S3d",
    "SparseResBlockS2C3d",
    "norm_silu",
    "subdivision_of",
    "values_only",
]


def norm_silu(x: SparseTensor, norm: nn.Module) -> SparseTensor:
    """SiLU(norm(x)) on the features."""
    return x.replace(F.silu(norm(x.feats)))


def subdivision_of(logits: SparseTensor | None) -> SparseTensor | None:
    """Children that exist: logits > 0."""
    return None if logits is None else logits.replace(logits.feats > 0)


def values_only(x: SparseTensor) -> bool:
    """Only values are wanted: blocks run in chunks of rows and reuse buffers."""
    return not torch.is_grad_enabled() and not autocast_active(x.device)


class SparseConvNeXtBlock3d(nn.Module):
    """x + MLP(norm(conv(x))) with a full 3³ convolution on the raw input."""

    def __init__(self, channels: int, mlp_ratio: float = 4.0, use_checkpoint: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.use_checkpoint = use_checkpoint
        hidden = int(channels * mlp_ratio)
        self.norm = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.conv = SparseConv3d(channels, channels, 3)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.SiLU(), zero_module(nn.Linear(hidden, channels)))

    def _forward(self, x: SparseTensor) -> SparseTensor:
        if values_only(x):
            return convnext_rows(self, x)
        h = self.conv(x)
        return x.replace(self.mlp(self.norm(h.feats)) + x.feats)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """feats [T, C] -> [T, C]."""
        return run_block(self, x)


class SparseResBlockS2C3d(nn.Module):
    """Down-sampling by 2: the children of a voxel become channels, in the main path after conv1.

    Skip: the 8·C stacked channels averaged in groups to `out_channels`; absent children count as zero.
    """

    def __init__(self, channels: int, out_channels: int, use_checkpoint: bool = False) -> None:
        super().__init__()
        if out_channels % 8 or (8 * channels) % out_channels:
            raise ValueError(f"out_channels must be a multiple of 8 and divide 8·channels: {channels}, {out_channels}")
        self.channels = channels
        self.out_channels = out_channels
        self.use_checkpoint = use_checkpoint
        self.norm1 = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.norm2 = LayerNorm32(out_channels, elementwise_affine=False, eps=1e-6)
        self.conv1 = SparseConv3d(channels, out_channels // 8, 3)
        self.conv2 = zero_module(SparseConv3d(out_channels, out_channels, 3))
        self.updown = SparseSpatial2Channel(2)

    def _forward(self, x: SparseTensor) -> SparseTensor:
        if values_only(x):
            return s2c_rows(self, x)
        h = self.updown(self.conv1(norm_silu(x, self.norm1)))
        h = self.conv2(norm_silu(h, self.norm2))
        stacked = children_to_channels(x.feats, coarsen(x, 2), 2)
        skip = stacked.unflatten(1, (self.out_channels, 8 * self.channels // self.out_channels)).mean(dim=-1)
        return h.replace(h.feats + skip)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """feats [T, C] -> [M, out_channels] on the grid twice as coarse."""
        return run_block(self, x)


class SparseResBlockC2S3d(nn.Module):
    """Up-sampling by 2: channels become children, in the main path after conv1.

    The children are those of the cached structure if there is one, else those with logits > 0, predicted from the
    input (pred_subdiv) or given as `subdiv` feats [M, 8]. Returns (h, logits) if pred_subdiv, else h.
    """

    def __init__(
        self, channels: int, out_channels: int, use_checkpoint: bool = False, pred_subdiv: bool = True
    ) -> None:
        super().__init__()
        if channels % 8 or (8 * out_channels) % channels:
            raise ValueError(f"channels must be a multiple of 8 and divide 8·out_channels: {channels}, {out_channels}")
        self.channels = channels
        self.out_channels = out_channels
        self.use_checkpoint = use_checkpoint
        self.pred_subdiv = pred_subdiv
        self.norm1 = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.norm2 = LayerNorm32(out_channels, elementwise_affine=False, eps=1e-6)
        self.conv1 = SparseConv3d(channels, out_channels * 8, 3)
        self.conv2 = zero_module(SparseConv3d(out_channels, out_channels, 3))
        if pred_subdiv:
            self.to_subdiv = SparseLinear(channels, 8)
        self.updown = SparseChannel2Spatial(2)

    def _forward(self, x: SparseTensor, subdiv: SparseTensor | None) -> Any:
        if self.pred_subdiv:
            subdiv = self.to_subdiv(x)
        structure, shared = fine_structure(x, subdivision_of(subdiv), 2)
        h = self.conv1(norm_silu(x, self.norm1))
        h = up_tensor(x, channels_to_children(h.feats, structure, 2), structure.coords, 2, shared)
        h = self.conv2(norm_silu(h, self.norm2))
        skip = channels_to_children(x.feats, structure, 2)
        skip = skip.repeat_interleave(self.out_channels * 8 // self.channels, dim=1)
        h = h.replace(h.feats + skip)
        return (h, subdiv) if self.pred_subdiv else h

    def _values(
        self,
        x: SparseTensor,
        subdiv: SparseTensor | None,
        budget: MemoryBudget | None,
        finish: Finish,
        structure: FineStructure | None,
    ) -> Any:
        """`_forward` without gradients, in chunks of rows, or in tiles where the structure is new and memory short."""
        if self.pred_subdiv:
            subdiv = self.to_subdiv(x)
        known = x.get_spatial_cache("channel2spatial_2") is not None
        rows = None
        if budget is not None and not known and subdiv is not None and len(subdiv.feats) == len(x.feats):
            count = int((subdiv.feats > 0).sum()) if structure is None else structure.idx.shape[0]
            rows = tile_rows(self, x, count, budget)
        if rows is not None and subdiv is not None:
            h = c2s_tiles(self, x, subdiv.feats > 0, rows, finish)
        elif structure is not None and not known:
            h = c2s_rows(self, x, structure, False, finish)
        else:
            h = c2s_rows(self, x, *fine_structure(x, subdivision_of(subdiv), 2), finish)
        return (h, subdiv) if self.pred_subdiv else h

    def forward(
        self,
        x: SparseTensor,
        subdiv: SparseTensor | None = None,
        *,
        budget: MemoryBudget | None = None,
        finish: Finish = None,
        structure: FineStructure | None = None,
    ) -> Any:
        """feats [M, C] -> [T, out_channels] on the grid twice as fine.

        Without gradients: the block stays within `budget` if it can, and `finish`, a function of rows
        [t, out_channels], is applied to the result; structure: what `subdiv` stands for, if it is known already.
        """
        if values_only(x):
            return self._values(x, subdiv, budget, finish, structure)
        if finish is not None:
            raise ValueError("finish is for inference without gradients and autocast")
        return run_block(self, x, subdiv)
