"""Mesh toolkit: time of every operation on surfaces of decoded size, on a GPU or on CPU threads.

    python o-voxel/benchmarks/bench_mesh_tools.py --device cuda --grid-sizes 512 1024

The mesh is a wavy sphere (327 680 faces, largest coordinate 0.45, box [-0.5, 0.5]^3) through
mesh_to_flexible_dual_grid and flexible_dual_grid_to_mesh: 2.2 million faces at 512, 8.9 million at 1024. "noisy" is the
same as a network makes it: dual vertices moved by up to 0.3 voxels, 1 % of the intersection flags flipped, 1 % of the
voxels missing. Prints a table; writes JSON with `--output`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from bench_convert import UNIT, wavy_sphere
from torch import Tensor

from o_voxel import mesh as M
from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.mesh.connectivity import build_edges, face_components
from o_voxel.mesh.grouping import first_equal

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, milliseconds, peak_gigabytes, write_results

Case = tuple[str, Callable[[], object], int]  # name, call, items for the rate


def decoded(grid_size: int, device: torch.device, *, noisy: bool) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] float32 and faces [F, 3] int64 of the test mesh."""
    source = wavy_sphere(7)
    vertices, faces = torch.tensor(source.vertices, dtype=torch.float32), torch.tensor(source.faces)
    grid = mesh_to_flexible_dual_grid(vertices.to(device), faces.to(device), None, grid_size, UNIT, 1.0, 0.2, 1e-2)
    coords, dual, flags = (t.cpu() for t in grid)
    order = (coords.long() @ torch.tensor([grid_size**2, grid_size, 1])).argsort()
    coords, local, flags = coords[order], (dual[order] * grid_size - coords[order]), flags[order]
    if noisy:
        generator = torch.Generator().manual_seed(0)
        local = (local + 0.6 * torch.rand(local.shape, generator=generator) - 0.3).clamp(0, 1)
        flags = flags ^ (torch.rand(flags.shape, generator=generator) < 0.01)
        keep = torch.rand(len(coords), generator=generator) > 0.01
        coords, local, flags = coords[keep], local[keep], flags[keep]
    v, f = flexible_dual_grid_to_mesh(
        coords.to(device), local.to(device), flags.to(device), None, UNIT, grid_size=grid_size
    )
    return v, f.long()


def chain(v: Tensor, f: Tensor, hole_perimeter: float) -> tuple[Tensor, Tensor]:
    """What a decoded surface goes through before remeshing: clean, orient, fill."""
    v, f = M.merge_close_vertices(v, f)
    v, f = M.remove_degenerate_faces(v, f)
    v, f = M.remove_duplicate_faces(v, f)
    bvh = M.BVH(v, f)  # of the surface, which all later steps share
    v, f = M.repair_non_manifold(v, f, pair_sheets=True, bvh=bvh)
    v, f = M.unify_face_orientations(v, f, cut_conflicts=True, bvh=bvh)
    v, f = M.fill_holes(v, f, hole_perimeter)
    return v, M.orient_outward(v, f, bvh=bvh)


def tool_cases(v: Tensor, f: Tensor, grid_size: int) -> Iterator[Case]:
    n, hole = len(f), 12 / grid_size
    yield "edges", partial(build_edges, f), n
    yield "face components", partial(face_components, f), n
    yield "equal rows of vertices", partial(first_equal, v), len(v)
    yield "merge vertices", partial(M.merge_close_vertices, v, f), n
    yield "remove degenerate faces", partial(M.remove_degenerate_faces, v, f), n
    yield "remove duplicate faces", partial(M.remove_duplicate_faces, v, f), n
    yield "split non-manifold places", partial(M.repair_non_manifold, v, f), n
    yield "the same, pairing sheets", partial(M.repair_non_manifold, v, f, pair_sheets=True), n
    yield "remove small components", partial(M.remove_small_components, v, f, 6 / grid_size**2), n
    yield "vertex normals", partial(M.vertex_normals, v, f), n
    yield "mesh_stats", partial(M.mesh_stats, v, f), n
    clean = M.repair_non_manifold(v, f, pair_sheets=True)
    yield "unify orientations", partial(M.unify_face_orientations, *clean), n
    yield "the same, cutting conflicts", partial(M.unify_face_orientations, *clean, cut_conflicts=True), n
    oriented = M.unify_face_orientations(*clean, cut_conflicts=True)
    yield "orient outward", partial(M.orient_outward, *oriented), n
    yield "fill holes", partial(M.fill_holes, *oriented, hole), n
    yield "clean + orient + holes", partial(chain, v, f, hole), n


def query_cases(v: Tensor, f: Tensor, grid_size: int, count: int) -> Iterator[Case]:
    device = v.device
    yield "BVH build", partial(M.BVH, v, f), len(f)
    bvh = M.BVH(v, f)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, len(f), (count,), generator=generator).sort().values
    shuffle = torch.randperm(count, generator=generator).to(device)
    noise = ((torch.rand(count, 3, generator=generator) - 0.5) * 2 / grid_size).to(device)
    points = v[f[rows.to(device)]].mean(1) + noise  # within a voxel of the surface, in the order of the faces
    normals = M.face_normals(v, f)[rows.to(device)]
    far = (torch.rand(count // 8, 3, generator=generator) - 0.5).to(device)
    yield "nearest, near the surface", partial(bvh.nearest, points), count
    yield "nearest, near, random order", partial(bvh.nearest, points[shuffle]), count
    yield "nearest, near, by normal", partial(bvh.nearest, points, normals=normals), count
    yield "nearest, anywhere in the box", partial(bvh.nearest, far), len(far)
    rays = torch.nn.functional.normalize(torch.randn(count // 4, 3, generator=generator), dim=1).to(device)
    origins = points[: count // 4] + 2 / grid_size * normals[: count // 4]
    yield "rays, first hit", partial(bvh.ray_trace, origins, rays), len(rays)
    yield "rays, any hit", partial(bvh.count_hits, origins, rays, max_hits=1), len(rays)
    yield "rays, all hits", partial(bvh.count_hits, origins, rays), len(rays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--grid-sizes", type=int, nargs="+", default=[256], help="voxels per axis")
    parser.add_argument("--meshes", nargs="+", choices=("smooth", "noisy"), default=["smooth", "noisy"])
    parser.add_argument("--queries", type=int, default=4_000_000, help="points near the surface")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--output", type=Path, help="JSON file")
    args = parser.parse_args()
    device = torch.device(args.device)
    rows = []
    for grid_size in args.grid_sizes:
        for kind in args.meshes:
            v, f = decoded(grid_size, device, noisy=kind == "noisy")
            print(f"{grid_size}, {kind}: {len(v)} vertices, {len(f)} faces; {M.mesh_stats(v, f)}", flush=True)
            cases = [query_cases(v, f, grid_size, args.queries)] if kind == "smooth" else []
            for name, call, items in (c for group in [*cases, tool_cases(v, f, grid_size)] for c in group):
                if args.only and args.only not in name:
                    continue
                ms = milliseconds(call, device, args.repeats, warmup=int(device.type == "cuda"))
                peak = peak_gigabytes(call, device) if device.type == "cuda" else None
                rows.append({
                    "grid_size": grid_size, "mesh": kind, "faces": len(f), "case": name, "ms": round(ms, 3),
                    "million_items_per_s": round(items / ms / 1e3, 2), "peak_gb": peak and round(peak, 3),
                })  # fmt: skip
                memory = "" if peak is None else f"{peak:7.3f} GB"
                print(
                    f"{grid_size:5d} {kind:6s} {name:30s} {ms:10.2f} ms {items / ms / 1e3:9.2f} M/s {memory}",
                    flush=True,
                )
    if args.output:
        write_results(args.output, {"machine": machine(device), "rows": rows})


if __name__ == "__main__":
    main()
