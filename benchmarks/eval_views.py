"""What more pictures and more candidates are worth to the bundled small pipeline, on assets it was never trained on.

    python benchmarks/eval_views.py --count 20 --output benchmarks/results/eval_views.json

Each held-out asset is drawn from four directions around it. F-score at 0.05 of the decoded surface against the true
one, without alignment, as in `eval_mini.py`: for 1, 2 and 4 pictures and every way of fusing them, and for the best
of several candidates (seeds) by the scorer, beside their mean and the true best; with `--samplers` also for samplers
that leave evaluations of the networks out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from eval_mini import EVAL_START, truth_points
from fscore import sample_surface, surface_distance
from measure import machine, write_results
from PIL import Image

from data_toolkit.procedural import family_of
from data_toolkit.steps.views import render_views
from trellis2.pipelines import Trellis2ImageTo3DPipeline
from trellis2.pipelines.scoring import score_asset
from trellis2.samplers import FUSIONS

VIEWS = 4
#: Samplers that leave evaluations out, beside fewer steps.
SAMPLERS: dict[str, dict[str, int]] = {
    "half the steps": {"steps": 8},
    "evaluate_every 2": {"evaluate_every": 2},
    "evaluate_every 3": {"evaluate_every": 3},
    "guidance_every 2": {"guidance_every": 2},
    "both 2": {"evaluate_every": 2, "guidance_every": 2},
}
#: Pictures of a number of them: spread over the full circle.
CHOICES = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}


def pictures_of(asset: Any, index: int, size: int) -> list[Image.Image]:
    """RGBA pictures of an asset, following one another around it."""
    with tempfile.TemporaryDirectory() as folder:
        render_views(asset, Path(folder), index, num_views=VIEWS, resolution=size)
        return [Image.open(Path(folder) / f"{i:03d}.png").copy() for i in range(VIEWS)]


def prepare(job: tuple[int, int, Path | None]) -> tuple[Any, list[Image.Image]]:
    """Points on the true surface, and the pictures: those kept in a folder, or drawn."""
    torch.set_num_threads(1)
    index, count, folder = job
    asset, truth = truth_points(index, count)
    if folder is None:
        return truth.numpy(), pictures_of(asset, index, 256)
    files = [folder / f"{index}_{i}.png" for i in range(VIEWS)]
    if not files[-1].is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for file, picture in zip(files, pictures_of(asset, index, 256)):
            picture.save(file)
    return truth.numpy(), [Image.open(file).copy() for file in files]


class Measure:
    """Puts F-scores of one asset into its row."""

    def __init__(
        self, index: int, truth: Any, row: dict[str, Any], seconds: dict[str, float], args: argparse.Namespace
    ) -> None:
        self.index, self.truth, self.row, self.seconds, self.args = index, truth, row, seconds, args

    def fscore(self, mesh: Any) -> float:
        generator = torch.Generator().manual_seed(self.index + 1)
        points = sample_surface(mesh.vertices.cpu(), mesh.faces.cpu(), self.args.points, generator)
        return surface_distance(points.to(self.args.device), self.truth, self.args.threshold).fscore

    def timed(self, name: str, make: Callable[[], Any]) -> None:
        start = time.perf_counter()
        mesh = make()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.row[name] = self.fscore(mesh)


def _geometry(pipeline: Any, *arguments: Any) -> Any:
    """The decoded surface of a run without texture."""
    return pipeline.decode(pipeline.generate(*arguments, texture=False)[0])


def measure_views(pipeline: Any, pictures: list[Image.Image], measure: Measure, args: argparse.Namespace) -> None:
    for count in args.views:
        for fusion in args.fusions if count > 1 else args.fusions[:1]:
            pipeline.fusion = fusion
            chosen = [pictures[i] for i in CHOICES[count]]
            name = "1 picture" if count == 1 else f"{count} pictures, {fusion}"
            measure.timed(name, partial(_geometry, pipeline, chosen, (args.seed,)))


def measure_samplers(pipeline: Any, pictures: list[Image.Image], measure: Measure, args: argparse.Namespace) -> None:
    for name, params in SAMPLERS.items():
        measure.timed(name, partial(_geometry, pipeline, pictures[0], (args.seed,), params, params))


def measure_candidates(pipeline: Any, pictures: list[Image.Image], measure: Measure, args: argparse.Namespace) -> None:
    seeds = range(args.seed, args.seed + args.candidates)
    meshes = [pipeline.decode(one) for one in pipeline.generate(pictures[0], list(seeds))]
    seen = [pipeline.preprocess_image(pictures[0])]
    size = pipeline.pipeline_type().ss_cond_resolution
    marks = [score_asset(mesh, seen, pipeline, cond_resolution=size).score for mesh in meshes]
    values = [measure.fscore(mesh) for mesh in meshes]
    measure.row["candidates, every"] = values
    measure.row["candidates, marks"] = marks
    measure.row["candidates, mean"] = float(np.mean(values))
    measure.row["candidates, chosen"] = values[int(np.argmax(marks))]
    measure.row["candidates, best"] = max(values)


MEASURES = {"views": measure_views, "samplers": measure_samplers, "candidates": measure_candidates}


def report(rows: list[dict[str, Any]], seconds: dict[str, float], args: argparse.Namespace) -> None:
    """Print and write the summary; `seconds` are sums over all rows."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float):
                scores.setdefault(name, []).append(value)
    print(f"{len(rows)} assets, F-score at {args.threshold}")
    print(f"{'':28}{'mean':>8}{'median':>8}{'worst':>8}{'s/asset':>9}{'better':>8}{'worse':>7}")
    summary = {}
    for name, values in scores.items():
        change = [row[name] - row["1 picture"] for row in rows if name in row and "1 picture" in row]
        s = summary[name] = {
            "mean": float(np.mean(values)),
            "median": float(np.median(values)),
            "worst": min(values),
            "seconds": seconds.get(name, float("nan")) / len(values),
            "better": sum(c > 0.01 for c in change),
            "worse": sum(c < -0.01 for c in change),
        }
        print(
            f"{name:28}{s['mean']:8.3f}{s['median']:8.3f}{s['worst']:8.3f}{s['seconds']:9.2f}"
            f"{s['better']:8d}{s['worse']:7d}"
        )
    if args.output is not None:
        found = machine(torch.device(args.device)) if not args.merge else {}
        write_results(args.output, {"machine": found, "summary": summary, "seconds": seconds, "rows": rows})


def merge(args: argparse.Namespace) -> None:
    """One result of several processes that shared the assets."""
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in args.merge]
    rows = sorted((row for part in parts for row in part["rows"]), key=lambda row: row["index"])
    seconds: dict[str, float] = {}
    for part in parts:
        for name, value in part["seconds"].items():
            seconds[name] = seconds.get(name, 0.0) + value
    report(rows, seconds, args)
    if args.output is not None:
        merged = json.loads(args.output.read_text(encoding="utf-8"))
        write_results(args.output, {**merged, "machine": parts[0]["machine"]})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pipeline", default="assets/models/mini")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--start", type=int, default=EVAL_START)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--threshold", type=float, default=0.05)
    parser.add_argument(
        "--views", type=int, nargs="*", default=[1, 2, 4], choices=list(CHOICES), help="none: leave that part out"
    )
    parser.add_argument("--fusions", nargs="+", default=list(FUSIONS), choices=list(FUSIONS))
    parser.add_argument("--candidates", type=int, default=4, help="0: leave that part out")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--samplers", action="store_true", help="also samplers that leave evaluations out")
    parser.add_argument("--pictures", type=Path, help="folder in which the pictures are kept")
    parser.add_argument("--prepare", action="store_true", help="only draw the pictures")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the pictures")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which no asset is begun")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--merge", type=Path, nargs="+", help="only put the results of several processes together")
    args = parser.parse_args()
    if args.merge:
        merge(args)
        return 0

    indices = range(args.start, args.start + args.count)
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        prepared = list(pool.map(prepare, [(index, args.points, args.pictures) for index in indices]))
    if args.prepare:
        return 0
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(args.pipeline)
    pipeline.to(torch.device(args.device))
    seconds: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    begin = time.perf_counter()
    wanted = {"views": args.views, "samplers": args.samplers, "candidates": args.candidates}
    parts = [part for part in MEASURES if wanted[part]]
    for part in parts:  # one after the other, so that a run that is stopped has the first for all assets
        for number, (index, (points_of_truth, pictures)) in enumerate(zip(indices, prepared, strict=True)):
            if time.perf_counter() - begin > args.limit:
                return 0
            if number == len(rows):
                rows.append({"index": index, "family": family_of(index)})
            truth = torch.from_numpy(points_of_truth).to(args.device)
            MEASURES[part](pipeline, pictures, Measure(index, truth, rows[number], seconds, args), args)
            report(rows, seconds, args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
