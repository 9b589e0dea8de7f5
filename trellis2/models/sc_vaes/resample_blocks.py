"""Residual blocks that pool and copy voxels, and the block that unites all ways of resampling.

None of the published configurations uses them; they are part of the published block vocabulary.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from ...modules.norm import LayerNorm32
from ...modules.sparse import (
    SparseChannel2Spatial,
    SparseConv3d,
    SparseDownsample,
    SparseLinear,
    SparseSpatial2Channel,
    SparseTensor,
    SparseUpsample,
)
from ...modules.transformer.checkpointing import run_block
from ...modules.utils import zero_module
from .blocks import norm_silu, subdivision_of

__all__ = ["SparseResBlock3d", "SparseResBlockDownsample3d", "SparseResBlockUpsample3d"]


class SparseResBlock3d(nn.Module):
    """SiLU(norm1) → conv1 → SiLU(norm2) → conv2, plus skip; optionally down- or up-sampling by 2.

    resample_mode 'nearest' pools or copies before conv1; 'spatial2channel' moves children and channels after conv1.
    Up-sampling predicts the children from the input and returns (h, logits), unless pred_subdiv is False: then they
    come from `subdiv` or the cached structure, and h is returned.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        downsample: bool = False,
        upsample: bool = False,
        resample_mode: Literal["nearest", "spatial2channel"] = "nearest",
        use_checkpoint: bool = False,
        pred_subdiv: bool = True,
    ) -> None:
        super().__init__()
        out_channels = channels if out_channels is None else out_channels
        if downsample and upsample:
            raise ValueError("downsample and upsample exclude each other")
        if resample_mode not in ("nearest", "spatial2channel"):
            raise ValueError(f"resample_mode must be 'nearest' or 'spatial2channel', got {resample_mode!r}")
        moves = resample_mode == "spatial2channel"
        if moves and not (downsample or upsample):
            raise ValueError("resample_mode 'spatial2channel' needs downsample or upsample")
        if moves and downsample and (out_channels % 8 or 8 * channels % out_channels):
            raise ValueError(f"out_channels must be a multiple of 8 and divide 8·channels: {channels}, {out_channels}")
        if moves and upsample and (channels % 8 or 8 * out_channels % channels):
            raise ValueError(f"channels must be a multiple of 8 and divide 8·out_channels: {channels}, {out_channels}")
        self.channels = channels
        self.out_channels = out_channels
        self.downsample = downsample
        self.upsample = upsample
        self.resample_mode = resample_mode
        self.use_checkpoint = use_checkpoint
        self.pred_subdiv = upsample and pred_subdiv
        width = out_channels
        if moves:
            width = out_channels // 8 if downsample else out_channels * 8
        self.norm1 = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.norm2 = LayerNorm32(out_channels, elementwise_affine=False, eps=1e-6)
        self.conv1 = SparseConv3d(channels, width, 3)
        self.conv2 = zero_module(SparseConv3d(out_channels, out_channels, 3))
        if not moves:
            self.skip_connection = SparseLinear(channels, out_channels) if channels != out_channels else nn.Identity()
        if self.pred_subdiv:
            self.to_subdiv = SparseLinear(channels, 8)
        self.updown: nn.Module | None = None
        if downsample:
            self.updown = SparseSpatial2Channel(2) if moves else SparseDownsample(2)
        elif upsample:
            self.updown = SparseChannel2Spatial(2) if moves else SparseUpsample(2)

    def _resample(self, x: SparseTensor, subdivision: SparseTensor | None) -> SparseTensor:
        if self.updown is None:
            return x
        return self.updown(x, subdivision) if self.upsample else self.updown(x)

    def _skip(self, x: SparseTensor) -> SparseTensor:
        """The resampled input brought to out_channels."""
        if self.resample_mode == "nearest":
            return self.skip_connection(x)
        if self.downsample:
            return x.replace(
                x.feats.unflatten(1, (self.out_channels, 8 * self.channels // self.out_channels)).mean(dim=-1)
            )
        return x.replace(x.feats.repeat_interleave(self.out_channels * 8 // self.channels, dim=1))

    def _forward(self, x: SparseTensor, subdiv: SparseTensor | None) -> Any:
        if self.pred_subdiv:
            subdiv = self.to_subdiv(x)
        children = subdivision_of(subdiv)
        h = norm_silu(x, self.norm1)
        if self.resample_mode == "nearest":
            h = self.conv1(self._resample(h, children))
        else:
            h = self._resample(self.conv1(h), children)
        h = self.conv2(norm_silu(h, self.norm2))
        h = h.replace(h.feats + self._skip(self._resample(x, children)).feats)
        return (h, subdiv) if self.pred_subdiv else h

    def forward(self, x: SparseTensor, subdiv: SparseTensor | None = None) -> Any:
        """feats [T, C] -> [T', out_channels]."""
        return run_block(self, x, subdiv)


class SparseResBlockDownsample3d(SparseResBlock3d):
    """Mean pooling by 2 before conv1."""

    def __init__(self, channels: int, out_channels: int | None = None, use_checkpoint: bool = False) -> None:
        super().__init__(channels, out_channels, downsample=True, use_checkpoint=use_checkpoint)


class SparseResBlockUpsample3d(SparseResBlock3d):
    """Nearest up-sampling by 2 before conv1."""

    def __init__(
        self,
        channels: int,
        out_channels: int | None = None,
        use_checkpoint: bool = False,
        pred_subdiv: bool = True,
    ) -> None:
        super().__init__(channels, out_channels, upsample=True, use_checkpoint=use_checkpoint, pred_subdiv=pred_subdiv)
