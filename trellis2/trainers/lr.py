"""Learning-rate schedules: linear warm-up; warm-up then cosine over steps or over the time budget."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

__all__ = ["LinearWarmupLRScheduler", "WarmupCosineLRScheduler"]


class LinearWarmupLRScheduler(LambdaLR):
    """Factor (s + 1) / warmup_steps for s < warmup_steps, then 1."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int, last_epoch: int = -1) -> None:
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, self._factor, last_epoch=last_epoch)

    def _factor(self, step: int) -> float:
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0

    def state_dict(self) -> dict[str, Any]:
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}


class WarmupCosineLRScheduler(LRScheduler):
    """Linear warm-up over `warmup_steps`, times a cosine from 1 to `final_ratio` over the run.

    The run's progress in [0, 1] is `set_progress(...)`, called by the loop: the larger of step / max_steps and
    elapsed / max_minutes. So a run limited by time ends at the final rate whatever the speed of the machine.
    `constant_ratio` is the part of the run at the full rate before the cosine begins.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int = 0,
        final_ratio: float = 0.01,
        constant_ratio: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= final_ratio <= 1:
            raise ValueError(f"final_ratio must be in [0, 1], got {final_ratio}")
        if not 0 <= constant_ratio < 1:
            raise ValueError(f"constant_ratio must be in [0, 1), got {constant_ratio}")
        self.warmup_steps = warmup_steps
        self.final_ratio = final_ratio
        self.constant_ratio = constant_ratio
        self.progress = 0.0
        super().__init__(optimizer, last_epoch)

    def set_progress(self, progress: float) -> None:
        """Part of the run that is done, in [0, 1]."""
        self.progress = min(max(progress, 0.0), 1.0)

    def _factor(self) -> float:
        warm = min(1.0, (self.last_epoch + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0
        phase = max(0.0, (self.progress - self.constant_ratio) / (1 - self.constant_ratio))
        return warm * (self.final_ratio + (1 - self.final_ratio) * 0.5 * (1 + math.cos(math.pi * phase)))

    def get_lr(self) -> list[Any]:
        factor = self._factor()
        return [base * factor for base in self.base_lrs]
