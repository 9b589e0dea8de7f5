"""Times each stage of `to_glb` on a bumpy sphere: `python benchmarks/bench_to_glb.py [--faces 81920] [--target 20000]`.

Prints a table and one JSON line; the first run warms up and does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from typing import Any

import numpy as np
import torch
import trimesh

from o_voxel.postprocess import glb_bytes, to_glb

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}


def make_asset(subdivisions: int, grid: int) -> dict[str, Any]:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    v = np.asarray(mesh.vertices) * 0.38
    v = v * (1 + 0.15 * np.sin(9 * v[:, :1]) * np.cos(11 * v[:, 1:2]))
    v += np.random.default_rng(0).normal(size=v.shape) * 0.1 / grid  # decoded surfaces are not smooth
    f = np.asarray(mesh.faces)
    points = np.concatenate([v, v[f].mean(1)])
    coords = np.unique(np.floor((points + 0.5) * grid).astype(np.int32), axis=0)
    attrs = np.concatenate([coords / grid, np.zeros((len(coords), 1)), np.ones((len(coords), 2))], axis=1)
    return {
        "vertices": torch.from_numpy(v.astype(np.float32)),
        "faces": torch.from_numpy(f.astype(np.int32)),
        "attr_volume": torch.from_numpy(attrs.astype(np.float32)),
        "coords": torch.from_numpy(coords),
        "attr_layout": LAYOUT,
        "aabb": [[-0.5] * 3, [0.5] * 3],
        "grid_size": grid,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subdivisions", type=int, default=6, help="of the sphere: 6 gives 81920 faces, 7 327680")
    parser.add_argument("--grid", type=int, default=128, help="voxels per axis")
    parser.add_argument("--target", type=int, default=20000, help="faces of the result")
    parser.add_argument("--texture", type=int, default=1024, help="texels per side")
    parser.add_argument("--remesh", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    asset = make_asset(arguments.subdivisions, arguments.grid)
    runs, size = [], 0
    for i in range(arguments.repeats + 1):
        result, report = to_glb(
            **asset,
            decimation_target=arguments.target,
            texture_size=arguments.texture,
            remesh=arguments.remesh,
            report=True,
        )
        size = len(glb_bytes(result))
        if i:
            runs.append(report.seconds)
    seconds = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    seconds["total"] = statistics.median(sum(run.values()) for run in runs)
    for stage, value in seconds.items():
        print(f"{stage:10s} {value:8.2f} s")
    use = f"{report.charts} charts, texture use {report.texture_use:.0%}"
    print(f"{report.input_faces} -> {len(result.faces)} faces, {use}")
    environment = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    print(json.dumps({"seconds": seconds, "glb_bytes": size, **vars(arguments), **environment}))


if __name__ == "__main__":
    main()
