"""Time-modulated transformer blocks over sparse tokens (DiT with adaptive layer norm)."""

from __future__ import annotations

from torch import Tensor

from ...attention.condition import LayerCondition
from ...transformer.checkpointing import run_block
from ...transformer.modulated import ModulatedTransformerBlock, ModulatedTransformerCrossBlock
from ..attention import SparseMultiHeadAttention
from ..tensor import SparseTensor
from ..varlen import VarLenTensor
from .blocks import SparseFeedForwardNet

Context = VarLenTensor | Tensor | LayerCondition

__all__ = ["ModulatedSparseTransformerBlock", "ModulatedSparseTransformerCrossBlock"]


class ModulatedSparseTransformerBlock(ModulatedTransformerBlock):
    """x + g₁·attn(norm1 x·(1+c₁)+s₁), then x + g₂·mlp(norm2 x·(1+c₂)+s₂)."""

    ATTENTION = SparseMultiHeadAttention
    FEED_FORWARD = SparseFeedForwardNet

    def _forward(self, x: SparseTensor, mod: Tensor) -> SparseTensor:  # type: ignore[override]
        branches = (lambda h: self.attn(x.replace(h)).feats, lambda h: self.mlp(x.replace(h)).feats)
        return x.replace(self.run_branches(x.feats, mod, *branches, rows=x.row_samples))

    def forward(self, x: SparseTensor, mod: Tensor) -> SparseTensor:  # type: ignore[override]
        """feats [T, C], mod [N, C] or [N, 6C] -> [T, C]."""
        return run_block(self, x, mod)


class ModulatedSparseTransformerCrossBlock(ModulatedTransformerCrossBlock):
    """As ModulatedSparseTransformerBlock with an unmodulated, ungated cross attention between the two branches."""

    ATTENTION = SparseMultiHeadAttention
    FEED_FORWARD = SparseFeedForwardNet

    def _forward(self, x: SparseTensor, mod: Tensor, context: Context) -> SparseTensor:  # type: ignore[override]
        branches = (
            lambda h: self.self_attn(x.replace(h)).feats,
            lambda h: self.cross_attn(x.replace(h), context).feats,
            lambda h: self.mlp(x.replace(h)).feats,
        )
        return x.replace(self.run_branches(x.feats, mod, *branches, rows=x.row_samples))

    def forward(self, x: SparseTensor, mod: Tensor, context: Context) -> SparseTensor:  # type: ignore[override]
        """feats [T, C], mod [N, C] or [N, 6C], context [N, L, ctx_channels] or ragged -> [T, C]."""
        return run_block(self, x, mod, context)
