"""Dense attention."""

from __future__ import annotations

from .condition import ConditionCache, LayerCondition
from .full import scaled_dot_product_attention
from .modules import MultiHeadAttention, MultiHeadRMSNorm
from .rope import RotaryPositionEmbedder

__all__ = [
    "ConditionCache",
    "LayerCondition",
    "MultiHeadAttention",
    "MultiHeadRMSNorm",
    "RotaryPositionEmbedder",
    "scaled_dot_product_attention",
]
