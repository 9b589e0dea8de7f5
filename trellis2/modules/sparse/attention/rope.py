"""Rotary position embedding by voxel coordinates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...attention.rope import RotaryPositionEmbedder, rope_angles
from ..tensor import SparseTensor

__all__ = ["SparseRotaryPositionEmbedder"]


class SparseRotaryPositionEmbedder(nn.Module):
    """Rotate q (and k) feats [T, H, D] by the phases of their coordinates, found once per structure."""

    def __init__(self, head_dim: int, dim: int = 3, rope_freq: tuple[float, float] = (1.0, 10000.0)) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"head_dim must be even, got {head_dim}")
        self.head_dim = head_dim
        self.dim = dim
        self.rope_freq = (float(rope_freq[0]), float(rope_freq[1]))

    def phases(self, x: SparseTensor) -> Tensor:
        """complex64 [T, D/2] of the coordinates of x."""
        key = f"rope_phase_{self.dim}d_freq{self.rope_freq[0]}-{self.rope_freq[1]}_hd{self.head_dim}"
        cached = x.get_spatial_cache(key)
        if cached is None:
            angles = rope_angles(x.coords[:, 1:], self.head_dim, self.rope_freq)
            cached = torch.polar(torch.ones_like(angles), angles)
            x.register_spatial_cache(key, cached)
        return cached

    def forward(self, q: SparseTensor, k: SparseTensor | None = None) -> Any:
        rotate = RotaryPositionEmbedder.apply_rotary_embedding
        q_out = q.replace(rotate(q.feats, self.phases(q)))
        if k is None:
            return q_out
        return q_out, k.replace(rotate(k.feats, self.phases(k)))
