"""Time the conversions on one mesh: `python benchmarks/bench_convert.py --grid-size 256 --repeats 3`.

The mesh is an icosphere of 327 680 faces with a wavy radius, largest coordinate 0.45, in the box [-0.5, 0.5]^3; the
texture is random, 2048 x 2048. Threads: OVOXEL_NUM_THREADS. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image

from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid, textured_mesh_to_volumetric_attr

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]


def wavy_sphere(subdivisions: int) -> trimesh.Trimesh:
    """Textured unit icosphere with modulated radius, scaled to largest coordinate 0.45."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    unit = np.asarray(mesh.vertices)
    x, y, z = unit.T
    radius = 1 + 0.15 * np.sin(7 * x) * np.sin(6 * y) * np.sin(5 * z)
    radius += 0.03 * np.sin(40 * x + 3) * np.sin(37 * y) + 0.02 * np.sin(61 * z)
    vertices = unit * radius[:, None]
    vertices *= 0.45 / np.abs(vertices).max()
    uv = np.stack([np.arctan2(y, x) / (2 * np.pi) + 0.5, np.arccos(np.clip(z, -1, 1)) / np.pi], axis=1)
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(pixels))
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(vertices, mesh.faces, visual=visual, process=False)


def measure(run: Callable[[], Any], repeats: int) -> float:
    """Median seconds after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid-size", type=int, default=256, help="voxels per axis")
    parser.add_argument("--subdivisions", type=int, default=7, help="of the icosphere")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each conversion")
    args = parser.parse_args()
    count = args.grid_size
    mesh = wavy_sphere(args.subdivisions)
    vertices, faces = torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(np.asarray(mesh.faces))
    coords, dual, flags = mesh_to_flexible_dual_grid(vertices, faces, None, count, UNIT, 1.0, 0.2, 1e-2)
    local = dual * count - coords
    seconds = {}
    for quirks in (None, "published"):
        suffix = f" ({quirks})" if quirks else ""
        seconds["mesh to dual grid" + suffix] = measure(
            lambda q=quirks: mesh_to_flexible_dual_grid(vertices, faces, None, count, UNIT, 1.0, 0.2, 1e-2, quirks=q),
            args.repeats,
        )
        seconds["textured mesh to attributes" + suffix] = measure(
            lambda q=quirks: textured_mesh_to_volumetric_attr(mesh, None, count, UNIT, quirks=q), args.repeats
        )
    seconds["dual grid to mesh"] = measure(
        lambda: flexible_dual_grid_to_mesh(coords, local, flags, None, UNIT, grid_size=count), args.repeats
    )
    for name, value in seconds.items():
        print(f"{name:45s} {value:8.3f} s")
    record = {
        "grid_size": count,
        "voxels": len(coords),
        "faces": len(faces),
        "threads": os.environ.get("OVOXEL_NUM_THREADS", "all"),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
