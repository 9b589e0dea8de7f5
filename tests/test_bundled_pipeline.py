"""The bundled small pipeline is trained: from one picture it makes the right shape of objects it never saw."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_shapes_of_held_out_assets(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REPO / "benchmarks"), *sys.path])
    import torch
    from eval_mini import EVAL_START, condition_picture, sample_surface, surface_distance, truth_points

    from trellis2.pipelines import Trellis2ImageTo3DPipeline

    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(REPO / "assets" / "models" / "mini")
    scores = []
    for index in (EVAL_START, EVAL_START + 1, EVAL_START + 2):
        asset, truth = truth_points(index, 4000)
        mesh = pipeline.run(condition_picture(asset, index, 256), seed=42, verbose=False)[0]
        predicted = sample_surface(mesh.vertices, mesh.faces, 4000, torch.Generator().manual_seed(0))
        scores.append(surface_distance(predicted, truth).fscore)
        assert float(mesh.attrs.amax()) > 0.5, "materials are not all black"
    # the mean over 100 such assets is above 0.9; a random training shape scores below 0.3
    assert sum(scores) / len(scores) > 0.7, scores


def test_weights_fit_the_promise():
    files = list((REPO / "assets" / "models" / "mini").rglob("*"))
    assert sum(f.stat().st_size for f in files if f.is_file()) <= 40_000_000
