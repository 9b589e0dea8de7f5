"""Flexible dual grid -> mesh: time, bytes and peak memory.

    python o-voxel/benchmarks/bench_dual_mesh.py --device cuda --grid-sizes 512 1024

The grid is that of a wavy sphere (327 680 faces, largest coordinate 0.45, box [-0.5, 0.5]^3), rows in the order in
which the conversion creates them; "shuffled" has them in random order. Floor: every input read once, every output
written once (look-ups not counted) at the copy rate `--ceiling` of the device. Prints a table; writes JSON with
`--output`.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from bench_convert import UNIT, wavy_sphere
from torch import Tensor

from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, milliseconds, peak_gigabytes, write_results


def wavy_grid(grid_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates [N, 3], voxel-local dual vertices [N, 3] and flags [N, 3] of the test mesh, on CPU."""
    mesh = wavy_sphere(7)
    vertices, faces = torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces)
    coords, dual, flags = mesh_to_flexible_dual_grid(vertices, faces, None, grid_size, UNIT, 1.0, 0.2, 1e-2)
    return coords, dual * grid_size - coords, flags


def training_step(coords: Tensor, local: Tensor, flags: Tensor, weight: Tensor, grid_size: int) -> None:
    leaves = local.detach().requires_grad_(), weight.detach().requires_grad_()
    vertices, _ = flexible_dual_grid_to_mesh(coords, leaves[0], flags, leaves[1], UNIT, None, grid_size, train=True)
    vertices.backward(torch.ones_like(vertices))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--grid-sizes", type=int, nargs="+", default=[256], help="voxels per axis")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--ceiling", type=float, default=4.3, help="copy rate of the device, TB/s, read + write")
    parser.add_argument("--output", type=Path, help="JSON file")
    args = parser.parse_args()
    device = torch.device(args.device)
    rows = []
    for grid_size in args.grid_sizes:
        coords, local, flags = (t.to(device) for t in wavy_grid(grid_size))
        generator = torch.Generator().manual_seed(0)
        weight = (torch.rand(len(coords), 1, generator=generator) + 0.5).to(device)
        order = torch.randperm(len(coords), generator=generator).to(device)
        shuffled = [t[order].contiguous() for t in (coords, local, flags)]
        run = partial(flexible_dual_grid_to_mesh, aabb=UNIT, grid_size=grid_size)
        _, triangles = run(coords, local, flags, weight)
        n, faces = len(coords), len(triangles)
        del triangles
        plain = n * (12 + 12 + 3 + 12) + faces * 12
        training = n * (12 + 12 + 3 + 4 + 12) + faces // 2 * (12 + 48)
        cases = [
            ("with split weights", partial(run, coords, local, flags, weight), plain + 4 * n),
            ("flatter diagonal", partial(run, coords, local, flags, None), plain),
            ("with split weights, shuffled", partial(run, *shuffled, weight[order]), plain + 4 * n),
            ("training form", partial(run, coords, local, flags, weight, train=True), training),
            ("training form and gradients", partial(training_step, coords, local, flags, weight, grid_size), None),
        ]
        if device.type == "cuda":
            cases.append(("PyTorch reference", partial(run, coords, local, flags, weight, backend="reference"), None))
        for name, call, floor in cases:
            ms = milliseconds(call, device, args.repeats)
            peak = peak_gigabytes(call, device)
            rate = None if floor is None else floor / ms / 1e6
            rows.append({
                "grid_size": grid_size, "voxels": n, "faces": faces, "case": name, "ms": round(ms, 4),
                "peak_gb": round(peak, 3), "floor_bytes": floor,
                "floor_ms": None if floor is None else round(floor / args.ceiling / 1e9, 4),
                "gb_per_s": None if rate is None else round(rate, 1),
            })  # fmt: skip
            figures = "" if rate is None else f"{rate:8.1f} GB/s = {rate / args.ceiling / 10:4.1f} % of the ceiling"
            print(f"{grid_size:5d} {n:8d} voxels {faces:8d} faces  {name:30s} {ms:9.3f} ms  {peak:6.3f} GB {figures}")
    if args.output:
        write_results(args.output, {"machine": machine(device), "ceiling_tb_per_s": args.ceiling, "rows": rows})


if __name__ == "__main__":
    main()
