"""Matrix products with 8-bit weights: integers with one scale per output channel, and fp8 with a scale per row.

Weights are symmetric: value = code · scale. int8 weights are widened before the product, so that only they lose
precision; fp8 products run in the tensor cores on inputs quantised row by row, where the device has them.
Letters: T rows, C channels in, K channels out.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends
from .fused_mlp import linear_gelu
from .triton_support import triton_unavailable

__all__ = [
    "FP8",
    "QuantizedRows",
    "fp8_linear",
    "int8_linear",
    "quantize_fp8",
    "quantize_int8",
    "quantize_rows",
    "quantize_rows_reference",
    "quantize_rows_triton",
    "widen_int8_reference",
    "widen_int8_triton",
]

FP8 = torch.float8_e4m3fn
_FP8_MAX = 448.0
_SMALLEST = 1e-12  # largest magnitude of a row below which its scale stops shrinking


class QuantizedRows(NamedTuple):
    """Rows in 8 bits: value = code · scale."""

    codes: Tensor  # [T, C] float8_e4m3fn
    scale: Tensor  # [T, 1] float32


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[K, C] -> codes [K, C] int8 in ±127 and scales [K, 1] float32, rounded to nearest."""
    scale = weight.float().abs().amax(1, keepdim=True).clamp(min=_SMALLEST) / 127
    return (weight.float() / scale).round().clamp(-127, 127).to(torch.int8), scale


def quantize_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[K, C] -> codes [K, C] float8_e4m3fn and scales [K, 1] float32."""
    rows = quantize_rows_reference(weight, gelu=False)
    return rows.codes, rows.scale


def quantize_rows_reference(x: Tensor, gelu: bool) -> QuantizedRows:
    """Rows of x [T, C], behind a GELU (tanh) if asked for, with the largest magnitude of a row at the type's end."""
    wide = x.float()
    if gelu:
        wide = F.gelu(wide, approximate="tanh")
    scale = wide.abs().amax(1, keepdim=True).clamp(min=_SMALLEST) / _FP8_MAX
    return QuantizedRows((wide / scale).clamp(-_FP8_MAX, _FP8_MAX).to(FP8), scale)


def quantize_rows_triton(x: Tensor, gelu: bool) -> QuantizedRows:
    """As the reference, in one pass."""
    from .triton_kernels.quantize_rows import launch_quantize_rows

    return QuantizedRows(*launch_quantize_rows(x.contiguous(), FP8, _FP8_MAX, _SMALLEST, gelu))


def quantize_rows(x: Tensor, gelu: bool = False) -> QuantizedRows:
    """Rows [T, C] in fp8 with a scale each. Not differentiable."""
    return backends.selected("quantize_rows", x.device).run(x, gelu)


def widen_int8_reference(codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """codes [K, C] int8 times scale [K, 1], computed in float32 and rounded once to `dtype`."""
    out = torch.empty(codes.shape, dtype=dtype, device=codes.device)
    with torch.no_grad():
        return torch.mul(codes, scale, out=out)


def widen_int8_triton(codes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """As the reference, with wide loads."""
    from .triton_kernels.widen_int8 import launch_widen_int8

    return launch_widen_int8(codes.contiguous(), scale.contiguous(), dtype)


def int8_linear(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """x [..., C] times the int8 weights codes [K, C] · scale [K, 1], plus bias -> [..., K] in the type of x.

    The weights are widened to the type of x for the length of the call. gelu: apply GELU (tanh) to the result; needs
    the bias. Differentiable in x.
    """
    weight = backends.selected("widen_int8", codes.device).run(codes, scale, x.dtype)
    wide = None if bias is None else bias.to(x.dtype)
    return linear_gelu(x, weight, wide) if gelu and wide is not None else F.linear(x, weight, wide)


def fp8_linear_reference(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """x in fp8 times weights in fp8, both widened: what the tensor cores compute, for any device."""
    rows = quantize_rows_reference(x.flatten(0, -2), gelu)
    weight = codes.float() * scale
    out = F.linear(rows.codes.float() * rows.scale, weight, None if bias is None else bias.float())
    return out.to(x.dtype).view(*x.shape[:-1], codes.shape[0])


def fp8_linear_scaled(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """As the reference, in the fp8 tensor cores with float32 accumulation; rounded to bfloat16 at the end."""
    rows = quantize_rows(x.flatten(0, -2), gelu)
    out = _scaled_product(rows, codes, scale, bias)
    return out.to(x.dtype).view(*x.shape[:-1], codes.shape[0])


def _scaled_product(rows: QuantizedRows, codes: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    return torch._scaled_mm(
        rows.codes,
        codes.t(),
        rows.scale,
        scale.t(),
        bias=None if bias is None else bias.to(torch.bfloat16),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )


@functools.cache
def _scaled_unavailable(device: torch.device) -> str | None:
    if device.type != "cuda" or torch.version.cuda is None:
        return f"fp8 tensor cores need an NVIDIA device, not {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 9):
        return f"fp8 tensor cores came with compute capability 8.9, this device has {capability[0]}.{capability[1]}"
    codes, scale = torch.zeros(16, 16, dtype=FP8, device=device), torch.ones(16, 1, device=device)
    try:
        _scaled_product(QuantizedRows(codes, scale), codes, scale, None)
    except RuntimeError as error:
        return f"this PyTorch has no fp8 product with row scales here: {str(error).splitlines()[0]}"
    return None


def fp8_linear(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """x [..., C] (behind a GELU if asked for) times fp8 weights codes [K, C] · scale [K, 1], plus bias -> [..., K].

    The rows of x are quantised to fp8 on the way. The fast path needs C and K to be multiples of 16. Not
    differentiable.
    """
    if x.numel() == 0 or codes.shape[0] % 16 or codes.shape[1] % 16:
        return fp8_linear_reference(x, codes, scale, bias, gelu)
    return backends.selected("fp8_linear", x.device).run(x, codes, scale, bias, gelu)


def _register() -> None:
    def anywhere(device: torch.device) -> str | None:
        return None

    backends.register("quantize_rows", backends.REFERENCE, anywhere, quantize_rows_reference)
    backends.register("quantize_rows", "triton", triton_unavailable, quantize_rows_triton, priority=10)
    backends.register("widen_int8", backends.REFERENCE, anywhere, widen_int8_reference)
    backends.register("widen_int8", "triton", triton_unavailable, widen_int8_triton, priority=10)
    backends.register("fp8_linear", backends.REFERENCE, anywhere, fp8_linear_reference)
    backends.register("fp8_linear", "scaled_mm", _scaled_unavailable, fp8_linear_scaled, priority=10)


_register()
