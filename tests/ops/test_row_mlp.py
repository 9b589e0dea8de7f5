"""Norm with SiLU and the norm-MLP-residual tail: backends against the plain formula in float64, chunks, gradients.

The kernels run on a CUDA device, or on the CPU where triton interprets (`TRITON_INTERPRET=1`, see test_interpreted.py).
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trellis2.ops import row_mlp
from trellis2.ops.row_mlp import (
    MlpWeights,
    norm_linear,
    norm_mlp,
    norm_mlp_reference,
    norm_rows_silu,
    norm_rows_silu_reference,
)
from trellis2.ops.triton_support import interpreting

DEVICE = "cpu" if interpreting() else "cuda"
kernel = [pytest.mark.gpu] if DEVICE == "cuda" else []
#: Relative L2: a few roundings of the type.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def _tensors(rows, channels, hidden, dtype, device, seed=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return torch.randn(*shape, generator=g) * scale

    h, residual = normal(rows, channels), normal(rows, channels)
    norm = normal(channels), normal(channels)
    w1, b1 = normal(hidden, channels, scale=channels**-0.5), normal(hidden)
    w2, b2 = normal(channels, hidden, scale=hidden**-0.5), normal(channels)
    narrow = [t.to(device, dtype) for t in (h, residual)]
    return *narrow, MlpWeights(*(t.to(device) for t in norm), *(t.to(device, dtype) for t in (w1, b1, w2, b2)))


def _exact_mlp(h, residual, weights):
    t = [x.double() for x in (h, residual, *weights)]
    normed = F.layer_norm(t[0], t[0].shape[1:], t[2], t[3], 1e-6)
    u = normed @ t[4].T + t[5]
    return t[1] + (u / (1 + torch.exp(-u))) @ t[6].T + t[7]


def _relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-12))


@torch.no_grad()
@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (7, 37), (130, 64), (33, 96), (0, 8)])
@pytest.mark.parametrize("dtype", [pytest.param(d, marks=kernel) for d in (torch.float32, torch.float16)])
def test_norm_kernel_equals_the_formula(rows, channels, dtype):
    x, _, (weight, bias, *_) = _tensors(rows, channels, 8, dtype, DEVICE)
    exact = F.silu(F.layer_norm(x.double(), (channels,), weight.double(), bias.double(), 1e-6))
    out = norm_rows_silu(x, weight, bias)
    assert out.dtype == dtype and out.shape == x.shape
    assert rows == 0 or _relative(out, exact) < TOLERANCE[dtype]
    plain = norm_rows_silu(x, silu=False)
    assert rows * channels < 2 or _relative(plain, F.layer_norm(x.double(), (channels,), eps=1e-6)) < TOLERANCE[dtype]
    assert norm_rows_silu(x, weight, bias, out=x) is x
    assert torch.equal(x, out)


@torch.no_grad()
@pytest.mark.parametrize(("rows", "channels", "hidden"), [(5, 64, 256), (130, 64, 128), (20, 128, 512), (9, 20, 80)])
@pytest.mark.parametrize("dtype", [pytest.param(d, marks=kernel) for d in TOLERANCE])
def test_mlp_kernel_equals_the_formula(rows, channels, hidden, dtype):
    if interpreting() and (dtype == torch.bfloat16 or channels == 128):
        pytest.skip("the interpreter multiplies bfloat16 wrongly and is slow")
    tensors = _tensors(rows, channels, hidden, dtype, DEVICE)
    expected = _exact_mlp(*tensors)
    assert _relative(norm_mlp(*tensors), expected) < TOLERANCE[dtype]
    h = tensors[0]
    assert norm_mlp(*tensors, out=h) is h
    assert _relative(h, expected) < TOLERANCE[dtype]


@torch.no_grad()
@pytest.mark.parametrize(
    ("rows", "channels", "outputs"), [(0, 8, 2), (1, 1, 1), (77, 64, 6), (50, 37, 16), (9, 20, 17)]
)
@pytest.mark.parametrize("dtype", [pytest.param(d, marks=kernel) for d in (torch.float32, torch.float16)])
def test_head_kernel_equals_the_formula(rows, channels, outputs, dtype):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(rows, channels, generator=g).to(DEVICE, dtype)
    weight, bias = (torch.randn(*s, generator=g).to(DEVICE) for s in ((outputs, channels), (outputs,)))
    out = norm_linear(x, weight, bias)
    expected = F.layer_norm(x.double(), (channels,), eps=1e-5) @ weight.double().T + bias.double()
    assert out.dtype == torch.float32 and out.shape == expected.shape
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 100])
@torch.no_grad()
def test_chunks_change_nothing(rows, monkeypatch):
    h, residual, weights = _tensors(rows, 24, 96, torch.float32, "cpu")

    def results():
        return (
            norm_mlp(h, residual, weights),
            norm_rows_silu(h, weights.norm_weight, weights.norm_bias),
            norm_linear(h, weights.w1, weights.b1),
        )

    whole = results()
    monkeypatch.setattr(row_mlp, "ELEMENTS", 24 * 7)
    for a, b in zip(whole, results()):
        torch.testing.assert_close(a, b)


def _leaves(*sizes, wide=False):
    h, residual, weights = _tensors(*sizes, torch.float32, "cpu")
    return [(t.double() if wide else t).requires_grad_() for t in (h, residual, *weights)]


def test_gradients_are_exact():
    leaves = _leaves(4, 6, 9, wide=True)
    assert torch.autograd.gradcheck(lambda h, r, *w: norm_mlp(h, r, MlpWeights(*w)), leaves)
    assert torch.autograd.gradcheck(lambda x, w, b: norm_rows_silu(x, w, b), [leaves[i] for i in (0, 2, 3)])


def test_recording_gradients_takes_the_reference():
    h, residual, *rest = _leaves(4, 64, 256)
    weights = MlpWeights(*rest)
    assert torch.equal(norm_mlp(h, residual, weights), norm_mlp_reference(h, residual, weights, 1e-6))
    norm = weights.norm_weight, weights.norm_bias
    assert torch.equal(norm_rows_silu(h, *norm), norm_rows_silu_reference(h, *norm, 1e-6, True))
