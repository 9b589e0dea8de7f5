"""3³ submanifold convolutions on the voxels of `surface_voxels`: forward, with neighbour map, with both gradients.

    python benchmarks/bench_sparse_conv.py --output benchmarks/results/sparse_conv_h200.json

Coordinates: the 1024³ grid and its 2× coarsenings, C channels in and out. Useful TFLOP/s count the neighbours that are
there (2·N·occ·C² a pass); GB/s count what must move at least: features once in and out, weights, 4 bytes for each pair
of the map. Each time is taken after half a second of rest; `sust.` under load that lasts, when the power limit lowers
the clock of a large GPU. `TRELLIS2_AUTOTUNE=1` tunes the tiles of each shape first.
Beside the chosen backend: the plain PyTorch one, the dense convolution on the bounding grid where it fits, and the
package spconv (implicit GEMM with masks, accumulating in float32) where it is installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ceilings import gpu_ceilings
from measure import machine, milliseconds, write_results
from surface_voxels import coarsen, surface_coords
from torch import Tensor

from trellis2.ops import backends
from trellis2.ops.conv_tuning import autotuning
from trellis2.ops.neighbor_map import find_neighbors
from trellis2.ops.sparse_conv import sparse_conv3d

CHANNELS = (64, 128, 256, 512, 1024)
"""From the finest level to the coarsest."""
DENSE_ELEMENTS = 1 << 30
"""Largest dense input that is tried."""


def dense_conv(coords: Tensor, feats: Tensor, weight: Tensor) -> Callable[[], Tensor] | None:
    """The dense convolution on the power-of-two grid that holds the coordinates; None where it is too large."""
    side = 1 << int(coords[:, 1:].max()).bit_length()
    if side**3 * feats.shape[1] > DENSE_ELEMENTS:
        return None
    c = coords.long()
    grid = feats.new_zeros(1, side, side, side, feats.shape[1])
    grid[0, c[:, 1], c[:, 2], c[:, 3]] = feats
    kernel = weight.permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d)
    return lambda: F.conv3d(grid.permute(0, 4, 1, 2, 3), kernel, padding=1)


def spconv_calls(coords: Tensor, feats: Tensor, weight: Tensor, bias: Tensor) -> tuple[Callable[[], Tensor], ...]:
    """The convolution by the package spconv with the indices kept, and with indices made anew; () without it."""
    try:
        import spconv.pytorch as spconv
    except ImportError as problem:
        print(f"spconv is left out: {problem}")
        return ()
    channels = feats.shape[1]
    layer = spconv.SubMConv3d(channels, channels, 3, indice_key="map", fp32_accum=True).to(feats)
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(bias)
    side = [int(coords[:, 1:].max()) + 1] * 3
    kept = spconv.SparseConvTensor(feats, coords, side, 1)
    kept.indice_dict = layer(kept).indice_dict

    def anew() -> Tensor:
        return layer(spconv.SparseConvTensor(feats, coords, side, 1)).features

    return lambda: layer(kept).features, anew


def rested(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Milliseconds of one call after half a second without work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        time.sleep(0.5)
    return milliseconds(run, device, repeats)


def measure_level(coords: Tensor, channels: int, dtype: torch.dtype, repeats: int, backward: bool) -> dict[str, Any]:
    """All timings of one level, in milliseconds."""
    device = coords.device
    hood = find_neighbors(coords, (3, 3, 3))
    pairs = int((hood.table < len(coords)).sum())
    g = torch.Generator().manual_seed(0)
    feats = torch.randn(len(coords), channels, generator=g).to(device, dtype)
    weight = (torch.randn(channels, 3, 3, 3, channels, generator=g) * (15 * channels) ** -0.5).to(device, dtype)
    bias = torch.randn(channels, generator=g).to(device, dtype)

    def forward(backend: str = "auto") -> Tensor:
        return sparse_conv3d(feats, weight, bias, hood, backend=backend)

    row: dict[str, Any] = {"voxels": len(coords), "channels": channels, "neighbours": pairs / len(coords)}
    with torch.no_grad():
        row["forward_ms"] = rested(forward, device, repeats)
        row["with_map_ms"] = rested(
            lambda: sparse_conv3d(feats, weight, bias, find_neighbors(coords, (3, 3, 3))), device, repeats
        )
        row["torch_ms"] = milliseconds(lambda: forward("torch"), device, 3, 1)
        dense = dense_conv(coords, feats, weight) if device.type == "cuda" else None
        if dense is not None:
            row["dense_ms"] = milliseconds(dense, device, 3, 1)
        del dense
        theirs = spconv_calls(coords, feats, weight, bias) if device.type == "cuda" else ()
        for name, call in zip(("spconv_ms", "spconv_with_map_ms"), theirs):
            row[name] = rested(call, device, repeats)
        if theirs:
            row["spconv_difference"] = float((theirs[0]() - forward()).norm() / forward().norm())
    flop = 2 * pairs * channels**2
    moved = (2 * feats.numel() + weight.numel()) * feats.element_size() + 4 * pairs
    row["useful_tflops"] = flop / row["forward_ms"] / 1e9
    row["minimum_gbs"] = moved / row["forward_ms"] / 1e6
    if backward:
        x, w, b = leaves = [t.detach().clone().requires_grad_() for t in (feats, weight, bias)]
        probe = torch.randn(len(coords), channels, generator=g).to(device, dtype)

        def both() -> None:
            torch.autograd.grad(sparse_conv3d(x, w, b, hood), leaves, probe)

        row["forward_backward_ms"] = rested(both, device, repeats)
        row["forward_backward_sustained_ms"] = milliseconds(both, device, 5 * repeats)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    levels = [surface_coords(options.resolution).to(device)]
    while len(levels) < len(CHANNELS):
        levels.append(coarsen(levels[-1]))
    ceilings = gpu_ceilings(device) if device.type == "cuda" else {}
    print(f"backend {backends.selected('sparse_conv', device).name}, ceilings {ceilings}")
    head = (
        "voxels",
        "C",
        "occ",
        "fwd",
        "+map",
        "fwd+bwd",
        "sust.",
        "TFLOP/s",
        "%",
        "GB/s",
        "torch",
        "dense",
        "spconv",
        "+map",
    )
    print(" ".join(f"{h:>8}" for h in head))
    rows, nan = [], float("nan")
    for coords, channels in reversed(list(zip(levels, CHANNELS))):
        row = measure_level(coords, channels, getattr(torch, options.dtype), options.repeats, True)
        share = 100 * row["useful_tflops"] / ceilings["matmul_tflops"] if ceilings else nan
        cells = (
            f"{row['voxels']:>8} {channels:>8} {row['neighbours']:>8.2f} {row['forward_ms']:>8.3f} "
            f"{row['with_map_ms']:>8.3f} {row['forward_backward_ms']:>8.3f} "
            f"{row['forward_backward_sustained_ms']:>8.3f} {row['useful_tflops']:>8.1f} {share:>8.1f} "
            f"{row['minimum_gbs']:>8.0f} {row['torch_ms']:>8.2f} {row.get('dense_ms', nan):>8.2f} "
            f"{row.get('spconv_ms', nan):>8.3f} {row.get('spconv_with_map_ms', nan):>8.3f}"
        )
        print(cells, flush=True)
        rows.append(row)
    if options.output:
        document = {"benchmark": "sparse_conv", **machine(device), "dtype": options.dtype, "ceilings": ceilings}
        document["autotuned"] = autotuning()
        write_results(options.output, {**document, "rows": rows})


if __name__ == "__main__":
    main()
