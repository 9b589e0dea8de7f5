"""Sparse attention."""

from __future__ import annotations

from .full import sparse_scaled_dot_product_attention
from .modules import SparseMultiHeadAttention, SparseMultiHeadRMSNorm
from .rope import SparseRotaryPositionEmbedder
from .windowed import (
    sparse_windowed_scaled_dot_product_cross_attention,
    sparse_windowed_scaled_dot_product_self_attention,
)

__all__ = [
    "SparseMultiHeadAttention",
    "SparseMultiHeadRMSNorm",
    "SparseRotaryPositionEmbedder",
    "sparse_scaled_dot_product_attention",
    "sparse_windowed_scaled_dot_product_cross_attention",
    "sparse_windowed_scaled_dot_product_self_attention",
]
