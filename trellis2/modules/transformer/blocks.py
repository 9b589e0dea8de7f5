"""Transformer blocks over dense tokens, x ← x + branch(norm x)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ...ops.fused_mlp import linear_gelu
from ..attention import MultiHeadAttention
from ..norm import LayerNorm32
from ..quantized import Fp8Linear, Int8Linear
from .checkpointing import run_block

__all__ = ["AttnMode", "FeedForwardNet", "TransformerBlock", "TransformerCrossBlock"]


AttnMode = Literal["full", "windowed", "double_windowed"]  # dense attention is always full


class FeedForwardNet(nn.Module):
    """Linear C→int(C·ratio), GELU (tanh approximation), Linear back."""

    def __init__(self, channels: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        first, _, last = self.mlp
        if type(first) is nn.Linear and first.bias is not None:
            return last(linear_gelu(x, first.weight, first.bias))
        if isinstance(first, Int8Linear):
            return last(first(x, gelu_after=True))
        if isinstance(last, Fp8Linear):
            return last(first(x), gelu_before=True)
        return self.mlp(x)


class TransformerBlock(nn.Module):
    """Self attention and feed-forward."""

    ATTENTION: ClassVar[Any] = MultiHeadAttention  # sparse blocks put theirs here
    FEED_FORWARD: ClassVar[Any] = FeedForwardNet
    LN_AFFINE: ClassVar[bool] = True  # whether the norms have parameters if the caller does not say

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
        ln_affine: bool | None = None,
    ) -> None:
        super().__init__()
        ln_affine = self.LN_AFFINE if ln_affine is None else ln_affine
        self.use_checkpoint = use_checkpoint
        self.norm1 = LayerNorm32(channels, elementwise_affine=ln_affine, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=ln_affine, eps=1e-6)
        self.attn = self.ATTENTION(
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
        self.mlp = self.FEED_FORWARD(channels, mlp_ratio)

    def _forward(self, x: Tensor, phases: Tensor | None) -> Tensor:
        x = x + self.attn(self.norm1(x), phases=phases)
        return x + self.mlp(self.norm2(x))

    def forward(self, x: Tensor, phases: Tensor | None = None) -> Tensor:
        """x [B, L, C] -> [B, L, C]."""
        return run_block(self, x, phases)


class TransformerCrossBlock(nn.Module):
    """Self attention, cross attention and feed-forward."""

    ATTENTION: ClassVar[Any] = MultiHeadAttention
    FEED_FORWARD: ClassVar[Any] = FeedForwardNet

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
        self.self_attn = self.ATTENTION(
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
        self.cross_attn = self.ATTENTION(
            channels,
            num_heads,
            ctx_channels=ctx_channels,
            type="cross",
            qkv_bias=qkv_bias,
            qk_rms_norm=qk_rms_norm_cross,
        )
        self.mlp = self.FEED_FORWARD(channels, mlp_ratio)

    def _forward(self, x: Tensor, context: Tensor, phases: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.norm1(x), phases=phases)
        x = x + self.cross_attn(self.norm2(x), context)
        return x + self.mlp(self.norm3(x))

    def forward(self, x: Tensor, context: Tensor, phases: Tensor | None = None) -> Tensor:
        """x [B, L, C], context [B, L', ctx_channels] -> [B, L, C]."""
        return run_block(self, x, context, phases)
