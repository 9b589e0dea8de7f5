"""Colour: sRGB transfer curve and the tone map of previews."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Transfer", "decode", "encode", "linear_to_srgb", "srgb_to_linear", "tone_map"]

Transfer = Literal["srgb", "gamma2.2"]


def srgb_to_linear(x: Tensor) -> Tensor:
    """IEC 61966-2-1 decoding of values in [0, 1]; any shape."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """IEC 61966-2-1 encoding of linear values in [0, 1]; any shape."""
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def decode(x: Tensor, transfer: Transfer = "srgb") -> Tensor:
    """Encoded colour in [0, 1] (clamped) to linear light."""
    x = x.clamp(0.0, 1.0)
    if transfer == "srgb":
        return srgb_to_linear(x)
    if transfer == "gamma2.2":
        return x**2.2
    raise ValueError(f"transfer must be 'srgb' or 'gamma2.2', got {transfer!r}")


def encode(x: Tensor, transfer: Transfer = "srgb") -> Tensor:
    """Linear light (clamped to [0, 1]) to encoded colour."""
    x = x.clamp(0.0, 1.0)
    if transfer == "srgb":
        return linear_to_srgb(x)
    if transfer == "gamma2.2":
        return x ** (1 / 2.2)
    raise ValueError(f"transfer must be 'srgb' or 'gamma2.2', got {transfer!r}")


def tone_map(x: Tensor, transfer: Transfer = "srgb") -> Tensor:
    """Linear radiance >= 0 to display values in [0, 1]: filmic curve, then the transfer curve.

    Based on: K. Narkowicz, "ACES Filmic Tone Mapping Curve", 2015.
    """
    filmic = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return encode(filmic, transfer)
