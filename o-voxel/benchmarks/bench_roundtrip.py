"""Mesh -> O-Voxel -> file -> mesh: how far the surface moves, and whether the file gives back the same bits.

    python o-voxel/benchmarks/bench_roundtrip.py FOLDER_OR_FILES ... --resolution 256

Meshes are normalised to the unit box. Distances are means over 20,000 area-weighted points each way, in voxels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import trimesh

from o_voxel import io
from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.mesh import BVH

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


def load_normalised(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] in the unit box and faces [F, 3]; node transforms applied."""
    loaded = trimesh.load(path, process=False)
    mesh = loaded.to_mesh() if isinstance(loaded, trimesh.Scene) else loaded
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    return (mesh.vertices - (low + high) / 2) * (0.99999 / (high - low).max()), np.asarray(mesh.faces)


def boundary_edges(vertices: np.ndarray, faces: np.ndarray) -> int:
    """Edges of exactly one face, after welding equal positions."""
    _, welded = np.unique(np.round(vertices, 7), axis=0, return_inverse=True)
    corners = welded.reshape(-1)[faces]
    corners = corners[(corners != np.roll(corners, 1, 1)).all(1)]
    edges = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    return int((np.unique(edges, axis=0, return_counts=True)[1] == 1).sum())


def mean_distance(source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Mean and largest distance of surface points of `source` to the surface `target`."""
    points = trimesh.sample.sample_surface(trimesh.Trimesh(*source, process=False), 20_000, seed=0)[0]
    bvh = BVH(torch.as_tensor(target[0], dtype=torch.float32), torch.as_tensor(target[1], dtype=torch.int32))
    distance = bvh.unsigned_distance(torch.as_tensor(points, dtype=torch.float32))[0]
    return float(distance.mean()), float(distance.max())


def measure(path: Path, resolution: int) -> dict[str, object]:
    vertices, faces = load_normalised(path)
    box = [[-0.5] * 3, [0.5] * 3]
    begin = time.perf_counter()
    coords, dual, flags = mesh_to_flexible_dual_grid(
        torch.as_tensor(vertices, dtype=torch.float32), torch.as_tensor(faces, dtype=torch.int32),
        grid_size=resolution, aabb=box, face_weight=1.0, boundary_weight=0.2, regularization_weight=1e-2,
    )  # fmt: skip
    forth = time.perf_counter() - begin
    local = (dual * resolution - coords).clamp(0, 1)
    stored = {
        "vertices": (local * 255).to(torch.uint8),
        "intersected": (flags.int() @ torch.tensor([1, 2, 4], dtype=torch.int32)).to(torch.uint8)[:, None],
    }
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.vxz", Path(folder) / "b.vxz"
        io.write(first, coords, stored)
        read_coords, read_attrs = io.read(first)
        io.write(second, read_coords, read_attrs)
        again_coords, again_attrs = io.read(second)
        key = np.lexsort(coords.numpy().T)
        read_key = np.lexsort(read_coords.numpy().T)
        identical = (
            first.read_bytes() == second.read_bytes()
            and torch.equal(read_coords, again_coords)
            and torch.equal(coords[key].int(), read_coords[read_key].int())
            and all(torch.equal(stored[n][key], read_attrs[n][read_key]) for n in stored)
            and all(torch.equal(read_attrs[n], again_attrs[n]) for n in stored)
        )
        size = first.stat().st_size
    begin = time.perf_counter()
    out_vertices, out_faces = flexible_dual_grid_to_mesh(coords, local, flags, None, grid_size=resolution, aabb=box)
    back = time.perf_counter() - begin
    source, result = (vertices, faces), (out_vertices.numpy(), out_faces.numpy())
    to_result, to_source = mean_distance(source, result), mean_distance(result, source)
    return {
        "file": path.name,
        "voxels": len(coords),
        "in_to_out": round(to_result[0] * resolution, 4),
        "out_to_in": round(to_source[0] * resolution, 4),
        "largest": round(max(to_result[1], to_source[1]) * resolution, 3),
        "boundary_in": boundary_edges(*source),
        "boundary_out": boundary_edges(*result),
        "vxz_identical": bool(identical),
        "vxz_bits_per_voxel": round(size * 8 / len(coords), 2),
        "seconds_to_voxels": round(forth, 3),
        "seconds_to_mesh": round(back, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, help="meshes, or folders of meshes")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/roundtrip_cpu.json"))
    args = parser.parse_args()
    files = [f for p in args.paths for f in (sorted(p.iterdir()) if p.is_dir() else [p]) if f.suffix in SUFFIXES]
    rows = [measure(path, args.resolution) for path in files]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    record = {
        "command": f"python o-voxel/benchmarks/bench_roundtrip.py MESHES --resolution {args.resolution}",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "resolution": args.resolution,
        "rows": rows,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_name(f".{args.output.name}.tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(args.output)
    good = all(r["vxz_identical"] and max(r["in_to_out"], r["out_to_in"]) < 0.5 for r in rows)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
