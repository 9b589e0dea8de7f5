"""Dense transformer blocks."""

from __future__ import annotations

from ..embedding import AbsolutePositionEmbedder
from .blocks import FeedForwardNet, TransformerBlock, TransformerCrossBlock
from .modulated import ModulatedTransformerBlock, ModulatedTransformerCrossBlock

__all__ = [
    "AbsolutePositionEmbedder",
    "FeedForwardNet",
    "ModulatedTransformerBlock",
    "ModulatedTransformerCrossBlock",
    "TransformerBlock",
    "TransformerCrossBlock",
]
