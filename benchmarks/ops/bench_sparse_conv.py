"""Time of a 3³ sparse convolution on a spherical shell of voxels: neighbour map, forward, forward and backward.

    python benchmarks/ops/bench_sparse_conv.py --device cuda --resolution 256 --samples 4 --dtype bfloat16

Prints a table and one JSON line with the machine and versions.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch

from trellis2.ops.neighbor_map import build_neighbor_map
from trellis2.ops.sparse_conv import sparse_conv3d


def shell(resolution: int, samples: int) -> torch.Tensor:
    """Coordinates [N, 4] int32 of a shell about one voxel and a half thick, once per sample."""
    axis = torch.arange(resolution)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    radius = (grid.float() - (resolution - 1) / 2).norm(dim=1)
    xyz = grid[(radius - 0.35 * resolution).abs() < 0.75].int()
    parts = [torch.cat([torch.full((len(xyz), 1), b, dtype=torch.int32), xyz], 1) for b in range(samples)]
    return torch.cat(parts)


def milliseconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median wall time after two warm-up runs."""
    times = []
    for i in range(repeats + 2):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i >= 2:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resolution", type=int, default=128, help="cells per axis")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--backend", default="torch", choices=["torch", "reference"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    coords = shell(options.resolution, options.samples).to(device)
    neighbors = build_neighbor_map(coords, (3, 3, 3))
    occupancy = float((neighbors < len(coords)).sum() / len(coords))
    map_ms = milliseconds(lambda: build_neighbor_map(coords, (3, 3, 3)), device, options.repeats)
    print(f"{len(coords)} voxels, {occupancy:.1f} neighbours each, map {map_ms:.2f} ms")
    print(f"{'C':>5} {'forward ms':>11} {'with backward ms':>17} {'useful TFLOP/s':>15}")
    rows = []
    for channels in options.channels:
        feats = torch.randn(len(coords), channels, device=device, dtype=dtype, requires_grad=True)
        weight = torch.randn(channels, 3, 3, 3, channels, device=device, dtype=dtype, requires_grad=True)
        bias = torch.zeros(channels, device=device, dtype=dtype, requires_grad=True)
        probe = torch.randn(len(coords), channels, device=device, dtype=dtype)

        def forward(inputs: tuple[torch.Tensor, ...] = (feats, weight, bias)) -> torch.Tensor:
            return sparse_conv3d(*inputs, neighbors, backend=options.backend)

        def both(run: Callable[[], torch.Tensor] = forward, grad: torch.Tensor = probe) -> None:
            run().backward(grad)

        with torch.no_grad():
            forward_ms = milliseconds(forward, device, options.repeats)
        both_ms = milliseconds(both, device, options.repeats)
        rate = 2 * len(coords) * occupancy * channels**2 / forward_ms / 1e9
        print(f"{channels:>5} {forward_ms:>11.2f} {both_ms:>17.2f} {rate:>15.3f}")
        rows.append({"channels": channels, "forward_ms": forward_ms, "forward_backward_ms": both_ms})
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    result = {
        "benchmark": "sparse_conv",
        "device": name,
        "torch": torch.__version__,
        "dtype": options.dtype,
        "backend": options.backend,
        "voxels": len(coords),
        "neighbours": occupancy,
        "map_ms": map_ms,
        "rows": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
