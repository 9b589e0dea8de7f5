"""Packed rows → `SparseTensor`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .packed import Packed

__all__ = ["batch_coords", "make_sparse"]


def batch_coords(packed: Packed, key: str = "coords") -> Tensor:
    """[R, 4] int32 (batch, x, y, z)."""
    return torch.cat([packed.batch_idx[:, None].int(), packed.ragged[key].int()], dim=1)


def make_sparse(feats: Tensor, coords: Tensor, seqlen: Tensor) -> Any:
    """SparseTensor [B, C] from feats [R, C], coords [R, 4] int32 and seqlen [B] (CPU), whose layout is set from it."""
    from ..modules.sparse import SparseTensor

    out = SparseTensor(feats, coords, shape=torch.Size([len(seqlen), *feats.shape[1:]]))
    stops = seqlen.cumsum(0).tolist()
    starts = [0, *stops[:-1]]
    out.register_spatial_cache("layout", [slice(a, b) for a, b in zip(starts, stops)])
    return out
