"""Linear layer with GELU behind it, in one pass where nothing needs gradients.

Letters: T rows, C channels in, K channels out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends
from .inference import inference_only

__all__ = ["linear_gelu", "linear_gelu_epilogue", "linear_gelu_reference"]

OP = "linear_gelu"


def linear_gelu_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(x weightᵀ + bias) with the tanh approximation; x [..., C], weight [K, C], bias [K] -> [..., K]."""
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def linear_gelu_epilogue(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As the reference, the activation in the epilogue of cuBLASLt's product: before the rounding, without a pass."""
    out = torch.ops.aten._addmm_activation(bias, x.flatten(0, -2), weight.t(), use_gelu=True)
    return out.view(*x.shape[:-1], weight.shape[0])


def _epilogue_unavailable(device: torch.device) -> str | None:
    if device.type != "cuda" or torch.version.cuda is None:
        return f"cuBLASLt needs an NVIDIA device, not {device.type}"
    return None


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(x weightᵀ + bias) with the tanh approximation; x [..., C], weight [K, C], bias [K] -> [..., K].

    Differentiable; the fused backend serves calls that record no gradient.
    """
    if x.ndim < 2 or x.numel() == 0 or x.dtype != weight.dtype or not inference_only(x, weight, bias):
        return linear_gelu_reference(x, weight, bias)
    return backends.selected(OP, x.device).run(x, weight, bias)


def _register() -> None:
    backends.register(OP, backends.REFERENCE, lambda device: None, linear_gelu_reference)
    backends.register(OP, "epilogue", _epilogue_unavailable, linear_gelu_epilogue, priority=10)


_register()
