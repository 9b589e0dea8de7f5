"""Precision and initialisation helpers shared by the networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = [
    "autocast_active",
    "convert_module_to",
    "convert_module_to_f16",
    "convert_module_to_f32",
    "manual_cast",
    "modulate",
    "require_choice",
    "scale_module",
    "str_to_dtype",
    "zero_module",
]

M = TypeVar("M", bound=nn.Module)

_DTYPES = {
    "f16": torch.float16,
    "fp16": torch.float16,
    "float16": torch.float16,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "f32": torch.float32,
    "fp32": torch.float32,
    "float32": torch.float32,
}


def str_to_dtype(name: str | torch.dtype) -> torch.dtype:
    """`f16|fp16|float16`, `bf16|bfloat16`, `f32|fp32|float32` to a torch dtype. Raises ValueError otherwise."""
    if isinstance(name, torch.dtype):
        return name
    if name not in _DTYPES:
        raise ValueError(f"unknown dtype {name!r}, choose from: {', '.join(_DTYPES)}")
    return _DTYPES[name]


def _mixed_precision_types() -> tuple[type[nn.Module], ...]:
    from .sparse.conv import SparseConv3d

    return (
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.Linear,
        SparseConv3d,
    )


def convert_module_to(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters of a linear or convolution layer in place; leave every other module alone.

    Meant for `torso.apply(lambda m: convert_module_to(m, dtype))`: norms, gammas and modulations stay float32.
    """
    if isinstance(module, _mixed_precision_types()):
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.to(dtype)


def convert_module_to_f16(module: nn.Module) -> None:
    convert_module_to(module, torch.float16)


def convert_module_to_f32(module: nn.Module) -> None:
    convert_module_to(module, torch.float32)


def autocast_active(device: torch.device) -> bool:
    """Whether torch autocast is on for this kind of device."""
    return torch.is_autocast_enabled(device.type)


def manual_cast(x: Any, dtype: torch.dtype) -> Any:
    """Cast a tensor or a sparse container, unless autocast is active and decides by itself."""
    if autocast_active(x.device) or x.dtype == dtype:
        return x
    return x.type(dtype)


def zero_module(module: M) -> M:
    """Zero all parameters in place."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def scale_module(module: M, scale: float) -> M:
    """Multiply all parameters in place."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale)
    return module


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x·(1 + scale) + shift with x [N, L, C] and shift, scale [N, C]."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def require_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """Return value; raise ValueError naming the argument and the choices if it is not one of them."""
    options = tuple(choices)
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}")
    return value
