"""Low-discrepancy sequences. Based on: J. H. Halton, 1960; J. M. Hammersley, 1960."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["PRIMES", "halton_sequence", "hammersley_sequence", "radical_inverse", "sphere_hammersley_sequence"]

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)


def radical_inverse(base: int, n: int) -> float:
    """Digits of `n >= 0` in `base`, mirrored about the point: a number in [0, 1)."""
    if base < 2 or n < 0:
        raise ValueError(f"base must be at least 2 and n not negative, got {base} and {n}")
    value, digit = 0.0, 1.0 / base
    while n > 0:
        n, rest = divmod(n, base)
        value += rest * digit
        digit /= base
    return value


def halton_sequence(dim: int, n: int) -> list[float]:
    """The `n`-th Halton point of dimension `dim`."""
    if not 0 <= dim <= len(PRIMES):
        raise ValueError(f"dim must be in 0..{len(PRIMES)}, got {dim}")
    return [radical_inverse(PRIMES[i], n) for i in range(dim)]


def hammersley_sequence(dim: int, n: int, num_samples: int) -> list[float]:
    """The `n`-th of `num_samples` Hammersley points of dimension `dim`."""
    return [n / num_samples, *halton_sequence(dim - 1, n)]


def sphere_hammersley_sequence(
    n: int, num_samples: int, offset: Sequence[float] = (0.0, 0.0), remap: bool = False
) -> list[float]:
    """`[phi, theta]` in radians of the `n`-th of `num_samples` directions: azimuth, and height above the equator.

    `offset` shifts the point set; `remap` puts a quarter of the points below the equator and the rest above.
    """
    u, v = hammersley_sequence(2, n, num_samples)
    u, v = u + offset[0] / num_samples, v + offset[1]
    if remap:
        u = 2 * u if u < 0.25 else 2 / 3 * u + 1 / 3
    theta = math.acos(min(1.0, max(-1.0, 1 - 2 * u))) - math.pi / 2
    return [2 * math.pi * v, theta]
