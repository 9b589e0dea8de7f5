"""Watching a run, and stopping it.

A run goes through stages, each of a number of steps. `Monitor` passes their advance on, and raises `Cancelled` between
two steps once its token has been cancelled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["CancelToken", "Cancelled", "Monitor", "OnProgress", "Progress"]

#: Called when a stage begins, with step 0, and after each of its steps: (stage, steps done, number of steps).
OnProgress = Callable[[str, int, int], None]
#: Called after each sampling step with (stage, step index from 0, number of steps, estimate of the clean latent).
Progress = Callable[[str, int, int, Any], None]


class Cancelled(RuntimeError):
    """A run was stopped through its token."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"cancelled during {stage}")
        self.stage = stage


class CancelToken:
    """Stops a run from another thread or a signal handler; once cancelled it stays so."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()


class Monitor:
    """What the stages of a run report to. Callable as a `Progress`, so that stage methods take it as `progress`.

    `timings` holds the seconds that each finished stage took, in order; a stage that comes again adds to its entry.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        on_progress: OnProgress | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        self._progress, self._on_progress, self._cancel = progress, on_progress, cancel
        self._last: tuple[str, int] | None = None
        self.timings: dict[str, float] = {}

    @classmethod
    def of(cls, progress: Any) -> Monitor:
        """`progress` itself if it is a monitor, else one around it."""
        return progress if isinstance(progress, Monitor) else cls(progress)

    def check(self, stage: str) -> None:
        """Raise Cancelled if the token has been cancelled."""
        if self._cancel is not None and self._cancel.cancelled:
            raise Cancelled(stage)

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell how far a stage is, then look at the token."""
        self._last = (stage, done)
        if self._on_progress is not None:
            self._on_progress(stage, done, total)
        self.check(stage)

    def __call__(self, stage: str, index: int, total: int, estimate: Any) -> None:
        if self._progress is not None:
            self._progress(stage, index, total, estimate)
        self.report(stage, index + 1, total)

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[None]:
        """Frame of a stage of `total` steps: step 0 is reported before it, the last one after it.

        The steps between come from `report`. The time counts even if the stage fails.
        """
        self._last = (name, 0)
        self.report(name, 0, total)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start
        if self._last != (name, total):
            self.report(name, total, total)
