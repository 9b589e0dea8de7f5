"""Norm per head and rotation in place, against the plain formula in float64.

The kernel runs on a CUDA device, or on the CPU where triton interprets (`TRITON_INTERPRET=1`, see test_interpreted.py).
"""

from __future__ import annotations

import pytest
import torch

from trellis2.ops.fused_rope import norm_rope, norm_rope_reference, norm_rope_triton
from trellis2.ops.triton_support import interpreting

DEVICE = "cpu" if interpreting() else "cuda"
kernel = [pytest.mark.gpu] if DEVICE == "cuda" else []
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.04, torch.float16: 0.005}  # one or two roundings of values up to 8


def _inputs(shape, heads, dim, dtype, device="cpu", seed=0):
    """qkv [*shape, 3·heads, dim], gammas, phases."""
    g = torch.Generator().manual_seed(seed)
    qkv = torch.randn(*shape, 3 * heads, dim, generator=g).to(device, dtype)
    gammas = [torch.rand(heads, dim, generator=g).to(device) + 0.5 for _ in range(2)]
    angles = torch.randn(shape[-1], dim // 2, generator=g).to(device) * 10
    return qkv, gammas, torch.polar(torch.ones_like(angles), angles)


def _oracle(x, gammas, phases):
    x = x.double()
    if gammas:
        norm = x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        x = x / norm * torch.cat([g.double() for g in gammas]) * x.shape[-1] ** 0.5
    if phases is None:
        return x
    cos, sin = phases.real.double()[:, None], phases.imag.double()[:, None]
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


def _check(run, shape, heads, dim, dtype, device):
    for with_norm, with_rope in ((True, True), (True, False), (False, True)):
        qkv, gammas, phases = _inputs(shape, heads, dim, dtype, device)
        x, rest = qkv[..., : 2 * heads, :], qkv[..., 2 * heads :, :].clone()
        args = (gammas if with_norm else [], phases if with_rope else None)
        want = _oracle(x, *args)
        got = run(x, *args)
        assert got.shape == x.shape and got.dtype == dtype
        torch.testing.assert_close(got.double(), want, rtol=0, atol=TOLERANCE[dtype])
        assert torch.equal(qkv[..., 2 * heads :, :], rest)  # the values are left alone


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_reference_is_the_formula(dtype):
    _check(norm_rope_reference, (2, 5), 3, 12, dtype, "cpu")


@pytest.mark.parametrize("dtype", [pytest.param(d, marks=kernel) for d in TOLERANCE])
@pytest.mark.parametrize(("heads", "dim"), [(3, 16), (1, 2), (2, 12), (12, 128)])
def test_kernel_is_the_formula(dtype, heads, dim):
    for shape in ((5,), (2, 3), (1,)):
        _check(norm_rope_triton, shape, heads, dim, dtype, DEVICE)


@pytest.mark.parametrize("tokens", [pytest.param(2**20 // 3, marks=pytest.mark.gpu)])
def test_kernel_on_many_tokens(tokens):
    _check(norm_rope_triton, (tokens,), 2, 16, torch.float32, "cuda")


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=kernel)])
def test_kernel_takes_any_layout_and_changes_its_input_only_where_it_can(dtype):
    qkv, gammas, phases = _inputs((2, 5), 2, 8, dtype, DEVICE)
    x = qkv[..., :4, :]
    assert norm_rope_triton(x, gammas, phases).data_ptr() == qkv.data_ptr()
    for odd in (qkv[..., :4, :].transpose(-2, -3)[:, :4, :4], qkv[:, :3, :4], qkv[..., :4, :].transpose(0, 1)[:2]):
        turns = phases[: odd.shape[-3]]
        want = _oracle(odd, gammas, turns)
        torch.testing.assert_close(norm_rope_triton(odd, gammas, turns).double(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=kernel)])
def test_zero_vectors_stay_zero_and_no_tokens_are_fine(dtype):
    x = torch.zeros(3, 4, 8, device=DEVICE, dtype=dtype)
    gammas = [torch.ones(2, 8, device=DEVICE)] * 2
    assert norm_rope_triton(x, gammas, None).abs().max() == 0
    assert norm_rope_triton(x[:0], gammas, None).shape == (0, 4, 8)


def test_gradients_flow_and_inputs_survive_when_they_are_recorded():
    qkv, gammas, phases = _inputs((4,), 2, 6, torch.float32)
    x = qkv[:, :4].clone().requires_grad_()
    before = x.detach().clone()
    leaves = [g.clone().requires_grad_() for g in gammas]
    norm_rope(x, leaves, phases).square().sum().backward()
    wide, wide_gammas = before.double().requires_grad_(), [g.double().requires_grad_() for g in gammas]
    _oracle(wide, wide_gammas, phases).square().sum().backward()
    assert torch.equal(x.detach(), before)
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=1e-4, atol=1e-4)
    for got, want in zip(leaves, wide_gammas):
        torch.testing.assert_close(got.grad.double(), want.grad, rtol=1e-4, atol=1e-4)
