"""One function over many files: pairing inputs with outputs, skipping what is done, processes, progress, failures.

A task is a picklable callable `(source, target) -> None`. Targets appear under their name only when complete, so a
target that exists, and is newer than its source, is complete.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

__all__ = ["Job", "UsageError", "add_batch_arguments", "pair_files", "run_batch", "run_command"]

logger = logging.getLogger(__name__)

Task = Callable[[Path, Path], None]
_EXPECTED = (ValueError, TypeError, OSError, MemoryError, RuntimeError)


class UsageError(ValueError):
    """Arguments that cannot be carried out; nothing was done."""


@dataclass(frozen=True)
class Job:
    """One file to make."""

    source: Path
    target: Path

    def done(self) -> bool:
        """The target exists, is not empty and is not older than the source."""
        try:
            made, given = self.target.stat(), self.source.stat()
        except OSError:
            return False
        return made.st_size > 0 and made.st_mtime_ns >= given.st_mtime_ns


def add_batch_arguments(parser: argparse.ArgumentParser, suffix: str | None) -> None:
    """`input`, `output`, `--jobs`, `--overwrite`, `--quiet`, and `--suffix` where a folder may get several formats."""
    parser.add_argument("input", type=Path, help="a file, or a folder that is searched through")
    parser.add_argument("output", type=Path, help="a file, or a folder (made if absent) if the input is a folder")
    if suffix is not None:
        parser.add_argument(
            "--suffix", default=suffix, metavar="EXT", help="format of the files made in a folder (default %(default)s)"
        )
    group = parser.add_argument_group("many files")
    group.add_argument("--jobs", type=int, default=0, help="processes at once (default: one per core, at most 8)")
    group.add_argument(
        "--resume", action=argparse.BooleanOptionalAction, default=True,
        help="skip files whose output is there and newer (default); --no-resume makes all of them again",
    )  # fmt: skip
    group.add_argument("--quiet", action="store_true", help="no progress bar, errors only")


def pair_files(
    source: Path, target: Path, inputs: Sequence[str], outputs: Sequence[str], suffix: str | None
) -> list[Job]:
    """The jobs for one file or a folder; sub-folders are kept, and `suffix` replaces the inputs' own.

    Raises UsageError if nothing is there, formats are not among `inputs` and `outputs`, or two inputs share an output.
    """
    if source.is_file():
        if target.is_dir():
            target = target / f"{source.stem}{suffix or outputs[0]}"
        if target.suffix.lower() not in outputs:
            raise UsageError(f"output must end in one of {', '.join(outputs)}, got {str(target)!r}")
        if source.suffix.lower() not in inputs:
            raise UsageError(f"input must end in one of {', '.join(inputs)}, got {str(source)!r}")
        return [Job(source, target)]
    if not source.is_dir():
        raise UsageError(f"input {str(source)!r} does not exist")
    if target.is_file():
        raise UsageError(f"the input is a folder, so the output must be one too, got the file {str(target)!r}")
    ending = suffix or outputs[0]
    if ending not in outputs:
        raise UsageError(f"--suffix must be one of {', '.join(outputs)}, got {ending!r}")
    files = sorted(p for p in source.rglob("*") if p.is_file() and p.suffix.lower() in inputs)
    if not files:
        raise UsageError(f"folder {str(source)!r} holds no file that ends in {', '.join(inputs)}")
    jobs = [Job(p, (target / p.relative_to(source)).with_suffix(ending)) for p in files]
    seen: dict[Path, Path] = {}
    for i, job in enumerate(jobs):
        if job.target in seen:  # chair.obj and chair.glb: keep both, under their whole names
            jobs[i] = Job(job.source, job.target.with_name(job.source.name + ending))
        seen[jobs[i].target] = job.source
    if len({job.target for job in jobs}) != len(jobs):
        raise UsageError("two inputs would be written to one output; rename one of them")
    return jobs


def _run_one(task: Task, job: Job) -> str | None:
    """None, or why the job failed."""
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        task(job.source, job.target)
    except _EXPECTED as error:
        message = str(error).replace("\n", " ") or type(error).__name__
        return message.removeprefix(f"{job.source}: ")
    except Exception as error:  # a fault of ours must not end the batch
        logger.info("%s", job.source, exc_info=True)
        return f"{type(error).__name__}: {error}"
    return None


def _start_worker(threads: int) -> None:
    import torch

    os.environ["OVOXEL_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def _results(task: Task, jobs: list[Job], workers: int) -> Iterator[tuple[Job, str | None]]:
    """(job, None or why it failed), as jobs end."""
    if workers == 1:
        for job in jobs:
            yield job, _run_one(task, job)
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (threads,)) as pool:
        running: dict[Future[str | None], Job] = {pool.submit(_run_one, task, job): job for job in jobs}
        try:
            for future in as_completed(running):
                error = future.exception()
                yield running[future], future.result() if error is None else f"{type(error).__name__}: {error}"
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_batch(task: Task, jobs: list[Job], workers: int, resume: bool = True, quiet: bool = False) -> int:
    """Do the jobs that are not done; prints a summary, lists failures on stderr and returns 0 or 1."""
    todo = [job for job in jobs if not (resume and job.done())]
    skipped = len(jobs) - len(todo)
    if workers <= 0:
        workers = min(os.cpu_count() or 1, 8)
    failed: list[tuple[Job, str]] = []
    alone = len(jobs) == 1
    with tqdm(total=len(todo), unit="file", disable=quiet or alone, file=sys.stderr) as bar:
        for job, error in _results(task, todo, min(workers, max(1, len(todo)))):
            bar.update()
            if error is not None:
                failed.append((job, error))
                bar.write(f"error: {job.source}: {error}", file=sys.stderr)
    if not quiet:
        if alone:
            if skipped:
                sys.stdout.write(f"{jobs[0].target} is up to date (--no-resume makes it again)\n")
            elif not failed:
                sys.stdout.write(f"{jobs[0].target}\n")
        else:
            made = len(todo) - len(failed)
            sys.stdout.write(f"{made} made, {skipped} up to date, {len(failed)} failed\n")
    return 1 if failed else 0


def run_command(args: argparse.Namespace, task: Task, inputs: Sequence[str], outputs: Sequence[str]) -> int:
    """Pair the files of parsed arguments and run the task over them."""
    if args.jobs < 0:
        raise UsageError(f"--jobs must be at least 0, got {args.jobs}")
    jobs = pair_files(args.input, args.output, inputs, outputs, getattr(args, "suffix", None))
    return run_batch(task, jobs, args.jobs, args.resume, args.quiet)
