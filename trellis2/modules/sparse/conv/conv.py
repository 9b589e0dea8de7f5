"""Submanifold sparse convolution layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ....ops.neighbor_map import find_neighbors, refine_neighbors
from ....ops.neighborhood import Neighborhood
from ....ops.sparse_conv import resolve_conv_backend, sparse_conv3d
from ....ops.taps import kernel_offsets
from .. import config
from ..tensor import SparseTensor

__all__ = ["SparseConv3d", "dense_weight_to_sparse", "neighbor_map_of", "share_neighbors_with_children"]


def _triple(name: str, value: int | Sequence[int]) -> tuple[int, int, int]:
    values = (value,) * 3 if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != 3:
        raise ValueError(f"{name} must be an int or three ints, got {value!r}")
    return values[0], values[1], values[2]


def _cache_key(kernel_size: tuple[int, int, int], dilation: tuple[int, int, int]) -> str:
    return f"SubMConv3d_neighbor_cache_{'x'.join(str(k) for k in reversed(kernel_size))}_dilation{dilation}"


def neighbor_map_of(x: SparseTensor, kernel_size: tuple[int, int, int], dilation: tuple[int, int, int]) -> Neighborhood:
    """The neighbour map of x, built once per coordinate set and kept in the spatial cache."""
    key = _cache_key(kernel_size, dilation)
    cached = x.get_spatial_cache(key)
    if cached is None:
        cached = find_neighbors(x.coords, kernel_size, dilation)
        x.register_spatial_cache(key, cached)
    return cached


def share_neighbors_with_children(x: SparseTensor, fine: SparseTensor, parents: Tensor, cells: Tensor) -> None:
    """Derive the 3³ map of `fine` from that of x, its 2× coarser grid, and keep it, unless it is there already.

    parents: [T] int64 row in x of every row of fine. cells: [M, 8] int32 row of each child, −1 if there is none.
    """
    kernel = (3, 3, 3), (1, 1, 1)
    key = _cache_key(*kernel)
    if fine.get_spatial_cache(key) is None:
        fine.register_spatial_cache(key, refine_neighbors(neighbor_map_of(x, *kernel), fine.coords, parents, cells))


def dense_weight_to_sparse(weight: Tensor) -> Tensor:
    """nn.Conv3d weight (Co, Ci, K1, K2, K3) -> (Co, K1, K2, K3, Ci)."""
    return weight.permute(0, 2, 3, 4, 1).contiguous()


class SparseConv3d(nn.Module):
    """out[p] = bias + Σ_k W[:, k, :] · in[p + (k − ⌊K/2⌋)·dilation] over the active neighbours in the sample.

    weight (Co, K1, K2, K3, Ci), k1 along x. Output rows are the input rows. Only stride 1 without padding exists:
    the output lives on the input's voxels. `indice_key` is accepted for compatibility; maps are shared by themselves.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] | None = None,
        bias: bool = True,
        indice_key: str | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        if _triple("stride", stride) != (1, 1, 1) or padding is not None:
            raise ValueError(f"submanifold convolution needs stride 1 and padding None, got {stride} and {padding}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _triple("kernel_size", kernel_size)
        self.dilation = _triple("dilation", dilation)
        kernel_offsets(self.kernel_size, self.dilation)
        self.backend = backend if backend is not None else config.conv_backend()
        resolve_conv_backend(self.backend)
        self.weight = nn.Parameter(torch.empty(out_channels, *self.kernel_size, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """U(±1/√fan_in) for weight (Kaiming uniform with a = √5) and bias, fan_in = Ci·K1·K2·K3."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, dilation={self.dilation}"

    def forward(self, x: SparseTensor) -> SparseTensor:
        neighbors = neighbor_map_of(x, self.kernel_size, self.dilation)
        return x.replace(sparse_conv3d(x.feats, self.weight, self.bias, neighbors, backend=self.backend))

    def rows(self, x: SparseTensor, rows: slice) -> Tensor:
        """Some rows [n, Co] of `forward(x).feats`; values only, no gradients."""
        neighbors = neighbor_map_of(x, self.kernel_size, self.dilation)
        return sparse_conv3d(x.feats, self.weight, self.bias, neighbors[rows], backend=self.backend)
