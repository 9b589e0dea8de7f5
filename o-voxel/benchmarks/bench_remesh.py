"""Shells and remeshing to one surface: time of each step, bytes of extra memory, and what comes out.

    python o-voxel/benchmarks/bench_remesh.py --device cuda --grid-sizes 512 1024 --output remesh.json

The mesh is what a flexible dual grid of a wavy sphere gives, wound at random, with a second sphere of a third of its
size inside, and a share `--missing` of the faces taken out at random. "labels" is the flood fill on it, "views" finds
the faces that are seen, "contour" makes the surface from labels; "smooth" are 4 rounds of smoothing of that surface.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

import torch
from bench_to_glb import make_asset
from torch import Tensor

from o_voxel.mesh import mesh_stats
from o_voxel.mesh.remesh_surface import contour
from o_voxel.mesh.shells import face_views
from o_voxel.mesh.smooth import smooth_surface
from o_voxel.mesh.solid import label_nodes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, milliseconds, peak_gigabytes, write_results


def nested_mesh(grid_size: int, device: str, missing: float) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] float64 and faces [F, 3] int64."""
    asset = make_asset(grid_size, device)
    vertices, faces = asset["vertices"].double(), asset["faces"].long()
    inner = make_asset(grid_size // 3, device)
    faces = torch.cat([faces, inner["faces"].long() + len(vertices)])
    vertices = torch.cat([vertices, inner["vertices"].double() / 3])
    keep = torch.rand(len(faces), generator=torch.Generator().manual_seed(1)) >= missing
    return vertices, faces[keep.to(faces.device)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--grid-sizes", type=int, nargs="+", default=[256], help="voxels per axis")
    parser.add_argument("--missing", type=float, default=1e-4, help="share of faces left out (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="JSON file")
    args = parser.parse_args()
    device, rows = torch.device(args.device), []
    for grid_size in args.grid_sizes:
        v, f = nested_mesh(grid_size, args.device, args.missing)
        h, origin = torch.full((3,), 1 / grid_size).double(), torch.full((3,), -0.5).double()

        def labels() -> object:
            return label_nodes(v, f, h, origin, gap=4.0)  # noqa: B023

        solid = label_nodes(v, f, h, origin, gap=4.0)
        points, faces, _ = contour(solid, "pairs", 0.7)
        steps = {
            "labels": labels,
            "views": lambda: face_views(solid),  # noqa: B023
            "contour": lambda: contour(solid, "pairs", 0.7),  # noqa: B023
            "smooth": lambda: smooth_surface(points, faces.long(), voxel=1.0),  # noqa: B023
        }
        row: dict[str, float] = {
            "grid_size": grid_size,
            "faces": len(f),
            "nodes": float(torch.tensor(solid.grid.size).prod()),
        }
        before = torch.cuda.memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
        for name, run in steps.items():
            row[f"{name}_ms"] = milliseconds(run, device, args.repeats, 1)
            row[f"{name}_extra_gb"] = peak_gigabytes(run, device) - before
        stats = mesh_stats(solid.to_world(points), faces.long())
        row |= {"hidden_faces": int((~face_views(solid).seen).sum()), "remeshed_faces": len(faces)}
        row |= {"watertight": stats.watertight, "components": stats.num_components}
        row["host_peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            "  ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
        rows.append(row)
    if args.output:
        command = f"python o-voxel/benchmarks/bench_remesh.py --device {args.device} --grid-sizes " + " ".join(
            map(str, args.grid_sizes)
        )
        write_results(args.output, {"machine": machine(device), "command": command, "rows": rows})


if __name__ == "__main__":
    main()
