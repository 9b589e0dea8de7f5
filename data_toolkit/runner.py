"""What all stages share: choose assets, shard, skip what is done, run in processes, record, report.

Records are appended to `<stage>/new_records/part_<rank>.csv` as assets finish, so a killed run loses nothing;
failures go to `<stage>/failures/part_<rank>.csv` with the reason. `build_metadata.py` folds the parts into
`<stage>/metadata.csv`. Assets are dealt to ranks by their key, before any filter: ranks never overlap, whatever the
tables look like when each of them starts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from data_toolkit.tables import Row, Table, append_record, as_rows, fill, is_true, read_table

__all__ = [
    "Outcome",
    "Process",
    "Stage",
    "add_common_args",
    "foreach_instance",
    "load_tables",
    "run_stage",
    "select",
    "shard_of",
]

Process = Callable[[Path | None, Row], "dict[str, Any] | None"]


class Outcome(NamedTuple):
    """What became of one asset."""

    sha256: str
    record: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True)
class Stage:
    """Where a stage keeps its records and which columns they have."""

    folder: Path
    columns: tuple[str, ...]  # after sha256
    description: str

    def part(self, rank: int) -> Path:
        return self.folder / "new_records" / f"part_{rank}.csv"

    def failures(self, rank: int) -> Path:
        return self.folder / "failures" / f"part_{rank}.csv"


def add_common_args(parser: argparse.ArgumentParser, *, workers: int | None = 0) -> None:
    """The published flags of every stage; `workers` None leaves --max_workers out."""
    parser.add_argument("--root", type=Path, required=True, help="dataset root")
    parser.add_argument(
        "--instances", help="file with one sha256 a line, or a comma-separated list; replaces all filters"
    )
    parser.add_argument("--filter_low_aesthetic_score", type=float, help="keep rows with at least this score")
    parser.add_argument("--rank", type=int, default=0, help="this shard")
    parser.add_argument("--world_size", type=int, default=1, help="number of shards")
    parser.add_argument("--skip_failed", action="store_true", help="leave out assets that failed in an earlier run")
    if workers is not None:
        parser.add_argument("--max_workers", type=int, default=workers, help="processes; 0 means one a core")


def shard_of(sha: str, world_size: int) -> int:
    """Rank that an asset belongs to."""
    return int(sha[:15], 16) % world_size


def load_tables(root: Path, folders: Iterable[Path], required: Mapping[str, str] | None = None) -> Table:
    """The base table filled from the stage tables that exist.

    `required` maps a column to the command that makes it. Raises ValueError naming what is missing.
    """
    if not (root / "metadata.csv").is_file():
        raise ValueError(f"{root / 'metadata.csv'} not found; run build_metadata.py first")
    table = read_table(root / "metadata.csv")
    for folder in (root / "aesthetic_scores", *folders):
        if (folder / "metadata.csv").is_file():
            table = fill(table, read_table(folder / "metadata.csv"))
    for column, command in (required or {}).items():
        if table and not any(column in row for row in table.values()):
            raise ValueError(f"no table has the column {column!r}; run {command} and build_metadata.py first")
    return table


def select(
    table: Table, args: argparse.Namespace, wanted: Callable[[Row], bool], failures: Path | None = None
) -> list[Row]:
    """Rows of this shard that pass the filters, or exactly `--instances`. Raises ValueError on bad arguments."""
    if args.world_size < 1 or not 0 <= args.rank < args.world_size:
        raise ValueError(f"--rank must lie in [0, {args.world_size}), got {args.rank}")
    mine = {sha: row for sha, row in table.items() if shard_of(sha, args.world_size) == args.rank}
    if args.instances:
        path = Path(args.instances)
        text = path.read_text() if path.is_file() else args.instances.replace(",", "\n")
        names = [line.strip() for line in text.splitlines() if line.strip()]
        unknown = [n for n in names if n not in table]
        if unknown:
            print(f"{len(unknown)} of {len(names)} --instances are not in the tables, e.g. {unknown[0]}")
        return [mine[n] for n in names if n in mine]
    score = args.filter_low_aesthetic_score
    rows = list(mine.values())
    if score is not None:
        if not any("aesthetic_score" in row for row in rows):
            print("no aesthetic_score column: --filter_low_aesthetic_score is ignored")
        else:
            rows = [r for r in rows if r.get("aesthetic_score") and float(r["aesthetic_score"]) >= score]
    rows = [r for r in rows if wanted(r)]
    if args.skip_failed and failures is not None and failures.is_file():
        failed = read_table(failures)
        rows = [r for r in rows if r["sha256"] not in failed]
    return rows


def one_thread() -> None:
    """Pin numeric libraries of a worker to one thread; the pool is the parallelism."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    try:
        import cv2

        cv2.setNumThreads(1)
    except ImportError:
        pass
    import torch

    torch.set_num_threads(1)


def _call(func: Process, file: Path | None, row: Row) -> Outcome:
    try:
        return Outcome(row["sha256"], func(file, row), None)
    except Exception as error:  # one asset must not stop the others
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return Outcome(row["sha256"], None, " ".join(reason.split()))


def _call_chunk(func: Process, items: Sequence[tuple[Path | None, Row]]) -> list[Outcome]:
    return [_call(func, file, row) for file, row in items]


def outcomes(
    items: Sequence[tuple[Path | None, Row]], func: Process, max_workers: int, chunk: int = 1
) -> Iterator[Outcome]:
    """Apply `func` to all items, in fresh processes if there is more than one worker; order is not kept."""
    workers = min(max_workers or os.cpu_count() or 1, max(len(items), 1))
    if workers <= 1:
        for file, row in items:
            yield _call(func, file, row)
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # read by workers when they load the libraries
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=one_thread)
    try:
        queue = iter([items[i : i + chunk] for i in range(0, len(items), chunk)])
        pending: dict[Future[list[Outcome]], Sequence[tuple[Path | None, Row]]] = {}
        while True:
            for part in queue:
                pending[pool.submit(_call_chunk, func, part)] = part
                if len(pending) >= 3 * workers:
                    break
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                part = pending.pop(future)
                try:
                    yield from future.result()
                except BrokenProcessPool as error:
                    for _, row in part:
                        yield Outcome(row["sha256"], None, f"worker process died: {error}")
                    raise
    finally:  # when stopped early, finish what runs and forget the rest
        pool.shutdown(wait=True, cancel_futures=True)


def foreach_instance(
    metadata: Any,
    base_dir: Path | None,
    func: Process,
    max_workers: int = 0,
    no_file: bool = False,
    desc: str = "Processing objects",
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[dict[str, Any]]:
    """Call `func(file, row)` for each row, `file` being base_dir / local_path or None; returns the records made.

    `func` must be picklable when more than one worker is used.
    """
    from tqdm import tqdm

    items: list[tuple[Path | None, Row]] = []
    for row in as_rows(metadata):
        items.append((None if no_file or base_dir is None else Path(base_dir) / row["local_path"], row))
    records = []
    with tqdm(total=len(items), desc=desc, mininterval=1.0) as bar:
        for outcome in outcomes(items, func, max_workers):
            bar.update()
            if outcome.error:
                bar.write(f"Error processing object {outcome.sha256}: {outcome.error}")
            if outcome.record is not None:
                records.append(outcome.record)
            if on_outcome is not None:
                on_outcome(outcome)
    return records


def run_stage(
    stages: Sequence[Stage],
    rows: Sequence[Row],
    func: Process,
    *,
    rank: int,
    max_workers: int,
    base_dir: Path | None = None,
    adaptor: ModuleType | None = None,
) -> int:
    """Run a stage over its rows and write its records; returns the exit status (1 if there was work and all failed).

    `func` returns a record with the columns of the stage, or one record per stage as the list `stages` (voxels have
    one stage per resolution), None where there is nothing to record.
    """
    print(f"Processing {len(rows)} objects...")
    start, made, failed = time.time(), 0, 0
    reasons: dict[str, int] = {}

    def record(outcome: Outcome) -> None:
        nonlocal made, failed
        if outcome.error is not None:
            failed += 1
            reasons[outcome.error.split(" (")[0]] = reasons.get(outcome.error.split(" (")[0], 0) + 1
            entry = {"sha256": outcome.sha256, "reason": outcome.error, "time": int(time.time())}
            append_record(stages[0].failures(rank), entry, ("sha256", "reason", "time"))
        if outcome.record is None:
            return
        made += 1
        parts = outcome.record.get("stages") or [outcome.record]
        for stage, cells in zip(stages, parts):
            if cells is not None:
                append_record(stage.part(rank), {"sha256": outcome.sha256, **cells}, ("sha256", *stage.columns))

    seen: set[str] = set()
    for stage in stages:
        stage.part(rank).parent.mkdir(parents=True, exist_ok=True)
    own = getattr(adaptor, "foreach_instance", None)
    if own is not None and own is not foreach_instance:
        for entry in as_rows(
            own(rows, base_dir, func, max_workers=max_workers, no_file=base_dir is None, desc=stages[0].description)
        ):
            record(Outcome(entry["sha256"], entry, None))
            seen.add(entry["sha256"])
        for row in rows:
            if row["sha256"] not in seen:
                record(Outcome(row["sha256"], None, "the adaptor's loop made no record; its output says why"))
    else:
        foreach_instance(rows, base_dir, func, max_workers, base_dir is None, stages[0].description, record)
    print(f"{stages[0].description}: {made} done, {failed} failed in {time.time() - start:.1f} s")
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:5]:
        print(f"  {count} x {reason}")
    return 1 if rows and made == 0 and failed else 0


def not_done(row: Row, column: str) -> bool:
    """Whether a flag column is not yet true."""
    return not is_true(row.get(column, ""))
