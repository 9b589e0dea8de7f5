"""Norms on the features of a sparse tensor."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .varlen import VarLenTensor

__all__ = ["SparseGroupNorm", "SparseGroupNorm32", "SparseLayerNorm", "SparseLayerNorm32"]


class SparseGroupNorm(nn.GroupNorm):
    """GroupNorm over all rows of a sample and the channels of a group."""

    def _norm(self, x: VarLenTensor, dtype: torch.dtype) -> Tensor:
        weight = None if self.weight is None else self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        parts = []
        for s in x.layout:
            sample = x.feats[s].to(dtype)
            if sample.shape[0] == 0:
                parts.append(sample)
                continue
            normed = F.group_norm(sample.T.unsqueeze(0), self.num_groups, weight, bias, self.eps)  # [1, C, L]
            parts.append(normed.squeeze(0).T)
        return torch.cat(parts) if parts else x.feats

    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(self._norm(x, x.dtype).to(x.dtype))


class SparseGroupNorm32(SparseGroupNorm):
    """The same in float32; the result has the input's type."""

    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(self._norm(x, torch.float32).to(x.dtype))


class SparseLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of every row."""

    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(super().forward(x.feats))


class SparseLayerNorm32(nn.LayerNorm):
    """The same in float32; the result has the input's type."""

    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(super().forward(x.feats.float()).to(x.dtype))
