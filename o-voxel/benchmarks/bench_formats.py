"""Bits per voxel of `.vxz` files by codec, filter and interleaving, against the published default.

    python o-voxel/benchmarks/bench_formats.py MESHES ... --resolution 256

Each mesh is converted with its material (14 bytes of attributes a voxel beside its place). The published default is
LZMA 9, no filter, attributes as they are. Times are the least of `--repeat` runs in one thread.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from o_voxel.asset import VoxelAsset, mesh_to_asset
from o_voxel.io import read_vxz, read_vxz_info, write_vxz

PUBLISHED = ("lzma", 9, "none", "as_is")
SETTINGS = (
    PUBLISHED, ("lzma", 9, "parent", "as_is"), ("lzma", 9, "neighbor", "as_is"), ("lzma", 9, "none", "none"),
    ("lzma", 9, "auto", "as_is"), ("lzma", 9, "auto", "none"), ("deflate", 9, "none", "as_is"),
    ("zstd", 22, "none", "as_is"), ("zstd", 22, "auto", "as_is"), ("zstd", 9, "auto", "as_is"),
    ("zstd", 3, "none", "as_is"), ("none", 0, "none", "as_is"),
)  # fmt: skip


def seconds(run: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(asset: VoxelAsset, setting: tuple[str, int, str, str], repeat: int) -> dict[str, Any]:
    codec, level, filter_, interleave = setting

    def save() -> bytes:
        stream = io.BytesIO()
        options: dict[str, Any] = {"compression": codec, "compression_level": level, "filter": filter_}
        write_vxz(stream, asset.coords, asset.attrs, attr_interleave=interleave, num_threads=1, **options)
        return stream.getvalue()

    data = save()
    header = read_vxz_info(io.BytesIO(data))
    coord, attrs = read_vxz(io.BytesIO(data))
    order, own = np.lexsort(coord.numpy().T), np.lexsort(asset.coords.numpy().T)
    same = all(np.array_equal(attrs[n].numpy()[order], v.numpy()[own]) for n, v in asset.attrs.items())
    streams: dict[str, int] = {}
    for chunk in header["chunks"]:
        for key, span in chunk.items():
            if key not in ("idx", "ptr"):
                name = key.rsplit("_", 1)[0] if interleave == "none" and key != "svo" else key
                streams[name] = streams.get(name, 0) + span[1]
    return {
        "codec": codec, "level": level, "filter": filter_, "interleave": interleave, "lossless": same,
        "bits_per_voxel": round(len(data) * 8 / len(asset.coords), 3),
        "stream_bits": {k: round(v * 8 / len(asset.coords), 3) for k, v in streams.items()},
        "filters": header.get("attr_filter", header["filter"]),
        "write_seconds": round(seconds(save, repeat), 4),
        "read_seconds": round(seconds(lambda: read_vxz(io.BytesIO(data), num_threads=1), repeat), 4),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("meshes", nargs="+", type=Path)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/formats_cpu.json"))
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for path in args.meshes:
        asset = mesh_to_asset(path, args.resolution)
        rows = [measure(asset, setting, args.repeat) for setting in SETTINGS]
        results[path.name] = {"voxels": len(asset.coords), "rows": rows}
        base = rows[0]["bits_per_voxel"]
        sys.stdout.write(f"{path.name}: {len(asset.coords)} voxels at {args.resolution}³\n")
        for row in rows:
            setting = f"{row['codec']} {row['level']}".ljust(12) + row["filter"].ljust(10) + row["interleave"].ljust(8)
            share = row["bits_per_voxel"] / base
            sys.stdout.write(
                f"  {setting}{row['bits_per_voxel']:8.2f} bits/voxel {share:7.1%}  write {row['write_seconds']:7.3f} s"
                f"  read {row['read_seconds']:7.3f} s\n"
            )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    record = {
        "command": f"python o-voxel/benchmarks/bench_formats.py MESHES --resolution {args.resolution}",
        "date": date.today().isoformat(), "commit": commit.stdout.strip(), "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "resolution": args.resolution,
        "published": list(PUBLISHED), "results": results,
    }  # fmt: skip
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_name(f".{args.output.name}.tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(args.output)
    return 0 if all(row["lossless"] for result in results.values() for row in result["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
