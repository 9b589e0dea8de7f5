"""Jobs on disk: a table in SQLite and a folder each, so that a restarted server goes on where it stopped."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

__all__ = ["FINAL_STATES", "Job", "JobStore", "QueueFull", "State"]

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL_STATES = ("done", "failed", "cancelled")
#: A job whose worker died is started again this many times at most.
MAX_ATTEMPTS = 2

_COLUMNS = (
    "id",
    "kind",
    "owner",
    "state",
    "params",
    "created",
    "started",
    "finished",
    "stage",
    "step",
    "total",
    "error",
    "attempts",
    "cancel",
)
_TABLE = """
create table if not exists jobs (
    number integer primary key autoincrement, id text unique not null, kind text not null, owner text not null,
    state text not null, params text not null, created real not null, started real, finished real,
    stage text not null default '', step integer not null default 0, total integer not null default 0,
    error text not null default '', attempts integer not null default 0, cancel integer not null default 0
);
create index if not exists jobs_by_state on jobs (state, number);
create index if not exists jobs_by_owner on jobs (owner, number);
"""


class QueueFull(RuntimeError):
    """No more jobs are taken at the moment."""


@dataclass(frozen=True)
class Job:
    """One request. Times are seconds since 1970; `step` of `total` counts inside `stage`."""

    id: str
    kind: str
    owner: str
    state: State
    params: dict[str, Any]
    created: float
    started: float | None
    finished: float | None
    stage: str
    step: int
    total: int
    error: str
    attempts: int
    cancel: bool

    @property
    def final(self) -> bool:
        return self.state in FINAL_STATES

    def describe(self) -> dict[str, Any]:
        """What a client may see."""
        names = ("id", "kind", "state", "params", "created", "started", "finished", "stage", "step", "total", "error")
        return {name: getattr(self, name) for name in names}


class JobStore:
    """The queue. Every method may be called from any thread; each is one transaction."""

    def __init__(self, folder: str | Path, max_queued: int = 1000) -> None:
        if max_queued < 1:
            raise ValueError(f"max_queued must be at least 1, got {max_queued}")
        self.folder = Path(folder)
        self.max_queued = max_queued
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(self.folder / "jobs.sqlite", check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        self._db.executescript(_TABLE)
        self.changed = threading.Condition(self._lock)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Any:
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")
            self.changed.notify_all()

    # requests --------------------------------------------------------------------------------------------------------

    def add(self, kind: str, params: Mapping[str, Any], files: Mapping[str, bytes], owner: str = "") -> Job:
        """Queue a job whose inputs are `files` (name -> content). Raises QueueFull, and ValueError for a bad name."""
        for name in files:
            if not name or name != Path(name).name or name.startswith("."):
                raise ValueError(f"files must have plain names, got {name!r}")
        job_id = secrets.token_urlsafe(18)
        folder = self.folder / "jobs" / job_id
        if self.count("queued") >= self.max_queued:
            raise QueueFull(f"{self.max_queued} jobs are waiting already")
        folder.mkdir()
        try:
            for name, content in files.items():
                (folder / name).write_bytes(content)
            with self._transaction() as db:
                waiting = db.execute("select count(*) from jobs where state = 'queued'").fetchone()[0]
                if waiting >= self.max_queued:
                    raise QueueFull(f"{self.max_queued} jobs are waiting already")
                db.execute(
                    "insert into jobs (id, kind, owner, state, params, created) values (?, ?, ?, 'queued', ?, ?)",
                    (job_id, kind, owner, json.dumps(dict(params)), time.time()),
                )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """Raises KeyError for an unknown id."""
        with self._lock:
            row = self._db.execute(f"select {', '.join(_COLUMNS)} from jobs where id = ?", (job_id,)).fetchone()
        if row is None:
            raise KeyError(job_id)
        return _job(row)

    def of_owner(self, owner: str, limit: int = 100) -> list[Job]:
        """The latest jobs of one owner, newest first."""
        query = f"select {', '.join(_COLUMNS)} from jobs where owner = ? order by number desc limit ?"
        with self._lock:
            return [_job(row) for row in self._db.execute(query, (owner, limit)).fetchall()]

    def path(self, job_id: str) -> Path:
        """Folder of a known job."""
        return self.folder / "jobs" / self.get(job_id).id

    def results(self, job_id: str) -> list[str]:
        """Names of the files that a job offers, as its runner lists them in results.json; none once it failed."""
        if self.get(job_id).state not in ("running", "done"):
            return []
        try:
            names = json.loads((self.path(job_id) / "results.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return [str(name) for name in names]

    def position(self, job_id: str) -> int | None:
        """Jobs that will start before this one; None once it has started."""
        query = (
            "select count(*) from jobs where state = 'queued' and number < "
            "(select number from jobs where id = ? and state = 'queued')"
        )
        with self._lock:
            if self.get(job_id).state != "queued":
                return None
            return int(self._db.execute(query, (job_id,)).fetchone()[0])

    def cancel(self, job_id: str) -> Job:
        """Stop a job: at once if it waits, at its next step if it runs. A finished job stays as it is."""
        with self._transaction() as db:
            self.get(job_id)
            db.execute(
                "update jobs set state = 'cancelled', finished = ?, cancel = 1 where id = ? and state = 'queued'",
                (time.time(), job_id),
            )
            db.execute("update jobs set cancel = 1 where id = ? and state = 'running'", (job_id,))
        return self.get(job_id)

    def counts(self) -> dict[State, int]:
        """Number of jobs in every state."""
        with self._lock:
            found = dict(self._db.execute("select state, count(*) from jobs group by state").fetchall())
        return {state: int(found.get(state, 0)) for state in cast(tuple[State, ...], get_args(State))}

    def count(self, state: State) -> int:
        return self.counts()[state]

    def seconds(self) -> dict[str, tuple[int, float]]:
        """Finished jobs by kind: how many, and the seconds they ran in all."""
        query = "select kind, count(*), sum(finished - started) from jobs where state = 'done' group by kind"
        with self._lock:
            return {kind: (int(n), float(total)) for kind, n, total in self._db.execute(query).fetchall()}

    # workers ---------------------------------------------------------------------------------------------------------

    def take(self) -> Job | None:
        """Mark the oldest waiting job as running and return it; None if none waits."""
        with self._transaction() as db:
            row = db.execute("select id from jobs where state = 'queued' order by number limit 1").fetchone()
            if row is None:
                return None
            db.execute(
                "update jobs set state = 'running', started = ?, attempts = attempts + 1, stage = '', step = 0, "
                "total = 0 where id = ?",
                (time.time(), row[0]),
            )
            return self.get(row[0])

    def progress(self, job_id: str, stage: str, step: int, total: int) -> None:
        with self._transaction() as db:
            db.execute("update jobs set stage = ?, step = ?, total = ? where id = ?", (stage, step, total, job_id))

    def finish(self, job_id: str, state: State, error: str = "") -> None:
        """End a running job."""
        if state not in FINAL_STATES:
            raise ValueError(f"state must be one of {', '.join(FINAL_STATES)}, got {state!r}")
        with self._transaction() as db:
            _finish(db, job_id, state, error)

    def give_back(self, job_id: str, reason: str) -> None:
        """Queue a job again whose worker is gone, in its old place; it fails if that happened too often."""
        with self._transaction() as db:
            job = self.get(job_id)
            if job.state != "running":
                return
            if job.cancel:
                _finish(db, job_id, "cancelled", "")
            elif job.attempts >= MAX_ATTEMPTS:
                _finish(db, job_id, "failed", reason)
            else:
                db.execute("update jobs set state = 'queued', started = null where id = ?", (job_id,))

    def recover(self) -> int:
        """Give back the jobs that ran when the server stopped; how many."""
        with self._lock:
            running = [row[0] for row in self._db.execute("select id from jobs where state = 'running'").fetchall()]
        for job_id in running:
            self.give_back(job_id, "the server stopped twice while this job was running")
        return len(running)

    def remove_finished(self, older_than: float) -> int:
        """Delete jobs and folders that ended more than `older_than` seconds ago; how many."""
        query = "select id from jobs where finished is not null and finished < ?"
        with self._lock:
            old = [row[0] for row in self._db.execute(query, (time.time() - older_than,)).fetchall()]
        for job_id in old:
            shutil.rmtree(self.folder / "jobs" / job_id, ignore_errors=True)
            with self._transaction() as db:
                db.execute("delete from jobs where id = ?", (job_id,))
        return len(old)


def _finish(db: sqlite3.Connection, job_id: str, state: State, error: str) -> None:
    db.execute(
        "update jobs set state = ?, error = ?, finished = ? where id = ? and state = 'running'",
        (state, error, time.time(), job_id),
    )


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Job(**{**values, "params": json.loads(values["params"]), "cancel": bool(values["cancel"])})
