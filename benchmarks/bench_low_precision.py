"""What low precision costs: memory, time and error of the flow models in bfloat16, int8 and fp8.

    python benchmarks/bench_low_precision.py --output benchmarks/results/low_precision_h200.json
    python benchmarks/bench_low_precision.py --parts geometry --device cpu --images 3

`forward`: one forward of full-size models with random weights; relative L2 error of the velocity against
float32 and bfloat16. `geometry`: the bundled small pipeline from picture to surface with the same seed in each
precision; distance of the surface to the one made in float32. `floor` compares two sets of surface samples of the
float32 result, `seed` the float32 results of two seeds. F-score at one output voxel, 1/64 of the box.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from bench_dit import inputs
from flow_models import CONFIGS, random_model
from fscore import sample_surface, surface_distance
from measure import machine, milliseconds, peak_gigabytes, write_results
from PIL import Image

from trellis2.models import quantize
from trellis2.pipelines import Trellis2ImageTo3DPipeline

REPO = Path(__file__).resolve().parent.parent
PRECISIONS = ("float32", "bfloat16", "int8", "fp8")


def lower(model: Any, precision: str, base: str) -> None:
    """Bring a float32 flow model to a precision; 8-bit weights work on `base` activations."""
    if precision == "float32":
        return
    model.convert_to(base if precision in ("int8", "fp8") else precision)
    if precision in ("int8", "fp8"):
        quantize(model, precision)  # type: ignore[arg-type]


@torch.no_grad()
def forward_part(
    kind: str, device: torch.device, tokens: int, cond_tokens: int, blocks: int | None, repeats: int
) -> list[Any]:
    """Error, time and memory of one forward of a model in each precision."""
    results: list[dict[str, Any]] = []
    outputs: dict[str, torch.Tensor] = {}
    print(f"{kind:>10} {'weights GB':>10} {'peak GB':>8} {'ms':>8} {'vs float32':>11} {'vs bfloat16':>12}")
    for precision in PRECISIONS:
        model = random_model(kind, device, "float32", blocks)
        lower(model, precision, "bfloat16")
        x, t, cond = inputs(kind, model, tokens, cond_tokens, device)
        prepared = model.prepare_condition(cond)
        out = model(x, t, prepared)
        outputs[precision] = out if isinstance(out, torch.Tensor) else out.feats
        weights = sum(p.numel() * p.element_size() for p in (*model.parameters(), *model.buffers())) / 1e9
        row = {
            "model": kind,
            "precision": precision,
            "weights_gb": weights,
            "peak_gb": peak_gigabytes(lambda m=model, a=(x, t, prepared): m(*a), device),
            "ms": milliseconds(lambda m=model, a=(x, t, prepared): m(*a), device, repeats, 1),
            **{f"error_{ref}": relative(outputs[precision], outputs.get(ref)) for ref in ("float32", "bfloat16")},
        }
        print(f"{precision:>10} {row['weights_gb']:>10.2f} {row['peak_gb']:>8.2f} {row['ms']:>8.1f} "
              f"{row['error_float32']:>11.2e} {row['error_bfloat16']:>12.2e}", flush=True)  # fmt: skip
        results.append(row)
        del model, prepared
    return results


def relative(a: torch.Tensor, b: torch.Tensor | None) -> float:
    """Relative L2 distance; NaN without a reference."""
    return float("nan") if b is None else float((a - b).norm() / b.norm())


def geometry_part(device: torch.device, images: int, seed: int, points: int) -> list[Any]:
    """Distance of the small pipeline's surfaces to those made in float32."""
    pictures = [Image.open(path) for path in sorted((REPO / "assets" / "example_image").glob("*.png"))[:images]]

    def surfaces(precision: str, run_seed: int) -> list[Any]:
        pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(REPO / "assets" / "models" / "mini"))
        pipeline.to(device)
        for name in pipeline.models:
            if "flow_model" in name:
                lower(pipeline.models[name], precision, "float32" if precision == "int8" else "bfloat16")
        meshes = [pipeline.run(picture, seed=run_seed, verbose=False)[0] for picture in pictures]
        return [(mesh.vertices.float().cpu(), mesh.faces.cpu()) for mesh in meshes]

    def cloud(mesh: Any, draw: int) -> torch.Tensor:
        return sample_surface(*mesh, points, torch.Generator().manual_seed(draw))

    exact = surfaces("float32", seed)
    others = {"floor": exact, "seed": surfaces("float32", seed + 1)}
    others |= {precision: surfaces(precision, seed) for precision in PRECISIONS[1:]}
    results = []
    print(f"{'':>10} {'F-score':>8} {'worst':>8} {'Chamfer':>9}")
    for name, meshes in others.items():
        rows = [surface_distance(cloud(m, 1), cloud(e, 0), 1 / 64) for m, e in zip(meshes, exact)]
        row = {
            "compared": name,
            "fscore": sum(r.fscore for r in rows) / len(rows),
            "fscore_worst": min(r.fscore for r in rows),
            "chamfer": sum(r.chamfer for r in rows) / len(rows),
        }
        print(f"{name:>10} {row['fscore']:>8.4f} {row['fscore_worst']:>8.4f} {row['chamfer']:>9.5f}", flush=True)
        results.append(row)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--parts", nargs="+", choices=["forward", "geometry"], default=["forward", "geometry"])
    parser.add_argument("--models", nargs="+", choices=list(CONFIGS), default=["shape"])
    parser.add_argument("--tokens", type=int, default=3898, help="of the sparse models; the structure model has 4096")
    parser.add_argument("--cond-tokens", type=int, default=1029)
    parser.add_argument("--blocks", type=int, help="number of blocks, 30 as published if not given")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=8, help="example pictures, at most 8")
    parser.add_argument("--points", type=int, default=10_000, help="surface samples a side")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output", help="JSON file for the results")
    options = parser.parse_args()
    device = torch.device(options.device)
    document: dict[str, Any] = {"machine": machine(device)}
    if "forward" in options.parts:
        sizes = {"tokens": options.tokens, "cond_tokens": options.cond_tokens, "blocks": options.blocks or 30}
        rows = []
        for kind in options.models:
            rows += forward_part(kind, device, *sizes.values(), options.repeats)
        document["forward"] = {**sizes, "rows": rows}
    if "geometry" in options.parts:
        rows = geometry_part(device, options.images, options.seed, options.points)
        document["geometry"] = {"images": options.images, "seed": options.seed, "rows": rows}
    if options.output:
        write_results(options.output, document)


if __name__ == "__main__":
    main()
