"""One forward of the full-size flow transformers (1.3 B parameters, random weights) at the sizes of the paper's stages.

    python benchmarks/bench_dit.py --output benchmarks/results/dit_h200.json

Each row is measured four ways: `eager`, plain PyTorch operations and PyTorch's own choice of attention; `fused`, the
default backends; `cached`, the same with the keys and values of the condition computed before; `run`, as the samplers
call the model from the third step on: cached, and replayed as a CUDA graph where that pays. TFLOP/s and the share of
the ceiling are those of `run`. `constant` is a run's call with a condition of equal tokens, as in the unconditional
branch of guidance. `first` is one `run` after three seconds of rest, before the power limit lowers the clock, which
`MHz` gives for `run` (and the largest draw in W is in the JSON). `parts` is the time of the blocks' matrix products
and attention alone, each measured by itself in the same process under the same load: what no fusion can go below.
Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from flow_models import forward_bytes, forward_flops, random_model, shell_latent, structure_latent
from measure import machine, milliseconds, peak_gigabytes, write_results

from trellis2.models import quantize
from trellis2.ops import backends
from trellis2.ops.attention import attention
from trellis2.ops.fused_mlp import linear_gelu

ROWS = (  # model, tokens, conditioning tokens, goal in ms, published implementation in ms
    ("structure", 4096, 1029, 26.0, 48.7),
    ("shape", 3898, 1029, 34.0, 67.1),
    ("shape", 16842, 4101, 175.0, 338.0),
    ("shape", 49152, 4101, 950.0, 1792.0),
)
FUSED_OPS = ("residual_norm", "norm_rope", "linear_gelu", "attention")


@contextlib.contextmanager
def plain_backends(device: torch.device) -> Iterator[None]:
    """Every fused backend off: plain operations and PyTorch's own choice of attention."""
    off = [
        (op, b.name)
        for op in FUSED_OPS
        for b in backends.backends(op)
        if b.name not in (backends.REFERENCE, "sdpa") and b.reason(device) is None
    ]
    for op, name in off:
        backends.disable(op, name, "compared with plain operations")
    try:
        yield
    finally:
        for op, name in off:
            backends.enable(op, name)


def measured_ceiling(device: torch.device, size: int = 8192) -> float:
    """TFLOP/s of a dense bf16 product of random numbers after a second of the same: at the clock of sustained load."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / milliseconds(lambda: a @ b, device, 100, 600) / 1e9


def after_rest(run: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of one call after three seconds without work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        time.sleep(3)
    return milliseconds(run, device, 1, 0)


def kernel_times(run: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Milliseconds of each kernel of one call after rest, the longest first; those below 0.1 ms are left out."""
    torch.cuda.synchronize(device)
    time.sleep(3)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as recorded:
        run()
        torch.cuda.synchronize(device)
    found = sorted(((e.self_device_time_total / 1e3, e.key) for e in recorded.key_averages()), reverse=True)
    return {name[:90]: time_ms for time_ms, name in found if time_ms >= 0.1}


@contextlib.contextmanager
def sampled_power(device: torch.device) -> Iterator[list[tuple[int, float]]]:
    """(clock of the multiprocessors in MHz, power in W), read while the block runs; empty where nothing tells them."""
    samples: list[tuple[int, float]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            samples.append((torch.cuda.clock_rate(device), torch.cuda.power_draw(device) / 1e3))

    thread = threading.Thread(target=watch, daemon=True)
    if device.type == "cuda" and importlib.util.find_spec("pynvml") is not None:
        thread.start()
    try:
        yield samples
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()


@torch.no_grad()
def parts(model: Any, tokens: int, cond_tokens: int, device: torch.device, repeats: int) -> dict[str, float]:
    """Milliseconds in one forward of each matrix product and attention of the blocks, measured alone."""
    dtype, heads, width = model.dtype, model.num_heads, model.model_channels
    block = model.blocks[0]
    rows, hidden = torch.randn(tokens, width, device=device, dtype=dtype), block.mlp.mlp[0].out_features

    def heads_of(count: int, copies: int) -> tuple[torch.Tensor, ...]:
        packed = torch.randn(1, count, copies * heads, width // heads, device=device, dtype=dtype)
        return packed.chunk(copies, dim=2)

    q, k, v = heads_of(tokens, 3)
    context = heads_of(cond_tokens, 2)
    wide = torch.randn(tokens, hidden, device=device, dtype=dtype)
    calls = {
        "self_attention": lambda: attention(q, k, v),
        "cross_attention": lambda: attention(q, *context),
        "qkv": lambda: block.self_attn.to_qkv(rows),
        "projections": lambda: [block.cross_attn.to_q(rows) for _ in range(3)],
        "mlp_in": lambda: linear_gelu(rows, block.mlp.mlp[0].weight, block.mlp.mlp[0].bias),
        "mlp_out": lambda: block.mlp.mlp[2](wide),
    }
    return {name: model.num_blocks * milliseconds(call, device, 10 * repeats) for name, call in calls.items()}


def inputs(kind: str, model: Any, tokens: int, cond_tokens: int, device: torch.device) -> tuple[Any, ...]:
    """x, t, cond of one sample."""
    if kind == "structure":
        x: Any = structure_latent(model, device)
    else:
        x = shell_latent(tokens, model.in_channels, 96, device)
    generator = torch.Generator().manual_seed(1)
    cond = torch.randn(1, cond_tokens, model.cond_channels, generator=generator).to(device)
    return x, torch.tensor([500.0], device=device), cond


@torch.no_grad()
def measure_row(
    kind: str,
    model: Any,
    tokens: int,
    cond_tokens: int,
    device: torch.device,
    repeats: int,
    eager: bool,
    profile: bool = False,
) -> dict[str, Any]:
    """Times of one row, peak memory and the difference between the ways."""
    x, t, cond = inputs(kind, model, tokens, cond_tokens, device)
    prepared = model.prepare_condition(cond)
    values: dict[str, Any] = {}
    if eager:
        with plain_backends(device):
            values["eager_ms"] = milliseconds(lambda: model(x, t, cond), device, repeats, 2)
            reference = _feats(model(x, t, cond))
    values["fused_ms"] = milliseconds(lambda: model(x, t, cond), device, repeats)
    values["cached_ms"] = milliseconds(lambda: model(x, t, prepared), device, repeats)
    session = model.for_sampling()
    for _ in range(3):
        session(x, t, prepared)  # records the graph
    values["first_ms"] = after_rest(lambda: session(x, t, prepared), device)
    with sampled_power(device) as samples:
        values["run_ms"] = milliseconds(lambda: session(x, t, prepared), device, repeats)
    if profile:
        values["kernels_ms"] = kernel_times(lambda: session(x, t, prepared), device)
    if samples:
        values["clock_mhz"] = statistics.median(clock for clock, _ in samples)
        values["power_w"] = max(power for _, power in samples)
    if eager:
        difference = _feats(session(x, t, prepared)) - reference
        values["difference"] = float(difference.norm() / reference.norm())
    constant = model.prepare_condition(torch.zeros_like(cond))
    values["constant_ms"] = milliseconds(lambda: session(x, t, constant), device, repeats)
    values["peak_gb"] = peak_gigabytes(lambda: model(x, t, prepared), device)
    values["condition_gb"] = prepared.num_bytes / 1e9
    return values


def _feats(x: Any) -> torch.Tensor:
    return x if isinstance(x, torch.Tensor) else x.feats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--blocks", type=int, help="number of blocks, 30 as published if not given")
    parser.add_argument("--rows", type=int, nargs="+", default=list(range(len(ROWS))), help="rows to measure, from 0")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--no-eager", action="store_true", help="leave the plain operations out")
    parser.add_argument("--profile", action="store_true", help="also list the kernels of one call")
    parser.add_argument("--quantize", choices=["int8", "fp8"], help="low-precision weights in the blocks")
    parser.add_argument("--output", help="JSON file for the results")
    options = parser.parse_args()
    device = torch.device(options.device)
    ceiling = measured_ceiling(device) if device.type == "cuda" else float("nan")
    print(f"dense bf16 product of 8192³ under load: {ceiling:.0f} TFLOP/s")
    print(f"{'model':>10} {'T':>6} {'L':>5} {'eager':>8} {'fused':>8} {'cached':>8} {'run':>8} {'goal':>6} "
          f"{'first':>8} {'MHz':>5} {'constant':>8} {'parts':>7} "
          f"{'TFLOP/s':>8} {'ceiling':>7} {'GB/s':>6} {'peak GB':>8} {'diff':>8}")  # fmt: skip
    results, models = [], {}
    for i in options.rows:
        kind, tokens, cond_tokens, goal, published = ROWS[i]
        if kind not in models:
            models.clear()
            models[kind] = random_model(kind, device, options.dtype, options.blocks)
            if options.quantize:
                quantize(models[kind], options.quantize)
        model = models[kind]
        plain, profiled = not options.no_eager, options.profile and device.type == "cuda"
        row = measure_row(kind, model, tokens, cond_tokens, device, options.repeats, plain, profiled)
        if not options.quantize:
            row["parts_ms"] = parts(model, tokens, cond_tokens, device, options.repeats)
        alone = sum(row.get("parts_ms", {"": float("nan")}).values())
        rate = forward_flops(model, tokens, cond_tokens, cached=True) / row["run_ms"] / 1e9
        row["minimum_gbs"] = forward_bytes(model, tokens, cond_tokens) / row["run_ms"] / 1e6
        print(f"{kind:>10} {tokens:>6} {cond_tokens:>5} {row.get('eager_ms', float('nan')):>8.1f} "
              f"{row['fused_ms']:>8.1f} {row['cached_ms']:>8.1f} {row['run_ms']:>8.1f} {goal:>6.0f} "
              f"{row['first_ms']:>8.1f} {row.get('clock_mhz', float('nan')):>5.0f} "
              f"{row['constant_ms']:>8.1f} {alone:>7.1f} "
              f"{rate:>8.0f} {rate / ceiling:>7.0%} {row['minimum_gbs']:>6.0f} "
              f"{row['peak_gb']:>8.2f} {row.get('difference', float('nan')):>8.1e}", flush=True)  # fmt: skip
        for name, took in row.get("kernels_ms", {}).items():
            print(f"{took:>12.2f} ms  {name}")
        results.append({"model": kind, "tokens": tokens, "cond_tokens": cond_tokens, "goal_ms": goal,
                        "published_ms": published, "tflops": rate, **row})  # fmt: skip
    chosen = {op: backends.selected(op, device).name for op in FUSED_OPS}
    print("backends:", chosen)
    if options.output:
        document = {"machine": machine(device), "dtype": options.dtype, "quantize": options.quantize,
                    "blocks": options.blocks or 30, "ceiling_tflops": ceiling, "backends": chosen,
                    "rows": results}  # fmt: skip
        write_results(options.output, document)


if __name__ == "__main__":
    main()
