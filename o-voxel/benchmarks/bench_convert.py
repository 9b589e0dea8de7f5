"""Mesh -> dual grid and textured mesh -> attributes: time, stages, bytes and peak memory.

    python o-voxel/benchmarks/bench_convert.py --device cpu --grid-sizes 256 512 1024 --threads 1 2 16
    python o-voxel/benchmarks/bench_convert.py --device cuda --grid-sizes 512 1024 2048

The mesh is an icosphere of 327 680 faces with a wavy radius, largest coordinate 0.45, in the box [-0.5, 0.5]^3; the
texture is random, 2048 x 2048. Floor: every input read once and every output written once, at the copy rate
`--ceiling` of the device. On a CPU the stages are found by leaving parts out; on a GPU by the profiler, kernels grouped
by what they do. Attributes are timed from arrays (`TexturedTriangles` on the device) and from a trimesh mesh. Prints
tables; writes JSON with `--output`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image

from o_voxel.convert import mesh_to_flexible_dual_grid, textured_mesh_to_volumetric_attr
from o_voxel.convert.materials import TexturedTriangles
from o_voxel.convert.mesh_input import read_mesh
from o_voxel.convert.mip_levels import mip_levels

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, milliseconds, peak_gigabytes, write_results

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
STAGES = {  # parts of kernel names -> stage
    "CrossingBody": "crossing term",
    "FaceBody": "face term",
    "SolveBody": "dual vertices",
    "findOverlaps": "overlaps",
    "findCrossings": "crossings",
    "RowCountBody": "crossings",
    "addKernel": "clip, shade and sum",
    "FinishBody": "bytes",
    "MipBody": "mip levels",
    "radix_sort": "sorts",
    "boundary": "boundary edges",
    "Memset": "memset",
}


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


def on_device(source: TexturedTriangles, device: torch.device) -> TexturedTriangles:
    """The triangles and textures as tensors of a device."""
    fields = ("triangles", "normals", "uvs", "colors", "material_ids")
    materials = []
    for material in source.materials:
        textures = {
            name: dataclasses.replace(t, image=torch.tensor(np.asarray(t.image), device=device))
            for name, t in material.textures.items()
        }
        materials.append(dataclasses.replace(material, textures=textures))
    arrays = {name: torch.tensor(np.asarray(getattr(source, name)), device=device) for name in fields}
    return dataclasses.replace(source, materials=materials, **arrays)


def kernel_stages(run: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of device time by stage, of one call."""
    from torch.profiler import ProfilerActivity, profile

    run()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    stages: dict[str, float] = {}
    for event in profiler.key_averages():
        stage = next((stage for part, stage in STAGES.items() if part in event.key), "lists, scans, copies")
        stages[stage] = stages.get(stage, 0.0) + event.device_time_total / 1e3
    return {name: round(ms, 3) for name, ms in sorted(stages.items(), key=lambda item: -item[1])}


def cpu_stages(
    mesh: trimesh.Trimesh, source: TexturedTriangles, grid: Callable[..., Any], attr: Callable[..., Any], repeats: int
) -> dict[str, dict[str, float]]:
    """Milliseconds by stage: what a run costs less without it."""
    time = partial(milliseconds, device=torch.device("cpu"), repeats=repeats, warmup=1)
    crossings = time(partial(grid, face_weight=0.0, boundary_weight=0.0))
    faces = time(partial(grid, boundary_weight=0.0))
    whole = time(grid)
    texture = next(iter(source.materials[0].textures.values()))
    mips = time(partial(mip_levels, texture))
    arrays = time(partial(attr, source))
    return {
        "dual grid": {
            "crossings, their term, dual vertices, row order": crossings,
            "overlaps and face term": faces - crossings,
            "boundary edges and term": whole - faces,
        },
        "attributes": {
            "reading the trimesh mesh": time(partial(read_mesh, mesh, False)),
            "mip levels": mips,
            "voxels, clip, shade and sum": arrays - mips,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--grid-sizes", type=int, nargs="+", default=[256], help="voxels per axis")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="CPU threads, one run each")
    parser.add_argument("--subdivisions", type=int, default=7, help="of the icosphere")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each conversion; the median counts")
    parser.add_argument("--stages", action="store_true", help="on a CPU, also the time of each stage")
    parser.add_argument("--published", action="store_true", help='also time quirks="published"')
    parser.add_argument("--ceiling", type=float, default=4.3, help="copy rate of a GPU, TB/s, read + write")
    parser.add_argument("--output", type=Path, help="JSON file")
    args = parser.parse_args()
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    mesh = wavy_sphere(args.subdivisions)
    host = read_mesh(mesh, False)
    source = on_device(host, device) if cuda else host
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32, device=device)
    faces = torch.tensor(np.asarray(mesh.faces), dtype=torch.int32, device=device)
    rows: list[dict[str, Any]] = []
    for threads in [0] if cuda else args.threads:
        if threads:
            os.environ["OVOXEL_NUM_THREADS"] = str(threads)
            torch.set_num_threads(threads)
        for count in args.grid_sizes:
            weights = {"face_weight": 1.0, "boundary_weight": 0.2, "regularization_weight": 1e-2}
            grid = partial(mesh_to_flexible_dual_grid, vertices, faces, None, count, UNIT, **weights)  # type: ignore[arg-type]
            attr = partial(textured_mesh_to_volumetric_attr, voxel_size=None, grid_size=count, aabb=UNIT, device=device)
            voxels = len(grid()[0])
            texture_bytes = 2048 * 2048 * 3 * 4 // 3
            in_grid, in_attr = vertices.numel() * 4 + faces.numel() * 4, len(faces) * (36 + 36 + 24 + 4) + texture_bytes
            cases = [
                ("mesh to dual grid", grid, in_grid + 27 * voxels),
                ("attributes, from arrays", partial(attr, source), in_attr + 24 * voxels),
                ("attributes, from trimesh", partial(attr, mesh), in_attr + 24 * voxels),
            ]
            if args.published:
                cases.append(("mesh to dual grid, published", partial(grid, quirks="published"), in_grid + 27 * voxels))
                cases.append(("attributes, published", partial(attr, mesh, quirks="published"), in_attr + 24 * voxels))
            for name, call, floor in cases:
                ms = milliseconds(call, device, args.repeats, warmup=1)
                row: dict[str, Any] = {"grid_size": count, "voxels": voxels, "case": name, "ms": round(ms, 3)}
                row["gb_per_s_of_floor"] = round(floor / ms / 1e6, 2)
                row["floor_bytes"] = floor
                label = "cuda" if cuda else f"{threads} threads"
                if cuda:
                    row |= {"floor_ms": round(floor / args.ceiling / 1e9, 4)}
                    row |= {"peak_gb": round(peak_gigabytes(call, device), 3)}
                    if "trimesh" not in name:
                        row["stages_ms"] = kernel_stages(call)
                else:
                    row["threads"] = threads
                rows.append(row)
                print(
                    f"{label:10s} {count:5d} {voxels:9d} voxels  {name:30s} {ms:10.2f} ms  {row.get('stages_ms', '')}"
                )
            if args.stages and not cuda:
                stages = cpu_stages(mesh, host, grid, attr, args.repeats)
                stages = {k: {n: round(ms, 1) for n, ms in v.items()} for k, v in stages.items()}
                rows.append({"grid_size": count, "threads": threads, "stages_ms": stages})
                print(f"{'':10s} {stages}")
    if args.output:
        write_results(args.output, {"machine": machine(device), "ceiling_tb_per_s": args.ceiling, "rows": rows})


if __name__ == "__main__":
    main()
