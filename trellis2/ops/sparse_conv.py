"""Submanifold sparse convolution behind one call.

out[p] = bias + Σ_v W[:, v, :] · in[map[p, v]], over the taps v that have a voxel. A cross-correlation.
Letters: N voxels, V kernel taps, Ci / Co input / output channels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from .rows import gather_rows

__all__ = ["Backend", "resolve_conv_backend", "sparse_conv3d", "sparse_conv3d_reference"]

Backend = Literal["auto", "torch", "reference"]
_BACKENDS = ("auto", "torch", "reference")
_COLUMN_BYTES = {"cpu": 4 << 20, "default": 512 << 20}
"""Rough bound on the gathered columns held at one time, per device type; small enough for the cache on a CPU."""


def resolve_conv_backend(backend: str, device: torch.device | str | None = None) -> str:
    """Name of the implementation that `backend` means on `device`. Raises ValueError for unknown names."""
    if backend not in _BACKENDS:
        raise ValueError(f"unknown sparse convolution backend {backend!r}, choose from: {', '.join(_BACKENDS)}")
    return "torch" if backend == "auto" else backend


def sparse_conv3d(
    feats: Tensor,  # [N, Ci]
    weight: Tensor,  # [Co, K1, K2, K3, Ci]
    bias: Tensor | None,  # [Co]
    neighbor_map: Tensor,  # [N, V] int32 from build_neighbor_map, or some rows [M, V] of it; N means no voxel
    *,
    backend: str = "auto",
) -> Tensor:  # [N, Co], or [M, Co]
    """Submanifold convolution; rows of the output are the rows of the map.

    Differentiable in feats, weight and bias if the map has all rows; with some rows only values are computed. Under autocast the inputs are cast to the autocast type; otherwise feats
    and weight must agree in dtype. Products accumulate in float32. Raises ValueError when shapes or dtypes disagree.
    """
    volume = weight.shape[1] * weight.shape[2] * weight.shape[3] if weight.ndim == 5 else 0
    if feats.ndim != 2 or weight.ndim != 5 or weight.shape[4] != feats.shape[1]:
        raise ValueError(
            f"feats must be [N, Ci] and weight [Co, K1, K2, K3, Ci], got {tuple(feats.shape)} and {tuple(weight.shape)}"
        )
    if neighbor_map.ndim != 2 or neighbor_map.shape[0] > feats.shape[0] or neighbor_map.shape[1] != volume:
        raise ValueError(
            f"neighbor_map must be [{feats.shape[0]}, {volume}] or rows of it, got {tuple(neighbor_map.shape)}"
        )
    device_type = feats.device.type
    if torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
        feats, weight = feats.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    elif feats.dtype != weight.dtype:
        raise ValueError(f"feats and weight must have one dtype, got {feats.dtype} and {weight.dtype}")
    if resolve_conv_backend(backend, feats.device) == "reference":
        return sparse_conv3d_reference(feats, weight, bias, neighbor_map)
    return _GatherConv.apply(feats, weight, bias, neighbor_map)


def sparse_conv3d_reference(feats: Tensor, weight: Tensor, bias: Tensor | None, neighbor_map: Tensor) -> Tensor:
    """Gather, multiply, scatter, one tap at a time, accumulating in float32 or wider. Plain autograd."""
    dtype = torch.promote_types(feats.dtype, torch.float32)
    taps = weight.flatten(1, 3)
    with torch.autocast(feats.device.type, enabled=False):
        out = torch.zeros((neighbor_map.shape[0], weight.shape[0]), dtype=dtype, device=feats.device)
        for v in range(taps.shape[1]):
            rows = torch.nonzero(neighbor_map[:, v] < feats.shape[0]).squeeze(1)
            source = neighbor_map[rows, v].long()
            out = out.index_add(0, rows, feats[source].to(dtype) @ taps[:, v].to(dtype).T)
        if bias is not None:
            out = out + bias.to(dtype)
    return out.to(feats.dtype)


def _rows_per_chunk(width: int, element_size: int, device: torch.device) -> int:
    budget = _COLUMN_BYTES.get(device.type, _COLUMN_BYTES["default"])
    return max(1024, budget // max(1, width * element_size))


def _pad_row(x: Tensor) -> Tensor:
    """[N, C] -> [N + 1, C] with a row of zeros at the end, which is what the map's N points at."""
    return torch.cat([x, x.new_zeros(1, x.shape[1])])


def _gather(padded: Tensor, index: Tensor) -> Tensor:
    """[N + 1, C] rows by [n, V] -> columns [n, V·C]."""
    return gather_rows(padded, index.reshape(-1)).view(index.shape[0], index.shape[1] * padded.shape[1])


class _GatherConv(torch.autograd.Function):
    """One gather and one matrix product per chunk of rows; the columns are never kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, feats: Tensor, weight: Tensor, bias: Tensor | None, neighbor_map: Tensor) -> Tensor:
        ctx.save_for_backward(feats, weight, neighbor_map)
        ctx.has_bias = bias is not None
        num_rows, out_channels = neighbor_map.shape[0], weight.shape[0]
        out = feats.new_empty(num_rows, out_channels)
        if num_rows == 0:
            return out
        kernel = weight.reshape(out_channels, -1).T  # [V·Ci, Co]
        padded = _pad_row(feats)
        step = _rows_per_chunk(kernel.shape[0], feats.element_size(), feats.device)
        with torch.autocast(feats.device.type, enabled=False):
            for start in range(0, num_rows, step):
                columns = _gather(padded, neighbor_map[start : start + step])
                if bias is None:
                    torch.mm(columns, kernel, out=out[start : start + step])
                else:
                    torch.addmm(bias, columns, kernel, out=out[start : start + step])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # The map is symmetric (j under tap v of i  <=>  i under tap V-1-v of j), so one gather of the output gradient
        # serves both: grad_in[p] = Σ_u W[:, V-1-u]ᵀ G[map[p, u]] and grad_W[:, V-1-u] = Σ_p G[map[p, u]] ⊗ in[p].
        feats, weight, neighbor_map = ctx.saved_tensors
        if neighbor_map.shape[0] != feats.shape[0]:
            raise RuntimeError("a convolution of some rows of the map has no gradient; use the whole map")
        grad = grads[0].to(feats.dtype).contiguous()
        num_rows, in_channels = feats.shape
        out_channels, volume = weight.shape[0], neighbor_map.shape[1]
        want_feats, want_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        grad_feats = torch.empty_like(feats, memory_format=torch.contiguous_format) if want_feats else None
        grad_weight = None
        accumulate = torch.promote_types(feats.dtype, torch.float32)
        with torch.autocast(feats.device.type, enabled=False):
            if num_rows and (want_feats or want_weight):
                # [Co, V, Ci] -> mirrored [V·Co, Ci]
                mirrored = weight.reshape(out_channels, volume, in_channels).flip(1).transpose(0, 1)
                mirrored = mirrored.reshape(volume * out_channels, in_channels)
                kernel_grad = torch.zeros(mirrored.shape, dtype=accumulate, device=feats.device)
                padded = _pad_row(grad)
                step = _rows_per_chunk(mirrored.shape[0], feats.element_size(), feats.device)
                for start in range(0, num_rows, step):
                    columns = _gather(padded, neighbor_map[start : start + step])  # [n, V·Co]
                    if grad_feats is not None:
                        torch.mm(columns, mirrored, out=grad_feats[start : start + step])
                    if want_weight:
                        kernel_grad += torch.mm(columns.T, feats[start : start + step])
                if want_weight:
                    kernel_grad = kernel_grad.view(volume, out_channels, in_channels).transpose(0, 1).flip(1)
                    grad_weight = kernel_grad.reshape(weight.shape).to(weight.dtype)
            elif want_weight:
                grad_weight = torch.zeros_like(weight)
            grad_bias = None
            if ctx.has_bias and ctx.needs_input_grad[2]:
                grad_bias = grad.sum(0, dtype=accumulate).to(weight.dtype)
        return grad_feats, grad_weight, grad_bias, None
