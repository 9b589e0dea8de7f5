"""Fuzz the readers of voxel files: a mutated file gives well-formed voxels or a ValueError, soon and in little memory.

    python o-voxel/tests/fuzz/run_fuzz.py --reader vxz --count 1000000 --jobs 8 --output fuzz_vxz.json

Readers: vxz, npz, ply, and octree (the native octree decoder alone). Meant to run with the native module built under
AddressSanitizer and UndefinedBehaviorSanitizer (see the README of o-voxel), whose faults end the process and are
counted as failures here. Every input is reproducible from the seed and its number. Exit status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import io
import json
import os
import platform
import random
import subprocess
import sys
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutate import CORPUS, MUTATORS, mutate_bytes, octree_bytes

from o_voxel.io import iter_vxz, read_npz, read_ply, read_vxz
from o_voxel.io.svo import decode_octree

READERS = ("vxz", "npz", "ply", "octree")
LIMIT = 1 << 20  # bytes: the size limit the readers are given
HANG_SECONDS = 60  # ALARM_EVERY inputs; the process is ended
ALARM_EVERY = 64
SLOW_SECONDS = 5.0  # reported as a failure
TRACE_EVERY = 16  # inputs between those whose memory is traced


def read_file(reader: str, data: bytes, streaming: bool) -> str:
    """ "read" or "refused"; any other exception than ValueError, and anything malformed, propagates."""
    stream = io.BytesIO(data)
    try:
        if reader == "vxz" and streaming:
            parts = list(iter_vxz(stream, max_bytes=LIMIT))
            coord = torch.cat([part[0] for part in parts]) if parts else torch.zeros(0, 3, dtype=torch.int32)
            attrs: dict[str, Any] = {}
        elif reader == "vxz":
            coord, attrs = read_vxz(stream, num_threads=1, max_bytes=LIMIT)
        else:
            coord, attrs = {"npz": read_npz, "ply": read_ply}[reader](stream, max_bytes=LIMIT)
    except ValueError as error:
        assert str(error), "an error without a message"
        return "refused"
    assert coord.dtype == torch.int32 and coord.ndim == 2 and coord.shape[1] == 3, "malformed coordinates"
    assert all(len(value) == len(coord) for value in attrs.values()), "attributes of another length"
    return "read"


def decode(rng: random.Random) -> str:
    """One input of the octree decoder."""
    depth = rng.randint(1, 10)
    data = octree_bytes(rng, depth) if rng.random() < 0.7 else rng.randbytes(rng.randint(0, 80))
    if rng.random() < 0.7:
        data = mutate_bytes(data, rng, rng.randint(1, 3))
    limit = rng.choice((0, 1, 64, 4096))
    try:
        codes = decode_octree(data, depth + rng.choice((0, 0, 0, 0, -1, 1, 20)), limit)
    except ValueError:
        return "refused"
    assert len(codes) <= limit and (np.diff(codes) > 0).all(), "codes must ascend and keep to the limit"
    return "read"


def run_slice(
    reader: str, first: int, count: int, seed: int, folder: Path | None, limit: float | None = None
) -> dict[str, Any]:
    """Run inputs `first` .. `first + count - 1`, or as many as `limit` seconds allow.

    Returns counts, the worst time and memory, and failures.
    """
    end = None if limit is None else time.perf_counter() + limit
    done = 0
    warnings.simplefilter("ignore")
    corpus = CORPUS[reader]() if reader in CORPUS else []
    outcome: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    worst_seconds, worst_bytes = 0.0, 0
    for number in range(first, first + count):
        if end is not None and time.perf_counter() > end:
            break
        done += 1
        rng = random.Random(f"{seed}/{reader}/{number}")
        if done % ALARM_EVERY == 1:
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        data = b"" if reader == "octree" else MUTATORS[reader](rng.choice(corpus), rng)
        traced = number % TRACE_EVERY == 0
        if traced:
            tracemalloc.start()
        begin = time.perf_counter()
        try:
            result = decode(rng) if reader == "octree" else read_file(reader, data, streaming=number % 4 == 0)
            outcome[result] += 1
        except Exception as error:
            failures.append(f"input {number}: {type(error).__name__}: {error}")
            if folder is not None:
                (folder / f"{reader}_{number}.bin").write_bytes(data)
        seconds = time.perf_counter() - begin
        if traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            worst_bytes = max(worst_bytes, peak)
            if peak > 4 * LIMIT:
                failures.append(f"input {number}: {peak} bytes in use, limit {LIMIT}")
        else:
            worst_seconds = max(worst_seconds, seconds)
            if seconds > SLOW_SECONDS:
                failures.append(f"input {number}: took {seconds:.1f} s")
    faulthandler.cancel_dump_traceback_later()
    return {
        "count": done, "read": outcome["read"], "refused": outcome["refused"], "failures": failures[:20],
        "num_failures": len(failures), "worst_seconds": round(worst_seconds, 4), "worst_bytes": worst_bytes,
    }  # fmt: skip


def run_parallel(args: argparse.Namespace) -> dict[str, Any]:
    """Slices in child processes, so that a crash costs its slice and is counted."""
    size = max(1, -(-args.count // args.jobs))
    slices = [(i, min(size, args.count - i)) for i in range(0, args.count, size)]
    children = []
    for first, count in slices:
        command = [sys.executable, __file__, "--reader", args.reader, "--first", str(first + args.first), "--count",
                   str(count), "--seed", str(args.seed)]  # fmt: skip
        if args.seconds:
            command += ["--seconds", str(args.seconds)]
        if args.folder:
            command += ["--folder", str(args.folder)]
        children.append(
            (first, count, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        )
    total: dict[str, Any] = {"count": 0, "read": 0, "refused": 0, "failures": [], "num_failures": 0,
                             "worst_seconds": 0.0, "worst_bytes": 0}  # fmt: skip
    for first, count, child in children:
        out, err = child.communicate()
        lines = out.strip().splitlines()
        if child.returncode not in (0, 1) or not lines:
            total["failures"].append(f"slice {first}+{count}: status {child.returncode}: {err[-1500:]}")
            total["num_failures"] += 1
            continue
        part = json.loads(lines[-1])
        for key in ("count", "read", "refused", "num_failures"):
            total[key] += part[key]
        total["failures"] += part["failures"]
        for key in ("worst_seconds", "worst_bytes"):
            total[key] = max(total[key], part[key])
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reader", choices=READERS, required=True)
    parser.add_argument("--count", type=int, default=20_000, help="inputs (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seconds", type=float, help="stop after this time, with fewer inputs")
    parser.add_argument("--folder", type=Path, help="where inputs that fail are kept")
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    args = parser.parse_args()
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    if args.jobs > 1:
        result = run_parallel(args)
    else:
        result = run_slice(args.reader, args.first, args.count, args.seed, args.folder, args.seconds)
    result = {
        "reader": args.reader, "seed": args.seed, **result, "limit_bytes": LIMIT,
        "seconds": round(time.perf_counter() - begin, 1), "sanitizers": "libasan" in os.environ.get("LD_PRELOAD", ""),
        "python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine(),
    }  # fmt: skip
    sys.stdout.write(json.dumps(result) + "\n")
    if args.output:
        temporary = args.output.with_name(f".{args.output.name}.tmp")
        temporary.write_text(json.dumps(result, indent=1) + "\n")
        temporary.replace(args.output)
    return 1 if result["num_failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
