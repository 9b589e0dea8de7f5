"""Multi-head attention over dense tokens. Letters: B batch, L tokens, C channels, H heads, D head dim."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils import require_choice
from .full import scaled_dot_product_attention
from .rope import RotaryPositionEmbedder

__all__ = ["MultiHeadAttention", "MultiHeadRMSNorm"]


class MultiHeadRMSNorm(nn.Module):
    """y = x / max(‖x‖₂, 1e-12) · gamma · √D over the last dim of [..., H, D], in float32."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(torch.ones(heads, dim))

    def forward(self, x: Tensor) -> Tensor:
        return (F.normalize(x.float(), dim=-1) * (self.gamma.float() * self.scale)).to(x.dtype)


class MultiHeadAttention(nn.Module):
    """Self or cross attention; rotary phases come from the caller, are shared by the heads and follow the qk norm."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        ctx_channels: int | None = None,
        type: Literal["self", "cross"] = "self",
        attn_mode: Literal["full"] = "full",
        window_size: int | None = None,
        shift_window: tuple[int, int, int] | None = None,
        qkv_bias: bool = True,
        use_rope: bool = False,
        rope_freq: tuple[float, float] = (1.0, 10000.0),
        qk_rms_norm: bool = False,
    ) -> None:
        super().__init__()
        require_choice("type", type, ("self", "cross"))
        if attn_mode != "full":
            raise ValueError(f"attn_mode of dense attention must be 'full', got {attn_mode!r}")
        if channels % num_heads:
            raise ValueError(f"channels must be divisible by num_heads, got {channels} and {num_heads}")
        if type == "cross" and use_rope:
            raise ValueError("use_rope needs type='self': context tokens have no positions")
        self.channels = channels
        self.num_heads = num_heads
        self.head_dim = channels // num_heads
        self.ctx_channels = ctx_channels if ctx_channels is not None else channels
        self.type = type
        self.attn_mode = attn_mode
        self.use_rope = use_rope
        self.rope_freq = rope_freq
        self.qk_rms_norm = qk_rms_norm
        if type == "self":
            self.to_qkv = nn.Linear(channels, channels * 3, bias=qkv_bias)
        else:
            self.to_q = nn.Linear(channels, channels, bias=qkv_bias)
            self.to_kv = nn.Linear(self.ctx_channels, channels * 2, bias=qkv_bias)
        if qk_rms_norm:
            self.q_rms_norm = MultiHeadRMSNorm(self.head_dim, num_heads)
            self.k_rms_norm = MultiHeadRMSNorm(self.head_dim, num_heads)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor | None = None, phases: Tensor | None = None) -> Tensor:
        """x [B, L, C], context [B, L', ctx_channels] if cross, phases [L, D/2] if rotary -> [B, L, C]."""
        if self.type == "self":
            q, k, v = self.to_qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(-3)
        else:
            if context is None:
                raise ValueError("cross attention needs context [B, L, C]")
            q = self.to_q(x).unflatten(-1, (self.num_heads, self.head_dim))
            k, v = self.to_kv(context).unflatten(-1, (2, self.num_heads, self.head_dim)).unbind(-3)
        if self.qk_rms_norm:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        if self.use_rope:
            if phases is None:
                raise ValueError("use_rope needs phases [L, D/2]")
            q = RotaryPositionEmbedder.apply_rotary_embedding(q, phases)
            k = RotaryPositionEmbedder.apply_rotary_embedding(k, phases)
        return self.to_out(scaled_dot_product_attention(q, k, v).flatten(-2))
