"""Memory over many runs of one pipeline object: resident memory of the process and memory on the device.

    python benchmarks/bench_flat_memory.py --runs 200 --output benchmarks/results/flat_memory_h200.json

Image to decoded mesh with few sampling steps, another seed each time, so that sizes vary as in a service; with
`--export` the GLB too. The slope is that of a least-squares line through all runs after a warm-up of a tenth of them.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, write_results

from trellis2.pipelines import Trellis2ImageTo3DPipeline
from trellis2.pipelines.jobs import ExportOptions, GenerateOptions, export, generate
from trellis2.utils.image import load_image

REPO = Path(__file__).resolve().parent.parent


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def slope(values: list[float], warmup: int) -> float:
    """Megabytes a run."""
    y = np.array(values[warmup:]) / 1e6
    return float(np.polyfit(np.arange(len(y)), y, 1)[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pipeline", default=str(REPO / "assets" / "models" / "mini"))
    parser.add_argument("--image", type=Path, default=REPO / "assets" / "example_image" / "house.png")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--memory", default="auto", help="memory tier")
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which no run is begun")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()

    device = torch.device(args.device)
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(args.pipeline)
    pipeline.memory = args.memory
    pipeline.to(device)
    image = load_image(args.image)
    series: dict[str, list[float]] = {"resident": []}
    if device.type == "cuda":
        series |= {"allocated": [], "reserved": []}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for run in range(args.runs):
            if time.perf_counter() - begin > args.limit:
                break
            made = generate(pipeline, image, GenerateOptions(seed=run, steps=args.steps))
            if args.export:
                options = ExportOptions(faces=2000, texture_size=128)
                export(made.meshes[0], Path(folder) / "asset.glb", options)
            del made
            gc.collect()
            series["resident"].append(resident_bytes())
            if device.type == "cuda":
                series["allocated"].append(torch.cuda.memory_allocated(device))
                series["reserved"].append(torch.cuda.memory_reserved(device))
    runs = len(series["resident"])
    warmup = max(1, runs // 10)
    result: dict[str, Any] = {"runs": runs, "steps": args.steps, "export": args.export, "tier": pipeline.memory_tier}
    result["seconds"] = time.perf_counter() - begin
    print(f"{runs} runs on {device}, {result['seconds']:.0f} s; megabytes")
    print(f"{'':12}{'first':>10}{'after warm-up':>15}{'last':>10}{'most':>10}{'slope a run':>13}")
    for name, values in series.items():
        mb = [v / 1e6 for v in values]
        row = {"first": mb[0], "warm": mb[warmup], "last": mb[-1], "most": max(mb), "slope": slope(values, warmup)}
        result[name] = {**row, "series": [round(v, 2) for v in mb]}
        print(
            f"{name:12}{row['first']:10.1f}{row['warm']:15.1f}{row['last']:10.1f}{row['most']:10.1f}{row['slope']:13.4f}"
        )
    if args.output is not None:
        write_results(args.output, {"machine": machine(device), **result})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
