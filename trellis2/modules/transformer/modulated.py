"""Time-modulated transformer blocks over dense tokens (DiT with adaptive layer norm)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from ...ops.fused_norm import RowSamples, norm_rows, residual_norm
from ..attention import MultiHeadAttention
from ..attention.condition import LayerCondition
from ..norm import LayerNorm32
from .blocks import AttnMode, FeedForwardNet
from .checkpointing import run_block
from .modulation import BlockModulation

Branch = Callable[[Tensor], Tensor]

__all__ = ["ModulatedTransformerBlock", "ModulatedTransformerCrossBlock"]


class ModulatedTransformerBlock(BlockModulation):
    """x + g₁·attn(norm1 x·(1+c₁)+s₁), then x + g₂·mlp(norm2 x·(1+c₂)+s₂)."""

    ATTENTION: ClassVar[Any] = MultiHeadAttention  # sparse blocks put theirs here
    FEED_FORWARD: ClassVar[Any] = FeedForwardNet

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
        self._add_modulation_layer(channels)

    def run_branches(self, x: Tensor, mod: Tensor, attn: Branch, mlp: Branch, rows: RowSamples | None = None) -> Tensor:
        """The block on rows x [B, L, C], or [T, C] with their samples; the branches map rows to rows."""
        s1, c1, g1, s2, c2, g2 = self.modulation_vector(mod).chunk(6, dim=1)
        x, h = norm_rows(x, shift=s1, scale=c1, rows=rows, eps=self.norm1.eps)
        x, h = norm_rows(x, attn(h), gate=g1, shift=s2, scale=c2, rows=rows, eps=self.norm2.eps)
        return residual_norm(x, mlp(h), gate=g2, rows=rows, norm=False)[0]

    def _forward(self, x: Tensor, mod: Tensor, phases: Tensor | None) -> Tensor:
        return self.run_branches(x, mod, lambda h: self.attn(h, phases=phases), self.mlp)

    def forward(self, x: Tensor, mod: Tensor, phases: Tensor | None = None) -> Tensor:
        """x [B, L, C], mod [B, C] or [B, 6C] -> [B, L, C]."""
        return run_block(self, x, mod, phases)


class ModulatedTransformerCrossBlock(BlockModulation):
    """As ModulatedTransformerBlock with an unmodulated, ungated cross attention between the two branches."""

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
        share_mod: bool = False,
    ) -> None:
        super().__init__(channels, share_mod)
        self.use_checkpoint = use_checkpoint
        self.norm1 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
        self.norm2 = LayerNorm32(channels, elementwise_affine=True, eps=1e-6)
        self.norm3 = LayerNorm32(channels, elementwise_affine=False, eps=1e-6)
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
        self._add_modulation_layer(channels)

    def run_branches(
        self, x: Tensor, mod: Tensor, self_attn: Branch, cross_attn: Branch, mlp: Branch, rows: RowSamples | None = None
    ) -> Tensor:
        """The block on rows x [B, L, C], or [T, C] with their samples; the branches map rows to rows."""
        s1, c1, g1, s2, c2, g2 = self.modulation_vector(mod).chunk(6, dim=1)
        x, h = norm_rows(x, shift=s1, scale=c1, rows=rows, eps=self.norm1.eps)
        affine = {"weight": self.norm2.weight, "bias": self.norm2.bias}
        x, h = norm_rows(x, self_attn(h), gate=g1, rows=rows, eps=self.norm2.eps, **affine)
        x, h = norm_rows(x, cross_attn(h), shift=s2, scale=c2, rows=rows, eps=self.norm3.eps)
        return residual_norm(x, mlp(h), gate=g2, rows=rows, norm=False)[0]

    def _forward(self, x: Tensor, mod: Tensor, context: Tensor | LayerCondition, phases: Tensor | None) -> Tensor:
        def self_attn(h: Tensor) -> Tensor:
            return self.self_attn(h, phases=phases)

        def cross_attn(h: Tensor) -> Tensor:
            return self.cross_attn(h, context)

        return self.run_branches(x, mod, self_attn, cross_attn, self.mlp)

    def forward(self, x: Tensor, mod: Tensor, context: Tensor | LayerCondition, phases: Tensor | None = None) -> Tensor:
        """x [B, L, C], mod [B, C] or [B, 6C], context [B, L', ctx_channels] -> [B, L, C]."""
        return run_block(self, x, mod, context, phases)
