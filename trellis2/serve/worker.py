"""The process that holds the networks and does one job after another.

It is started fresh (no fork), talks through one pipe, and looks at `cancel` at every step of a job.
Messages to it: `(job id, kind, folder, params)`, or None to end. From it: `("ready", seconds, description)`,
`("progress", stage, step, total)`, and one of `("done",)`, `("cancelled",)`, `("failed", text)` a job.
"""

from __future__ import annotations

import importlib
import logging
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Cancelled", "Progress", "Runner", "load_runner", "worker_main"]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


class Cancelled(Exception):
    """The job was told to stop; raised out of its progress callback."""


class Runner(Protocol):
    """Does jobs. Built once in the worker process with the options of the pool."""

    def describe(self) -> str:
        """The device and how it is used, for people."""

    def run(self, kind: str, folder: Path, params: Mapping[str, Any], progress: Progress) -> None:
        """Read the inputs from `folder`, leave the results there. Call `progress` often; it raises to cancel."""


def load_runner(target: str, options: Mapping[str, Any], device: str) -> Runner:
    """Build `package.module:Class` with the options and a device."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)(device=device, **options)


def worker_main(
    connection: Connection, cancel: Event, target: str, options: Mapping[str, Any], device: str, threads: int
) -> None:
    """Body of the process. Returns when told to end, or when the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(processName)s: %(message)s")
    if threads:
        import torch  # only where it is needed: a process that never computes starts at once

        torch.set_num_threads(threads)
    start = time.monotonic()
    try:
        runner = load_runner(target, options, device)
    except Exception as error:
        connection.send(("broken", one_line(error)))
        return
    connection.send(("ready", time.monotonic() - start, runner.describe()))
    try:
        while (message := connection.recv()) is not None:
            _, kind, folder, params = message
            connection.send(_attempt(runner, connection, cancel, kind, Path(folder), params))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _attempt(
    runner: Runner, connection: Connection, cancel: Event, kind: str, folder: Path, params: Mapping[str, Any]
) -> tuple[str, ...]:
    def progress(stage: str, step: int, total: int) -> None:
        if cancel.is_set():
            raise Cancelled
        connection.send(("progress", stage, int(step), int(total)))

    try:
        progress("starting", 0, 0)
        runner.run(kind, folder, params, progress)
    except Cancelled:
        return ("cancelled",)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        logger.exception("job failed")
        return ("failed", one_line(error))
    return ("done",)


def one_line(error: BaseException) -> str:
    """The first line of an error's text, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0][:500] if text else type(error).__name__
