"""Time and peak memory of the texture SC-VAE decoder (f16c32, fp16, random weights) on the voxels of `surface_voxels`.

    python benchmarks/bench_decoder.py --output benchmarks/results/decoder_h200.json

Sizes: 3,898 latent tokens that grow to 1.11 M voxels, and 16,842 that grow to 4.45 M. Useful TFLOP/s count neighbours
and children that are there; GB/s the features that every operation must read and write. --profile prints where the time
goes. `TRELLIS2_BACKEND_<OP>=reference` gives the figures of the plain PyTorch path.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from ceilings import gpu_ceilings
from measure import machine, milliseconds, write_results
from surface_voxels import coarsen, guides, surface_coords

from trellis2.models import SparseUnetVaeDecoder
from trellis2.modules.sparse import SparseTensor
from trellis2.ops.conv_tuning import autotuning
from trellis2.ops.neighbor_map import find_neighbors, pack_coords

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "scvae" / "tex_vae_next_dc_f16c32_fp16.json"


def build_decoder(device: torch.device, seed: int = 0) -> SparseUnetVaeDecoder:
    """The published texture decoder with random weights; zero-initialised layers get random ones too."""
    torch.manual_seed(seed)
    with torch.device(device):
        model = SparseUnetVaeDecoder(**json.loads(CONFIG.read_text())["models"]["decoder"]["args"]).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1 and not bool(parameter.any()):
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model


def latent(coords: torch.Tensor, levels: int = 4) -> tuple[SparseTensor, list[SparseTensor]]:
    """A random latent under fine coords [T, 4] and the guides that make the decoder grow them."""
    chain = [coords]
    for _ in range(levels):
        chain.append(coarsen(chain[-1]))
    chain.reverse()
    bits = guides(chain)
    feats = torch.randn(chain[0].shape[0], 32, generator=torch.Generator().manual_seed(1)).to(coords.device)
    x = SparseTensor(feats, chain[0], torch.Size([1, 32]))
    rows = chain[0]
    subs = []
    for b in bits:
        # Only the features of a guide are read, by row.
        subs.append(SparseTensor(b.float() - 0.5, rows[:1].expand(b.shape[0], 4), torch.Size([1, 8])))
    return x, subs


def decoder_work(model: SparseUnetVaeDecoder, fine: torch.Tensor) -> tuple[float, float]:
    """Floating-point operations and bytes of features moved that decoding to the voxels `fine` [T, 4] cannot avoid."""
    chain = [fine]
    while len(chain) < len(model.model_channels):
        chain.append(coarsen(chain[-1]))
    chain.reverse()
    counts = [(find_neighbors(level, (3, 3, 3)).table < len(level)).sum(1) for level in chain]
    flop, values = 0.0, 0.0
    for i, (level, width, blocks) in enumerate(zip(chain, model.model_channels, model.num_blocks)):
        pairs = float(counts[i].sum())
        # ConvNeXt: convolution, MLP to 4·C and back; reads and writes of the convolution, then input, residual, output.
        flop += blocks * 2 * (pairs * width**2 + len(level) * 8 * width**2)
        values += blocks * 5 * len(level) * width
        if i + 1 < len(chain):
            children, narrow = chain[i + 1], model.model_channels[i + 1]
            parents = children.clone()
            parents[:, 1:] >>= 1
            row = torch.searchsorted(pack_coords(level), pack_coords(parents))
            flop += 2 * narrow * (float(counts[i][row].sum()) * width + float(counts[i + 1].sum()) * narrow)
            # Norm, first convolution and skip read the parents; the children pass twice through norm, product and skip.
            values += 4 * len(level) * width + 7 * len(children) * narrow
    return flop, 2 * values


def run(model: SparseUnetVaeDecoder, x: SparseTensor, subs: list[SparseTensor]) -> SparseTensor:
    """One decode from scratch: nothing derived from the coordinates is kept from call to call."""
    fresh = SparseTensor(x.feats, x.coords, x.shape)
    with torch.no_grad():
        return model(fresh, guide_subs=subs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--resolution", type=int, default=1024, help="of the larger size; the other is half of it")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    model = build_decoder(device)
    coords = surface_coords(options.resolution).to(device)
    rows = []
    print(f"{'tokens':>8} {'voxels':>9} {'ms':>8} {'peak GB':>8} {'TFLOP/s':>8} {'GB/s':>8}")
    for fine in (coarsen(coords), coords):
        x, subs = latent(fine)
        out = run(model, x, subs)
        peak = None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            base = torch.cuda.memory_allocated(device)
            del out
            out = run(model, x, subs)
            peak = torch.cuda.max_memory_allocated(device) / 1e9
        ms = milliseconds(partial(run, model, x, subs), device, options.repeats, 1)
        row = {"tokens": x.feats.shape[0], "voxels": out.feats.shape[0], "ms": ms, "peak_gb": peak}
        flop, moved = decoder_work(model, fine)
        row |= {"useful_tflops": flop / ms / 1e9, "minimum_gbs": moved / ms / 1e6}
        if device.type == "cuda":
            row["resident_gb"] = base / 1e9
        rows.append(row)
        rates = f"{row['useful_tflops']:>8.0f} {row['minimum_gbs']:>8.0f}"
        print(f"{row['tokens']:>8} {row['voxels']:>9} {ms:>8.2f} {peak or 0:>8.2f} {rates}", flush=True)
        if not torch.isfinite(out.feats).all():
            print("NOT FINITE")
        if options.profile:
            profile(model, x, subs)
    result = {"benchmark": "decoder", **machine(device), "autotuned": autotuning(), "rows": rows}
    if device.type == "cuda":
        result["ceilings"] = gpu_ceilings(device)
    if options.output:
        write_results(options.output, result)


def profile(model: SparseUnetVaeDecoder, x: SparseTensor, subs: list[SparseTensor], top: int = 18) -> None:
    """Kernels by device time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as recorded:
        run(model, x, subs)
        torch.cuda.synchronize()
    events = sorted(recorded.key_averages(), key=lambda e: -e.device_time_total)
    total = sum(e.device_time_total for e in events)
    print(f"device time {total / 1e3:.2f} ms")
    for e in events[:top]:
        print(f"{e.device_time_total / 1e3:>9.3f} ms {e.count:>5}×  {e.key[:100]}")


if __name__ == "__main__":
    main()
