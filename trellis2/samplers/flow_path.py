"""The straight path between data and noise, and the conversions along it.

`x_t = (1 - t) x_0 + (s + (1 - s) t) eps` with `s = sigma_min`; t = 1 is noise, t = 0 is data;
the network predicts the velocity `v = (1 - s) eps - x_0`.
Source: Lipman et al., Flow Matching for Generative Modeling, 2023, Eq. 20-23 (time reversed).
Written for scalars `t`; works on dense and sparse tensors alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FlowPath"]

Latent = Any


@dataclass(frozen=True)
class FlowPath:
    """Path with noise floor `sigma_min`."""

    sigma_min: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must be in [0, 1), got {self.sigma_min!r}")

    def sigma(self, t: float) -> float:
        """Noise scale at time `t`."""
        return self.sigma_min + (1 - self.sigma_min) * t

    def x_t(self, x_0: Latent, eps: Latent, t: float) -> Latent:
        return (1 - t) * x_0 + self.sigma(t) * eps

    def velocity(self, x_0: Latent, eps: Latent) -> Latent:
        return (1 - self.sigma_min) * eps - x_0

    def x_0_from_v(self, x_t: Latent, t: float, v: Latent) -> Latent:
        return (1 - self.sigma_min) * x_t - self.sigma(t) * v

    def eps_from_v(self, x_t: Latent, t: float, v: Latent) -> Latent:
        return (1 - t) * v + x_t

    def v_from_x_0(self, x_t: Latent, t: float, x_0: Latent) -> Latent:
        return ((1 - self.sigma_min) * x_t - x_0) / self.sigma(t)

    def x_0_from_eps(self, x_t: Latent, t: float, eps: Latent) -> Latent:
        return (x_t - self.sigma(t) * eps) / (1 - t)

    def eps_from_x_0(self, x_t: Latent, t: float, x_0: Latent) -> Latent:
        return (x_t - (1 - t) * x_0) / self.sigma(t)
