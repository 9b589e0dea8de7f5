"""Workers: one process a device, each fed by a thread that takes jobs from the store."""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from .store import Job, JobStore
from .worker import worker_main

__all__ = ["WorkerPool", "WorkerState"]

logger = logging.getLogger(__name__)

POLL = 0.1  # seconds between looks at the cancel flag and the pipe
RETRY_PAUSE = 2.0  # before a worker that died is started again


class WorkerState(NamedTuple):
    """What a worker is doing."""

    device: str
    state: str  # "starting", "idle", "busy", "broken" or "stopped"
    job: str | None
    error: str
    info: str = ""  # what the runner says of its device


class WorkerPool:
    """Runs the jobs of a store until `stop`.

    `target` names the runner class, `module:Class`; it is built in each process with `options` and its device.
    A cancelled job that does not stop within `grace` seconds, and a job that runs longer than `time_limit`, end with
    their process, which is started again.
    """

    def __init__(
        self,
        store: JobStore,
        devices: Sequence[str],
        target: str,
        options: Mapping[str, Any],
        *,
        threads: int = 0,
        grace: float = 30.0,
        time_limit: float = 3600.0,
    ) -> None:
        if not devices:
            raise ValueError("devices must name at least one device")
        self.store = store
        self.workers = [
            _Worker(store, f"worker-{i}", device, target, options, threads, grace, time_limit)
            for i, device in enumerate(devices)
        ]

    def start(self) -> None:
        for worker in self.workers:
            worker.thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """End the processes; running jobs go back to the queue."""
        for worker in self.workers:
            worker.stopping.set()
        with self.store.changed:
            self.store.changed.notify_all()
        deadline = time.monotonic() + timeout
        for worker in self.workers:
            if worker.thread.is_alive():
                worker.thread.join(max(0.1, deadline - time.monotonic()))

    def states(self) -> list[WorkerState]:
        return [worker.state() for worker in self.workers]


class _Worker:
    """One process and the thread that feeds it."""

    def __init__(
        self,
        store: JobStore,
        name: str,
        device: str,
        target: str,
        options: Mapping[str, Any],
        threads: int,
        grace: float,
        time_limit: float,
    ) -> None:
        self.store, self.name, self.device = store, name, device
        self.target, self.options, self.threads = target, dict(options), threads
        self.grace, self.time_limit = grace, time_limit
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._context = multiprocessing.get_context("spawn")
        self._cancel = self._context.Event()
        self._process: Any = None
        self._connection: Connection | None = None
        self._status, self._error = "starting", ""
        self._job: str | None = None
        self._info = ""

    def state(self) -> WorkerState:
        return WorkerState(self.device, self._status, self._job, self._error, self._info)

    def _serve(self) -> None:
        while not self.stopping.is_set():
            if self._process is None and not self._start():
                self.stopping.wait(RETRY_PAUSE)
                continue
            job = self.store.take()
            if job is None:
                with self.store.changed:
                    self.store.changed.wait(timeout=1.0)
                if self._process is not None and not self._process.is_alive():
                    self._end("stopped")
                continue
            self._status, self._job = "busy", job.id
            self._run(job)
            self._job = None
            if self._process is not None:
                self._status = "idle"
        self._end("stopped")

    def _start(self) -> bool:
        """Start the process and wait until its networks are there; False if that failed."""
        self._status = "starting"
        ours, theirs = self._context.Pipe()
        self._connection = ours
        arguments = (theirs, self._cancel, self.target, self.options, self.device, self.threads)
        self._process = self._context.Process(target=worker_main, args=arguments, name=self.name, daemon=True)
        self._process.start()
        theirs.close()
        while not self.stopping.is_set():
            message = self._receive()
            if message is None and self._process.is_alive():
                continue
            if message is not None and message[0] == "ready":
                logger.info("%s on %s is ready after %.1f s", self.name, self.device, message[1])
                self._status, self._error, self._info = "idle", "", message[2]
                return True
            self._error = message[1] if message is not None else f"exit code {self._process.exitcode}"
            logger.error("%s on %s cannot start: %s", self.name, self.device, self._error)
            break
        self._end("broken")
        return False

    def _run(self, job: Job) -> None:
        """Hand a job over and follow it to its end, whatever that is."""
        self._cancel.clear()
        try:
            assert self._connection is not None
            self._connection.send((job.id, job.kind, str(self.store.path(job.id)), job.params))
        except OSError:
            self._lost(job, "the worker process is gone")
            return
        started, cancelled = time.monotonic(), None
        while True:
            message = self._receive()
            if message is not None and message[0] != "progress":
                self.store.finish(job.id, message[0], *message[1:])
                return
            if message is not None:
                self.store.progress(job.id, *message[1:])
            now = time.monotonic()
            if message is None and not self._process.is_alive():
                self._lost(job, f"the worker process ended (exit code {self._process.exitcode}); out of memory?")
                return
            if self.stopping.is_set():
                self._end("stopped")
                self.store.give_back(job.id, "the server was stopped")
                return
            if cancelled is None and self.store.get(job.id).cancel:
                self._cancel.set()
                cancelled = now
            if cancelled is not None and now - cancelled > self.grace:
                self._end("starting")
                self.store.finish(job.id, "cancelled")
                return
            if now - started > self.time_limit:
                self._end("starting")
                self.store.finish(job.id, "failed", f"the job took longer than {self.time_limit:.0f} seconds")
                return

    def _lost(self, job: Job, reason: str) -> None:
        logger.error("%s: job %s: %s", self.name, job.id, reason)
        self._end("starting")
        self.store.give_back(job.id, reason)

    def _receive(self) -> tuple[Any, ...] | None:
        """The next message, or None if there is none for a moment or the process is gone."""
        try:
            if self._connection is not None and self._connection.poll(POLL):
                return self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1.0)
        return None

    def _end(self, status: str) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.join(5.0)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process, self._connection, self._status = None, None, status
