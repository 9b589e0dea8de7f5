"""Simplification to a face budget: time, peak memory and distance to the surface that came in.

    python o-voxel/benchmarks/bench_simplify.py --device cuda --cases 1024:1000000 1024:200000
    python o-voxel/benchmarks/bench_simplify.py --device cpu --cases 256:25000 512:100000 --compare

The surface is the flexible dual grid of the wavy sphere (327 680 faces, largest coordinate 0.45, box [-0.5, 0.5]^3), as
meshed by `flexible_dual_grid_to_mesh`, with its holes and non-manifold edges. A case is GRID_SIZE:FACES. `--compare`
adds the other methods: the heap, one edge at a time; rounds with other shares; `published` is the published formula in
NumPy (`quirks="published"`), for its quality only. Distances are in voxels, from samples on either surface to the
other; "turned" is the share of the result's samples whose normal is more than 90 degrees from that of the nearest point
of a consistently wound copy of the input (the dual grid's own winding is arbitrary).

The published CUDA code took 360 ms to 964 892 faces (asked 1 000 000) and 410 ms to 198 569 (asked 200 000), both at
1024 on an H200. Prints a table; writes JSON with `--output`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_convert import UNIT
from bench_dual_mesh import wavy_grid
from torch import Tensor

from o_voxel.convert import flexible_dual_grid_to_mesh
from o_voxel.mesh import BVH, face_normals, mesh_stats, simplify, unify_face_orientations
from o_voxel.mesh.normals import face_areas
from o_voxel.mesh.quadric_surface import Limits, QuadricSurface, UnitBox, in_rounds

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, milliseconds, peak_gigabytes, write_results

LIMITS = Limits.checked(100.0, 1e-4, 78.0)
Surface = tuple[Tensor, Tensor]


def dual_surface(grid_size: int, device: torch.device) -> Surface:
    coords, local, flags = (t.to(device) for t in wavy_grid(grid_size))
    vertices, triangles = flexible_dual_grid_to_mesh(coords, local, flags, None, aabb=UNIT, grid_size=grid_size)
    return vertices, triangles


def samples(vertices: Tensor, faces: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Points [count, 3] spread over the area, and their faces; the same on every device."""
    area = face_areas(vertices.double(), faces).cumsum(0)
    generator = torch.Generator().manual_seed(0)
    at = torch.rand(count, generator=generator, dtype=torch.float64).to(vertices.device) * area[-1]
    face = torch.searchsorted(area, at).clamp(max=len(faces) - 1)
    weights = torch.rand(count, 2, generator=generator, dtype=torch.float64).to(vertices.device)
    weights = torch.where(weights.sum(1, keepdim=True) > 1, 1 - weights, weights)
    corner = vertices.double()[faces[face].long()]
    edges = corner[:, 1:] - corner[:, :1]
    return corner[:, 0] + (edges * weights[..., None]).sum(1), face


class Judge:
    """Distances between results and one surface."""

    def __init__(self, surface: Surface, grid_size: int, count: int) -> None:
        self.wound = unify_face_orientations(*surface)
        self.tree, self.grid_size, self.count = BVH(*self.wound), grid_size, count
        self.points, _ = samples(*surface, count)

    def __call__(self, vertices: Tensor, faces: Tensor) -> dict[str, Any]:
        wound = unify_face_orientations(vertices, faces)
        points, face = samples(*wound, self.count)
        ahead, nearest, _ = self.tree.nearest(points)
        back, _, _ = BVH(*wound).nearest(self.points)
        cosine = (face_normals(*wound)[face] * face_normals(*self.wound)[nearest]).sum(1).double()
        turned = float((cosine < 0).double().mean())
        p = wound[0].double()[wound[1].long()]
        sides = ((p - p[:, [1, 2, 0]]) ** 2).sum((1, 2))
        shape = 4 * 3**0.5 * face_areas(wound[0].double(), wound[1]) / sides.clamp(min=1e-30)
        both = torch.cat([ahead, back]).double() * self.grid_size
        stats = mesh_stats(vertices, faces)
        return {
            "mean_voxels": round(float(both.mean()), 4),
            "rms_voxels": round(float(both.square().mean().sqrt()), 4),
            "hausdorff_voxels": round(float(both.max()), 3),
            "turned": round(min(turned, 1 - turned), 6),  # components may be wound either way as a whole
            "normal_degrees": round(float(torch.rad2deg(cosine.abs().clamp(max=1).acos()).mean()), 2),
            "mean_shape": round(float(shape.mean()), 3),
            "thin_share": round(float((shape < 0.1).double().mean()), 5),
            "non_manifold_edges": stats.non_manifold_edges,
            "boundary_edges": stats.boundary_edges,
            "euler": stats.euler,
        }


def rounds_only(surface: Surface, target: int, share: float) -> Surface:
    box = UnitBox.around(*surface)
    out, _ = in_rounds(QuadricSurface.start(box.enter(surface[0]), surface[1]), target, LIMITS, share)
    return box.leave(out.positions).to(surface[0].dtype), out.faces


def timed(run: Callable[[], Any], device: torch.device, repeats: int) -> tuple[float, float, Any]:
    """Milliseconds of one call, wall (the least of the repeats on a CPU, the median on a GPU) and of all processors,
    and what it returned."""
    if device.type == "cuda":
        return milliseconds(run, device, repeats, 1), float("nan"), run()
    walls, used = [], []
    for _ in range(repeats):
        start, spent = time.perf_counter(), time.process_time()
        result = run()
        walls.append((time.perf_counter() - start) * 1e3)
        used.append((time.process_time() - spent) * 1e3)
    return min(walls), min(used), result


def memory_of(run: Callable[[], Any], surface: Surface, device: torch.device) -> float:
    """Largest memory of one call, 10⁹ bytes, with the surface that comes in but without what else lies there."""
    others = torch.cuda.memory_allocated(device) - sum(t.numel() * t.element_size() for t in surface)
    return peak_gigabytes(run, device) - others / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", nargs="+", default=["256:25000"], help="GRID_SIZE:FACES")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--samples", type=int, default=100_000, help="points on each surface for the distances")
    parser.add_argument("--compare", action="store_true", help="also the other methods")
    parser.add_argument("--published", action="store_true", help="also the published formula, which is slow in NumPy")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    parser.add_argument("--output", type=Path, help="JSON file")
    args = parser.parse_args()
    device = torch.device(args.device)
    if args.repeats < 1:
        parser.error("--repeats must be at least 1")
    if args.threads:
        os.environ["OVOXEL_NUM_THREADS"] = str(args.threads)
        torch.set_num_threads(args.threads)
    rows = []
    surfaces: dict[int, tuple[Surface, Judge]] = {}
    for case in args.cases:
        grid_size, target = (int(x) for x in case.split(":"))
        if grid_size not in surfaces:
            surfaces.clear()
            surface = dual_surface(grid_size, device)
            surfaces[grid_size] = surface, Judge(surface, grid_size, args.samples)
        surface, judge = surfaces[grid_size]
        methods: dict[str, Callable[[], Any]] = {"simplify": partial(simplify, *surface, target)}
        if args.compare:
            methods |= {f"rounds of {s:.0%}": partial(rounds_only, surface, target, s) for s in (0.03, 0.06, 0.1, 0.2)}
            methods["one by one"] = partial(simplify, *surface, target, method="one_by_one")
        if args.published:
            methods["published"] = partial(simplify, *surface, target, quirks="published")
        for name, run in methods.items():
            once = name in ("one by one", "published")
            peak = float("nan") if device.type == "cpu" else memory_of(run, surface, device)
            wall, used, (vertices, faces, *rest) = timed(run, device, 1 if once else args.repeats)
            row = {
                "grid_size": grid_size, "faces_in": len(surface[1]), "asked": target, "method": name,
                "got": len(faces), "phase": rest[1] if rest else 0, "ms": round(wall, 1),
                "processor_ms": None if used != used else round(used, 1),
                "peak_gb": None if peak != peak else round(peak, 3),
            } | judge(vertices, faces)  # fmt: skip
            rows.append(row)
            print(
                f"{grid_size:5d} {len(surface[1]):8d} -> {target:8d}  {name:14s} {len(faces):8d} faces {wall:9.1f} ms"
                f" ({used:8.1f} processor) {peak:6.3f} GB  mean {row['mean_voxels']:.4f} rms {row['rms_voxels']:.4f}"
                f" max {row['hausdorff_voxels']:.3f} turned {row['turned']:.5f} normal {row['normal_degrees']:.2f}"
                f" shape {row['mean_shape']:.3f} thin {row['thin_share']:.4f} euler {row['euler']}",
                flush=True,
            )
            if args.output:
                write_results(args.output, {"machine": machine(device), "threads": args.threads, "rows": rows})


if __name__ == "__main__":
    main()
