"""Gradient clipping with a threshold that follows the recent gradient norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["AdaptiveGradClipper"]


class AdaptiveGradClipper:
    """Clip to a percentile of the last `buffer_size` finite gradient norms, at most `max_norm`.

    Until the buffer is full the threshold is `max_norm` (no limit if None).
    """

    def __init__(self, max_norm: float | None = None, clip_percentile: float = 95.0, buffer_size: int = 1000) -> None:
        if not 0 < clip_percentile <= 100:
            raise ValueError(f"clip_percentile must be in (0, 100], got {clip_percentile}")
        self.max_norm = max_norm
        self.clip_percentile = clip_percentile
        self.buffer_size = buffer_size
        self._threshold = max_norm
        self._norms = np.zeros(buffer_size, dtype=np.float32)
        self._ptr = 0
        self._length = 0

    @property
    def threshold(self) -> float:
        """The norm that the next call clips to."""
        return math.inf if self._threshold is None else float(self._threshold)

    def __call__(self, parameters: Iterable[Tensor]) -> Tensor:
        """Clip the `.grad` of the parameters in place; returns the global 2-norm before clipping, a 0-dim tensor."""
        parameters = list(parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self.clip_with_norm(parameters, norm, float(norm))
        return norm

    def clip_with_norm(self, parameters: Sequence[Tensor], total_norm: Tensor, value: float) -> None:
        """As a call, for a norm that is already known: 0-dim tensor and its value on the host."""
        torch.nn.utils.clip_grads_with_norm_(parameters, self.threshold, total_norm)
        self.observe(value)

    def observe(self, norm: float) -> None:
        """Record a norm (ignored if not finite) and update the threshold."""
        if not math.isfinite(norm):
            return
        self._norms[self._ptr] = norm
        self._ptr = (self._ptr + 1) % self.buffer_size
        self._length = min(self._length + 1, self.buffer_size)
        if self._length == self.buffer_size:
            threshold = float(np.percentile(self._norms, self.clip_percentile))
            self._threshold = threshold if self.max_norm is None else min(threshold, self.max_norm)

    def state_dict(self) -> dict[str, Any]:
        return {
            "grad_norm": torch.from_numpy(self._norms.copy()),
            "max_norm": self._threshold,
            "buffer_ptr": self._ptr,
            "buffer_length": self._length,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._norms = np.asarray(state["grad_norm"], dtype=np.float32).copy()
        self.buffer_size = len(self._norms)
        self._threshold = None if state["max_norm"] is None else float(state["max_norm"])
        self._ptr = int(state["buffer_ptr"])
        self._length = int(state["buffer_length"])

    def log(self) -> dict[str, float]:
        """{`max_norm`: the current threshold}, infinite before a limit exists."""
        return {"max_norm": self.threshold}
