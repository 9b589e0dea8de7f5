"""Peak device memory of every stage of the full-size system, without a cap and under hard caps.

    python benchmarks/bench_memory.py --output benchmarks/results/memory_h200.json

Random weights; the voxels of a bumpy sphere at 512³, 1024³ and 1536³ (`surface_voxels.py`) stand for what the networks
would decide: the latents lie on their coarsenings, and the subdivision of the shape decoder is forced from them.
A cap is enforced with torch.cuda.set_per_process_memory_fraction; the memory that CUDA itself takes (context, kernels)
is subtracted from it, so that the whole process stays below. Sampling runs one step with guidance: memory does not
depend on their number. Columns: peak allocated / peak held by the allocator, 10⁹ bytes, and time of the stage.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from flow_models import COND_TOKENS, random_model, structure_latent
from measure import machine, write_results
from surface_voxels import coarsen, guides, surface_coords
from torch import Tensor, nn

from trellis2 import models
from trellis2.models.empty_init import EmptyInit
from trellis2.modules.image_feature_extractor import DinoV3FeatureExtractor
from trellis2.modules.sparse import SparseTensor
from trellis2.modules.streaming import streamed
from trellis2.ops import backends
from trellis2.samplers import FlowEulerGuidanceIntervalSampler

LEVELS = 4
_DECODER = {
    "model_channels": [1024, 512, 256, 128, 64],
    "latent_channels": 32,
    "num_blocks": [4, 16, 8, 4, 0],
    "block_type": ["SparseConvNeXtBlock3d"] * 5,
    "up_block_type": ["SparseResBlockC2S3d"] * 4,
    "block_args": [{}] * 5,
    "use_fp16": True,
}


class Setting(NamedTuple):
    """How much memory a run may use and how."""

    name: str
    cap: float | None  # 10⁹ bytes, everything included
    stream: bool
    quantize: str | None  # of the flow models


class Grid(NamedTuple):
    """Voxels of one resolution."""

    resolution: int
    latent: Tensor  # [T, 4] int32, on the CPU
    subdivisions: list[Tensor]  # [M_i, 8] bool, coarse to fine, on the CPU
    num_voxels: int


def make_grid(resolution: int, device: torch.device) -> Grid:
    levels = [surface_coords(resolution).to(device)]
    for _ in range(LEVELS):
        levels.append(coarsen(levels[-1]))
    levels.reverse()
    return Grid(resolution, levels[0].cpu(), [g.cpu() for g in guides(levels)], levels[-1].shape[0])


class ForcedSubdivision(nn.Module):
    """Takes the place of `to_subdiv`: logits ±1 from known children, in place of a trained decision."""

    def __init__(self) -> None:
        super().__init__()
        self.bits: Tensor | None = None

    def forward(self, x: SparseTensor) -> SparseTensor:
        if self.bits is None or self.bits.shape[0] != x.feats.shape[0]:
            raise RuntimeError("the subdivision of this level has not been set for these voxels")
        return x.replace(self.bits.to(x.device).to(x.dtype) * 2 - 1)


def _fill(model: nn.Module) -> nn.Module:
    """Random weights of about unit gain."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(std=(parameter[0].numel()) ** -0.5)
        elif "norm" in name:
            parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            parameter.data.zero_()
    return model.eval().requires_grad_(False)


def decoder(kind: str, device: torch.device) -> Any:
    with torch.device(device), EmptyInit():
        if kind == "shape":
            model = models.FlexiDualGridVaeDecoder(resolution=1024, **_DECODER)
            for level in list(model.blocks)[:-1]:
                level[-1].to_subdiv = ForcedSubdivision()
        else:
            model = models.SparseUnetVaeDecoder(6, **_DECODER, pred_subdiv=False)
    return _fill(model).cpu()


def force(model: Any, grid: Grid) -> None:
    for level, bits in zip(list(model.blocks)[:-1], grid.subdivisions):
        level[-1].to_subdiv.bits = bits


def _latent(grid: Grid, channels: int, device: torch.device) -> SparseTensor:
    feats = torch.randn(grid.latent.shape[0], channels, generator=torch.Generator().manual_seed(0))
    return SparseTensor(feats.to(device), grid.latent.to(device), torch.Size([1, channels]))


def overhead(device: torch.device) -> int:
    """Bytes on the device that are not the allocator's: CUDA's own, unless others use the device; at most 1 GB."""
    free, total = torch.cuda.mem_get_info(device)
    return min(10**9, total - free - torch.cuda.memory_reserved(device))


@contextmanager
def capped(cap: float | None, device: torch.device) -> Any:
    """Let the allocator take no more than cap·10⁹ bytes minus CUDA's own share."""
    total = torch.cuda.get_device_properties(device).total_memory
    gc.collect()
    torch.cuda.empty_cache()
    if cap is not None:
        torch.cuda.set_per_process_memory_fraction((cap * 1e9 - overhead(device)) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _held(model: Any, setting: Setting, device: torch.device) -> AbstractContextManager[Any]:
    if setting.stream:
        return streamed(model, device)
    model.to(device)
    return nullcontext(model)


def measure(
    label: str, model: Any, setting: Setting, device: torch.device, work: Callable[..., Any], *args: Any
) -> tuple[dict[str, Any], Any]:
    """One stage, work(model, *args): its peaks and seconds, and its result; running out of memory is a row too."""
    row: dict[str, Any] = {"stage": label, "setting": setting.name}
    result = None
    model.cpu()
    with capped(setting.cap, device):
        torch.cuda.reset_peak_memory_stats(device)
        start = torch.cuda.memory_allocated(device)
        try:
            with _held(model, setting, device) as placed, torch.no_grad():
                for _ in range(2):  # a short first call may be all compilation
                    if row.get("seconds", 0) > 1.5:
                        break
                    result = None
                    torch.cuda.synchronize(device)
                    begin = time.perf_counter()
                    result = work(placed, *args)
                    torch.cuda.synchronize(device)
                    row["seconds"] = time.perf_counter() - begin
        except torch.OutOfMemoryError as error:
            row["error"] = str(error).split(". ")[0]
        row["allocated"] = torch.cuda.max_memory_allocated(device) / 1e9
        row["held"] = torch.cuda.max_memory_reserved(device) / 1e9
        row["before"] = start / 1e9
        model.cpu()
    shown = row.get("error") or f"{row['allocated']:7.2f} {row['held']:7.2f} GB {row['seconds']:8.3f} s"
    print(f"{setting.name:<12} {label:<34} {shown}", flush=True)
    return row, result


def sample(model: Any, noise: Any, image_size: int, steps: int, concat: Any = None) -> int:
    """Guided steps, as the pipeline runs them."""
    cond = torch.randn(1, COND_TOKENS[image_size], model.cond_channels, device=noise.device)
    extra = {} if concat is None else {"concat_cond": concat}
    options: dict[str, Any] = {"steps": steps, "guidance_strength": 7.5, "verbose": False, "history": False}
    out = FlowEulerGuidanceIntervalSampler().sample(model, noise, cond, torch.zeros_like(cond), **options, **extra)
    return len(out.samples)


def sampling_rows(
    setting: Setting, kind: str, model: Any, grids: list[Grid], steps: int, device: torch.device
) -> list[dict[str, Any]]:
    rows = []
    if kind == "structure":
        noise = structure_latent(model, device)
        return [measure("sample structure, 4096 tokens", model, setting, device, sample, noise, 512, steps)[0]]
    for grid in grids:
        image = 512 if grid.resolution == 512 else 1024
        label = f"sample {kind} {grid.resolution}, {len(grid.latent)} tokens"
        latent = _latent(grid, 32, device)
        concat = latent if kind == "texture" else None
        rows.append(measure(label, model, setting, device, sample, latent, image, steps, concat)[0])
    return rows


def decoding_rows(
    setting: Setting, shape: Any, texture: Any, grids: list[Grid], device: torch.device
) -> list[dict[str, Any]]:
    rows = []
    for grid in grids:
        force(shape, grid)
        shape.set_resolution(grid.resolution)
        latent = _latent(grid, 32, device)
        size = f"{grid.resolution}, {grid.num_voxels / 1e6:.2f} M voxels"

        def run(label: str, model: Any, work: Callable[..., Any], *args: Any, size: str = size) -> Any:
            row, result = measure(f"{label} {size}", model, setting, device, work, *args)
            rows.append(row)
            return result

        run("upsample", shape, lambda m, x: len(m.upsample(x, 4)), latent)
        run("decode shape", shape, lambda m, x: len(m.decode(x).feats), latent)
        run("decode shape, mesh", shape, lambda m, x: len(m(x)), latent)
        subs = run("decode shape, guides", shape, lambda m, x: m.decode(x, return_subs=True)[1], latent)
        if subs is not None:
            run("decode texture", texture, lambda m, x, guide_subs: len(m(x, guide_subs).feats), latent, subs)
    return rows


def image_rows(setting: Setting, model: Any, device: torch.device) -> list[dict[str, Any]]:
    rows = []
    for size in (512, 1024):
        images = torch.rand(1, 3, size, size, device=device)

        def run(m: nn.Module, x: Tensor, size: int = size) -> int:
            tokens = DinoV3FeatureExtractor("random", size, m)(x).shape[1]
            if tokens != COND_TOKENS[size]:
                raise RuntimeError(f"expected {COND_TOKENS[size]} tokens of a {size}-pixel image, got {tokens}")
            return tokens

        rows.append(measure(f"encode image, {size} pixels", model, setting, device, run, images)[0])
    return rows


def image_encoder(device: torch.device) -> nn.Module:
    """ViT-L/16 with four registers, as the published pipelines use, with random weights."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    }
    with torch.device(device):
        model = DINOv3ViTModel(DINOv3ViTConfig(**sizes, patch_size=16, image_size=512, num_register_tokens=4))
    return model.eval().requires_grad_(False).cpu()


def parse_setting(text: str) -> Setting:
    """'none', '8', '6:int8'."""
    cap, _, precision = text.partition(":")
    if cap == "none":
        return Setting("no cap", None, False, precision or None)
    return Setting(f"{cap} GB {precision}".strip(), float(cap), True, precision or None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[1024, 512, 1536])
    parser.add_argument("--kinds", nargs="*", default=["shape", "texture", "structure"], help="flow models to run")
    parser.add_argument(
        "--caps",
        nargs="+",
        default=["none", "8", "6:int8"],
        help="'none', or 10⁹ bytes, with the flow models' precision",
    )
    parser.add_argument("--image", action=argparse.BooleanOptionalAction, default=True, help="the image encoder")
    parser.add_argument("--decode", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--steps", type=int, default=1, help="sampling steps")
    parser.add_argument("--output", help="JSON file for the result")
    options = parser.parse_args()
    device = torch.device("cuda", torch.cuda.current_device())
    torch.zeros(1, device=device)
    settings = [parse_setting(text) for text in options.caps]
    grids = [make_grid(r, device) for r in options.resolutions]
    for grid in grids:
        print(f"{grid.resolution}³: {len(grid.latent)} tokens, {grid.num_voxels} voxels", flush=True)
    print(f"CUDA itself holds {overhead(device) / 1e9:.2f} GB\n{'setting':<12} {'stage':<34}  peak    held      time")
    for op in backends.op_names():
        backends.selected(op, device)  # the self-test of new machines is no part of any stage
    rows: list[dict[str, Any]] = []

    def add(more: list[dict[str, Any]]) -> None:
        rows.extend(more)
        if options.output:
            own = {"cuda_own_gb": overhead(device) / 1e9}
            write_results(options.output, {"benchmark": "memory", **machine(device), **own, "rows": rows})

    if options.decode:
        shape, texture = decoder("shape", device), decoder("texture", device)
        for setting in settings:
            add(decoding_rows(setting, shape, texture, grids, device))
        del shape, texture
    for kind in options.kinds:
        model = random_model(kind, device).cpu()
        for setting in settings:
            if setting.quantize is not None:
                models.quantize(model, setting.quantize)
            add(sampling_rows(setting, kind, model, grids, options.steps, device))
        del model
    if options.image:
        encoder = image_encoder(device)
        for setting in settings:
            add(image_rows(setting, encoder, device))


if __name__ == "__main__":
    main()
