"""How well the bundled small pipeline turns one picture into the right shape, on procedural assets never trained on.

    python benchmarks/eval_mini.py --pipeline assets/models/mini --count 100

Each held-out asset (indices from 1,000,000) is rendered once from a random direction over the full circle; the pipeline
sees that picture only. The decoded surface is compared with the true one by 10,000 area-weighted points a side in the
unit box, without any alignment: F-score at 0.05. Beside it, on the same assets: the mean training shape and a random
training shape. `--sheet` also draws the pictures and results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from fscore import SurfaceDistance, sample_surface, surface_distance
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from data_toolkit.procedural import family_of, generate_asset
from data_toolkit.steps.views import render_views
from trellis2.renderers.asset_views import ViewCamera, load_asset, render_asset_view

EVAL_START = 1_000_000
MEAN_GRID = 32  # cells a side of the mean training shape


def truth_points(index: int, count: int) -> tuple[Any, Tensor]:
    """The normalised asset and `count` points [count, 3] on its surface."""
    asset = load_asset(generate_asset(index).scene())
    generator = torch.Generator().manual_seed(index)
    return asset, sample_surface(torch.as_tensor(asset.vertices), torch.as_tensor(asset.faces), count, generator)


def condition_picture(asset: Any, index: int, size: int) -> Image.Image:
    """RGBA picture of the asset from one random direction (the camera distribution of the training views)."""
    with tempfile.TemporaryDirectory() as folder:
        render_views(asset, Path(folder), index, num_views=1, resolution=size)
        return Image.open(Path(folder) / "000.png").copy()


def mean_shape_points(train_count: int, count: int) -> Tensor:
    """Points of the mean training shape: the most often occupied cells, as many as a training shape has on average."""
    total, occupied = torch.zeros(MEAN_GRID**3), 0.0
    for index in tqdm(range(train_count), desc="Mean training shape"):
        points = truth_points(index, 20_000)[1]
        cell = ((points + 0.5) * MEAN_GRID).long().clamp_(0, MEAN_GRID - 1)
        mask = torch.zeros(MEAN_GRID**3)
        mask[(cell[:, 0] * MEAN_GRID + cell[:, 1]) * MEAN_GRID + cell[:, 2]] = 1
        total += mask
        occupied += float(mask.sum())
    chosen = total.topk(round(occupied / train_count)).indices
    generator = torch.Generator().manual_seed(0)
    pick = chosen[torch.randint(len(chosen), (count,), generator=generator)]
    corner = torch.stack([pick // MEAN_GRID**2, pick // MEAN_GRID % MEAN_GRID, pick % MEAN_GRID], 1)
    return (corner + torch.rand(count, 3, generator=generator)) / MEAN_GRID - 0.5


def summarise(rows: list[SurfaceDistance]) -> dict[str, float]:
    table = np.array(rows, dtype=np.float64)
    return {name: round(float(v), 4) for name, v in zip(SurfaceDistance._fields, table.mean(0))} | {
        "fscore_median": round(float(np.median(table[:, 2])), 4)
    }


def draw_views(mesh: Any, size: int) -> list[Image.Image]:
    """Four views (front, right, back, left) of a decoded textured mesh."""
    from trellis2.utils.render_utils import render_frames, yaw_pitch_r_fov_to_extrinsics_intrinsics

    yaws = [np.pi, np.pi / 2, 0.0, -np.pi / 2]
    extrinsics, intrinsics = yaw_pitch_r_fov_to_extrinsics_intrinsics(yaws, [0.35] * 4, [2.0] * 4, [40.0] * 4)
    from trellis2.renderers import EnvMap
    from trellis2.renderers.environments import make_environment

    envmap = EnvMap(make_environment("studio"))
    frames = render_frames(mesh, extrinsics, intrinsics, {"resolution": size}, verbose=False, envmap=envmap)
    return [Image.fromarray(f) for f in frames["shaded"]]


def truth_views(asset: Any, size: int) -> list[Image.Image]:
    views = []
    for yaw in (np.pi, np.pi / 2, 0.0, -np.pi / 2):
        rgba = render_asset_view(asset, ViewCamera(yaw, 0.35, 2.0, 40.0), size)["rgba"]
        background = Image.new("RGBA", (size, size), (0, 0, 0, 255))
        views.append(Image.alpha_composite(background, Image.fromarray(rgba)).convert("RGB"))
    return views


def paste_row(pictures: list[Image.Image], size: int) -> Image.Image:
    row = Image.new("RGB", (size * len(pictures), size))
    for i, picture in enumerate(pictures):
        row.paste(picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS), (i * size, 0))
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pipeline", default="assets/models/mini")
    parser.add_argument("--count", type=int, default=100, help="held-out assets")
    parser.add_argument("--start", type=int, default=EVAL_START, help="index of the first held-out asset")
    parser.add_argument("--points", type=int, default=10_000, help="points a side")
    parser.add_argument("--threshold", type=float, default=0.05, help="in box units")
    parser.add_argument("--train-count", type=int, default=512, help="training assets behind the mean shape")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--ss-params", type=json.loads, default={}, help="JSON: sampler parameters of the structure")
    parser.add_argument("--shape-params", type=json.loads, default={}, help="JSON: sampler parameters of the shape")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/eval_mini.json"))
    parser.add_argument("--sheet", type=Path, help="PNG: picture, result from four sides, truth from four sides")
    parser.add_argument("--sheet-rows", type=int, default=12)
    args = parser.parse_args()

    from trellis2.pipelines import Trellis2ImageTo3DPipeline

    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(args.pipeline)
    pipeline.to(torch.device(args.device))
    mean_points = mean_shape_points(args.train_count, args.points)
    rng = np.random.default_rng(args.seed)
    scores: dict[str, list[SurfaceDistance]] = {"pipeline": [], "mean training shape": [], "random training shape": []}
    per_asset, rows = [], []
    begin = time.perf_counter()
    for index in tqdm(range(args.start, args.start + args.count), desc="Held-out assets"):
        asset, truth = truth_points(index, args.points)
        picture = condition_picture(asset, index, 256)
        mesh = pipeline.run(
            picture,
            seed=args.seed,
            sparse_structure_sampler_params=args.ss_params,
            shape_slat_sampler_params=args.shape_params,
            verbose=False,
        )[0]
        generator = torch.Generator().manual_seed(index + 1)
        predicted = sample_surface(mesh.vertices, mesh.faces, args.points, generator)
        random_points = truth_points(int(rng.integers(args.train_count)), args.points)[1]
        result = surface_distance(predicted, truth, args.threshold)
        scores["pipeline"].append(result)
        scores["mean training shape"].append(surface_distance(mean_points, truth, args.threshold))
        scores["random training shape"].append(surface_distance(random_points, truth, args.threshold))
        per_asset.append({"index": index, "family": family_of(index), "fscore": round(result.fscore, 4)})
        if args.sheet and len(rows) < args.sheet_rows:
            rows.append(paste_row([picture, *draw_views(mesh, 128), *truth_views(asset, 128)], 128))
    seconds = time.perf_counter() - begin
    summary = {name: summarise(values) for name, values in scores.items()}
    print(f"{'':24}{'F-score':>9}{'median':>9}{'precision':>11}{'recall':>9}{'Chamfer':>9}")
    for name, row in summary.items():
        print(
            f"{name:24}{row['fscore']:9.3f}{row['fscore_median']:9.3f}{row['precision']:11.3f}"
            f"{row['recall']:9.3f}{row['chamfer']:9.4f}"
        )
    record = {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, device {args.device}",
        "torch": torch.__version__,
        "assets": args.count,
        "threshold": args.threshold,
        "points": args.points,
        "seconds": round(seconds, 1),
        "summary": summary,
        "per_asset": per_asset,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_name(f".{args.output.name}.tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    temporary.replace(args.output)
    if rows:
        sheet = Image.new("RGB", (rows[0].width, rows[0].height * len(rows)))
        for i, row in enumerate(rows):
            sheet.paste(row, (0, i * row.height))
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(args.sheet)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
