"""Sparse convolution backends against each other, against the dense convolution, and under autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trellis2.ops import sparse_conv as module
from trellis2.ops.neighbor_map import build_neighbor_map
from trellis2.ops.sparse_conv import resolve_conv_backend, sparse_conv3d, sparse_conv3d_reference

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def _case(device="cpu", size=6, batch=2, density=0.4, seed=0, channels=(5, 7), kernel=(3, 3, 3), dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    coords = (torch.rand(batch, size, size, size, generator=g) < density).nonzero().int()
    coords = coords[torch.randperm(coords.shape[0], generator=g)]
    feats = torch.randn(coords.shape[0], channels[0], generator=g, dtype=torch.float64).to(dtype)
    weight = torch.randn(channels[1], *kernel, channels[0], generator=g, dtype=torch.float64).to(dtype) * 0.2
    bias = torch.randn(channels[1], generator=g, dtype=torch.float64).to(dtype)
    coords, feats, weight, bias = (t.to(device) for t in (coords, feats, weight, bias))
    return coords, feats, weight, bias, build_neighbor_map(coords, kernel)


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 5)])
def test_equals_the_dense_convolution_at_active_voxels(device, backend, kernel):
    coords, feats, weight, bias, neighbors = _case(device, kernel=kernel, dtype=torch.float64)
    index = tuple(coords[:, i].long() for i in range(4))
    dense = feats.new_zeros(2, 6, 6, 6, feats.shape[1]).index_put(index, feats).permute(0, 4, 1, 2, 3)
    full = F.conv3d(dense, weight.permute(0, 4, 1, 2, 3), bias, padding=tuple(k // 2 for k in kernel))
    out = sparse_conv3d(feats, weight, bias, neighbors, backend=backend)
    torch.testing.assert_close(out, full.permute(0, 2, 3, 4, 1)[index], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02), (torch.float16, 0.003)]
)
@pytest.mark.parametrize("chunk", [None, 64])
def test_fast_backend_matches_the_reference(device, dtype, tolerance, chunk, monkeypatch):
    if chunk:
        monkeypatch.setattr(module, "_rows_per_chunk", lambda *args: chunk)
    coords, feats, weight, bias, neighbors = _case(device, dtype=dtype)
    grads = []
    for backend in ("torch", "reference"):
        inputs = [t.detach().clone().requires_grad_() for t in (feats, weight, bias)]
        out = sparse_conv3d(*inputs, neighbors, backend=backend)
        assert out.dtype == dtype
        probe = torch.sin(torch.arange(out.numel(), device=device)).view_as(out).to(dtype)
        (out * probe).float().sum().backward()
        grads.append([out.detach(), *(t.grad for t in inputs)])
    for fast, slow in zip(*grads):
        error = (fast.float() - slow.float()).norm() / slow.float().norm()
        assert error < tolerance


def test_gradients_are_exact():
    coords, feats, weight, bias, neighbors = _case(size=3, batch=2, channels=(2, 3), dtype=torch.float64)
    inputs = tuple(t.requires_grad_() for t in (feats, weight, bias))
    assert torch.autograd.gradcheck(lambda f, w, b: sparse_conv3d(f, w, b, neighbors), inputs)
    assert torch.autograd.gradcheck(lambda f, w: sparse_conv3d(f, w, None, neighbors), inputs[:2])


def test_only_the_asked_gradients_are_computed():
    _, feats, weight, bias, neighbors = _case()
    weight.requires_grad_()
    sparse_conv3d(feats, weight, bias, neighbors).sum().backward()
    assert weight.grad is not None and feats.grad is None and bias.grad is None
    weight.requires_grad_(False)
    feats.requires_grad_()
    sparse_conv3d(feats, weight, None, neighbors).sum().backward()
    assert feats.grad is not None


def test_columns_are_not_kept_for_the_backward_pass():
    _, feats, weight, bias, neighbors = _case()
    out = sparse_conv3d(feats, weight.requires_grad_(), bias, neighbors)
    saved = out.grad_fn.saved_tensors
    assert sum(t.numel() for t in saved) == feats.numel() + weight.numel() + neighbors.numel()


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_autocast_decides_the_type_and_gradients_keep_theirs(device, backend):
    _, feats, weight, bias, neighbors = _case(device)
    inputs = [t.requires_grad_() for t in (feats, weight, bias)]
    with torch.autocast(device, torch.bfloat16):
        out = sparse_conv3d(*inputs, neighbors, backend=backend)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert all(t.grad.dtype == torch.float32 and t.grad.isfinite().all() for t in inputs)
    exact = sparse_conv3d_reference(feats, weight, bias, neighbors)
    assert (out.float() - exact).norm() / exact.norm() < 0.02


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("rows", [0, 1])
def test_empty_and_single_voxel(device, backend, rows):
    coords = torch.zeros(rows, 4, dtype=torch.int32, device=device)
    feats = torch.ones(rows, 2, device=device, requires_grad=True)
    weight = torch.ones(3, 3, 3, 3, 2, device=device, requires_grad=True)
    bias = torch.full((3,), 0.5, device=device, requires_grad=True)
    out = sparse_conv3d(feats, weight, bias, build_neighbor_map(coords, (3, 3, 3)), backend=backend)
    assert out.tolist() == [[2.5] * 3] * rows
    out.sum().backward()
    assert weight.grad.sum() == 6 * rows
    assert bias.grad.sum() == 3 * rows


def test_repeated_calls_agree_bit_for_bit():
    _, feats, weight, bias, neighbors = _case(size=12)
    assert torch.equal(sparse_conv3d(feats, weight, bias, neighbors), sparse_conv3d(feats, weight, bias, neighbors))


def test_bad_input_is_named():
    _, feats, weight, bias, neighbors = _case()
    with pytest.raises(ValueError, match="unknown sparse convolution backend 'tritn'"):
        resolve_conv_backend("tritn")
    with pytest.raises(ValueError, match=r"weight \[Co"):
        sparse_conv3d(feats[:, :3], weight, bias, neighbors)
    with pytest.raises(ValueError, match="neighbor_map must be"):
        sparse_conv3d(feats, weight, bias, neighbors[:, :9])
    with pytest.raises(ValueError, match="one dtype"):
        sparse_conv3d(feats.half(), weight, bias, neighbors)


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_some_rows_of_the_map_give_those_rows(device, backend):
    coords, feats, weight, bias, neighbors = _case(device)
    whole = sparse_conv3d(feats, weight, bias, neighbors, backend=backend)
    rows = sparse_conv3d(feats, weight, bias, neighbors[17:80], backend=backend)
    torch.testing.assert_close(rows, whole[17:80], rtol=1e-5, atol=1e-5)
    assert sparse_conv3d(feats, weight, bias, neighbors[:0], backend=backend).shape == (0, 7)
    if backend == "torch":
        out = sparse_conv3d(feats.requires_grad_(), weight, bias, neighbors[17:80], backend=backend)
        with pytest.raises(RuntimeError, match="has no gradient"):
            out.sum().backward()
