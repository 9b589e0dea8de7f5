"""Sampling of sparse voxels as an operation: published values, absent voxels, gradients, bad input."""

from __future__ import annotations

import pytest
import torch

from trellis2.ops import backends
from trellis2.ops.grid_sample import OP, grid_sample_3d

COORDS = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 2], [0, 2, 1, 1], [0, 0, 0, 0], [0, 2, 2, 2]], dtype=torch.int32)
FEATS = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
SHAPE = (1, 1, 4, 4, 4)
POINTS = [
    ((1.5, 1.5, 1.5), 1.0), ((1.5, 1.5, 2.0), 1.5), ((2.0, 1.5, 1.5), 2.0), ((1.75, 1.6, 1.9), 1.70731707),
    ((0.1, 0.1, 0.1), 4.0), ((3.4, 3.4, 3.4), 5.0), ((2.5, 2.5, 1.2), 0.0),
]  # fmt: skip


@pytest.fixture
def device(any_device):
    return any_device


@pytest.fixture(params=["native", "reference"])
def backend(request, device, monkeypatch):
    chosen = next(b for b in backends.backends(OP) if b.name == request.param)
    reason = chosen.reason(torch.device(device))
    if reason:
        pytest.skip(reason)
    monkeypatch.setenv(backends.environment_variable(OP), request.param)
    monkeypatch.setattr(backends, "_chosen", {})
    return request.param


def test_published_values(device, backend):
    points = torch.tensor([[p for p, _ in POINTS]], device=device)
    out = grid_sample_3d(FEATS.to(device), COORDS.to(device), SHAPE, points)
    assert out.device.type == device and out.shape == (1, len(POINTS), 1)
    torch.testing.assert_close(out[0, :, 0].cpu(), torch.tensor([v for _, v in POINTS]), rtol=1e-6, atol=1e-6)


def test_nearest_takes_the_voxel_that_holds_the_point(device, backend):
    points = torch.tensor([[[1.99, 1.0, 2.01], [2.0, 1.5, 1.0], [-0.5, 0.2, 0.2], [3.9, 3.9, 3.9]]], device=device)
    out = grid_sample_3d(FEATS.to(device), COORDS.to(device), SHAPE, points, "nearest")
    assert out[0, :, 0].tolist() == [2.0, 3.0, 0.0, 0.0]


def test_absent_voxels_are_never_read(device, backend):
    feats = FEATS.clone()
    feats[0] = float("nan")
    points = torch.tensor([[[0.4, 0.4, 0.4], [2.5, 2.5, 2.5]]], device=device)
    out = grid_sample_3d(feats.to(device), COORDS.to(device), SHAPE, points)
    assert torch.equal(out[0, :, 0].cpu(), torch.tensor([4.0, 5.0]))


def test_gradients_reach_the_features(device, backend):
    feats = FEATS.clone().to(device).requires_grad_()
    points = torch.tensor([[[1.5, 1.5, 2.0], [0.1, 0.1, 0.1]]], device=device)
    grid_sample_3d(feats, COORDS.to(device), SHAPE, points).sum().backward()
    assert torch.allclose(feats.grad[:, 0].cpu(), torch.tensor([0.5, 0.5, 0.0, 1.0, 0.0]))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="coords"):
        grid_sample_3d(FEATS, COORDS[:3], SHAPE, torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="grid"):
        grid_sample_3d(FEATS, COORDS, SHAPE, torch.zeros(2, 3))


def test_it_is_an_operation_with_a_reference():
    assert [b.name for b in backends.backends(OP)] == ["native", "reference"]
