"""Submanifold sparse convolution behind one call.

out[p] = bias + Σ_v W[:, v, :] · in[map[p, v]], over the taps v that have a voxel. A cross-correlation.
Backends: `triton` (implicit GEMM over gathered rows, on GPUs), `torch` (a gather and a matrix product per chunk of
rows), `reference` (tap by tap, plain autograd). The same call gives the same bits again with each of them.
Letters: N voxels, M rows of the map, V kernel taps, Ci / Co input / output channels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from . import backends
from .neighborhood import Neighborhood
from .rows import gather_rows
from .triton_support import triton_unavailable

__all__ = ["OP", "Backend", "resolve_conv_backend", "sparse_conv3d", "sparse_conv3d_reference"]

OP = "sparse_conv"
Backend = Literal["auto", "triton", "torch", "reference"]
_BACKENDS = ("auto", "triton", "torch", "reference")
_COLUMN_BYTES = {"cpu": 4 << 20, "default": 512 << 20}
"""Rough bound on the gathered columns held at one time, per device type; small enough for the cache on a CPU."""


def resolve_conv_backend(backend: str, device: torch.device | str | None = None) -> str:
    """Name of the implementation that `backend` means on `device`; without a device only the name is checked.

    Raises ValueError for unknown names, RuntimeError when a backend named here cannot run on the device.
    """
    if backend not in _BACKENDS:
        raise ValueError(f"unknown sparse convolution backend {backend!r}, choose from: {', '.join(_BACKENDS)}")
    if device is None:
        return backend
    device = torch.device(device)
    if backend == "auto":
        return backends.selected(OP, device).name
    found = next(b for b in backends.backends(OP) if b.name == backend)
    reason = found.reason(device)
    if reason is not None:
        raise RuntimeError(f"sparse convolution backend {backend} cannot run on {device}: {reason}")
    return backend


def sparse_conv3d(
    feats: Tensor,  # [N, Ci]
    weight: Tensor,  # [Co, K1, K2, K3, Ci]
    bias: Tensor | None,  # [Co]
    neighbor_map: Tensor | Neighborhood,  # map [N, V], or some rows [M, V] of it; N means no voxel
    *,
    backend: str = "auto",
) -> Tensor:  # [N, Co], or [M, Co]
    """Submanifold convolution; rows of the output are the rows of the map.

    Differentiable in feats, weight and bias if the map has all rows; with some rows only values are computed. Under
    autocast the inputs are cast to the autocast type; otherwise feats and weight must agree in dtype. Products
    accumulate in float32. A `Neighborhood` keeps what backends derive from the map: pass the same one to all
    convolutions on a coordinate set. Raises ValueError when shapes or dtypes disagree.
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
    hood = neighbor_map
    if isinstance(hood, Tensor):
        hood = Neighborhood(hood, num_sources=feats.shape[0])
    elif hood.num_sources != feats.shape[0]:
        raise ValueError(f"neighbor_map points into {hood.num_sources} rows, but feats has {feats.shape[0]}")
    device_type = feats.device.type
    if torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
        feats, weight = feats.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    elif feats.dtype != weight.dtype:
        raise ValueError(f"feats and weight must have one dtype, got {feats.dtype} and {weight.dtype}")
    out = _backend(backend, feats).run(feats, weight, bias, hood)
    hood.confirm()
    return out


def _backend(name: str, feats: Tensor) -> backends.Backend:
    """The implementation that `name` means for these features."""
    if name == "auto":
        found = backends.selected(OP, feats.device)
        if found.name != "triton" or feats.dtype != torch.float64:
            return found
        name = "torch"  # the kernels accumulate in float32
    name = resolve_conv_backend(name, feats.device)
    return next(b for b in backends.backends(OP) if b.name == name)


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


def _run_triton(feats: Tensor, weight: Tensor, bias: Tensor | None, hood: Neighborhood) -> Tensor:
    from .triton_conv import triton_conv

    return triton_conv(feats, weight, bias, hood)


def _run_torch(feats: Tensor, weight: Tensor, bias: Tensor | None, hood: Neighborhood) -> Tensor:
    return _GatherConv.apply(feats, weight, bias, hood.table)


def _run_reference(feats: Tensor, weight: Tensor, bias: Tensor | None, hood: Neighborhood) -> Tensor:
    return sparse_conv3d_reference(feats, weight, bias, hood.table)


backends.register(OP, "triton", triton_unavailable, _run_triton, priority=20)
backends.register(OP, "torch", lambda device: None, _run_torch, priority=10)
backends.register(OP, "reference", lambda device: None, _run_reference)
