"""Encoding loop of the latent stages: load files ahead in threads, batch by voxel count, write as results come."""

from __future__ import annotations

import io
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data_toolkit.files import write_bytes
from data_toolkit.runner import Stage
from data_toolkit.tables import Row, append_record

__all__ = ["Recorder", "load_ahead", "read_latent", "save_latent"]

T = TypeVar("T")


def save_latent(path: Path, arrays: dict[str, np.ndarray], provenance: dict[str, Any]) -> None:
    """Write a latent file; the member `provenance` (UTF-8 JSON as uint8) says what made it."""
    buffer = io.BytesIO()
    note = np.frombuffer(json.dumps(provenance, sort_keys=True).encode(), np.uint8)
    np.savez_compressed(buffer, **arrays, provenance=note)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_latent(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and provenance (empty for published files). Raises ValueError if the file is damaged."""
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as store:
            arrays = {name: store[name] for name in store.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a readable latent: {error}") from error
    note = arrays.pop("provenance", None)
    return arrays, {} if note is None else json.loads(note.tobytes().decode())


def load_ahead(
    rows: Sequence[Row], load: Callable[[Row], T], threads: int, ahead: int
) -> Iterator[tuple[Row, T | None, str | None]]:
    """Yield (row, loaded, error) in order, with at most `ahead` items loaded in advance."""
    with ThreadPoolExecutor(threads) as pool:
        queue: deque[tuple[Row, Future[T]]] = deque()
        rest = iter(rows)
        while True:
            while len(queue) < ahead and (row := next(rest, None)) is not None:
                queue.append((row, pool.submit(load, row)))
            if not queue:
                return
            row, future = queue.popleft()
            try:
                yield row, future.result(), None
            except Exception as error:  # one asset must not stop the others
                yield row, None, f"{type(error).__name__}: {error}"


class Recorder:
    """Counts and records outcomes of one encode stage, with a progress bar."""

    def __init__(self, stage: Stage, rank: int, total: int) -> None:
        from tqdm import tqdm

        print(f"Processing {total} objects...")
        self.stage, self.rank, self.total = stage, rank, total
        self.made = self.failed = 0
        self._start = time.time()
        self._bar = tqdm(total=total, desc=stage.description, mininterval=1.0)
        stage.part(rank).parent.mkdir(parents=True, exist_ok=True)

    def done(self, sha: str, **cells: Any) -> None:
        """Record a success."""
        self.made += 1
        self._bar.update()
        append_record(self.stage.part(self.rank), {"sha256": sha, **cells}, ("sha256", *self.stage.columns))

    def fail(self, sha: str, reason: str) -> None:
        """Record a failure."""
        self.failed += 1
        self._bar.update()
        self._bar.write(f"Error processing object {sha}: {reason}")
        entry = {"sha256": sha, "reason": " ".join(reason.split()), "time": int(time.time())}
        append_record(self.stage.failures(self.rank), entry, ("sha256", "reason", "time"))

    def finish(self) -> int:
        """Print the summary; returns the exit status."""
        self._bar.close()
        seconds = time.time() - self._start
        print(f"{self.stage.description}: {self.made} done, {self.failed} failed in {seconds:.1f} s")
        return 1 if self.total and self.made == 0 and self.failed else 0
