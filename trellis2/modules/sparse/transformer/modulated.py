"""Time-modulated transformer blocks over sparse tokens (DiT with adaptive layer norm)."""

from __future__ import annotations

from torch import Tensor

from ...norm import LayerNorm32
from ...transformer.checkpointing import run_block
from ...transformer.modulation import BlockModulation
from ..attention import SparseMultiHeadAttention
from ..tensor import SparseTensor
from ..varlen import VarLenTensor
from .blocks import AttnMode, SparseFeedForwardNet

__all__ = ["ModulatedSparseTransformerBlock", "ModulatedSparseTransformerCrossBlock"]


class _SparseModulation(BlockModulation):
    def modulation_rows(self, x: SparseTensor, mod: Tensor) -> list[Tensor]:
        """shift 1, 1 + scale 1, gate 1, shift 2, 1 + scale 2, gate 2, each [T, C] (or [1, C] for one sample)."""
        parts = list(self.modulation_vector(mod).chunk(6, dim=1))
        parts[1], parts[4] = 1 + parts[1], 1 + parts[4]
        return [x.per_sample_to_rows(part) for part in parts]


class ModulatedSparseTransformerBlock(_SparseModulation):
    """x + g₁·attn(norm1 x·(1+c₁)+s₁), then x + g₂·mlp(norm2 x·(1+c₂)+s₂)."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        attn_mode: AttnMode = "full",
        window_size: int | None = None,
        shift_window: tuple[int, int, int] | None = None,
        use_checkpoint: bool = False,
        use_rope: bool = False,
        rope_freq: tuple[float, float] = (1.0, 10000.0),
        qk_rms_norm: bool = False,
        qkv_bias: bool = True,
        share_mod: bool = False,
    ) -> None:
        super().__init__(channels, share_mod)
        self.use_checkpoint = use_checkpoint
        self.norm1 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.attn = SparseMultiHeadAttention(
            channels,
            num_heads,
            attn_mode=attn_mode,
            window_size=window_size,
            shift_window=shift_window,
            qkv_bias=qkv_bias,
            use_rope=use_rope,
            rope_freq=rope_freq,
            qk_rms_norm=qk_rms_norm,
        )
        self.mlp = SparseFeedForwardNet(channels, mlp_ratio)
        self._add_modulation_layer(channels)

    def _forward(self, x: SparseTensor, mod: Tensor) -> SparseTensor:
        s1, c1, g1, s2, c2, g2 = self.modulation_rows(x, mod)
        h = self.attn(x.replace(self.norm1(x.feats) * c1 + s1))
        x = x.replace(x.feats + g1 * h.feats)
        h = self.mlp(x.replace(self.norm2(x.feats) * c2 + s2))
        return x.replace(x.feats + g2 * h.feats)

    def forward(self, x: SparseTensor, mod: Tensor) -> SparseTensor:
        """feats [T, C], mod [N, C] or [N, 6C] -> [T, C]."""
        return run_block(self, x, mod)


class ModulatedSparseTransformerCrossBlock(_SparseModulation):
    """As ModulatedSparseTransformerBlock with an unmodulated, ungated cross attention between the two branches."""

    def __init__(
        self,
        channels: int,
        ctx_channels: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        attn_mode: AttnMode = "full",
        window_size: int | None = None,
        shift_window: tuple[int, int, int] | None = None,
        use_checkpoint: bool = False,
        use_rope: bool = False,
        rope_freq: tuple[float, float] = (1.0, 10000.0),
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
        qkv_bias: bool = True,
        share_mod: bool = False,
    ) -> None:
        super().__init__(channels, share_mod)
        self.use_checkpoint = use_checkpoint
        self.norm1 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.norm3 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.self_attn = SparseMultiHeadAttention(
            channels,
            num_heads,
            attn_mode=attn_mode,
            window_size=window_size,
            shift_window=shift_window,
            qkv_bias=qkv_bias,
            use_rope=use_rope,
            rope_freq=rope_freq,
            qk_rms_norm=qk_rms_norm,
        )
        self.cross_attn = SparseMultiHeadAttention(
            channels,
            num_heads,
            ctx_channels=ctx_channels,
            type="cross",
            qkv_bias=qkv_bias,
            qk_rms_norm=qk_rms_norm_cross,
        )
        self.mlp = SparseFeedForwardNet(channels, mlp_ratio)
        self._add_modulation_layer(channels)

    def _forward(self, x: SparseTensor, mod: Tensor, context: VarLenTensor | Tensor) -> SparseTensor:
        s1, c1, g1, s2, c2, g2 = self.modulation_rows(x, mod)
        h = self.self_attn(x.replace(self.norm1(x.feats) * c1 + s1))
        x = x.replace(x.feats + g1 * h.feats)
        h = self.cross_attn(x.replace(self.norm2(x.feats)), context)
        x = x.replace(x.feats + h.feats)
        h = self.mlp(x.replace(self.norm3(x.feats) * c2 + s2))
        return x.replace(x.feats + g2 * h.feats)

    def forward(self, x: SparseTensor, mod: Tensor, context: VarLenTensor | Tensor) -> SparseTensor:
        """feats [T, C], mod [N, C] or [N, 6C], context [N, L, ctx_channels] or ragged -> [T, C]."""
        return run_block(self, x, mod, context)
