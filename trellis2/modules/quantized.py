"""Linear layers with 8-bit weights, in the place of nn.Linear for inference. Letters: C channels in, K channels out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.low_precision import FP8, fp8_linear, int8_linear, quantize_fp8, quantize_int8

__all__ = ["Fp8Linear", "Int8Linear", "QuantizedLinear"]


class QuantizedLinear(nn.Module):
    """codes [K, C] in 8 bits and weight_scale [K, 1] float32 as buffers; bias [K] as it was. For inference only."""

    codes: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, codes: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = codes.shape
        self.register_buffer("codes", codes.contiguous())
        self.register_buffer("weight_scale", scale.contiguous())
        self.register_buffer("bias", bias)

    def weight(self) -> Tensor:
        """What the codes stand for, [K, C] float32."""
        return self.codes.float() * self.weight_scale

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        scale = self.weight_scale
        super()._apply(fn, recurse)
        self.weight_scale = scale.to(self.weight_scale.device)  # a cast of the model leaves the scales in float32
        return self

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Linear(QuantizedLinear):
    """int8 weights, widened to the input's type for each product."""

    @staticmethod
    def of(linear: nn.Linear) -> Int8Linear:
        """The layer with its weights rounded to int8, one scale per output channel."""
        return Int8Linear(*quantize_int8(linear.weight.detach()), _bias(linear))

    def forward(self, x: Tensor, gelu_after: bool = False) -> Tensor:
        """gelu_after: apply GELU (tanh) to the result, in the epilogue of the product."""
        gelu = gelu_after and self.bias is not None
        out = int8_linear(x, self.codes, self.weight_scale, self.bias, gelu=gelu)
        return F.gelu(out, approximate="tanh") if gelu_after and not gelu else out


class Fp8Linear(QuantizedLinear):
    """fp8 (e4m3) weights with a scale per output channel; inputs are quantised with a scale per row on the way."""

    @staticmethod
    def of(linear: nn.Linear) -> Fp8Linear:
        """The layer with its weights rounded to fp8."""
        codes, scale = quantize_fp8(linear.weight.detach())
        return Fp8Linear(codes.view(torch.uint8), scale, _bias(linear))  # bytes: casts of the model leave them alone

    def weight(self) -> Tensor:
        return self.codes.view(FP8).float() * self.weight_scale

    def forward(self, x: Tensor, gelu_before: bool = False) -> Tensor:
        """gelu_before: apply GELU (tanh) to x first, in the same pass as its quantisation."""
        return fp8_linear(x, self.codes.view(FP8), self.weight_scale, self.bias, gelu=gelu_before)


def _bias(linear: nn.Linear) -> Tensor | None:
    return None if linear.bias is None else linear.bias.detach()
