"""Time the rasterisers and samplers on this machine: `python o-voxel/benchmarks/bench_raster.py`.

Prints a table of medians over `--repeat` runs after one warm-up and one JSON line with machine and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.rasterize import VoxelRenderer, interpolate, rasterize, texture
from o_voxel.sampling import grid_sample_3d


def grid_mesh(faces: int) -> tuple[Tensor, Tensor]:
    """A square of about `faces` triangles: parameters [V, 2] in [0, 1] and indices."""
    n = int((faces / 2) ** 0.5)
    u = torch.linspace(0, 1, n + 1)
    a, b = torch.meshgrid(u, u, indexing="ij")
    i = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).reshape(-1)
    tri = torch.cat([torch.stack([i, i + 1, i + n + 1], 1), torch.stack([i + 1, i + n + 2, i + n + 1], 1)])
    return torch.stack([a, b], -1).reshape(-1, 2), tri.int()


def sphere_clip(faces: int) -> tuple[Tensor, Tensor]:
    """Clip-space unit sphere, three units in front of the camera."""
    uv, tri = grid_mesh(faces)
    phi, theta = uv[:, 0] * 2 * torch.pi, uv[:, 1] * torch.pi
    x, y, z = phi.cos() * theta.sin(), phi.sin() * theta.sin(), theta.cos() + 3
    near, far = 1.0, 10.0
    depth = (far + near) / (far - near) * z - 2 * far * near / (far - near)
    return torch.stack([2 * x, 2 * y, depth, z], 1), tri


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
    results = {}
    for faces, size in ((100_000, 512), (1_000_000, 1024)):
        pos, tri = sphere_clip(faces)
        results[f"sphere, {faces} faces, {size}^2"] = median_seconds(lambda: rasterize(pos, tri, (size, size)), repeat)  # noqa: B023
    uv, tri = grid_mesh(200_000)
    flat = torch.cat([uv * 2 - 1, torch.zeros(len(uv), 1), torch.ones(len(uv), 1)], 1)
    results["UV space, 200000 faces, 2048^2"] = median_seconds(lambda: rasterize(flat, tri, (2048, 2048)), repeat)
    rast = rasterize(flat, tri, (2048, 2048))
    results["interpolate 3 channels, 2048^2"] = median_seconds(lambda: interpolate(flat[:, :3], rast, tri), repeat)
    at, tex = interpolate(uv, rast, tri), torch.rand(1024, 1024, 6)
    results["texture 6 channels, 2048^2"] = median_seconds(lambda: texture(tex, at), repeat)

    size = 256
    direction = torch.randn(1_500_000, 3, generator=torch.Generator().manual_seed(0))
    surface = (direction / direction.norm(dim=1, keepdim=True) * 0.45 + 0.5) * size
    coords = surface.int().unique(dim=0)
    feats = torch.rand(len(coords), 6)
    batched = torch.cat([torch.zeros(len(coords), 1, dtype=torch.int32), coords], 1)
    points = surface[None, :1_000_000]
    results[f"grid_sample_3d, {len(coords)} voxels, 1000000 points"] = median_seconds(
        lambda: grid_sample_3d(feats, batched, (1, 6, size, size, size), points), repeat
    )
    extrinsics = torch.eye(4)
    extrinsics[2, 3] = 1.6
    intrinsics = torch.tensor([[1.2, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]])
    renderer, centres = VoxelRenderer({"resolution": 512}), (coords + 0.5) / size - 0.5
    results[f"VoxelRenderer, {len(coords)} voxels, 512^2"] = median_seconds(
        lambda: renderer.render(centres, feats, 1 / size, extrinsics, intrinsics), repeat
    )
    for name, seconds in results.items():
        print(f"{name:<55}{seconds * 1e3:>10.1f} ms")
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    versions = {"torch": torch.__version__, "native": native_module() is not None}
    print(json.dumps({**machine, **versions, "seconds": results}))


if __name__ == "__main__":
    main()
