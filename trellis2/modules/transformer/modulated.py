"""Time-modulated transformer blocks over dense tokens (DiT with adaptive layer norm)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ..attention import MultiHeadAttention
from ..norm import LayerNorm32
from ..utils import modulate
from .blocks import AttnMode, FeedForwardNet
from .checkpointing import run_block
from .modulation import BlockModulation

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

    def _forward(self, x: Tensor, mod: Tensor, phases: Tensor | None) -> Tensor:
        s1, c1, g1, s2, c2, g2 = self.modulation_vector(mod).chunk(6, dim=1)
        x = x + g1.unsqueeze(1) * self.attn(modulate(self.norm1(x), s1, c1), phases=phases)
        return x + g2.unsqueeze(1) * self.mlp(modulate(self.norm2(x), s2, c2))

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

    def _forward(self, x: Tensor, mod: Tensor, context: Tensor, phases: Tensor | None) -> Tensor:
        s1, c1, g1, s2, c2, g2 = self.modulation_vector(mod).chunk(6, dim=1)
        x = x + g1.unsqueeze(1) * self.self_attn(modulate(self.norm1(x), s1, c1), phases=phases)
        x = x + self.cross_attn(self.norm2(x), context)
        return x + g2.unsqueeze(1) * self.mlp(modulate(self.norm3(x), s2, c2))

    def forward(self, x: Tensor, mod: Tensor, context: Tensor, phases: Tensor | None = None) -> Tensor:
        """x [B, L, C], mod [B, C] or [B, 6C], context [B, L', ctx_channels] -> [B, L, C]."""
        return run_block(self, x, mod, context, phases)
