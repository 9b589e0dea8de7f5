"""Linear layer on the features of a sparse tensor."""

from __future__ import annotations

from typing import Any

from torch import nn

from .varlen import VarLenTensor

__all__ = ["SparseLinear"]


class SparseLinear(nn.Linear):
    """nn.Linear applied to every row."""

    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(super().forward(x.feats))
