"""UV unwrapping against xatlas: time, charts, thin charts, use, stretch, overlap.

    python o-voxel/benchmarks/bench_unwrap.py --data-dir shared/data --output results.json
    python o-voxel/benchmarks/bench_unwrap.py --threads 2 --assets wavy_200k noisy_grid --methods charts

Made assets: `wavy_100k`/`wavy_200k`, the wavy sphere of the conversion benchmark simplified to so many faces;
`wavy_noisy`, 82 k faces with noise of a sixth of an edge; `noisy_grid`, its dual grid at 160^3 with the defects that a
network makes (jittered dual vertices, 1 % flipped flags, 0.5 % missing voxels), cleaned and simplified to 100 k faces;
`soup`, 12,000 loose triangles; `strip`, a zigzag ribbon of 20 k faces; `fan`, 20 k faces around one vertex. With
--data-dir also the files of its meshes/ folder. Every run has a process of its own and --limit seconds; what takes
longer is listed as such. Time is the smallest of --repeats runs. xatlas charts are packed by the same packer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
import trimesh
from bench_convert import UNIT, wavy_sphere

from o_voxel import mesh as M
from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.mesh.unwrap import texture_padding

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, write_results

Mesh = tuple[np.ndarray, np.ndarray]
SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


def _arrays(mesh: trimesh.Trimesh) -> Mesh:
    return np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32)


def wavy(faces: int) -> Mesh:
    result = M.simplify(*_arrays(wavy_sphere(7)), faces)
    return result.vertices, result.faces


def wavy_noisy() -> Mesh:
    v, f = _arrays(wavy_sphere(6))
    return v + (np.random.default_rng(0).normal(size=v.shape) * 0.0012).astype(np.float32), f


def noisy_grid(grid: int = 160, target: int = 100_000) -> Mesh:
    v, f = (torch.from_numpy(a) for a in _arrays(wavy_sphere(7)))
    coords, dual, flags = mesh_to_flexible_dual_grid(v, f.long(), None, grid, UNIT, 1.0, 0.2, 1e-2)
    rng = np.random.default_rng(0)
    local = (dual * grid - coords).numpy() + 0.15 * rng.normal(size=dual.shape).astype(np.float32)
    flags = flags.numpy() ^ (rng.random(flags.shape) < 0.01)
    kept = rng.random(len(coords)) >= 0.005
    v, f = flexible_dual_grid_to_mesh(
        coords[torch.from_numpy(kept)], torch.from_numpy(local[kept].clip(-0.5, 1.5)), torch.from_numpy(flags[kept]),
        None, UNIT, None, grid,
    )  # fmt: skip
    v, f = M.repair_non_manifold(v.numpy(), f.numpy().astype(np.int32), pair_sheets=True)
    v, f = M.unify_face_orientations(v, f)
    v, f = M.remove_small_components(v, f, 1e-4)
    result = M.simplify(v, f, target)
    return result.vertices, result.faces


def soup(count: int = 12_000) -> Mesh:
    rng = np.random.default_rng(0)
    v = rng.random((count, 1, 3)) + rng.normal(size=(count, 3, 3)) * 0.02
    return v.reshape(-1, 3).astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def strip(faces: int = 20_000) -> Mesh:
    """A ribbon that runs to and fro in a plane, one quad wide."""
    n = faces // 2
    t = np.arange(n + 1)
    row, along = t // 100, np.where(t // 100 % 2 == 0, t % 100, 99 - t % 100)
    a = np.stack([along, 2.0 * row, 0.1 * np.sin(t * 0.05)], 1)
    v = np.concatenate([a, a + [0, 0.8, 0.3]])
    i = np.arange(n)
    return v.astype(np.float32), np.concatenate(
        [np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)]
    ).astype(np.int32)


def fan(faces: int = 20_000) -> Mesh:
    t = np.arange(faces) * 2 * np.pi / faces
    v = np.concatenate([[[0, 0, 0.3]], np.stack([np.cos(t), np.sin(t), 0.05 * np.sin(40 * t)], 1)])
    i = np.arange(faces)
    return v.astype(np.float32), np.stack([0 * i, i + 1, (i + 1) % faces + 1], 1).astype(np.int32)


def data_mesh(path: Path) -> Mesh:
    return _arrays(trimesh.load(path, force="mesh", process=False))


def assets(data_dir: Path | None) -> dict[str, Callable[[], Mesh]]:
    made: dict[str, Callable[[], Mesh]] = {
        "wavy_100k": lambda: wavy(100_000),
        "wavy_200k": lambda: wavy(200_000),
        "wavy_noisy": wavy_noisy,
        "noisy_grid": noisy_grid,
        "soup": soup,
        "strip": strip,
        "fan": fan,
    }
    files = sorted((data_dir / "meshes").iterdir()) if data_dir else []
    return made | {p.stem: (lambda p=p: data_mesh(p)) for p in files if p.suffix in SUFFIXES}


def overlapping(result: M.UnwrapResult, size: int) -> int:
    """Texel centres that lie strictly inside more than one face, row by row of each face."""
    corner = result.uvs[result.faces].astype(np.float64) * size - 0.5
    e, g = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    sign = np.where(e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0] < 0, -1.0, 1.0)
    low = np.ceil(corner[..., 1].min(1)).astype(np.int64)
    rows = np.maximum(np.floor(corner[..., 1].max(1)).astype(np.int64) - low + 1, 0)
    face = np.arange(len(rows)).repeat(rows)
    y = low[face] + np.arange(len(face)) - np.repeat(np.cumsum(rows) - rows, rows)
    first, last = np.full(len(face), -np.inf), np.full(len(face), np.inf)
    for k in range(3):
        a, b = corner[face, k], corner[face, (k + 1) % 3]
        slope = -sign[face] * (b[:, 1] - a[:, 1])  # the side of the edge: slope x + level, in the face where positive
        level = sign[face] * ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) + (b[:, 1] - a[:, 1]) * a[:, 0]) - 1e-4
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = -level / slope
        first = np.where(slope > 0, np.maximum(first, bound), first)
        last = np.where(slope < 0, np.minimum(last, bound), np.where((slope == 0) & (level <= 0), -np.inf, last))
    x0, x1 = np.floor(first) + 1, np.ceil(last)  # half-open
    keep = x0 < x1
    steps = np.zeros((size, size + 1), dtype=np.int32)
    np.add.at(steps, (y[keep], x0[keep].astype(np.int64)), 1)
    np.add.at(steps, (y[keep], x1[keep].astype(np.int64)), -1)
    return int((steps.cumsum(1) > 1).sum())


def _work(mesh: Mesh, method: Any, size: int, padding: int, repeats: int, pipe: Any) -> None:
    best: tuple[float, float] = (np.inf, np.inf)
    for _ in range(repeats):
        wall, cpu = perf_counter(), process_time()
        result = M.unwrap(*mesh, resolution=size, padding=padding, method=method)
        best = min(best, (perf_counter() - wall, process_time() - cpu))
    t = result.uvs[result.faces].astype(np.float64)
    e, g = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    pipe.send(
        {
            "seconds": best[0],
            "cpu_seconds": best[1],
            "charts": result.num_charts,
            "thin_charts": result.thin_chart_share,
            "thin_area": result.thin_area_share,
            "use": result.use,
            "stretch": result.stretch,
            "density_range": list(result.density_range),
            "texels_per_unit": result.texels_per_unit,
            "padding": result.padding,
            "level": result.level,
            "overlapping_texels": overlapping(result, size),
            "mirrored_faces": int((e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0] < 0).sum()),
        }
    )


def run(mesh: Mesh, method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    context = get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    padding = texture_padding(arguments.resolution) if arguments.padding is None else arguments.padding
    process = context.Process(
        target=_work, args=(mesh, method, arguments.resolution, padding, arguments.repeats, theirs)
    )
    process.start()
    row = mine.recv() if mine.poll(arguments.limit) else {"level": f"over {arguments.limit:g} s"}
    process.kill()
    process.join()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--assets", nargs="*")
    parser.add_argument("--methods", nargs="*", default=["charts", "xatlas"])
    parser.add_argument("--resolution", type=int, default=2048)
    parser.add_argument("--padding", type=int, help="texels (default: by the resolution)")
    parser.add_argument("--threads", type=int, help="of the core (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for all repeats of one run")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        os.environ["OVOXEL_NUM_THREADS"] = str(arguments.threads)
    rows = []
    print(
        f"{'asset':20s} {'faces':>7s} {'method':7s} {'s':>7s} {'CPU s':>7s} {'charts':>6s} {'thin':>6s} {'(area)':>7s} "
        f"{'use':>6s} {'stretch':>7s} {'density':>11s} {'overlap':>7s} {'mirror':>6s} level"
    )
    for name, make in assets(arguments.data_dir).items():
        if arguments.assets and name not in arguments.assets:
            continue
        mesh = make()
        for method in arguments.methods:
            row = {"asset": name, "faces": len(mesh[1]), "method": method, **run(mesh, method, arguments)}
            rows.append(row)
            if "charts" not in row:
                print(f"{name:20s} {row['faces']:7d} {method:7s} {row['level']}", flush=True)
                continue
            low, high = row["density_range"]
            print(
                f"{name:20s} {row['faces']:7d} {method:7s} {row['seconds']:7.2f} {row['cpu_seconds']:7.2f} "
                f"{row['charts']:6d} {row['thin_charts']:6.1%} {row['thin_area']:7.2%} {row['use']:6.1%} "
                f"{row['stretch']:7.3f} {low:5.2f}-{high:5.2f} {row['overlapping_texels']:7d} "
                f"{row['mirrored_faces']:6d} "
                f"{row['level']}",
                flush=True,
            )
    if arguments.output:
        options = {k: v for k, v in vars(arguments).items() if k not in ("output", "data_dir")}
        write_results(
            arguments.output,
            {"machine": machine(torch.device("cpu")), "cores": os.cpu_count(), "options": options, "rows": rows},
        )


if __name__ == "__main__":
    main()
