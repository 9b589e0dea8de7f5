"""Sparse transformer blocks."""

from __future__ import annotations

from .blocks import SparseFeedForwardNet, SparseTransformerBlock, SparseTransformerCrossBlock
from .modulated import ModulatedSparseTransformerBlock, ModulatedSparseTransformerCrossBlock

__all__ = [
    "ModulatedSparseTransformerBlock",
    "ModulatedSparseTransformerCrossBlock",
    "SparseFeedForwardNet",
    "SparseTransformerBlock",
    "SparseTransformerCrossBlock",
]
