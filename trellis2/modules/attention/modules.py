"""Multi-head attention over dense tokens. Letters: B batch, L tokens, C channels, H heads, D head dim."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...ops.fused_rope import norm_rope, rms_norm
from ..utils import require_choice
from . import config
from .condition import LayerCondition
from .full import scaled_dot_product_attention

__all__ = ["MultiHeadAttention", "MultiHeadRMSNorm", "constant_cross", "split_kv", "split_q", "split_qkv"]


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
        backend: str | None = None,
    ) -> None:
        """backend: see `trellis2.ops.attention`; without one, the one chosen in `attention.config`."""
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
        self.backend = config.attn_backend(backend)
        if type == "self":
            self.to_qkv = nn.Linear(channels, channels * 3, bias=qkv_bias)
        else:
            self.to_q = nn.Linear(channels, channels, bias=qkv_bias)
            self.to_kv = nn.Linear(self.ctx_channels, channels * 2, bias=qkv_bias)
        if qk_rms_norm:
            self.q_rms_norm = MultiHeadRMSNorm(self.head_dim, num_heads)
            self.k_rms_norm = MultiHeadRMSNorm(self.head_dim, num_heads)
        self.to_out = nn.Linear(channels, channels)

    def forward(
        self, x: Tensor, context: Tensor | LayerCondition | None = None, phases: Tensor | None = None
    ) -> Tensor:
        """x [B, L, C], context [B, L', ctx_channels] if cross, phases [L, D/2] if rotary -> [B, L, C].

        A context that is constant gives [B, 1, C], the same for all L.
        """
        if self.attn_type == "cross":
            return self._cross(x, context)
        if self.use_rope and phases is None:
            raise ValueError("use_rope needs phases [L, D/2]")
        q, k, v = split_qkv(self, self.to_qkv(x), phases if self.use_rope else None)
        return self._out(q, k, v)

    def _out(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.to_out(scaled_dot_product_attention(q, k, v, backend=self.backend).flatten(-2))

    def _cross(self, x: Tensor, context: Tensor | LayerCondition | None) -> Tensor:
        if context is None:
            raise ValueError("cross attention needs context [B, L, C]")
        if isinstance(context, LayerCondition):
            if context.constant:
                return context.result(lambda token: constant_cross(self, token))
            k, v = context.keys_values(lambda rows: split_kv(self, self.to_kv(rows)))
        else:
            k, v = split_kv(self, self.to_kv(context))
        return self._out(split_q(self, self.to_q(x)), k, v)


def _gammas(module: Any, *names: str) -> tuple[Tensor, ...]:
    return tuple(getattr(module, f"{name}_rms_norm").gamma for name in names) if module.qk_rms_norm else ()


def split_qkv(module: Any, qkv: Tensor, phases: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """[..., L, 3C] from `to_qkv` to q, k, v [..., L, H, D], q and k normed and rotated as the attention module says."""
    qkv = qkv.unflatten(-1, (3 * module.num_heads, module.head_dim))
    qk, v = qkv.split((2 * module.num_heads, module.num_heads), dim=-2)
    if module.qk_rms_norm or phases is not None:
        qk = norm_rope(qk, _gammas(module, "q", "k"), phases)
    q, k = qk.chunk(2, dim=-2)
    return q, k, v


def split_q(module: Any, q: Tensor) -> Tensor:
    """[..., L, C] from `to_q` to normed q [..., L, H, D]."""
    q = q.unflatten(-1, (module.num_heads, module.head_dim))
    return norm_rope(q, _gammas(module, "q"), None) if module.qk_rms_norm else q


def split_kv(module: Any, kv: Tensor) -> tuple[Tensor, Tensor]:
    """[..., L, 2C] from `to_kv` to normed k and v [..., L, H, D]."""
    k, v = kv.unflatten(-1, (2 * module.num_heads, module.head_dim)).chunk(2, dim=-2)
    return (norm_rope(k, _gammas(module, "k"), None) if module.qk_rms_norm else k), v


def constant_cross(module: Any, token: Tensor) -> Tensor:
    """Cross attention to a context of equal tokens [B, 1, ctx_channels] -> [B, 1, C] for every query."""
    return module.to_out(module.to_kv(token)[..., module.channels :])
