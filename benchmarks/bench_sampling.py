"""Sampling from noise to latents with the full-size flow models (random weights), as the published pipelines run it.

    python benchmarks/bench_sampling.py --output benchmarks/results/sampling_h200.json
    python benchmarks/bench_sampling.py --precision fp8 --types 1024_cascade

Samplers and parameters are those of the published pipeline.json: 12 steps, guidance in an interval, rescaled times.
Decoders and the image encoder are not part of it. Each stage holds its own model only; the peak counts weights,
activations and what is kept of the condition. `--plain` measures plain PyTorch operations instead, without the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any, NamedTuple

import torch
from bench_dit import plain_backends
from flow_models import COND_TOKENS, random_model, shell_latent, structure_latent
from measure import machine, write_results

from trellis2.models import quantize
from trellis2.samplers import FlowEulerGuidanceIntervalSampler, guided_mask, time_schedule

PARAMS: dict[str, dict[str, Any]] = {
    "structure": {"guidance_strength": 7.5, "guidance_rescale": 0.7, "guidance_interval": (0.6, 1.0), "rescale_t": 5.0},
    "shape": {"guidance_strength": 7.5, "guidance_rescale": 0.5, "guidance_interval": (0.6, 1.0), "rescale_t": 3.0},
    "texture": {"guidance_strength": 1.0, "guidance_rescale": 0.0, "guidance_interval": (0.6, 0.9), "rescale_t": 3.0},
}


class Stage(NamedTuple):
    """One sampling run."""

    model: str
    tokens: int
    image_size: int  # of the conditioning image, pixels


TYPES = {
    "512": (Stage("structure", 4096, 512), Stage("shape", 3898, 512), Stage("texture", 3898, 512)),
    "1024_cascade": (
        Stage("structure", 4096, 512),
        Stage("shape", 3898, 512),
        Stage("shape", 16842, 1024),
        Stage("texture", 16842, 1024),
    ),
    "1536_cascade": (
        Stage("structure", 4096, 512),
        Stage("shape", 3898, 512),
        Stage("shape", 45056, 1024),
        Stage("texture", 45056, 1024),
    ),
}


def network_calls(params: dict[str, Any], steps: int) -> int:
    """Evaluations of the network in one run."""
    guided = guided_mask(time_schedule(steps, params["rescale_t"]), params["guidance_interval"])
    return steps + (sum(guided) if params["guidance_strength"] not in (0, 1) else 0)


@torch.no_grad()
def run_stage(stage: Stage, model: Any, device: torch.device, steps: int, cache: bool) -> dict[str, Any]:
    """Time, network calls and peak memory of one stage; the second of two runs."""
    extra = {}
    if stage.model == "structure":
        noise: Any = structure_latent(model, device)
    else:
        noise = shell_latent(stage.tokens, model.out_channels, 96, device)
        if stage.model == "texture":
            extra["concat_cond"] = noise.replace(torch.randn_like(noise.feats))
    cond = torch.randn(1, COND_TOKENS[stage.image_size], model.cond_channels, device=device)
    sampler = FlowEulerGuidanceIntervalSampler(1e-5, cache_condition=cache)

    def run(count: int) -> Any:
        options = {**PARAMS[stage.model], "steps": count, "verbose": False, "history": False}
        return sampler.sample(model, noise, cond, torch.zeros_like(cond), **options, **extra).samples

    run(2)  # compiles kernels and builds attention plans
    _synchronize(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    out = run(steps)
    _synchronize(device)
    seconds = time.perf_counter() - start
    feats = out if isinstance(out, torch.Tensor) else out.feats
    if not bool(torch.isfinite(feats).all()):
        raise RuntimeError(f"stage {stage} gave values that are not finite")
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")
    return {**stage._asdict(), "seconds": seconds, "calls": network_calls(PARAMS[stage.model], steps), "peak_gb": peak}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--types", nargs="+", choices=list(TYPES), default=list(TYPES))
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32", "int8", "fp8"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--blocks", type=int, help="number of blocks, 30 as published if not given")
    parser.add_argument("--plain", action="store_true", help="plain operations, nothing kept between steps")
    parser.add_argument("--output", help="JSON file for the results")
    options = parser.parse_args()
    device = torch.device(options.device)
    low = options.precision in ("int8", "fp8")
    stages = list(dict.fromkeys(stage for name in options.types for stage in TYPES[name]))
    measured: dict[Stage, dict[str, Any]] = {}
    print(f"{'model':>10} {'T':>6} {'image':>6} {'seconds':>8} {'calls':>6} {'ms/call':>8} {'peak GB':>8}")
    with plain_backends(device) if options.plain else contextlib.nullcontext():
        for kind in dict.fromkeys(stage.model for stage in stages):
            model = random_model(kind, device, "bfloat16" if low else options.precision, options.blocks)
            if low:
                quantize(model, options.precision)
            for stage in (s for s in stages if s.model == kind):
                row = measured[stage] = run_stage(stage, model, device, options.steps, not options.plain)
                print(f"{kind:>10} {stage.tokens:>6} {stage.image_size:>6} {row['seconds']:>8.2f} {row['calls']:>6} "
                      f"{row['seconds'] / row['calls'] * 1e3:>8.1f} {row['peak_gb']:>8.2f}", flush=True)  # fmt: skip
            del model
    totals = {}
    for name in options.types:
        rows = [measured[stage] for stage in TYPES[name]]
        totals[name] = {"seconds": sum(r["seconds"] for r in rows), "peak_gb": max(r["peak_gb"] for r in rows)}
        print(f"{name:>14}: {totals[name]['seconds']:.2f} s, peak {totals[name]['peak_gb']:.2f} GB")
    if options.output:
        document = {"machine": machine(device), "precision": options.precision, "plain": options.plain,
                    "steps": options.steps, "blocks": options.blocks or 30, "stages": list(measured.values()),
                    "totals": totals}  # fmt: skip
        write_results(options.output, document)


if __name__ == "__main__":
    main()
