"""The figures of the evaluation rest on these two functions."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

_PATH = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "fscore.py"
_SPEC = importlib.util.spec_from_file_location("fscore", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
fscore = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fscore)


def test_distance_by_hand():
    predicted = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]])
    truth = torch.tensor([[0.0, 0, 0.01], [0.0, 0.02, 0], [0.0, 0, 0.5], [0.3, 0, 0]])
    result = fscore.surface_distance(predicted, truth, threshold=0.05)
    assert result.precision == pytest.approx(1 / 2)  # the second predicted point is 0.7 away
    assert result.recall == pytest.approx(2 / 4)
    assert result.fscore == pytest.approx(1 / 2)
    assert result.chamfer == pytest.approx(((0.01 + 0.7) / 2 + (0.01 + 0.02 + 0.5 + 0.3) / 4) / 2)


def test_disjoint_sets_score_zero_and_equal_sets_one():
    points = torch.rand(2500, 3, generator=torch.Generator().manual_seed(0))  # more than one chunk of queries
    assert fscore.surface_distance(points, points).fscore == 1
    far = fscore.surface_distance(points, points + 5)
    assert far.fscore == 0 and far.precision == 0


def test_samples_lie_on_the_mesh_by_area():
    # two squares in the planes z = 0 (area 1) and z = 1 (area 4)
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    vertices = torch.cat([square, square * 2 + torch.tensor([0.0, 0, 1])])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    points = fscore.sample_surface(vertices, faces, 20_000, torch.Generator().manual_seed(1))
    low = points[:, 2] == 0
    assert bool((low | (points[:, 2] == 1)).all())
    assert float(low.float().mean()) == pytest.approx(0.2, abs=0.01)
    assert points[low].amin() >= 0 and points[low, :2].amax() <= 1
    assert points[low, :2].mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_mesh_without_area_is_refused():
    with pytest.raises(ValueError, match="positive area"):
        fscore.sample_surface(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), 10, torch.Generator())
