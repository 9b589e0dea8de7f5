"""Doing one job after another: resume, progress, errors, manifest, interruption."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trellis2.pipelines.progress import Cancelled, CancelToken, Monitor

from .manifest import Manifest

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_SOME_FAILED", "EXIT_USAGE", "Job", "Runner"]

logger = logging.getLogger(__name__)
#: Exit codes beside 0: everything failed, some inputs failed, bad arguments, stopped by Ctrl-C.
EXIT_FAILED, EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 3, 2, 130


@dataclass(frozen=True)
class Job:
    """One input: what decides its outputs, and the function that makes them."""

    name: str
    key: str
    work: Callable[[Monitor], tuple[list[Path], dict[str, Any]]]  # files that were written, facts for the manifest
    facts: dict[str, Any] = field(default_factory=dict)  # for the manifest


class _Bar:
    """A progress bar for the stages of one job, or nothing."""

    def __init__(self, name: str, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=name, disable=quiet, leave=False, bar_format="{desc} |{bar}| {n_fmt}/{total_fmt}")
        self.name = name

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.n = done
        self._bar.set_description_str(f"{self.name}: {stage}", refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


@contextmanager
def _stop_at_interrupt(token: CancelToken) -> Iterator[None]:
    """Ctrl-C ends the running job at its next step; a second one ends the program at once."""

    def stop(signum: int, frame: Any) -> None:
        token.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Runner:
    """Runs jobs into one output folder."""

    def __init__(self, command: str, folder: Path, *, resume: bool, quiet: bool, debug: bool = False) -> None:
        self.command, self.folder = command, folder
        self.resume, self.quiet, self.debug = resume, quiet, debug
        self.manifest = Manifest(folder)

    def run(self, jobs: Sequence[Job]) -> int:
        """Do the jobs that are not done yet; returns the exit code. A failed job does not stop the others."""
        failed, token = 0, CancelToken()
        with _stop_at_interrupt(token):
            for number, job in enumerate(jobs, 1):
                label = f"[{number}/{len(jobs)}] {job.name}"
                if self.resume and self.manifest.finished(job.key):
                    self._say(f"{label}: done before")
                    continue
                try:
                    self._do(label, job, token)
                except Cancelled:
                    sys.stderr.write("interrupted\n")
                    return EXIT_INTERRUPTED
                except Exception as error:  # whatever is wrong with one input, the others are done
                    if self.debug:
                        raise
                    failed += 1
                    sys.stderr.write(f"error: {job.name}: {_one_line(error)}\n")
        if failed:
            return EXIT_FAILED if failed == len(jobs) else EXIT_SOME_FAILED
        return 0

    def _do(self, label: str, job: Job, token: CancelToken) -> None:
        start = time.perf_counter()
        bar = _Bar(label, self.quiet)
        monitor = Monitor(None, bar, token)
        try:
            outputs, facts = job.work(monitor)
        finally:
            bar.close()
        seconds = time.perf_counter() - start
        timings = {name: round(value, 3) for name, value in monitor.timings.items()}
        self.manifest.add(
            job.key,
            outputs,
            command=self.command,
            input=job.name,
            seconds=round(seconds, 3),
            timings=timings,
            **job.facts,
            **facts,
        )
        names = ", ".join(str(path) for path in outputs)
        self._say(f"{label}: {names} ({seconds:.1f} s)")

    def _say(self, text: str) -> None:
        if not self.quiet:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    expected = isinstance(error, (OSError, ValueError, RuntimeError))
    return text if expected and text else f"{type(error).__name__}: {text}"
