"""Mesh -> O-Voxel -> file -> mesh: how far the surface moves, how it behaves with the resolution, what stays sharp.

    python o-voxel/benchmarks/bench_roundtrip.py MESHES ... --resolutions 256 512 1024

MESHES: files, folders, `sphere`, `hemisphere`, `nested`, `book` (made, see roundtrip_meshes.py) or `FILE.npz:NAME`.
All are scaled to the unit box. Distances are from area-weighted points to the exact nearest point of the other
surface, in the normative stored form (8 bits a dual coordinate) and, as `exact`, without that rounding. Above a million
faces the way from input to output is measured inside five slabs of the box, so that memory stays bounded.

Exit status 1 if a file does not give back its bits, the mean distance passes half a voxel, or the error of a mesh falls
more slowly than with the power LEAST_EXPONENT of the resolution (rounding to 8 bits alone falls with power 1, and the
sampling of the distances scatters by a few percent).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from roundtrip_meshes import MADE, SUFFIXES, Mesh, load_mesh, weld

from o_voxel import io
from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.mesh import BVH

BOX = [[-0.5] * 3, [0.5] * 3]
POINTS = 50_000
WHOLE_FACES = 1_000_000  # up to here one tree over the whole output
FIXED_THRESHOLD = 1e-4  # of the F-score, in box units
NORMAL_BINS = (0, 1, 2, 5, 10, 20, 45, 90)  # degrees
SHARP_DEGREES = 30
LEAST_EXPONENT = 0.95


def sample(mesh: Mesh, count: int, seed: int, band: tuple[float, float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Area-weighted points [P, 3] and their faces [P]; with `band` only those with x inside it."""
    vertices, faces = mesh
    rng = np.random.default_rng(seed)
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if band is not None:
        x = corners[:, :, 0]
        area = np.where((x.max(1) > band[0]) & (x.min(1) < band[1]), area, 0)
    if not area.sum() > 0:
        return np.zeros((0, 3)), np.zeros(0, np.int64)
    cumulative = np.cumsum(area)
    chosen = np.searchsorted(cumulative, rng.random(count) * cumulative[-1])
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - u, u * (1 - v), u * v], 1)
    points = (corners[chosen] * weights[:, :, None]).sum(1)
    if band is not None:
        keep = (points[:, 0] > band[0]) & (points[:, 0] < band[1])
        points, chosen = points[keep], chosen[keep]
    return points, chosen


def tree(mesh: Mesh) -> BVH:
    return BVH(torch.as_tensor(mesh[0], dtype=torch.float32), torch.as_tensor(mesh[1], dtype=torch.int32))


def nearest(bvh: BVH, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance and face of the nearest point of a mesh."""
    found = bvh.unsigned_distance(torch.as_tensor(points, dtype=torch.float32))
    return np.asarray(found[0], np.float64), np.asarray(found[1])


def distances_to_output(source: Mesh, output: Mesh, resolution: int) -> np.ndarray:
    """Distances of input points to the output, whole or in slabs."""
    if len(output[1]) <= WHOLE_FACES:
        return nearest(tree(output), sample(source, POINTS, 0)[0])[0]
    cell = 1.0 / resolution
    low, high = source[0][:, 0].min(), source[0][:, 0].max()
    parts = []
    x = output[0][:, 0]
    for k in range(5):
        middle = low + (high - low) * (k + 0.5) / 5
        band = (middle - 8 * cell, middle + 8 * cell)
        points = sample(source, POINTS // 2, k, band)[0]
        used = ((x > band[0] - 6 * cell) & (x < band[1] + 6 * cell))[output[1]].any(1)
        if len(points) and used.any():
            faces = output[1][used]
            index, local = np.unique(faces, return_inverse=True)
            parts.append(nearest(tree((output[0][index], local.reshape(-1, 3))), points)[0])
    return np.concatenate(parts)


def edge_uses(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [E, 2] and how many faces use each."""
    ends = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    keys, uses = np.unique(ends[:, 0] << 32 | ends[:, 1], return_counts=True)
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], 1), uses


def boundary_length(mesh: Mesh) -> float:
    vertices, faces = mesh
    edges, uses = edge_uses(faces.astype(np.int64))
    rim = vertices[edges[uses == 1]]
    return float(np.linalg.norm(rim[:, 0] - rim[:, 1], axis=1).sum())


def sharp_edge_points(mesh: Mesh, count: int) -> np.ndarray:
    """Points [P, 3] on edges whose faces meet at more than SHARP_DEGREES."""
    closed = trimesh.Trimesh(*mesh, process=False)
    sharp = closed.face_adjacency_edges[closed.face_adjacency_angles > np.radians(SHARP_DEGREES)]
    if not len(sharp):
        return np.zeros((0, 3))
    ends = mesh[0][sharp]
    length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(ends), count, p=length / length.sum())
    t = rng.random((count, 1))
    return ends[chosen, 0] * (1 - t) + ends[chosen, 1] * t


def normal_errors(source: Mesh, output: Mesh, source_tree: BVH) -> np.ndarray:
    """Degrees between the output's normals and those of the input's nearest face, either side."""
    points, faces = sample(output, POINTS, 3)
    _, hit = nearest(source_tree, points)

    def normals(mesh: Mesh, index: np.ndarray) -> np.ndarray:
        corners = mesh[0][mesh[1][index]]
        n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-300)

    cosine = np.abs((normals(output, faces) * normals(source, hit)).sum(1))
    return np.degrees(np.arccos(np.clip(cosine, 0, 1)))


def through_file(coords: torch.Tensor, local: torch.Tensor, flags: torch.Tensor) -> tuple[Any, ...]:
    """Stored form, written and read twice: coordinates, dual vertices, flags, whether bits agree, bits per voxel."""
    stored = {
        "dual_vertices": (local.clamp(0, 1) * 255).to(torch.uint8),
        "intersected": (flags.int() @ torch.tensor([1, 2, 4], dtype=torch.int32)).to(torch.uint8)[:, None],
    }
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.vxz", Path(folder) / "b.vxz"
        io.write(first, coords, stored, compression="zstd", compression_level=9)
        back, attrs = io.read(first)
        io.write(second, back, attrs, compression="zstd", compression_level=9)
        same = first.read_bytes() == second.read_bytes()
        size = first.stat().st_size
    same = same and torch.equal(*(c.long().sum(0) for c in (coords, back))) and len(coords) == len(back)
    bits = (attrs["intersected"] >> torch.arange(3, dtype=torch.uint8)) & 1
    return back, attrs["dual_vertices"].float() / 255, bits.bool(), bool(same), size * 8 / len(coords)


def measure(job: tuple[str, int, str]) -> dict[str, Any]:
    """All figures of one mesh at one resolution."""
    name, resolution, double_crossings = job
    source = load_mesh(name)
    begin = time.perf_counter()
    coords, dual, flags = mesh_to_flexible_dual_grid(
        torch.as_tensor(source[0], dtype=torch.float32), torch.as_tensor(source[1], dtype=torch.int32),
        grid_size=resolution, aabb=BOX, face_weight=1.0, boundary_weight=0.2, regularization_weight=1e-2,
        double_crossings=double_crossings,
    )  # fmt: skip
    forth = time.perf_counter() - begin
    local = (dual.double() * resolution - coords).float()
    back, stored, bits, same, density = through_file(coords, local, flags)
    begin = time.perf_counter()
    vertices, faces = flexible_dual_grid_to_mesh(back, stored, bits, None, grid_size=resolution, aabb=BOX)
    seconds_back = time.perf_counter() - begin
    output = (vertices.numpy(), faces.numpy())
    source_tree = tree(source)
    away, home = distances_to_output(source, output, resolution), nearest(source_tree, sample(output, POINTS, 1)[0])[0]
    fine, fine_faces = flexible_dual_grid_to_mesh(coords, local, flags, None, grid_size=resolution, aabb=BOX)
    exact = nearest(source_tree, sample((fine.numpy(), fine_faces.numpy()), POINTS, 1)[0])[0]
    del fine, fine_faces
    welded = weld(*source)
    row: dict[str, Any] = {
        "mesh": Path(name).name.split(":")[-1], "resolution": resolution, "voxels": len(coords), "faces": len(faces),
        "chamfer": float(away.mean() + home.mean()), "in_to_out": float(away.mean()), "out_to_in": float(home.mean()),
        "out_to_in_exact": float(exact.mean()), "rms": float(np.sqrt((away**2).mean() / 2 + (home**2).mean() / 2)),
        "largest_voxels": float(max(away.max(), home.max()) * resolution),
        "chamfer_voxels": float((away.mean() + home.mean()) * resolution),
    }  # fmt: skip
    for label, threshold in (("fscore_fixed", FIXED_THRESHOLD), ("fscore_tenth_voxel", 0.1 / resolution)):
        recall, precision = float((away < threshold).mean()), float((home < threshold).mean())
        row[label] = 2 * precision * recall / max(precision + recall, 1e-12)
    row["boundary_length_in"] = boundary_length(welded)
    row["boundary_length_out"] = boundary_length(output)
    errors = normal_errors(source, output, source_tree)
    row["normal_error_mean"] = float(errors.mean())
    counts = np.histogram(errors, NORMAL_BINS)[0]
    row["normal_error_share"] = [round(float(c) / len(errors), 5) for c in counts]
    sharp = sharp_edge_points(welded, 20_000)
    if len(sharp) and len(output[1]) <= 8 * WHOLE_FACES:
        row["sharp_edge_voxels"] = float(nearest(tree(output), sharp)[0].mean() * resolution)
    row |= {
        "file_identical": same, "bits_per_voxel": density, "seconds_to_voxels": forth, "seconds_to_mesh": seconds_back,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip
    return row


def slopes(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Exponent p of error ~ resolution^-p for each mesh with several resolutions."""
    out = {}
    for name in dict.fromkeys(row["mesh"] for row in rows):
        own = [row for row in rows if row["mesh"] == name]
        if len(own) > 1:
            x, y = np.log([row["resolution"] for row in own]), np.log([row["chamfer"] for row in own])
            out[name] = round(float(-np.polyfit(x, y, 1)[0]), 3)
    return out


def table(rows: list[dict[str, Any]]) -> str:
    head = ("mesh", "resolution", "voxels", "chamfer", "chamfer_voxels", "largest_voxels", "fscore_fixed",
            "fscore_tenth_voxel", "normal_error_mean", "sharp_edge_voxels", "boundary_length_in", "boundary_length_out",
            "seconds_to_voxels", "peak_memory_gb")  # fmt: skip
    lines = ["  ".join(f"{key[:14]:>14}" for key in head)]
    for row in rows:
        cells = [row.get(key, "") for key in head]
        lines.append("  ".join(f"{c:>14.4g}" if isinstance(c, float) else f"{c!s:>14}" for c in cells))
    return "\n".join(lines)


def expand(paths: list[str]) -> list[str]:
    """Folders replaced by the meshes in them."""
    out: list[str] = []
    for name in paths:
        path = Path(name)
        is_folder = name not in MADE and path.is_dir()
        out += [str(f) for f in sorted(path.iterdir()) if f.suffix in SUFFIXES] if is_folder else [name]
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("meshes", nargs="+", help="files, folders, made meshes, FILE.npz:NAME")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[256])
    parser.add_argument("--double-crossings", choices=("keep", "cancel"), default="keep")
    parser.add_argument("--jobs", type=int, default=1, help="processes; each run's threads share the cores")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/roundtrip_cpu.json"))
    args = parser.parse_args()
    work = [
        (name, r, args.double_crossings) for r in sorted(args.resolutions, reverse=True) for name in expand(args.meshes)
    ]
    os.environ.setdefault("OVOXEL_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // args.jobs)))
    rows: list[dict[str, Any]] = []
    if args.jobs == 1:
        rows = [measure(job) for job in work]
    else:
        with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=1) as pool:
            for row in pool.imap_unordered(measure, work):
                sys.stdout.write(table([row]).splitlines()[1] + "\n")
                sys.stdout.flush()
                rows.append(row)
    rows.sort(key=lambda row: (row["mesh"], row["resolution"]))
    sys.stdout.write(table(rows) + "\n")
    falls = slopes(rows)
    sys.stdout.write(f"error falls with resolution to the power: {falls}\n")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    record = {
        "command": "python o-voxel/benchmarks/bench_roundtrip.py MESHES --resolutions "
        + " ".join(map(str, args.resolutions)) + f" --double-crossings {args.double_crossings}",
        "date": date.today().isoformat(), "commit": commit.stdout.strip(), "points": POINTS,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "python": platform.python_version(),
        "torch": torch.__version__, "fixed_threshold": FIXED_THRESHOLD, "normal_bins_degrees": NORMAL_BINS,
        "error_exponent": falls, "rows": rows,
    }  # fmt: skip
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_name(f".{args.output.name}.tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(args.output)
    good = all(row["file_identical"] and row["chamfer_voxels"] < 0.5 for row in rows)
    return 0 if good and all(p >= LEAST_EXPONENT for p in falls.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
