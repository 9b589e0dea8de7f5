"""Sparse-compression VAEs."""

from __future__ import annotations

from .fdg_vae import FlexiDualGridVaeDecoder, FlexiDualGridVaeEncoder
from .sparse_unet_vae import SparseUnetVaeDecoder, SparseUnetVaeEncoder

__all__ = ["FlexiDualGridVaeDecoder", "FlexiDualGridVaeEncoder", "SparseUnetVaeDecoder", "SparseUnetVaeEncoder"]
