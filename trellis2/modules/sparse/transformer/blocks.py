"""Transformer blocks over sparse tokens, x ← x + branch(norm x)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ...norm import LayerNorm32
from ...transformer.blocks import FeedForwardNet
from ...transformer.checkpointing import run_block
from ..attention import SparseMultiHeadAttention
from ..tensor import SparseTensor
from ..varlen import VarLenTensor

__all__ = ["SparseFeedForwardNet", "SparseTransformerBlock", "SparseTransformerCrossBlock"]

AttnMode = Literal["full", "windowed", "double_windowed"]


class SparseFeedForwardNet(FeedForwardNet):
    """FeedForwardNet on every row."""

    def forward(self, x: SparseTensor) -> SparseTensor:  # type: ignore[override]
        return x.replace(super().forward(x.feats))


class SparseTransformerBlock(nn.Module):
    """Self attention and feed-forward."""

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
        ln_affine: bool = False,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.norm1 = LayerNorm32(channels, elementwise_affine=ln_affine, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=ln_affine, eps=1e-6)
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

    def _forward(self, x: SparseTensor) -> SparseTensor:
        x = x + self.attn(x.replace(self.norm1(x.feats)))
        return x + self.mlp(x.replace(self.norm2(x.feats)))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """feats [T, C] -> [T, C]."""
        return run_block(self, x)


class SparseTransformerCrossBlock(nn.Module):
    """Self attention, cross attention and feed-forward."""

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
        ln_affine: bool = False,
    ) -> None:
        super().__init__()
        self.use_checkpoint = use_checkpoint
        self.norm1 = LayerNorm32(channels, elementwise_affine=ln_affine, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=ln_affine, eps=1e-6)
        self.norm3 = LayerNorm32(channels, elementwise_affine=ln_affine, eps=1e-6)
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

    def _forward(self, x: SparseTensor, context: VarLenTensor | Tensor) -> SparseTensor:
        x = x + self.self_attn(x.replace(self.norm1(x.feats)))
        x = x + self.cross_attn(x.replace(self.norm2(x.feats)), context)
        return x + self.mlp(x.replace(self.norm3(x.feats)))

    def forward(self, x: SparseTensor, context: VarLenTensor | Tensor) -> SparseTensor:
        """feats [T, C], context [N, L, ctx_channels] or ragged -> [T, C]."""
        return run_block(self, x, context)
