"""Transformer blocks over sparse tokens, x ← x + branch(norm x)."""

from __future__ import annotations

from torch import Tensor

from ...transformer.blocks import FeedForwardNet, TransformerBlock, TransformerCrossBlock
from ...transformer.checkpointing import run_block
from ..attention import SparseMultiHeadAttention
from ..tensor import SparseTensor
from ..varlen import VarLenTensor

__all__ = ["SparseFeedForwardNet", "SparseTransformerBlock", "SparseTransformerCrossBlock"]


class SparseFeedForwardNet(FeedForwardNet):
    """FeedForwardNet on every row."""

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        return x.replace(super().forward(x.feats))


class SparseTransformerBlock(TransformerBlock):
    """Self attention and feed-forward; unlike the dense block, its norms are without parameters by default."""

    ATTENTION = SparseMultiHeadAttention
    FEED_FORWARD = SparseFeedForwardNet
    LN_AFFINE = False

    def _forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        x = x + self.attn(x.replace(self.norm1(x.feats)))
        return x + self.mlp(x.replace(self.norm2(x.feats)))

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        """feats [T, C] -> [T, C]."""
        return run_block(self, x)


class SparseTransformerCrossBlock(TransformerCrossBlock):
    """Self attention, cross attention and feed-forward."""

    ATTENTION = SparseMultiHeadAttention
    FEED_FORWARD = SparseFeedForwardNet

    def _forward(self, x: SparseTensor, context: VarLenTensor | Tensor) -> SparseTensor:  # type: ignore[override]
        x = x + self.self_attn(x.replace(self.norm1(x.feats)))
        x = x + self.cross_attn(x.replace(self.norm2(x.feats)), context)
        return x + self.mlp(x.replace(self.norm3(x.feats)))

    def forward(self, x: SparseTensor, context: VarLenTensor | Tensor) -> SparseTensor:  # type: ignore[override]
        """feats [T, C], context [N, L, ctx_channels] or ragged -> [T, C]."""
        return run_block(self, x, context)
