"""Offsets of the taps of a convolution kernel."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MAX_REACH", "kernel_offsets"]

MAX_REACH = 1 << 14
"""Taps must reach less than this many voxels."""


def kernel_offsets(kernel_size: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int, int]]:
    """Offsets of the taps in voxels, in the order v = (k1·K2 + k2)·K3 + k3; offset v is minus offset V−1−v.

    Raises ValueError for even or non-positive kernel extents, dilations below 1, and reaches over 16383 voxels.
    """
    if len(kernel_size) != 3 or len(dilation) != 3:
        raise ValueError(f"kernel_size and dilation need three values, got {tuple(kernel_size)} and {tuple(dilation)}")
    if any(k < 1 or k % 2 == 0 for k in kernel_size):
        raise ValueError(f"kernel_size must be odd and positive on every axis, got {tuple(kernel_size)}")
    if any(d < 1 for d in dilation):
        raise ValueError(f"dilation must be at least 1 on every axis, got {tuple(dilation)}")
    if any((k // 2) * d >= MAX_REACH for k, d in zip(kernel_size, dilation)):
        raise ValueError(
            f"kernel reach must stay below {MAX_REACH} voxels, got kernel {kernel_size}, dilation {dilation}"
        )
    ranges = [[(k - n // 2) * d for k in range(n)] for n, d in zip(kernel_size, dilation)]
    return [(x, y, z) for x in ranges[0] for y in ranges[1] for z in ranges[2]]
