"""Exponential moving averages of parameters, with one fused operation per rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage:
    """ema ← rate·ema + (1 − rate)·parameter, one copy a rate, on the parameters' device."""

    def __init__(self, params: Sequence[Tensor], rates: Sequence[float], warmup: bool = False) -> None:
        self.rates = list(rates)
        self.warmup = warmup
        self.copies = {rate: [p.detach().clone() for p in params] for rate in self.rates}

    @torch.no_grad()
    def update(self, params: Sequence[Tensor], step: int) -> None:
        """Average in the parameters; with `warmup` the decay is at most (1 + step) / (10 + step)."""
        detached = [p.detach() for p in params]
        for rate, ema in self.copies.items():
            decay = min(rate, (1 + step) / (10 + step)) if self.warmup else rate
            torch._foreach_mul_(ema, decay)
            torch._foreach_add_(ema, detached, alpha=1 - decay)

    @torch.no_grad()
    def reset(self, params: Sequence[Tensor]) -> None:
        """Set all copies to the parameters."""
        for ema in self.copies.values():
            for target, source in zip(ema, params):
                target.copy_(source.detach())
