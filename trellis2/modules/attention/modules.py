"""Multi-head attention over dense tokens. Letters: B batch, L tokens, C channels, H heads, D head dim."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils import require_choice
from .full import scaled_dot_product_attention
from .rope import RotaryPositionEmbedder

__all__ = ["MultiHeadAttention", "MultiHeadRMSNorm", "prepare_qk", "rms_norm"]


def rms_norm(x: Tensor, gamma: Tensor) -> Tensor:
    """x / max(‖x‖₂, 1e-12) · gamma · √D over the last dim of [..., D], float32 maths, type of x out."""
    dim = x.shape[-1]
    # ‖x‖ / √D is the root mean square; the bound on the norm becomes a tiny eps that keeps zero at zero.
    return (F.rms_norm(x.float(), (dim,), eps=1e-24 / dim) * gamma.float()).to(x.dtype)


def prepare_qk(qk: Tensor, norms: tuple[nn.Module, nn.Module] | None, phases: Tensor | None) -> tuple[Tensor, Tensor]:
    """Norm and rotate packed queries and keys together.

    qk [..., L, 2, H, D]; norms: the two MultiHeadRMSNorm or None; phases complex [L, D/2] or None. Returns q and k
    [..., L, H, D].
    """
    if norms is not None:
        qk = rms_norm(qk, torch.stack([norms[0].gamma, norms[1].gamma]))  # type: ignore[list-item]
    if phases is not None:
        qk = RotaryPositionEmbedder.apply_rotary_embedding(qk, phases.unsqueeze(-2))
    q, k = qk.unbind(-3)
    return q, k


class MultiHeadRMSNorm(nn.Module):
    """y = x / max(‖x‖₂, 1e-12) · gamma · √D over the last dim of [..., H, D], in float32."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.scale = dim**0.5
        self.gamma = nn.Parameter(torch.ones(heads, dim))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gamma)


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
        self.attn_type = type
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
        if self.attn_type == "self":
            qk, v = self.to_qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).split((2, 1), dim=-3)
            if self.use_rope and phases is None:
                raise ValueError("use_rope needs phases [L, D/2]")
            norms = (self.q_rms_norm, self.k_rms_norm) if self.qk_rms_norm else None
            q, k = prepare_qk(qk, norms, phases if self.use_rope else None)
            v = v.squeeze(-3)
        else:
            if context is None:
                raise ValueError("cross attention needs context [B, L, C]")
            q = self.to_q(x).unflatten(-1, (self.num_heads, self.head_dim))
            k, v = self.to_kv(context).unflatten(-1, (2, self.num_heads, self.head_dim)).unbind(-3)
            if self.qk_rms_norm:
                q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        return self.to_out(scaled_dot_product_attention(q, k, v).flatten(-2))
