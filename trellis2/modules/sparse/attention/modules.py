"""Multi-head attention over sparse tokens. Letters: N samples, T tokens, C channels, H heads, D head dim."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...attention.modules import MultiHeadRMSNorm, prepare_qk
from ...utils import require_choice
from ..tensor import SparseTensor
from ..varlen import VarLenTensor
from .full import sparse_scaled_dot_product_attention
from .rope import SparseRotaryPositionEmbedder
from .windowed import sparse_windowed_scaled_dot_product_self_attention

__all__ = ["SparseMultiHeadAttention", "SparseMultiHeadRMSNorm"]


class SparseMultiHeadRMSNorm(MultiHeadRMSNorm):
    """MultiHeadRMSNorm on a tensor [..., H, D] or on the feats of a container."""

    def forward(self, x: Any) -> Any:
        if isinstance(x, VarLenTensor):
            return x.replace(super().forward(x.feats))
        return super().forward(x)


class SparseMultiHeadAttention(nn.Module):
    """Self attention (full, windowed, or half the heads in shifted windows) or cross attention."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        ctx_channels: int | None = None,
        type: Literal["self", "cross"] = "self",
        attn_mode: Literal["full", "windowed", "double_windowed"] = "full",
        window_size: int | None = None,
        shift_window: tuple[int, int, int] | None = None,
        qkv_bias: bool = True,
        use_rope: bool = False,
        rope_freq: tuple[float, float] = (1.0, 10000.0),
        qk_rms_norm: bool = False,
    ) -> None:
        super().__init__()
        require_choice("type", type, ("self", "cross"))
        require_choice("attn_mode", attn_mode, ("full", "windowed", "double_windowed"))
        if channels % num_heads:
            raise ValueError(f"channels must be divisible by num_heads, got {channels} and {num_heads}")
        if type == "cross" and (attn_mode != "full" or use_rope):
            raise ValueError("cross attention needs attn_mode='full' and use_rope=False")
        if attn_mode != "full" and window_size is None:
            raise ValueError(f"attn_mode {attn_mode!r} needs window_size")
        if attn_mode == "double_windowed" and (num_heads % 2 or int(window_size or 0) % 2):
            raise ValueError(f"double_windowed needs even heads and window, got {num_heads} and {window_size}")
        self.channels = channels
        self.num_heads = num_heads
        self.head_dim = channels // num_heads
        self.ctx_channels = ctx_channels if ctx_channels is not None else channels
        self.attn_type = type
        self.attn_mode = attn_mode
        self.window_size = window_size
        self.shift_window = shift_window if shift_window is not None else (0, 0, 0)
        self.use_rope = use_rope
        self.qk_rms_norm = qk_rms_norm
        if type == "self":
            self.to_qkv = nn.Linear(channels, channels * 3, bias=qkv_bias)
        else:
            self.to_q = nn.Linear(channels, channels, bias=qkv_bias)
            self.to_kv = nn.Linear(self.ctx_channels, channels * 2, bias=qkv_bias)
        if qk_rms_norm:
            self.q_rms_norm = SparseMultiHeadRMSNorm(self.head_dim, num_heads)
            self.k_rms_norm = SparseMultiHeadRMSNorm(self.head_dim, num_heads)
        self.to_out = nn.Linear(channels, channels)
        if use_rope:
            self.rope = SparseRotaryPositionEmbedder(self.head_dim, rope_freq=rope_freq)

    def forward(self, x: SparseTensor, context: VarLenTensor | Tensor | None = None) -> SparseTensor:
        """x feats [T, C]; context [N, L, ctx_channels] or a ragged container if cross."""
        out = self._self(x) if self.attn_type == "self" else self._cross(x, context)
        return x.replace(self.to_out(out.feats.flatten(1)))

    def _self(self, x: SparseTensor) -> SparseTensor:
        qkv = self.to_qkv(x.feats).view(-1, 3, self.num_heads, self.head_dim)
        if self.attn_mode == "full" or self.qk_rms_norm or self.use_rope:
            qk, v = qkv.split((2, 1), dim=1)
            norms = (self.q_rms_norm, self.k_rms_norm) if self.qk_rms_norm else None
            q, k = prepare_qk(qk, norms, self.rope.phases(x) if self.use_rope else None)
            v = v.squeeze(1)
            if self.attn_mode == "full":
                return sparse_scaled_dot_product_attention(x.replace(q), x.replace(k), x.replace(v))
            qkv = torch.stack([q, k, v], dim=1)
        packed = x.replace(qkv)
        size = int(self.window_size or 0)
        if self.attn_mode == "windowed":
            return sparse_windowed_scaled_dot_product_self_attention(packed, size, self.shift_window)
        half = self.num_heads // 2
        plain = sparse_windowed_scaled_dot_product_self_attention(x.replace(qkv[:, :, half:]), size)
        moved = sparse_windowed_scaled_dot_product_self_attention(x.replace(qkv[:, :, :half]), size, (size // 2,) * 3)
        return x.replace(torch.cat([plain.feats, moved.feats], dim=1))  # upper half of the heads first, as published

    def _cross(self, x: SparseTensor, context: VarLenTensor | Tensor | None) -> SparseTensor:
        if context is None:
            raise ValueError("cross attention needs context")
        q = self.to_q(x.feats).view(-1, self.num_heads, self.head_dim)
        rows = context.feats if isinstance(context, VarLenTensor) else context
        kv = self.to_kv(rows).unflatten(-1, (2, self.num_heads, self.head_dim))
        k, v = kv.unbind(-3)
        if self.qk_rms_norm:
            q, k = self.q_rms_norm(q), self.k_rms_norm(k)
        if isinstance(context, VarLenTensor):
            return sparse_scaled_dot_product_attention(x.replace(q), context.replace(k), context.replace(v))
        return sparse_scaled_dot_product_attention(x.replace(q), k, v)
