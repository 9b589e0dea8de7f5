"""Multi-head attention over sparse tokens. Letters: N samples, T tokens, C channels, H heads, D head dim."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ....ops.attention import attention
from ...attention.condition import LayerCondition
from ...attention.modules import MultiHeadRMSNorm, constant_cross, split_kv, split_q, split_qkv
from ...utils import require_choice
from .. import config
from ..tensor import SparseTensor
from ..varlen import VarLenTensor
from .rope import SparseRotaryPositionEmbedder
from .windowed import window_partition_of

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
        backend: str | None = None,
    ) -> None:
        """backend: see `trellis2.ops.attention`; without one, the one chosen in `sparse.config`."""
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
        self.backend = config.attn_backend(backend)
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

    def forward(self, x: SparseTensor, context: VarLenTensor | Tensor | LayerCondition | None = None) -> SparseTensor:
        """x feats [T, C]; context [N, L, ctx_channels] or a ragged container if cross. Returns feats [T, C]."""
        if isinstance(context, LayerCondition) and context.constant:
            token = context.result(lambda token: constant_cross(self, token))  # [N, 1, C]
            return x.replace(x.per_sample_to_rows(token[:, 0]).expand_as(x.feats))
        out = self._self(x) if self.attn_type == "self" else self._cross(x, context)
        return x.replace(self.to_out(out.feats.flatten(1)))

    def _self(self, x: SparseTensor) -> SparseTensor:
        q, k, v = split_qkv(self, self.to_qkv(x.feats), self.rope.phases(x) if self.use_rope else None)
        if self.attn_mode == "full":
            index = x.ragged_index
            return x.replace(attention(q, k, v, index, index, backend=self.backend))
        size = int(self.window_size or 0)
        if self.attn_mode == "windowed":
            return x.replace(self._windowed(x, q, k, v, size, self.shift_window))
        half = self.num_heads // 2
        plain = self._windowed(x, q[:, half:], k[:, half:], v[:, half:], size, (0, 0, 0))
        moved = self._windowed(x, q[:, :half], k[:, :half], v[:, :half], size, (size // 2,) * 3)
        return x.replace(torch.cat([plain, moved], dim=1))  # upper half of the heads first, as published

    def _windowed(
        self, x: SparseTensor, q: Tensor, k: Tensor, v: Tensor, size: int, shift: tuple[int, int, int]
    ) -> Tensor:
        part = window_partition_of(x, size, shift)
        return attention(q, k, v, part, part, backend=self.backend)

    def _cross(self, x: SparseTensor, context: VarLenTensor | Tensor | LayerCondition | None) -> SparseTensor:
        if context is None:
            raise ValueError("cross attention needs context")
        rows = context.rows if isinstance(context, LayerCondition) else context
        index = rows.ragged_index if isinstance(rows, VarLenTensor) else x.dense_index(rows.shape[1])

        def project(rows: Any) -> tuple[Tensor, Tensor]:
            feats = rows.feats if isinstance(rows, VarLenTensor) else rows.flatten(0, 1)
            return split_kv(self, self.to_kv(feats))

        k, v = context.keys_values(project) if isinstance(context, LayerCondition) else project(context)
        q = split_q(self, self.to_q(x.feats))
        return x.replace(attention(q, k, v, x.ragged_index, index, backend=self.backend))
