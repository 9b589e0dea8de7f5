"""Sparse grid sampling in plain PyTorch, on any device: sorted keys and binary search."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["WeightedGather", "locate_reference"]


def locate_reference(
    coords: Tensor,  # [N, 4] integer (batch, x, y, z)
    batches: int,
    size: tuple[int, int, int],  # (X, Y, Z)
    points: Tensor,  # [B, L, 3] float, voxel units
    *,
    nearest: bool,
    truncate: bool,
    normalize: bool,
) -> tuple[Tensor, Tensor]:
    """Voxel rows int64 [B * L, K] (-1: absent) and weights [B * L, K]; K = 1 or 8, corner bits 0, 1, 2 = x, y, z.

    Voxels outside `size` are never found; of duplicates the first row is.
    """
    device = points.device
    bounds = torch.tensor([batches, *size], device=device)
    voxel = coords.to(device, torch.int64)
    row = ((voxel >= 0) & (voxel < bounds)).all(1).nonzero()[:, 0]
    stride = torch.tensor([size[0] * size[1] * size[2], size[1] * size[2], size[2], 1], device=device)
    keys, order = torch.sort((voxel[row] * stride).sum(1), stable=True)
    row = row[order]

    batch = torch.arange(batches, device=device).repeat_interleave(points.shape[1])  # [M]
    q = points.reshape(-1, 3)
    limit = bounds[1:].to(q.dtype)
    near = ((q > -1) & (q < limit + 1)).all(1)  # false for NaN too
    q = torch.where(near[:, None], q, 0)
    if nearest:
        corner = (q.trunc() if truncate else q.floor())[:, None]  # [M, 1, 3]
        weight = torch.ones(len(q), 1, dtype=q.dtype, device=device)
    else:
        bits = torch.tensor([[c & 1, c >> 1 & 1, c >> 2] for c in range(8)], device=device, dtype=q.dtype)
        corner = (q - 0.5).floor()[:, None] + bits  # [M, 8, 3]
        weight = (1 - (q[:, None] - corner - 0.5).abs()).prod(-1)
    at = corner.to(torch.int64)
    inside = ((at >= 0) & (at < bounds[1:])).all(-1) & near[:, None]
    key = (at * stride[1:]).sum(-1) + batch[:, None] * stride[0]
    if len(keys):
        place = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
        found = inside & (keys[place] == key)
        index = torch.where(found, row[place], -1)
    else:
        index = torch.full_like(key, -1)
    weight = torch.where(index >= 0, weight, 0)
    if normalize and not nearest:
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
    return index, weight


class WeightedGather(torch.autograd.Function):
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
