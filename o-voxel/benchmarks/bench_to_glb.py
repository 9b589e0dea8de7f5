"""Times each stage of `to_glb`, and writing the file, on a decoded surface.

    python o-voxel/benchmarks/bench_to_glb.py --resolution 512 --faces 200000 --device cuda --remesh

The surface is that of a wavy sphere (see bench_convert.py) on a dual grid, its attributes a smooth colour with noise.
"object" is all of `to_glb` but the distances of its report. Prints a table with seconds and peak memory a run, and one
JSON line; the first run warms up and does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_convert import wavy_sphere

from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.grid import box_to_local, resolve_grid
from o_voxel.postprocess import glb_bytes, to_glb

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
BOX = [[-0.5] * 3, [0.5] * 3]
SUBDIVISIONS = 7


def make_asset(resolution: int, device: str) -> dict[str, Any]:
    """Arguments of `to_glb`: the sphere as it comes back from a dual grid, wound at random."""
    mesh = wavy_sphere(SUBDIVISIONS)
    vertices = torch.from_numpy(np.asarray(mesh.vertices, np.float32)).to(device)
    faces = torch.from_numpy(np.asarray(mesh.faces, np.int32)).to(device)
    coords, dual, crossed = mesh_to_flexible_dual_grid(vertices, faces, None, resolution, BOX)
    local = box_to_local(dual, coords, resolve_grid(None, resolution, BOX))
    v, f = flexible_dual_grid_to_mesh(coords, local, crossed, None, BOX, grid_size=resolution)
    generator = torch.Generator(device="cpu").manual_seed(0)
    turn = (torch.rand(len(f), generator=generator) < 0.5).to(device)
    f = torch.where(turn[:, None], f[:, [0, 2, 1]], f)
    centre = coords.float() / resolution
    noise = torch.rand(len(coords), 3, generator=generator).to(device) * 0.1
    plain = torch.ones(len(coords), 1, device=device)
    attrs = torch.cat([centre * 0.8 + noise, 0.1 * plain, 0.3 + 0.5 * centre[:, :1], plain], 1)
    return {
        "vertices": v,
        "faces": f.int(),
        "attr_volume": attrs,
        "coords": coords,
        "attr_layout": LAYOUT,
        "aabb": BOX,
        "grid_size": resolution,
    }


class StageMemory:
    """A progress callback that notes the peak of device memory in every stage, in GB, inputs included."""

    def __init__(self, cuda: bool) -> None:
        self.peaks: dict[str, float] = {}
        self._cuda, self._stage = cuda, ""

    def __call__(self, stage: str, done: int, count: int) -> None:
        if not self._cuda:
            return
        if self._stage:
            self.peaks[self._stage] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        torch.cuda.reset_peak_memory_stats()
        self._stage = stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=512, help="cells a side (%(default)s)")
    parser.add_argument("--faces", type=int, default=200_000, help="faces of the result (%(default)s)")
    parser.add_argument("--texture", type=int, default=2048, help="texels a side (%(default)s)")
    parser.add_argument("--profile", choices=("raw", "game", "print"), default="game")
    parser.add_argument("--remesh", action="store_true")
    parser.add_argument("--plain", action="store_true", help="no normal map and no ambient occlusion")
    parser.add_argument("--image-format", choices=("png", "jpeg", "webp"), default="webp")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-warm-up", action="store_true", help="count the first run too")
    parser.add_argument("--json", type=Path, help="append the result to this file")
    arguments = parser.parse_args()
    cuda = arguments.device.startswith("cuda")
    asset = make_asset(arguments.resolution, arguments.device)
    options: dict[str, Any] = {"normal_map": False, "ambient_occlusion": False} if arguments.plain else {}
    runs: list[dict[str, float]] = []
    peaks: dict[str, float] = {}
    size, held = 0, torch.cuda.memory_allocated() if cuda else 0
    for i in range(arguments.repeats + (not arguments.no_warm_up)):
        memory_of = StageMemory(cuda)
        start, used = time.perf_counter(), time.process_time()
        result, report = to_glb(
            **asset,
            decimation_target=arguments.faces,
            texture_size=arguments.texture,
            profile=arguments.profile,
            remesh=arguments.remesh,
            report=True,
            progress=memory_of,
            **options,
        )
        whole = time.perf_counter() - start
        seconds = {**report.seconds, "object": whole - report.seconds["measure"]}
        seconds["object, core seconds"] = time.process_time() - used
        peaks = memory_of.peaks
        start = time.perf_counter()
        size = len(glb_bytes(result, image_format=arguments.image_format))
        seconds["write"] = time.perf_counter() - start
        if i or arguments.no_warm_up:
            runs.append(seconds)
    table = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    for stage, value in table.items():
        print(f"{stage:22s} {value:8.3f} s" + (f" {peaks[stage]:7.2f} GB" if stage in peaks else ""))
    memory = {"host_peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3)}
    if cuda:
        memory |= {"device_peak_gb": max(peaks.values()), "device_input_gb": round(held / 1e9, 3)}
    print(f"{report.input_faces} -> {len(result.faces)} faces, {report.charts} charts, use {report.texture_use:.0%}")
    print(f"file {size / 1e6:.1f} MB, memory {memory}, problems: {report.problems or 'none'}")
    device = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    line = {
        "case": {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items() if k != "json"},
        "seconds": {k: round(v, 4) for k, v in table.items()},
        "input_faces": report.input_faces,
        "faces": len(result.faces),
        "charts": report.charts,
        "texture_use": round(report.texture_use, 4),
        "problems": report.problems,
        "file_mb": round(size / 1e6, 2),
        **memory,
        "stage_peaks_gb": peaks,
        "machine": {"device": device, "cores": os.cpu_count(), "torch": torch.__version__},
    }
    print(json.dumps(line))
    if arguments.json is not None:
        with arguments.json.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
