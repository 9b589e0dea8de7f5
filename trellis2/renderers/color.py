"""Colour: sRGB transfer curve and the tone map of previews."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from trellis2.utils.srgb import linear_to_srgb, srgb_to_linear

__all__ = ["Transfer", "decode", "encode", "linear_to_srgb", "srgb_to_linear", "tone_map"]

Transfer = Literal["srgb", "gamma2.2"]


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
