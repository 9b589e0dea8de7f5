"""Folders of images and meshes through the command line, killed half-way, resumed, and compared with unbroken runs.

    python benchmarks/check_resume.py --images ../shared/data/images --meshes ../shared/data/meshes

Each folder is run once as a whole. A second run is killed with SIGKILL once about half of the results exist, started
again with `--resume`, and every file is compared with that of the first, byte for byte.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measure import machine, write_results

REPO = Path(__file__).resolve().parent.parent


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".glb" and not p.name.startswith(".")}


def run(command: list[str], stop_at: int | None = None, folder: Path | None = None) -> tuple[int, float]:
    """Exit code and seconds; with `stop_at`, killed when `folder` holds so many results."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPO)
    while process.poll() is None:
        time.sleep(0.2)
        if stop_at is not None and folder is not None and len(list(folder.glob("[!.]*.glb"))) >= stop_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
    return process.returncode, time.perf_counter() - start


def check(name: str, arguments: list[str], count: int, root: Path) -> dict[str, Any]:
    base = [sys.executable, "-m", "trellis2.cli", *arguments, "--quiet", "--resume", "-o"]
    whole, broken = root / f"{name}_whole", root / f"{name}_broken"
    code, seconds = run([*base, str(whole)])
    killed, _ = run([*base, str(broken)], count // 2, broken)
    half = len(files_of(broken))
    resumed, again = run([*base, str(broken)])
    a, b = files_of(whole), files_of(broken)
    row = {
        "folder": name,
        "inputs": count,
        "exit": code,
        "results": len(a),
        "seconds": seconds,
        "killed": killed,
        "results at the kill": half,
        "exit after resume": resumed,
        "seconds of the rest": again,
        "equal files": sum(a[key] == b.get(key) for key in a),
        "same names": set(a) == set(b),
    }
    print(row, flush=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--meshes", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--faces", type=int, default=2000)
    parser.add_argument("--texture-size", type=int, default=128)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    images, meshes = sorted(args.images.iterdir()), [p for p in args.meshes.iterdir() if p.suffix in (".glb", ".obj")]
    common = ["--steps", str(args.steps), "--texture-size", str(args.texture_size)]
    small = ["--faces", str(args.faces)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            check("images", ["generate", str(args.images), *common, *small], len(images), Path(folder)),
            check(
                "meshes", ["texture", str(args.meshes), "--image", str(images[0]), *common], len(meshes), Path(folder)
            ),
        ]
    good = all(r["equal files"] == r["results"] == r["inputs"] and r["same names"] for r in rows)
    print("all equal" if good else "NOT all equal")
    if args.output is not None:
        device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        write_results(args.output, {"machine": machine(device), "equal": good, "rows": rows})
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
