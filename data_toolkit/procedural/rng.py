"""A small random source whose stream is the same on every machine and NumPy version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Rng"]

T = TypeVar("T")


class Rng:
    """Uniform numbers drawn from raw PCG64 words.

    Only the bit generator is used, whose stream NumPy guarantees; `Generator` methods carry no such promise.
    """

    def __init__(self, *key: int) -> None:
        """Seed from a tuple of non-negative integers, e.g. `(version, index)`."""
        if any(k < 0 for k in key):
            raise ValueError(f"key must hold non-negative integers, got {key}")
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))

    def random(self) -> float:
        """One float in [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def array(self, *shape: int) -> np.ndarray:
        """Floats in [0, 1) of the given shape."""
        count = int(np.prod(shape))
        raw = np.atleast_1d(self._bits.random_raw(count)).astype(np.uint64)
        return ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)

    def uniform(self, low: float, high: float) -> float:
        """One float in [low, high)."""
        return low + (high - low) * self.random()

    def integer(self, low: int, high: int) -> int:
        """One integer in [low, high], both ends included."""
        return low + min(int(self.random() * (high - low + 1)), high - low)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.random() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[self.integer(0, len(options) - 1)]
