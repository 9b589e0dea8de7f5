"""The sRGB transfer curve, IEC 61966-2-1."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["linear_to_srgb", "srgb_to_linear"]


def srgb_to_linear(x: Tensor) -> Tensor:
    """IEC 61966-2-1 decoding of values in [0, 1]; any shape."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """IEC 61966-2-1 encoding of linear values in [0, 1]; any shape."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)
