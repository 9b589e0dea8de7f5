"""Moving the children of a voxel into its channels and back."""

from __future__ import annotations

from torch import Tensor, nn

from ....ops.rows import put_rows, take_rows
from ..tensor import SparseTensor
from .structure import (
    CoarseStructure,
    FineStructure,
    coarsen,
    down_tensor,
    fine_structure,
    register_down,
    up_tensor,
)

__all__ = ["SparseChannel2Spatial", "SparseSpatial2Channel", "channels_to_children", "children_to_channels"]


def children_to_channels(feats: Tensor, structure: CoarseStructure, factor: int) -> Tensor:
    """[T, C] -> [M, f³·C]: channel s·C + c of a parent is channel c of child s, zero where there is no child."""
    children = factor**3
    out = put_rows(feats, structure.idx * children + structure.subidx, structure.coords.shape[0] * children)
    return out.view(structure.coords.shape[0], children * feats.shape[1])


def channels_to_children(feats: Tensor, structure: FineStructure, factor: int) -> Tensor:
    """[M, f³·C] -> [T, C], the inverse of `children_to_channels` on the children that exist."""
    children = factor**3
    if feats.shape[1] % children:
        raise ValueError(f"channels must be divisible by {children}, got {feats.shape[1]}")
    flat = feats.reshape(feats.shape[0] * children, feats.shape[1] // children)
    return take_rows(flat, structure.idx * children + structure.subidx)


class SparseSpatial2Channel(nn.Module):
    """Down-sample by f, children side by side in the channels."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: SparseTensor) -> SparseTensor:
        out = down_tensor(x, children_to_channels(x.feats, coarsen(x, self.factor), self.factor), self.factor)
        register_down(x, out, self.factor, self.training)
        return out


class SparseChannel2Spatial(nn.Module):
    """Up-sample by f: channels to the children of the cached structure, else to those of `subdivision` [M, f³]."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: SparseTensor, subdivision: SparseTensor | None = None) -> SparseTensor:
        structure, shared = fine_structure(x, subdivision, self.factor)
        feats = channels_to_children(x.feats, structure, self.factor)
        return up_tensor(x, feats, structure.coords, self.factor, shared)
