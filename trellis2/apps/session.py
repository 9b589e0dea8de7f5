"""What both pages do with the queue: send, follow, cancel, remember."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trellis2.serve.pool import WorkerPool
from trellis2.serve.preview_names import picture_name
from trellis2.serve.requests import CHECKS
from trellis2.serve.store import Job, JobStore

from .viewer import MODES

__all__ = ["Session", "Snapshot", "new_owner"]

PAUSE = 0.25  # seconds between looks at a job


def new_owner() -> str:
    """Secret that ties a browser to its jobs."""
    return secrets.token_urlsafe(18)


@dataclass(frozen=True)
class Snapshot:
    """A job at a moment."""

    job: Job
    position: int | None
    files: tuple[str, ...]

    @property
    def preview_modes(self) -> tuple[str, ...]:
        """Keys of the preview modes whose first picture is there."""
        return tuple(mode.key for mode in MODES if picture_name(mode.key, 0) in self.files)


@dataclass(frozen=True)
class Session:
    """The queue as pages use it. Every look-up names the owner: nobody sees the jobs of others."""

    store: JobStore
    pool: WorkerPool

    def hardware(self) -> str:
        """What works here, in words."""
        states = self.pool.states()
        known = sorted({state.info for state in states if state.info})
        if known:
            return f"{len(states)} x {known[0]}" if len(known) == 1 and len(states) > 1 else "; ".join(known)
        broken = [state.error for state in states if state.state == "broken"]
        return f"The networks cannot be loaded: {broken[0]}" if broken else "The networks are being loaded."

    def send(self, kind: str, owner: str, options: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
        """Queue a job; its id. Raises QueueFull, and ValueError for bad options."""
        return self.store.add(kind, CHECKS[kind](options), files, owner).id

    def look(self, job_id: str, owner: str) -> Snapshot | None:
        """None if the owner has no such job (any more)."""
        try:
            job = self.store.get(job_id)
            if not owner or job.owner != owner:
                return None
            return Snapshot(job, self.store.position(job_id), tuple(self.store.results(job_id)))
        except KeyError:
            return None

    async def follow(self, job_id: str, owner: str) -> AsyncIterator[Snapshot]:
        """The job whenever it changes, the last time when it has ended."""
        last: Snapshot | None = None
        while True:
            now = await asyncio.to_thread(self.look, job_id, owner)
            if now is None:
                return
            if now != last:
                yield now
                last = now
            if now.job.final:
                return
            await asyncio.sleep(PAUSE)

    def cancel(self, job_id: str, owner: str) -> None:
        """Stop a job of this owner."""
        if self.look(job_id, owner) is not None:
            self.store.cancel(job_id)

    def path(self, snapshot: Snapshot, name: str) -> Path:
        """A result file."""
        if name not in snapshot.files:
            raise KeyError(name)
        return self.store.path(snapshot.job.id) / name

    def report(self, snapshot: Snapshot) -> dict[str, Any]:
        """report.json of an export, empty if it has none."""
        if "report.json" not in snapshot.files:
            return {}
        return json.loads(self.path(snapshot, "report.json").read_text(encoding="utf-8"))

    def history(self, owner: str, kind: str, limit: int = 24) -> list[Snapshot]:
        """This owner's finished and running jobs of a kind, newest first."""
        if not owner:
            return []
        jobs = [
            job for job in self.store.of_owner(owner) if job.kind == kind and job.state in ("done", "running", "queued")
        ]
        found = (self.look(job.id, owner) for job in jobs[:limit])
        return [snapshot for snapshot in found if snapshot is not None]
