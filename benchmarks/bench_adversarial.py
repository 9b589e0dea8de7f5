"""Hostile meshes of tens of thousands of faces through `to_glb` in each profile: bounded time, and a clear result.

    python benchmarks/bench_adversarial.py [--size 48000] [--limit 120] [--output NAME]

28 % non-manifold edges, 12,000 components, zero-area faces, one triangle, nothing at all, NaN, coordinates of 1e30,
faces that all lie in one plane, tubes that cut one another, soup, a thousand faces on one edge, a one-sided band. Each
run has its own process with a limit of time and of memory (8 GB); a hang, a crash or an error other than ValueError is
a failure.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "o-voxel" / "benchmarks"))

from adversarial_meshes import MESHES, voxels_of
from measure import machine, write_results
from mesh_oracles import topology, weld

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
GRID, TEXTURE, MEMORY = 128, 1024, 8 << 30


def measure(name: str, size: int, profile: str, remesh: bool, device: str) -> dict[str, Any]:
    """One run: `asset` with its figures, or `refused` with the message."""
    from o_voxel.postprocess import glb_bytes, to_glb

    vertices, faces = MESHES[name](size)
    cells, attrs = voxels_of((vertices, faces), GRID)
    target = max(4, len(faces) // 4)
    row: dict[str, Any] = {"faces_in": len(faces), "asked": target}
    begin, cpu = time.perf_counter(), time.process_time()
    arrays = vertices.astype(np.float32), faces.astype(np.int32), attrs, cells
    try:
        asset, report = to_glb(
            *(torch.from_numpy(a).to(device) for a in arrays),
            LAYOUT, [[-0.5] * 3, [0.5] * 3], grid_size=GRID,
            decimation_target=target, texture_size=TEXTURE, remesh=remesh, profile=profile, report=True,
        )  # fmt: skip
    except ValueError as error:
        row |= {"result": "refused", "message": str(error)}
    else:
        row |= {"result": "asset", "stages": dict(report.seconds), "bytes": len(glb_bytes(asset))}
        row |= topology(*weld(np.asarray(asset.vertices), np.asarray(asset.faces)))
    return row | {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu}


def faults(row: dict[str, Any]) -> list[str]:
    """What is wrong with a run; an error that says why is no fault, except for a profile that must cope."""
    if row["result"] not in ("asset", "refused"):
        return [f"{row['result']}: {row.get('message', '')[-200:]}"]
    if row["result"] == "refused":
        return []
    out = [] if row["faces"] <= row["asked"] else [f"{row['faces']} faces, {row['asked']} asked"]
    if row["profile"] != "raw":
        keys = ("winding_conflicts", "duplicate_faces", "degenerate_faces")
        out += [f"{row[key]} {key.replace('_', ' ')}" for key in keys if row[key]]
    if row["profile"] == "print" and not (row["two_manifold"] and row["volume"] > 0):
        out.append(f"not a solid: {row['boundary_edges']} boundary, {row['non_manifold_edges']} non-manifold edges")
    return out


def run(name: str, args: argparse.Namespace, profile: str, remesh: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--size", str(args.size), "--device", args.device]
    command += ["--worker", name, profile, str(int(remesh))]
    base = {"mesh": name, "profile": profile, "remesh": remesh}
    begin = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit, check=False)
    except subprocess.TimeoutExpired:
        return base | {"result": "no end", "seconds": time.perf_counter() - begin, "message": f"limit {args.limit} s"}
    if done.returncode != 0:
        seconds = time.perf_counter() - begin
        return base | {"result": f"exit {done.returncode}", "message": done.stderr[-500:], "seconds": seconds}
    return base | json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=48000, help="faces, about")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one run")
    parser.add_argument("--meshes", nargs="+", choices=list(MESHES), default=list(MESHES))
    parser.add_argument("--profiles", nargs="+", default=["raw", "game", "print"])
    parser.add_argument("--remesh", action="store_true", help="also with remeshing")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--output", help="name of the result file in benchmarks/results")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        torch.set_num_threads(1)
        if args.device == "cpu":  # a CUDA context reserves more
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        name, profile, remesh = args.worker
        print(json.dumps(measure(name, args.size, profile, remesh == "1", args.device)))
        return 0
    todo = [(m, p, r) for m in args.meshes for p in args.profiles for r in ((False, True) if args.remesh else (False,))]
    rows = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(lambda t: run(t[0], args, t[1], t[2]), todo):
            rows.append(row)
            what = row["message"][:70] if row["result"] != "asset" else f"{row['faces']} of {row['asked']}"
            line = f"{row['mesh']:16} {row['profile']:6} {'remesh' if row['remesh'] else '':7} {row['result']:8}"
            print(
                f"{line} {row['seconds']:7.1f} s {row.get('faces_in', ''):>7}  {what:24} {'; '.join(faults(row))}",
                flush=True,
            )
    bad = [r for r in rows if faults(r)]
    slowest = max(r["seconds"] for r in rows)
    print(f"{len(rows) - len(bad)} of {len(rows)} runs end as they should; slowest {slowest:.1f} s")
    if args.output:
        info = machine(torch.device(args.device))
        info["command"] = (
            f"python benchmarks/bench_adversarial.py --size {args.size}{' --remesh' if args.remesh else ''}"
        )
        write_results(
            Path(__file__).resolve().parent / "results" / f"{args.output}.json", {"machine": info, "rows": rows}
        )
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
