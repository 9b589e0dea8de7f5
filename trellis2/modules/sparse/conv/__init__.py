"""Sparse convolution."""

from __future__ import annotations

from .conv import SparseConv3d, dense_weight_to_sparse, neighbor_map_of, share_neighbors_with_children

__all__ = ["SparseConv3d", "dense_weight_to_sparse", "neighbor_map_of", "share_neighbors_with_children"]
