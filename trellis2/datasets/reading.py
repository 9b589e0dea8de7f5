"""Reading many items at once, on threads or on processes, with bounded retries."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["read_parallel"]

log = logging.getLogger(__name__)
_RETRIES = 2  # of operating-system errors
_MIN_ITEMS_FOR_PROCESSES = 512  # below, threads are done before processes have started
# Inherited by forked workers, so that `read` may be any callable; set only while a process pool starts.
_forked_read: Callable[[int], Any] | None = None

Outcome = tuple[int, Any, str | None]  # item, value, error message


def read_parallel(
    read: Callable[[int], Any],
    indices: Sequence[int],
    num_workers: int,
    *,
    desc: str = "",
    processes: bool = False,
) -> tuple[dict[int, Any], dict[int, str]]:
    """Call `read(i)` for all i; operating-system errors are retried. Returns (results, failures) by item.

    `processes`: decode on forked processes where the system has them (and there are enough items), because decoding
    small pictures in Python does not scale with threads. `read` must then return plain NumPy data and use no CUDA.
    """
    forked = (
        processes and len(indices) >= _MIN_ITEMS_FOR_PROCESSES and "fork" in multiprocessing.get_all_start_methods()
    )
    if num_workers <= 1 or len(indices) == 1:
        return _collect((_attempt(read, i) for i in indices), "", len(indices))
    if forked:
        return _collect(_on_processes(read, indices, num_workers), desc, len(indices))
    with ThreadPoolExecutor(num_workers) as pool:
        return _collect(pool.map(lambda i: _attempt(read, i), indices), desc, len(indices))


def _attempt(read: Callable[[int], Any], i: int) -> Outcome:
    message = ""
    for attempt in range(_RETRIES + 1):
        try:
            return i, read(i), None
        except OSError as error:
            message = f"{type(error).__name__}: {error}"
            if isinstance(error, FileNotFoundError):
                break
            time.sleep(0.05 * 2**attempt)
        except Exception as error:
            return i, None, f"{type(error).__name__}: {error}"
    return i, None, message


def _start_worker() -> None:
    """SIGTERM ends a worker, whatever its parent does on it; and a parent's thread pools do not survive the fork."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


@contextmanager
def _fatal_sigterm() -> Iterator[None]:
    """A pool ends its workers with SIGTERM: what is forked in here does so from its first moment on."""
    try:
        before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except ValueError:  # not in the main thread: workers set it themselves, a moment later
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _forked_attempt(i: int) -> Outcome:
    assert _forked_read is not None
    return _attempt(_forked_read, i)


def _on_processes(read: Callable[[int], Any], indices: Sequence[int], num_workers: int) -> Iterator[Outcome]:
    global _forked_read
    _forked_read = read
    try:
        with _fatal_sigterm():
            workers = multiprocessing.get_context("fork").Pool(num_workers, _start_worker)
        with workers as pool:
            yield from pool.imap_unordered(_forked_attempt, indices, chunksize=8)
    finally:
        _forked_read = None


def _collect(outcomes: Iterable[Outcome], desc: str, total: int) -> tuple[dict[int, Any], dict[int, str]]:
    results: dict[int, Any] = {}
    failures: dict[int, str] = {}
    for count, (i, value, message) in enumerate(outcomes, 1):
        if message is None:
            results[i] = value
        else:
            failures[i] = message
        if desc and count % 2000 == 0:
            log.info("%s: %d of %d", desc, count, total)
    return results, failures
