"""Sparse grid sampling: time of the table, of sampling and of its gradient, with the bytes they move.

    python o-voxel/benchmarks/bench_sampling.py --device cuda --grid-size 1024 --queries 1000000 10000000

Voxels: the dual grid of the wavy sphere of `bench_convert.py`. Queries: "surface" runs over the voxels in their order
with a random offset inside each (as texels of an atlas do), "random" draws voxels at random. Compulsory bytes: each
query, result and used voxel row (features and table entries) once; gathered bytes: what the eight corners read, caches
not counted. Rates are compared with the copy rate `--ceiling`. Prints a table; writes JSON with `--output`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from bench_dual_mesh import wavy_grid
from torch import Tensor

from o_voxel.sampling import VoxelIndex

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, milliseconds, peak_gigabytes, write_results

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def make_queries(coords: Tensor, count: int, order: str) -> Tensor:
    """Points [1, count, 3] inside voxels [N, 4], one after the other or at random."""
    generator = torch.Generator().manual_seed(0)
    if order == "surface":
        pick = torch.arange(count) * len(coords) // count
    else:
        pick = torch.randint(0, len(coords), (count,), generator=generator)
    offset = torch.rand(count, 3, generator=generator)
    return (coords[pick.to(coords.device), 1:] + offset.to(coords.device))[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--grid-size", type=int, default=256, help="voxels per axis")
    parser.add_argument("--queries", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--channels", type=int, nargs="+", default=[6, 64])
    parser.add_argument("--dtypes", nargs="+", choices=sorted(DTYPES), default=["float32", "float16"])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--ceiling", type=float, default=4.3, help="copy rate of the device, TB/s, read + write")
    parser.add_argument("--output", type=Path, help="JSON file")
    args = parser.parse_args()
    device = torch.device(args.device)
    voxels = wavy_grid(args.grid_size)[0]
    coords = torch.cat([torch.zeros(len(voxels), 1, dtype=torch.int32), voxels], 1).to(device).contiguous()
    shape = (args.grid_size,) * 3
    rows = []

    def record(case: str, call, compulsory: int | None, gathered: int | None, **sizes) -> None:
        ms = milliseconds(call, device, args.repeats)
        peak = peak_gigabytes(call, device)
        rates = [None if b is None else round(b / ms / 1e6, 1) for b in (compulsory, gathered)]
        rows.append({
            "case": case, **sizes, "ms": round(ms, 4), "peak_gb": round(peak, 3), "compulsory_bytes": compulsory,
            "gathered_bytes": gathered, "compulsory_gb_per_s": rates[0], "gathered_gb_per_s": rates[1],
        })  # fmt: skip
        label = " ".join(str(value) for value in sizes.values())
        share = "" if rates[0] is None else f"{rates[0]:8.1f} GB/s {rates[0] / args.ceiling / 10:5.1f} %"
        print(f"{case:32s} {label:38s} {ms:9.3f} ms {peak:7.3f} GB {share}", flush=True)

    table = 32 * len(coords)
    record("table", lambda: VoxelIndex(coords, shape), len(coords) * 16 + 2 * table, None, voxels=len(coords))
    index = VoxelIndex(coords, shape)
    for count in args.queries:
        for order in ("surface", "random"):
            points = make_queries(coords, count, order)
            used = min(len(coords), 8 * count)
            for channels in args.channels:
                for name in args.dtypes:
                    feats = torch.rand(len(coords), channels, device=device).to(DTYPES[name])
                    row = channels * feats.itemsize
                    compulsory = count * (12 + row) + used * (row + 24)
                    sizes = {"queries": count, "order": order, "channels": channels, "dtype": name}
                    record(
                        "trilinear", lambda f=feats, p=points: index.sample(f, p), compulsory,
                        count * (12 + 9 * row + 8 * 20), **sizes,
                    )  # fmt: skip
                    if name != args.dtypes[0]:
                        continue
                    record(
                        "nearest", lambda f=feats, p=points: index.sample(f, p, "nearest"), None,
                        count * (12 + 2 * row + 20), **sizes,
                    )  # fmt: skip
                    leaf = feats.requires_grad_()
                    out = index.sample(leaf, points)
                    seed = torch.ones_like(out)
                    for ordered in (False, True):
                        torch.use_deterministic_algorithms(ordered)
                        record(
                            "gradient, one order" if ordered else "gradient",
                            lambda o=out, x=leaf, s=seed: torch.autograd.grad(o, x, s, retain_graph=True),
                            count * (12 + row) + len(coords) * (channels * 8 + 24), None, **sizes,
                        )  # fmt: skip
                        if device.type != "cuda":
                            break
                    torch.use_deterministic_algorithms(False)
                    del leaf, out, seed
    if args.output:
        document = {"machine": machine(device), "ceiling_tb_per_s": args.ceiling, "voxels": len(coords), "rows": rows}
        write_results(args.output, document)


if __name__ == "__main__":
    main()
