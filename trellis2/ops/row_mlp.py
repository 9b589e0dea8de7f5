"""Row-wise parts of the convolutional blocks: layer norm with SiLU, and norm, MLP and residual.

The fused backends keep the hidden rows of the MLP on the chip; they serve calls that record no gradient.
Letters: N rows, C channels, H hidden channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends
from .inference import inference_only
from .triton_support import triton_unavailable

__all__ = [
    "MlpWeights",
    "norm_linear",
    "norm_linear_reference",
    "norm_mlp",
    "norm_mlp_reference",
    "norm_rows_silu",
    "norm_rows_silu_reference",
]

OP_NORM = "norm_silu"
OP_MLP = "norm_mlp"
OP_LINEAR = "norm_linear"
_FEW_OUTPUTS = 16
"""Outputs of a linear layer up to which a pass over the rows is worth more than a matrix product."""
_FUSED_MLP_WIDTHS = (64, 128)
"""Channels for which the accumulators of both products fit in registers."""
ELEMENTS = 1 << 25
"""Values [rows, C] of one chunk at most; the hidden rows of an MLP are four times as wide."""
_HALF = (torch.float16, torch.bfloat16)


def norm_rows_silu_reference(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, silu: bool, out: Tensor | None = None
) -> Tensor:
    """Layer norm of rows [N, C] in float32 (float64 stays), rounded to the type of x, then SiLU if asked."""
    wide = torch.promote_types(x.dtype, torch.float32)
    scale, shift = (None if t is None else t.to(wide) for t in (weight, bias))
    h = F.layer_norm(x.to(wide), x.shape[-1:], scale, shift, eps).to(x.dtype)
    if silu:
        h = F.silu(h)
    return h if out is None else out.copy_(h)


def _norm_triton(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, silu: bool, out: Tensor | None = None
) -> Tensor:
    from .triton_rows import launch_norm_silu

    return launch_norm_silu(x, weight, bias, eps, silu, out)


def norm_rows_silu(
    x: Tensor,  # [N, C]
    weight: Tensor | None = None,  # [C]
    bias: Tensor | None = None,  # [C]
    eps: float = 1e-6,
    *,
    silu: bool = True,
    out: Tensor | None = None,  # [N, C], may be x
) -> Tensor:  # [N, C]
    """SiLU(layer_norm(x)·weight + bias), the norm in float32; only the norm without `silu`.

    Differentiable without `out`.
    """
    if x.dtype == torch.float64 or not inference_only(x, weight, bias):
        return norm_rows_silu_reference(x, weight, bias, eps, silu, out)
    backend = backends.selected(OP_NORM, x.device)
    step = max(1, ELEMENTS // max(1, x.shape[1]))
    if backend.name != backends.REFERENCE or x.shape[0] <= step:
        return backend.run(x, weight, bias, eps, silu, out)
    out = torch.empty_like(x) if out is None else out  # the reference has copies in float32: in chunks
    for start in range(0, x.shape[0], step):
        rows = slice(start, start + step)
        backend.run(x[rows], weight, bias, eps, silu, out[rows])
    return out


class MlpWeights(NamedTuple):
    """Parameters of a layer norm and the two linear layers behind it."""

    norm_weight: Tensor  # [C]
    norm_bias: Tensor  # [C]
    w1: Tensor  # [H, C]
    b1: Tensor  # [H]
    w2: Tensor  # [C, H]
    b2: Tensor  # [C]


def norm_mlp_reference(
    h: Tensor, residual: Tensor, weights: MlpWeights, eps: float, out: Tensor | None = None
) -> Tensor:
    """residual + W2 SiLU(W1 layer_norm(h) + b1) + b2 in plain operations."""
    norm_weight, norm_bias, w1, b1, w2, b2 = weights
    normed = norm_rows_silu_reference(h, norm_weight, norm_bias, eps, False)
    branch = F.linear(F.silu(F.linear(normed, w1, b1)), w2, b2)
    return branch + residual if out is None else torch.add(branch, residual, out=out)


def _fuses(h: Tensor, w1: Tensor) -> bool:
    """Whether the kernel that keeps the hidden rows on the chip takes these shapes."""
    return h.shape[1] in _FUSED_MLP_WIDTHS and h.dtype in _HALF and w1.shape[0] % 64 == 0


def _mlp_triton(h: Tensor, residual: Tensor, weights: MlpWeights, eps: float, out: Tensor | None = None) -> Tensor:
    """One kernel for narrow rows in 16-bit types; else the fused norm with products by the library."""
    from .triton_rows import launch_norm_mlp, launch_norm_silu

    norm_weight, norm_bias, w1, b1, w2, b2 = weights
    if _fuses(h, w1):
        return launch_norm_mlp(h, residual, weights, eps, out)
    normed = launch_norm_silu(h, norm_weight, norm_bias, eps, False)
    branch = F.linear(F.silu(F.linear(normed, w1, b1), inplace=True), w2, b2)
    return torch.add(branch, residual, out=branch if out is None else out)


def norm_mlp(
    h: Tensor,  # [N, C]
    residual: Tensor,  # [N, C]
    weights: MlpWeights,
    eps: float = 1e-6,
    *,
    out: Tensor | None = None,  # [N, C], may be h or residual
) -> Tensor:  # [N, C]
    """residual + W2 SiLU(W1 layer_norm(h) + b1) + b2, the norm in float32. Differentiable without `out`.

    Where no gradient is recorded and the hidden rows do not stay on the chip, they exist for a chunk of rows at a time.
    """
    if not inference_only(h, residual, *weights):
        return norm_mlp_reference(h, residual, weights, eps, out)
    backend = backends.selected(OP_MLP, h.device)
    run = backend.run if h.dtype != torch.float64 else norm_mlp_reference
    num_rows, channels = h.shape
    step = max(1, ELEMENTS // max(1, channels))
    if num_rows <= step or (backend.name == "triton" and _fuses(h, weights.w1)):
        return run(h, residual, weights, eps, out)
    out = torch.empty_like(h) if out is None else out
    step = -(-num_rows // -(-num_rows // step))  # chunks of one length
    for start in range(0, num_rows, step):
        rows = slice(start, start + step)
        run(h[rows], residual[rows], weights, eps, out[rows])
    return out


def norm_linear_reference(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Linear layer of the layer norm of rows [N, C], both in `dtype`."""
    return F.linear(F.layer_norm(x.to(dtype), x.shape[-1:], eps=eps), weight.to(dtype), bias.to(dtype))


def _linear_triton(x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    if weight.shape[0] > _FEW_OUTPUTS or dtype != torch.float32:
        return norm_linear_reference(x, weight, bias, eps, dtype)
    from .triton_rows import launch_norm_linear

    return launch_norm_linear(x, weight, bias, eps, dtype)


def norm_linear(
    x: Tensor,  # [N, C]
    weight: Tensor,  # [K, C]
    bias: Tensor,  # [K]
    eps: float = 1e-5,
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # [N, K] in `dtype`
    """weight · layer_norm(x) + bias in `dtype`, the norm without parameters. Differentiable.

    Where no gradient is recorded, copies in `dtype` exist for a chunk of rows at a time.
    """
    if not inference_only(x, weight, bias):
        return norm_linear_reference(x, weight, bias, eps, dtype)
    backend = backends.selected(OP_LINEAR, x.device)
    step = max(1, ELEMENTS // max(1, x.shape[1]))
    if x.shape[0] <= step or (backend.name == "triton" and weight.shape[0] <= _FEW_OUTPUTS):
        return backend.run(x, weight, bias, eps, dtype)
    out = torch.empty((x.shape[0], weight.shape[0]), dtype=dtype, device=x.device)
    for start in range(0, x.shape[0], step):
        rows = slice(start, start + step)
        out[rows] = backend.run(x[rows], weight, bias, eps, dtype)
    return out


def _register() -> None:
    backends.register(OP_NORM, backends.REFERENCE, lambda device: None, norm_rows_silu_reference)
    backends.register(OP_NORM, "triton", triton_unavailable, _norm_triton, priority=10)
    backends.register(OP_MLP, backends.REFERENCE, lambda device: None, norm_mlp_reference)
    backends.register(OP_MLP, "triton", triton_unavailable, _mlp_triton, priority=10)
    backends.register(OP_LINEAR, backends.REFERENCE, lambda device: None, norm_linear_reference)
    backends.register(OP_LINEAR, "triton", triton_unavailable, _linear_triton, priority=10)


_register()
