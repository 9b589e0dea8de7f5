"""Time `.vxz` writing and reading on this machine: `python o-voxel/benchmarks/bench_io.py`.

A shell of about 50 000 voxels in a 128 grid with six smooth channels; medians over `--repeat` runs after one warm-up,
then one JSON line with machine and versions.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from o_voxel.io import read_vxz, write_vxz


def shell(resolution: int = 128) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    axis = np.arange(resolution)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    radius = np.linalg.norm(grid - (resolution - 1) / 2, axis=1)
    coord = grid[(radius < 60 / 128 * resolution) & (radius > 58.8 / 128 * resolution)]
    colour = (np.sin(coord / 9.0) * 100 + 128).astype(np.uint8)
    return coord, {"base_color": colour, "metallic": colour[:, :1], "roughness": colour[:, 1:2], "alpha": colour[:, 2:]}


def median_seconds(run: Callable[[], object], repeat: int) -> float:
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of each case")
    repeat = parser.parse_args().repeat
    coord, attr = shell()
    results = {}
    print(f"{len(coord)} voxels\n{'filter':<10}{'codec':<10}{'level':>6}{'write ms':>10}{'read ms':>10}{'bytes':>10}")
    for filter_ in ("none", "parent", "neighbor"):
        for codec, level in (("none", 0), ("deflate", 6), ("lzma", 9), ("zstd", 9), ("zstd", 22)):
            options: dict[str, Any] = {"filter": filter_, "compression": codec, "compression_level": level}

            def save(options: dict[str, Any] = options) -> bytes:
                stream = io.BytesIO()
                write_vxz(stream, coord, attr, **options)
                return stream.getvalue()

            data = save()
            write = median_seconds(save, repeat)
            read = median_seconds(lambda: read_vxz(io.BytesIO(data)), repeat)  # noqa: B023
            print(f"{filter_:<10}{codec:<10}{level:>6}{write * 1e3:>10.1f}{read * 1e3:>10.1f}{len(data):>10}")
            results[f"{filter_}/{codec}/{level}"] = {"write": write, "read": read, "bytes": len(data)}
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    print(json.dumps({**machine, "numpy": np.__version__, "voxels": len(coord), "results": results}))


if __name__ == "__main__":
    main()
