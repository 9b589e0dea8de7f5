"""Sparse voxel tensors and the layers that work on them (usually imported as `sp`)."""

from __future__ import annotations

from . import config
from .attention import (
    SparseMultiHeadAttention,
    SparseRotaryPositionEmbedder,
    sparse_scaled_dot_product_attention,
    sparse_windowed_scaled_dot_product_cross_attention,
    sparse_windowed_scaled_dot_product_self_attention,
)
from .conv import SparseConv3d
from .linear import SparseLinear
from .nonlinearity import SparseActivation, SparseGELU, SparseReLU, SparseSiLU
from .norm import SparseGroupNorm, SparseGroupNorm32, SparseLayerNorm, SparseLayerNorm32
from .spatial import SparseChannel2Spatial, SparseDownsample, SparseSpatial2Channel, SparseUpsample
from .tensor import SparseTensor, sparse_cat, sparse_unbind
from .varlen import VarLenTensor, varlen_cat, varlen_unbind

__all__ = [
    "SparseActivation",
    "SparseChannel2Spatial",
    "SparseConv3d",
    "SparseDownsample",
    "SparseGELU",
    "SparseGroupNorm",
    "SparseGroupNorm32",
    "SparseLayerNorm",
    "SparseLayerNorm32",
    "SparseLinear",
    "SparseMultiHeadAttention",
    "SparseReLU",
    "SparseRotaryPositionEmbedder",
    "SparseSiLU",
    "SparseSpatial2Channel",
    "SparseTensor",
    "SparseUpsample",
    "VarLenTensor",
    "config",
    "sparse_cat",
    "sparse_scaled_dot_product_attention",
    "sparse_unbind",
    "sparse_windowed_scaled_dot_product_cross_attention",
    "sparse_windowed_scaled_dot_product_self_attention",
    "varlen_cat",
    "varlen_unbind",
]
