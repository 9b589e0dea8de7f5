"""Time of a turntable on a GPU and of a frame on CPU cores.

    python benchmarks/bench_render.py [--device cuda] [--frames 120] [--resolution 1024] [--faces 1000000]
    python benchmarks/bench_render.py --device cpu --frames 3 --resolution 512 --faces 100000

Two assets of one bumpy ball: with three 2048^2 textures, and with attributes in a sparse voxel grid (512^3 for a
million faces; cells stay wider than half an edge). Goals: 120 frames of 1024^2 of a million faces in 3 s on an H200; a
512^2 frame of 100,000 faces in 0.5 s on two CPU cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from measure import machine, write_results
from torch import Tensor

from trellis2.renderers import EnvMap, open_environment
from trellis2.representations import MeshWithPbrMaterial, MeshWithVoxel, PbrMaterial, Texture
from trellis2.utils.render_utils import iter_frames, render_turntable, turntable_cameras

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}


def bumpy_ball(faces: int) -> tuple[Tensor, Tensor]:
    """About `faces` triangles (20 * k^2): the ball of the other benchmarks."""
    k = max(1, round((faces / 20) ** 0.5))
    base = trimesh.creation.icosahedron()
    corners = base.vertices[base.faces]  # [20, 3, 3]
    i, j = np.meshgrid(np.arange(k + 1), np.arange(k + 1), indexing="ij")
    inside = i + j <= k
    weights = np.stack([i[inside], j[inside], k - i[inside] - j[inside]], 1) / k  # [P, 3]
    points = np.einsum("pc,fcx->fpx", weights, corners)
    number = np.cumsum(inside.reshape(-1)).reshape(inside.shape) - 1
    up = (i + j < k).nonzero()
    down = (i + j < k - 1).nonzero()
    triangles = np.concatenate(
        [
            np.stack([number[up], number[up[0] + 1, up[1]], number[up[0], up[1] + 1]], 1),
            np.stack([number[down[0] + 1, down[1]], number[down[0] + 1, down[1] + 1], number[down[0], down[1] + 1]], 1),
        ]
    )
    index = (triangles[None] + np.arange(20)[:, None, None] * len(weights)).reshape(-1, 3)
    unit = points.reshape(-1, 3)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    x, y, z = unit.T
    radius = 1 + 0.15 * np.sin(7 * x) * np.sin(6 * y) * np.sin(5 * z) + 0.03 * np.sin(40 * x + 3) * np.sin(37 * y)
    vertices = unit * (radius + 0.02 * np.sin(61 * z))[:, None]
    vertices *= 0.45 / np.abs(vertices).max()
    return torch.from_numpy(vertices).float(), torch.from_numpy(index.astype(np.int32))


def textured(faces: int) -> MeshWithPbrMaterial:
    """The ball under longitude and latitude, with noise in every texture."""
    vertices, index = bumpy_ball(faces)
    unit = torch.nn.functional.normalize(vertices, dim=1)
    uv = torch.stack([torch.atan2(unit[:, 1], unit[:, 0]) / (2 * torch.pi) + 0.5, unit[:, 2].acos() / torch.pi], 1)
    generator = torch.Generator().manual_seed(0)
    base, metallic, roughness = (Texture(torch.rand(2048, 2048, c, generator=generator)) for c in (3, 1, 1))
    material = PbrMaterial(base, metallic_texture=metallic, roughness_texture=roughness)
    ids = torch.zeros(len(index), dtype=torch.int32)
    return MeshWithPbrMaterial(vertices, index, ids, uv[index.long()], [material])


def voxelised(faces: int) -> MeshWithVoxel:
    """The ball with attributes in the voxels around its vertices; all opaque."""
    vertices, index = bumpy_ball(faces)
    grid = round(512 * (faces / 1e6) ** 0.5 / 8) * 8
    cell = ((vertices + 0.5) * grid).floor().long()
    near = torch.stack(torch.meshgrid(*[torch.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    keys: Tensor = torch.zeros(0, dtype=torch.long)
    for shift in near:
        x, y, z = (cell + shift).clamp(0, grid - 1).T
        keys = torch.unique(torch.cat([keys, torch.unique((x * grid + y) * grid + z)]))
    coords = torch.stack([keys // grid**2, keys // grid % grid, keys % grid], 1).int()
    attrs = torch.rand(len(coords), 6, generator=torch.Generator().manual_seed(0))
    attrs[:, 5] = 1.0
    shape = torch.Size((1, 6, grid, grid, grid))
    return MeshWithVoxel(vertices, index, [-0.5] * 3, 1 / grid, coords, attrs, shape, LAYOUT)


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, including what it left running."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def measure(name: str, mesh: Any, args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Rows of the table for one asset."""
    mesh = mesh.to(device)
    envmap = EnvMap(open_environment("forest").to(device))
    extrinsics, intrinsics = turntable_cameras(args.frames)

    def frames(buffers: list[str] | None) -> Callable[[], None]:
        def work() -> None:
            for _ in iter_frames(
                mesh, extrinsics, intrinsics, {"resolution": args.resolution}, buffers, verbose=False, envmap=envmap
            ):
                pass

        return work

    cases: list[tuple[str, Callable[[], None]]] = [
        ("shaded frames on the host", frames(["shaded"])),
        ("all buffers on the host", frames(None)),
    ]
    folder = tempfile.mkdtemp()
    if args.video and importlib.util.find_spec("imageio_ffmpeg") is None:
        print("no MP4: imageio_ffmpeg is not installed")
    elif args.video:

        def video() -> None:
            path = Path(folder) / "a.mp4"
            options = {"num_frames": args.frames, "verbose": False, "envmap": envmap}
            render_turntable(mesh, path, args.resolution, **options)

        cases.append(("shaded MP4", video))
    rows = []
    for case, work in cases:
        first = timed(work, device)
        seconds = min(timed(work, device) for _ in range(args.repeats))
        row = {"asset": name, "case": case, "faces": len(mesh.faces), "frames": args.frames, "first_s": round(first, 3)}
        row |= {"seconds": round(seconds, 3), "ms_per_frame": round(1000 * seconds / args.frames, 2)}
        print(f"{name:10} {case:28} {seconds:7.3f} s  {row['ms_per_frame']:8.2f} ms a frame  (first {first:.2f} s)")
        rows.append(row)
    return rows


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-video", dest="video", action="store_false")
    parser.add_argument("--assets", default="textured,voxels")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args(argv)
    device = torch.device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(min(2, os.cpu_count() or 1))
    makers = {"textured": textured, "voxels": voxelised}
    rows = []
    for name in args.assets.split(","):
        rows += measure(name, makers[name](args.faces), args, device)
    if args.output:
        write_results(args.output, {"machine": machine(device), "rows": rows})


if __name__ == "__main__":
    main()
