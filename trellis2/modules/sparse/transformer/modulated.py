"""Time-modulated transformer blocks over sparse tokens (DiT with adaptive layer norm)."""

from __future__ import annotations

from torch import Tensor

from ...transformer.checkpointing import run_block
from ...transformer.modulated import ModulatedTransformerBlock, ModulatedTransformerCrossBlock
from ...transformer.modulation import BlockModulation
from ..attention import SparseMultiHeadAttention
from ..tensor import SparseTensor
from ..varlen import VarLenTensor
from .blocks import SparseFeedForwardNet

__all__ = ["ModulatedSparseTransformerBlock", "ModulatedSparseTransformerCrossBlock"]


class _SparseModulation(BlockModulation):
    def modulation_rows(self, x: SparseTensor, mod: Tensor) -> list[Tensor]:
        """shift 1, 1 + scale 1, gate 1, shift 2, 1 + scale 2, gate 2, each [T, C] (or [1, C] for one sample)."""
        parts = list(self.modulation_vector(mod).chunk(6, dim=1))
        parts[1], parts[4] = 1 + parts[1], 1 + parts[4]
        return [x.per_sample_to_rows(part) for part in parts]


class ModulatedSparseTransformerBlock(_SparseModulation, ModulatedTransformerBlock):
    """x + g₁·attn(norm1 x·(1+c₁)+s₁), then x + g₂·mlp(norm2 x·(1+c₂)+s₂)."""

    ATTENTION = SparseMultiHeadAttention
    FEED_FORWARD = SparseFeedForwardNet

    def _forward(self, x: SparseTensor, mod: Tensor) -> SparseTensor:  # type: ignore[override]
        s1, c1, g1, s2, c2, g2 = self.modulation_rows(x, mod)
        h = self.attn(x.replace(self.norm1(x.feats) * c1 + s1))
        x = x.replace(x.feats + g1 * h.feats)
        h = self.mlp(x.replace(self.norm2(x.feats) * c2 + s2))
        return x.replace(x.feats + g2 * h.feats)

    def forward(self, x: SparseTensor, mod: Tensor) -> SparseTensor:  # type: ignore[override]
        """feats [T, C], mod [N, C] or [N, 6C] -> [T, C]."""
        return run_block(self, x, mod)


class ModulatedSparseTransformerCrossBlock(_SparseModulation, ModulatedTransformerCrossBlock):
    """As ModulatedSparseTransformerBlock with an unmodulated, ungated cross attention between the two branches."""

    ATTENTION = SparseMultiHeadAttention
    FEED_FORWARD = SparseFeedForwardNet

    def _forward(self, x: SparseTensor, mod: Tensor, context: VarLenTensor | Tensor) -> SparseTensor:  # type: ignore[override]
        s1, c1, g1, s2, c2, g2 = self.modulation_rows(x, mod)
        h = self.self_attn(x.replace(self.norm1(x.feats) * c1 + s1))
        x = x.replace(x.feats + g1 * h.feats)
        h = self.cross_attn(x.replace(self.norm2(x.feats)), context)
        x = x.replace(x.feats + h.feats)
        h = self.mlp(x.replace(self.norm3(x.feats) * c2 + s2))
        return x.replace(x.feats + g2 * h.feats)

    def forward(self, x: SparseTensor, mod: Tensor, context: VarLenTensor | Tensor) -> SparseTensor:  # type: ignore[override]
        """feats [T, C], mod [N, C] or [N, 6C], context [N, L, ctx_channels] or ragged -> [T, C]."""
        return run_block(self, x, mod, context)
