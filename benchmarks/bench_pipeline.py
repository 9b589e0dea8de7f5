"""Image file to GLB file with the full-size system: time and peak memory of every stage, for every pipeline type.

    python benchmarks/bench_pipeline.py --output benchmarks/results/pipeline_h200.json

Random weights in the published layout and precision, made on the device; the decisions of the decoders are those of a
bumpy sphere (`forced_geometry.py`), everything else is computed as always, with the published sampler settings.
`--memory` names memory tiers, or caps in 10⁹ bytes that are enforced on the allocator (CUDA's own memory subtracted).
`--export-types` are those for which the GLB is made too. `--disk` first writes the checkpoint to a folder and loads the
pipeline from there.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bench_memory import capped
from forced_geometry import KnownSurface, force_decisions
from measure import machine, write_results

from trellis2.models.empty_init import EmptyInit
from trellis2.modules.dinov3 import DinoV3, DinoV3Config
from trellis2.modules.image_feature_extractor import DinoV3FeatureExtractor
from trellis2.pipelines import Trellis2ImageTo3DPipeline, published
from trellis2.pipelines.config import ImageTo3DConfig
from trellis2.pipelines.jobs import ExportOptions, GenerateOptions, export, generate
from trellis2.pipelines.placement import ModelStore
from trellis2.pipelines.progress import Monitor
from trellis2.pipelines.random_checkpoint import fill_random, make_random_checkpoint, random_network
from trellis2.utils.image import load_image

REPO = Path(__file__).resolve().parent.parent


class Stages(Monitor):
    """Synchronises at the ends of every stage, and notes its seconds and peak memory."""

    def __init__(self, device: torch.device, talk: bool) -> None:
        super().__init__()
        self.device, self.talk = device, talk
        self._start = time.perf_counter()
        self.rows: dict[str, dict[str, float]] = {}
        self._begin = 0.0

    def report(self, stage: str, done: int, total: int) -> None:
        if done == 0 or done == total:
            torch.cuda.synchronize(self.device)
            now = time.perf_counter()
            if done == 0:
                torch.cuda.reset_peak_memory_stats(self.device)
                self._begin = now
                if self.talk:
                    print(f"  {now - self._start:6.1f} s: {stage}", flush=True)
            else:
                row = self.rows.setdefault(stage, {"seconds": 0.0, "peak": 0.0})
                row["seconds"] += now - self._begin
                self._begin = now  # the end of a stage may be told twice
                row["peak"] = max(row["peak"], torch.cuda.max_memory_allocated(self.device) / 1e9)
        super().report(stage, done, total)


def in_memory(device: torch.device) -> Trellis2ImageTo3DPipeline:
    """The published pipeline with random full-size networks, made on the device when they are first used."""
    content = published.pipeline_json({"name": "GrabCut", "args": {}})
    config = ImageTo3DConfig.parse(content["args"])

    def loader(key: str) -> Any:
        return lambda: random_network(key, "full", device=device)

    store = ModelStore({key: loader(key) for key in config.models})
    with torch.device(device), EmptyInit():
        encoder = DinoV3(DinoV3Config.from_json(published.dinov3_config()))
    fill_random(encoder, torch.Generator(device).manual_seed(0))
    return Trellis2ImageTo3DPipeline(
        store,
        *(s.build() for s in (config.sparse_structure_sampler, config.shape_slat_sampler, config.tex_slat_sampler)),
        *(s.params for s in (config.sparse_structure_sampler, config.shape_slat_sampler, config.tex_slat_sampler)),
        config.shape_slat_normalization.as_dict(),
        config.tex_slat_normalization.as_dict(),
        DinoV3FeatureExtractor("random", model=encoder),
    )


def from_disk(device: torch.device) -> tuple[Trellis2ImageTo3DPipeline, dict[str, float]]:
    """The same through a checkpoint folder: written, then loaded network by network."""
    folder = Path(tempfile.mkdtemp(prefix="checkpoint_"))
    try:
        start = time.perf_counter()
        make_random_checkpoint(folder, "full", device=device)
        written = time.perf_counter()
        pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(folder), lazy=False)
        loaded = time.perf_counter()
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e9
        return pipeline, {"write": written - start, "load": loaded - written, "gigabytes": size}
    finally:
        shutil.rmtree(folder)


def one_run(
    pipeline: Trellis2ImageTo3DPipeline,
    image: Path,
    kind: str,
    out: Path,
    options: ExportOptions | None,
    device: torch.device,
    talk: bool,
    steps: int | None,
) -> dict[str, Any]:
    """One asset from file to file, or without `options` to the decoded mesh."""
    gc.collect()
    torch.cuda.empty_cache()
    monitor = Stages(device, talk)
    start = time.perf_counter()
    made = generate(pipeline, load_image(image), GenerateOptions(pipeline_type=kind, steps=steps), monitor)
    torch.cuda.synchronize(device)
    generated = end = time.perf_counter()
    row: dict[str, Any] = {"tokens": len(made.latents[0].shape_slat.feats), "faces": len(made.meshes[0].faces)}
    row["voxels"] = len(made.meshes[0].position)  # type: ignore[union-attr]
    if options is not None:
        pipeline._empty_cache()
        result = export(made.meshes[0], out, options, monitor)
        end = time.perf_counter()
        row |= {"finish": result.report.get("seconds"), "megabytes": result.num_bytes / 1e6, "export": end - generated}
    row |= {"generation": generated - start, "total": end - start, "stages": monitor.rows}
    row["peak"] = max(stage["peak"] for stage in monitor.rows.values())
    return row


def show(row: dict[str, Any]) -> None:
    head = f"{row['type']:14s} {row['memory']:>8s} run {row['run']}"
    if "error" in row:
        print(f"{head}: {row['error']}", flush=True)
        return
    glb = (
        f", GLB {row['export']:.2f} s, total {row['total']:.2f} s, {row['megabytes']:.1f} MB" if "export" in row else ""
    )
    size = f"{row['tokens']} tokens, {row['voxels'] / 1e6:.2f} M voxels"
    print(f"{head} ({row['tier']}): {size}; generation {row['generation']:.2f} s{glb}; peak {row['peak']:.2f} GB")
    print("    " + ", ".join(f"{name} {v['seconds']:.2f} s {v['peak']:.1f} GB" for name, v in row["stages"].items()))
    if "finish" in row:
        print(f"    finish: {row['finish']}")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--types", nargs="+", default=["512", "1024", "1024_cascade", "1536_cascade"])
    parser.add_argument("--memory", nargs="+", default=["auto"], help="tiers, or caps in 10⁹ bytes such as 8")
    parser.add_argument("--export-types", nargs="*", default=["512", "1024_cascade"])
    parser.add_argument("--runs", type=int, default=2, help="the first one compiles kernels")
    parser.add_argument("--steps", type=int, help="fewer for tables of memory, which they do not change")
    parser.add_argument("--faces", type=int, default=200_000)
    parser.add_argument("--texture-size", type=int, default=2048)
    parser.add_argument("--image", type=Path, default=REPO / "assets" / "example_image" / "house.png")
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()

    device = torch.device("cuda", torch.cuda.current_device())
    start = time.perf_counter()
    pipeline, disk = from_disk(device) if args.disk else (in_memory(device), {})
    surface = KnownSurface(device)
    pipeline.models.change(force_decisions(surface))
    for resolution in {512, 1024, *(1536 for kind in args.types if "1536" in kind)}:
        surface.voxels(resolution)
        for level in range(1, 5):
            surface.cells(resolution >> (4 - level), resolution)
    surface.cells(64, 1024)
    print(f"ready in {time.perf_counter() - start:.1f} s {disk or ''}", flush=True)
    rows = []
    options = ExportOptions(faces=args.faces, texture_size=args.texture_size)
    folder = Path(tempfile.mkdtemp(prefix="assets_"))
    for memory in args.memory:
        cap = float(memory) if memory.replace(".", "").isdigit() else None
        with capped(None if cap is None else cap + surface.num_bytes / 1e9, device):
            pipeline.memory = "auto" if cap is not None else memory
            pipeline.to(device)
            for kind in args.types:
                for run in range(args.runs):
                    row: dict[str, Any] = {"type": kind, "memory": memory, "run": run}
                    try:
                        finish = options if kind in args.export_types and run == args.runs - 1 else None
                        row |= one_run(
                            pipeline, args.image, kind, folder / f"{kind}.glb", finish, device, run == 0, args.steps
                        )
                        row["tier"] = pipeline.memory_tier
                    except torch.OutOfMemoryError as error:
                        row["error"] = str(error).split(". ")[0]
                    show(row)
                    rows.append(row)
                    if args.output is not None:
                        write_results(args.output, {"machine": machine(device), "disk": disk, "rows": rows})
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
