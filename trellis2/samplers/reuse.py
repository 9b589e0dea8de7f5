"""Leaving out evaluations of the network: velocities and guidance change slowly along most of a path.

Source of the idea: Ma et al., DeepCache, 2024, and Liu et al., Timestep Embedding Tells, 2025, which reuse features;
here whole velocities are extrapolated, and the guidance direction is kept, so that any network works.
"""

from __future__ import annotations

from typing import Any

__all__ = ["GuidanceMemory", "VelocityMemory", "check_every"]

Latent = Any


def check_every(name: str, value: int) -> int:
    """A whole number of at least 1. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    return value


class VelocityMemory:
    """The last two velocities that were computed, and which steps may do without a new one."""

    def __init__(self, every: int, steps: int) -> None:
        self.every, self.steps = check_every("evaluate_every", every), steps
        self._known: list[tuple[float, Latent]] = []

    def may_skip(self, index: int) -> bool:
        """Whether step `index` is extrapolated: never the first two nor the last, then all but every n-th."""
        return len(self._known) == 2 and index % self.every != 0 and index < self.steps - 1

    def keep(self, t: float, v: Latent) -> None:
        self._known = [*self._known[-1:], (t, v)]

    def extrapolate(self, t: float) -> Latent:
        """The line through both velocities, at time `t`."""
        (t0, v0), (t1, v1) = self._known
        return v1 + ((t - t1) / (t1 - t0)) * (v1 - v0)


class GuidanceMemory:
    """The last guidance direction v(cond) - v(neg_cond), renewed at every n-th guided step."""

    def __init__(self, every: int) -> None:
        self.every = check_every("guidance_every", every)
        self._count = 0
        self._direction: Latent = None

    def due(self) -> bool:
        """Whether this guided step computes the direction anew; counts the step."""
        due = self._direction is None or self._count % self.every == 0
        self._count += 1
        return due

    def keep(self, v_cond: Latent, v_neg: Latent) -> None:
        self._direction = v_cond - v_neg

    def guide(self, v_cond: Latent, strength: float) -> Latent:
        """`g v(cond) + (1 - g) v(neg_cond)` with the kept direction."""
        return v_cond + (strength - 1) * self._direction
