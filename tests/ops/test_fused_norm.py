"""Residual, norm and modulation in one pass, against the plain formula in float64.

The kernel runs on a CUDA device, or on the CPU where triton interprets (`TRITON_INTERPRET=1`, see test_interpreted.py).
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.ops import backends
from trellis2.ops.fused_norm import RowSamples, residual_norm, residual_norm_reference, residual_norm_triton
from trellis2.ops.triton_support import interpreting

DEVICE = "cpu" if interpreting() else "cuda"
kernel = [pytest.mark.gpu] if DEVICE == "cuda" else []
#: One rounding of the output type, times the size of the largest value (about 4·4).
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 0.07, torch.float16: 0.01}


def _inputs(lengths, channels, dtype, seed=0, device="cpu"):
    g = torch.Generator().manual_seed(seed)
    total, samples = sum(lengths), len(lengths)
    x, branch = (torch.randn(total, channels, generator=g).to(device, dtype) for _ in range(2))
    mod = torch.randn(samples, 3 * channels, generator=g).to(device, dtype)
    weight, bias = (torch.randn(channels, generator=g).to(device) for _ in range(2))
    counts = torch.tensor(lengths, device=device)
    rows = RowSamples(torch.repeat_interleave(torch.arange(samples, device=device), counts), counts)
    return x, branch, mod.chunk(3, dim=1), (weight, bias), rows


def _oracle(x, branch, gate, weight, bias, shift, scale, rows, eps, norm):
    """The formula with numbers of the given precision, every row by hand."""
    wide = [None if t is None else t.double() for t in (x, branch, gate, weight, bias, shift, scale)]
    x, branch, gate, weight, bias, shift, scale = wide
    at = rows.sample if rows is not None else torch.zeros(len(x), dtype=torch.int64, device=x.device)
    if branch is not None:
        x = x + (branch if gate is None else gate[at] * branch)
    if not norm:
        return x, None
    h = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + eps).sqrt()
    if weight is not None:
        h = h * weight + bias
    if scale is not None:
        h = h * (1 + scale[at]) + shift[at]
    return x, h


def _cases(x, branch, mods, affine, rows):
    gate, shift, scale = mods
    yield branch, gate, None, None, shift, scale, rows, 1e-6, True
    yield branch, None, *affine, None, None, rows, 1e-6, True
    yield None, None, None, None, shift, scale, rows, 1e-6, True
    yield branch, gate, None, None, None, None, rows, 1e-6, False


def _check(run, lengths, channels, dtype, device):
    x, *rest = _inputs(lengths, channels, dtype, device=device)
    for args in _cases(x, *rest):
        total, out = run(x, *args)
        want_total, _ = _oracle(x, *args)
        atol = TOLERANCE[dtype]
        torch.testing.assert_close(total.double(), want_total, rtol=0, atol=atol)
        assert total.dtype == dtype
        if args[8]:
            _, want = _oracle(total, None, None, *args[2:])  # the norm of the rounded sum
            torch.testing.assert_close(out.double(), want, rtol=0, atol=2 * atol)
            assert out.dtype == dtype
        else:
            assert out is None


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("lengths", [[5], [3, 0, 4], [1]])
def test_reference_is_the_formula(dtype, lengths):
    _check(residual_norm_reference, lengths, 24, dtype, "cpu")


@pytest.mark.parametrize("dtype", [pytest.param(d, marks=kernel) for d in TOLERANCE])
@pytest.mark.parametrize("channels", [1, 24, 100, 128])
def test_kernel_is_the_formula(dtype, channels):
    for lengths in ([7], [3, 0, 4], [1], []):
        if lengths:
            _check(residual_norm_triton, lengths, channels, dtype, DEVICE)


@pytest.mark.parametrize("rows", [pytest.param(2**20 + 3, marks=pytest.mark.gpu)])
def test_kernel_on_many_rows(rows):
    _check(residual_norm_triton, [rows], 32, torch.float32, "cuda")
    _check(residual_norm_triton, [rows // 2, rows - rows // 2], 32, torch.bfloat16, "cuda")


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=kernel)])
def test_kernel_on_dense_batches(dtype):
    x, branch, (gate, shift, scale), _, rows = _inputs([6, 6], 20, dtype, device=DEVICE)
    common = (gate, None, None, shift, scale)
    dense = residual_norm_triton(x.view(2, 6, 20), branch.view(2, 6, 20), *common, None, 1e-6, True)
    for got, want in zip(dense, _oracle(x, branch, *common, rows, 1e-6, True)):
        assert got.shape == (2, 6, 20)
        torch.testing.assert_close(got.double().flatten(0, 1), want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("samples", [pytest.param(n, marks=kernel) for n in (1, 3)])
def test_kernel_adds_one_row_to_all_rows_of_a_sample(samples):
    x, _, (gate, shift, scale), _, rows = _inputs([6] * samples, 20, torch.float32, device=DEVICE)
    row = _randn_rows(samples)
    vectors = (gate, None, None, shift, scale)
    want = _oracle(x, row[rows.sample], *vectors, rows, 1e-6, True)
    dense = x.view(samples, 6, 20)
    for branch in (row[:, None], row[:, None].expand(-1, 6, -1)):
        for got, expected in zip(residual_norm_triton(dense, branch, *vectors, None, 1e-6, True), want):
            torch.testing.assert_close(got.double().flatten(0, 1), expected, rtol=0, atol=2e-5)
    branch = row.expand(6, -1) if samples == 1 else row[rows.sample]
    for got, expected in zip(residual_norm_triton(x, branch, *vectors, rows, 1e-6, True), want):
        torch.testing.assert_close(got.double(), expected, rtol=0, atol=2e-5)


def _randn_rows(count):
    return torch.randn(count, 20, generator=torch.Generator().manual_seed(3)).to(DEVICE)


@pytest.mark.parametrize("empty", [pytest.param(0, marks=kernel)])
def test_kernel_on_no_rows(empty):
    x = torch.zeros(empty, 8, device=DEVICE)
    total, out = residual_norm_triton(x, x, None, None, None, None, None, None, 1e-6, True)
    assert total.shape == out.shape == (0, 8)


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    channels=st.integers(1, 40),
    dense=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_public_call_serves_dense_and_ragged(lengths, channels, dense):
    if dense:
        lengths = [max(lengths)] * len(lengths)
    x, branch, (gate, shift, scale), _, rows = _inputs(lengths, channels, torch.float64)
    shape = (len(lengths), -1, channels) if dense else x.shape
    total, out = residual_norm(
        x.view(shape), branch.view(shape), gate=gate, shift=shift, scale=scale, rows=None if dense else rows
    )
    want = _oracle(x, branch, gate, None, None, shift, scale, rows, 1e-6, True)
    torch.testing.assert_close(total.view(x.shape), want[0])
    torch.testing.assert_close(out.double().view(x.shape), want[1], rtol=0, atol=2e-5)  # the norm is in float32


def test_gradients_are_those_of_the_formula():
    x, branch, (gate, shift, scale), (weight, bias), rows = _inputs([3, 0, 2], 6, torch.float32)
    leaves = [t.detach().clone().requires_grad_() for t in (x, branch, gate, weight, bias, shift, scale)]
    wide = [t.detach().double().requires_grad_() for t in leaves]
    names = ("gate", "weight", "bias", "shift", "scale")
    total, out = residual_norm(*leaves[:2], **dict(zip(names, leaves[2:])), rows=rows)
    (total.square().sum() + (out * out.detach().cos()).sum()).backward()
    want_total, want = _oracle(*wide, rows, 1e-6, True)
    (want_total.square().sum() + (want * want.detach().cos()).sum()).backward()
    for got, expected in zip(leaves, wide):
        torch.testing.assert_close(got.grad.double(), expected.grad, rtol=1e-4, atol=1e-5)


def test_calls_that_record_gradients_take_the_plain_path(monkeypatch):
    used = []
    real = backends.selected
    monkeypatch.setattr(backends, "selected", lambda op, device: used.append(op) or real(op, device))
    x = torch.randn(4, 8, requires_grad=True)
    residual_norm(x, x)
    assert used == []
    with torch.no_grad():
        residual_norm(x, x)
    assert used == ["residual_norm"]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        residual_norm(x, x)
    assert used == ["residual_norm"]


@pytest.mark.parametrize("dtype", [pytest.param(torch.bfloat16, marks=kernel)])
def test_sum_is_rounded_before_the_norm_as_in_the_reference(dtype):
    x, branch, *_ = _inputs([9], 64, dtype, device=DEVICE)
    args = (branch, None, None, None, None, None, None, 1e-6, True)
    got, want = residual_norm_triton(x, *args), residual_norm_reference(x, *args)
    assert torch.equal(got[0], want[0])
    # same input to the norm; one rounding each
    torch.testing.assert_close(got[1].float(), F.layer_norm(want[0].float(), (64,), eps=1e-6), rtol=2**-8, atol=1e-6)
