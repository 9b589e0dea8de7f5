"""Activations on the features of a sparse tensor."""

from __future__ import annotations

from typing import Any

from torch import nn

from .varlen import VarLenTensor

__all__ = ["SparseActivation", "SparseGELU", "SparseReLU", "SparseSiLU"]


class SparseReLU(nn.ReLU):
    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(super().forward(x.feats))


class SparseSiLU(nn.SiLU):
    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(super().forward(x.feats))


class SparseGELU(nn.GELU):
    def forward(self, x: VarLenTensor) -> Any:  # type: ignore[override]
        return x.replace(super().forward(x.feats))


class SparseActivation(nn.Module):
    """Any pointwise module on features."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: VarLenTensor) -> Any:
        return x.replace(self.activation(x.feats))
