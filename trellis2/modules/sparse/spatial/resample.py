"""Pooling and nearest up-sampling of sparse tensors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..tensor import SparseTensor
from .structure import coarsen, down_tensor, fine_structure, register_down, up_tensor

__all__ = ["SparseDownsample", "SparseUpsample", "pool_children"]


def pool_children(feats: Tensor, idx: Tensor, num_parents: int, mode: str) -> Tensor:
    """[T, C…] -> [M, C…]: mean or max over the children that exist. Means accumulate in float32."""
    if mode == "max":
        out = torch.full((num_parents, *feats.shape[1:]), float("-inf"), dtype=feats.dtype, device=feats.device)
        index = idx.view(-1, *([1] * (feats.ndim - 1))).expand_as(feats)
        return out.scatter_reduce(0, index, feats, "amax")
    dtype = torch.promote_types(feats.dtype, torch.float32)
    total = torch.zeros((num_parents, *feats.shape[1:]), dtype=dtype, device=feats.device)
    total = total.index_add(0, idx, feats.to(dtype))
    count = torch.bincount(idx, minlength=num_parents).to(dtype)
    return (total / count.view(-1, *([1] * (feats.ndim - 1)))).to(feats.dtype)


class SparseDownsample(nn.Module):
    """Pool the existing children of every parent voxel; parents sorted by (b, x, y, z)."""

    def __init__(self, factor: int, mode: Literal["mean", "max"] = "mean") -> None:
        super().__init__()
        if mode not in ("mean", "max"):
            raise ValueError(f"mode must be 'mean' or 'max', got {mode!r}")
        self.factor = factor
        self.mode = mode

    def forward(self, x: SparseTensor) -> SparseTensor:
        structure = coarsen(x, self.factor)
        out = down_tensor(x, pool_children(x.feats, structure.idx, structure.coords.shape[0], self.mode), self.factor)
        register_down(x, out, self.factor, self.training)
        return out


class SparseUpsample(nn.Module):
    """Copy every voxel to its children: those of the cached structure, else those of `subdivision` [M, f³]."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: SparseTensor, subdivision: SparseTensor | None = None) -> SparseTensor:
        structure, shared = fine_structure(x, subdivision, self.factor)
        return up_tensor(x, x.feats.index_select(0, structure.idx), structure.coords, self.factor, shared)
