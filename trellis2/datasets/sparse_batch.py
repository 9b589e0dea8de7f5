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


def make_sparse(feats: Tensor, coords: Tensor, batch_size: int) -> Any:
    """SparseTensor of shape [batch_size, C] from feats [R, C] and coords [R, 4] int32."""
    from ..modules.sparse import SparseTensor

    return SparseTensor(feats, coords, shape=torch.Size([batch_size, *feats.shape[1:]]))
