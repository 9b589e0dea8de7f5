"""Sampling of sparse voxel features at continuous points.

N voxels, C channels, B batch items, L points each. Voxel i spans [i, i + 1) with its sample at i + 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.reference.sampling import locate_reference

__all__ = ["grid_sample_3d"]

_MAX_COLUMNS = 1 << 27  # of the native look-up table, batches * X * Y


class _WeightedGather(torch.autograd.Function):
    """out [M, C] = sum over K of weight [M, K] * feats[index [M, K]], rows with index -1 left out."""

    @staticmethod
    def forward(ctx: Any, feats: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        ctx.rows = feats.shape[0]
        ctx.dtype = feats.dtype
        out = torch.zeros(index.shape[0], feats.shape[1], dtype=weight.dtype, device=feats.device)
        for k in range(index.shape[1]):
            hit = (index[:, k] >= 0).nonzero()[:, 0]  # absent rows are never read: they could hold NaN
            out.index_add_(0, hit, weight[hit, k, None] * feats[index[hit, k].long()].to(weight.dtype))
        return out.to(feats.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        index, weight = ctx.saved_tensors
        grad = grads[0].to(weight.dtype)
        out = torch.zeros(ctx.rows, grad.shape[1], dtype=weight.dtype, device=grad.device)
        for k in range(index.shape[1]):
            hit = (index[:, k] >= 0).nonzero()[:, 0]
            out.index_add_(0, index[hit, k].long(), weight[hit, k, None] * grad[hit])
        return out.to(ctx.dtype), None, None


def _check(feats: Tensor, coords: Tensor, shape: Sequence[int], grid: Tensor) -> tuple[int, int, int]:
    if feats.ndim != 2 or not feats.dtype.is_floating_point:
        raise ValueError(f"feats must be floating point of shape [N, C], got {feats.dtype} {list(feats.shape)}")
    if coords.ndim != 2 or coords.shape != (feats.shape[0], 4):
        raise ValueError(f"coords must have shape [{feats.shape[0]}, 4], got {list(coords.shape)}")
    if coords.dtype.is_floating_point or coords.dtype == torch.bool:
        raise TypeError(f"coords must hold integers, got {coords.dtype}")
    if grid.ndim != 3 or grid.shape[2] != 3 or not grid.dtype.is_floating_point:
        raise ValueError(f"grid must be floating point of shape [B, L, 3], got {grid.dtype} {list(grid.shape)}")
    sizes = [int(s) for s in shape]
    if len(sizes) < 3 or any(s < 0 or s > 2**20 for s in sizes[-3:]):
        raise ValueError(f"shape must end in X, Y, Z, each in 0..{2**20}, got {tuple(sizes)}")
    if not (feats.device == coords.device == grid.device):
        raise ValueError(f"devices differ: feats {feats.device}, coords {coords.device}, grid {grid.device}")
    if max(1, grid.shape[0]) * sizes[-3] * sizes[-2] * sizes[-1] >= 2**63:
        raise ValueError(f"shape is too large for 64-bit keys: {tuple(sizes)} with {grid.shape[0]} batch items")
    return sizes[-3], sizes[-2], sizes[-1]


def grid_sample_3d(
    feats: Tensor,  # [N, C] float
    coords: Tensor,  # [N, 4] int32 (batch, x, y, z), rows unique
    shape: Sequence[int],  # (B, C, X, Y, Z); the last three count
    grid: Tensor,  # [B, L, 3] float32, voxel units, voxel centres at i + 0.5
    mode: Literal["trilinear", "nearest"] = "trilinear",
    *,
    normalize: bool = True,
    quirks: Literal["none", "published"] = "none",
    backend: Backend = "auto",
) -> Tensor:  # [B, L, C], dtype of feats
    """Sample sparse voxels at points; row b of `grid` looks at the voxels of batch item b.

    `trilinear`: the eight voxels around the point that exist, weighted by prod(1 - |q - centre|). With `normalize` (the
    published behaviour) the weights are divided by the sum of those present, so that a point with a single present
    neighbour gets its full value; without, missing voxels count as zero. `nearest`: the voxel that holds the point.
    Points without a voxel, and non-finite ones, get zeros. Sums run in float32 (float64 for float64 `feats`).

    Differentiable in `feats`. `quirks="published"` makes `nearest` round toward zero, so that -1 < q < 0 reads voxel 0.
    Raises TypeError or ValueError on wrong types, shapes, devices and modes.
    """
    if mode not in ("trilinear", "nearest"):
        raise ValueError(f"mode must be 'trilinear' or 'nearest', got {mode!r}")
    if quirks not in ("none", "published"):
        raise ValueError(f"quirks must be 'none' or 'published', got {quirks!r}")
    size = _check(feats, coords, shape, grid)
    batches, points = grid.shape[0], grid.shape[1]
    nearest, truncate = mode == "nearest", quirks == "published"
    resolved = resolve_backend(backend)
    usable = feats.device.type == "cpu" and feats.dtype != torch.float64 and batches * size[0] * size[1] <= _MAX_COLUMNS
    if resolved == "native" and usable:
        native = native_module()
        assert native is not None
        rows = coords.detach().to(torch.int32).contiguous()
        at = grid.detach().to(torch.float32).contiguous()
        if not (feats.requires_grad and torch.is_grad_enabled()):
            out = torch.empty(batches, points, feats.shape[1])
            native.sample_sparse(feats.detach().float().contiguous(), rows, size, at, out, nearest, truncate, normalize)
            return out.to(feats.dtype)
        corners = 1 if nearest else 8
        index = torch.empty(batches * points, corners, dtype=torch.int32)
        weight = torch.empty(batches * points, corners)
        native.locate_sparse(rows, size, at, index, weight, nearest, truncate, normalize)
    else:
        at = grid.detach().to(torch.promote_types(feats.dtype, torch.float32))
        index, weight = locate_reference(
            coords, batches, size, at, nearest=nearest, truncate=truncate, normalize=normalize
        )
    out = _WeightedGather.apply(feats, index, weight)
    return out.reshape(batches, points, feats.shape[1])
