"""Time grids of the samplers, in float64.

The operation order matters: interval ends such as 0.6 and 0.9 must compare equal to grid points.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["guided_mask", "time_schedule"]


def time_schedule(steps: int, rescale_t: float = 1.0) -> list[float]:
    """`steps + 1` times from 1 (noise) to 0 (data): `t' = r t / (1 + (r - 1) t)` of a uniform grid.

    Raises ValueError if `steps < 1` or `rescale_t <= 0`.
    """
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    if not (rescale_t > 0 and math.isfinite(rescale_t)):
        raise ValueError(f"rescale_t must be a positive number, got {rescale_t!r}")
    t = np.linspace(1, 0, int(steps) + 1)
    t = rescale_t * t / (1 + (rescale_t - 1) * t)
    return [float(v) for v in t]


def guided_mask(times: list[float], interval: tuple[float, float]) -> list[bool]:
    """For each step of a grid, whether its starting time lies in `interval`, both ends included."""
    lo, hi = interval
    return [lo <= t <= hi for t in times[:-1]]
