"""Resampling of sparse tensors."""

from __future__ import annotations

from .resample import SparseDownsample, SparseUpsample
from .spatial2channel import SparseChannel2Spatial, SparseSpatial2Channel

__all__ = ["SparseChannel2Spatial", "SparseDownsample", "SparseSpatial2Channel", "SparseUpsample"]
