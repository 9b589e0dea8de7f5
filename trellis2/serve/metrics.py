"""State of the server in the text format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from .pool import WorkerState
from .store import JobStore

__all__ = ["metrics_text", "resident_bytes"]


def resident_bytes() -> int:
    """Resident memory of this process, 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * 4096


def metrics_text(store: JobStore, workers: Sequence[WorkerState], started: float) -> str:
    """Jobs by state, workers by state, memory and age of the server. `started` is a `time.monotonic`."""
    lines = ["# TYPE trellis2_jobs gauge", "# HELP trellis2_jobs jobs known to the server"]
    lines += [f'trellis2_jobs{{state="{state}"}} {count}' for state, count in store.counts().items()]
    lines += ["# TYPE trellis2_workers gauge"]
    for state in ("starting", "idle", "busy", "broken", "stopped"):
        lines.append(f'trellis2_workers{{state="{state}"}} {sum(w.state == state for w in workers)}')
    seconds = store.seconds()
    lines += ["# TYPE trellis2_job_seconds summary"]
    for kind, (count, total) in seconds.items():
        lines.append(f'trellis2_job_seconds_count{{kind="{kind}"}} {count}')
        lines.append(f'trellis2_job_seconds_sum{{kind="{kind}"}} {total:.3f}')
    lines += ["# TYPE trellis2_resident_bytes gauge", f"trellis2_resident_bytes {resident_bytes()}"]
    lines += ["# TYPE trellis2_uptime_seconds counter", f"trellis2_uptime_seconds {time.monotonic() - started:.1f}"]
    return "\n".join(lines) + "\n"
