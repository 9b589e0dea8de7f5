"""8-bit products against float64, and the rounding of rows and weights against hand-worked values.

The kernel runs on a CUDA device, or on the CPU where triton interprets (`TRITON_INTERPRET=1`, see test_interpreted.py).
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trellis2.ops import backends
from trellis2.ops import low_precision as lp
from trellis2.ops.triton_support import interpreting

DEVICE = "cpu" if interpreting() else "cuda"
kernel = [pytest.mark.gpu] if DEVICE == "cuda" else []
STEP = 2.0**-4  # half a step of e4m3, relative to the value: 3 bits behind the point


def _randn(*shape, seed=0, dtype=torch.float32, device="cpu"):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def test_int8_weights_are_rounded_to_the_nearest_step_of_their_row():
    codes, scale = lp.quantize_int8(
        torch.tensor([[127.0, -63.6, 0.4, 0.6], [0.0, 0.0, 0.0, 0.0], [-2.54, 1.0, 0.0, 0.01]])
    )
    assert codes.tolist() == [[127, -64, 0, 1], [0, 0, 0, 0], [-127, 50, 0, 0]]
    assert scale[0].item() == 1 and scale[2].item() == pytest.approx(0.02)
    weight = _randn(40, 24)
    codes, scale = lp.quantize_int8(weight)
    assert ((codes * scale - weight).abs() <= scale * 0.5001).all()


def test_fp8_weights_are_rounded_to_the_nearest_code():
    weight = _randn(40, 24, seed=1)
    codes, scale = lp.quantize_fp8(weight)
    assert codes.dtype == lp.FP8 and scale.shape == (40, 1)
    smallest = scale * 2.0**-9  # the type's smallest step
    assert ((codes.float() * scale - weight).abs() <= weight.abs() * STEP * 1.001 + smallest).all()
    assert torch.equal(codes.float().abs().amax(1), torch.full((40,), 448.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_int8_product_is_that_of_the_widened_weights(dtype, with_bias):
    x, weight, bias = _randn(2, 3, 24, dtype=dtype), _randn(10, 24, seed=1), _randn(10, seed=2)
    codes, scale = lp.quantize_int8(weight)
    got = lp.int8_linear(x, codes, scale, bias if with_bias else None)
    want = F.linear(x.double(), (codes.double() * scale.double()), bias.double() if with_bias else None)
    assert got.dtype == dtype and got.shape == (2, 3, 10)
    tolerance = 1e-5 if dtype == torch.float32 else 0.15  # weights, bias and result rounded to 8 bits
    torch.testing.assert_close(got.double(), want, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [pytest.param(*case, marks=kernel) for case in ((torch.float32, 23), (torch.bfloat16, 7), (torch.float16, 10))],
)
def test_kernel_widens_integers_as_the_reference(dtype, bits):
    for shape in ((1, 1), (7, 30), (9, 1500), (0, 4)):
        codes = torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(0), dtype=torch.int8).to(DEVICE)
        scale = _randn(shape[0], 1, seed=1, device=DEVICE).abs()
        got, want = lp.widen_int8_triton(codes, scale, dtype), lp.widen_int8_reference(codes, scale, dtype)
        slack = 2.0**-bits if interpreting() else 0  # the interpreter cuts instead of rounding
        torch.testing.assert_close(got, want, rtol=slack, atol=0)


def test_int8_product_with_gelu_behind_it():
    x, bias = _randn(2, 3, 24), _randn(10, seed=2)
    codes, scale = lp.quantize_int8(_randn(10, 24, seed=1))
    plain = lp.int8_linear(x, codes, scale, bias)
    got = lp.int8_linear(x, codes, scale, bias, gelu=True)
    torch.testing.assert_close(got, F.gelu(plain, approximate="tanh"), rtol=1e-5, atol=1e-6)


def test_int8_product_passes_gradients_to_its_input():
    x = _randn(3, 8).requires_grad_()
    codes, scale = lp.quantize_int8(_randn(4, 8, seed=1))
    lp.int8_linear(x, codes, scale, None).sum().backward()
    torch.testing.assert_close(x.grad, (codes * scale).sum(0).expand(3, -1))


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fp8_product_is_that_of_the_rounded_factors(gelu, dtype):
    x, weight, bias = _randn(2, 3, 32, dtype=dtype), _randn(16, 32, seed=1), _randn(16, seed=2)
    codes, scale = lp.quantize_fp8(weight)
    got = lp.fp8_linear(x, codes, scale, bias, gelu=gelu)
    rows = lp.quantize_rows_reference(x.flatten(0, 1), gelu)
    want = F.linear((rows.codes.double() * rows.scale), codes.double() * scale.double(), bias.double()).view(2, 3, 16)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4 if dtype == torch.float32 else 0.1)
    exact = F.linear(F.gelu(x.double(), approximate="tanh") if gelu else x.double(), weight.double(), bias.double())
    assert (got.double() - exact).norm() / exact.norm() < 0.05


def _grid_rows(rows, channels, device):
    """Values that fp8 holds exactly with a scale of a power of two, 448 steps in every row."""
    g = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 255, (rows, channels), generator=g, dtype=torch.int16).to(torch.uint8)
    codes[(codes & 127) == 127] = 0  # NaN
    values = codes.view(lp.FP8).float()
    values[:, 0] = 448
    return (values * 2.0 ** torch.randint(-6, 6, (rows, 1), generator=g)).to(device)


@pytest.mark.parametrize("dtype", [pytest.param(d, marks=kernel) for d in (torch.float32, torch.bfloat16)])
@pytest.mark.parametrize("channels", [1, 48, 1000])
def test_kernel_finds_the_codes_of_exact_values(dtype, channels):
    x = _grid_rows(5, channels, DEVICE).to(dtype)
    got, want = lp.quantize_rows_triton(x, False), lp.quantize_rows_reference(x, False)
    assert torch.equal(got.scale, want.scale)
    assert torch.equal(got.codes.float(), want.codes.float())
    assert torch.equal(got.codes.float() * got.scale, x.float())


@pytest.mark.parametrize("gelu", [pytest.param(g, marks=kernel) for g in (False, True)])
def test_kernel_scales_like_the_reference(gelu):
    x = _randn(7, 200, device=DEVICE) * 3
    x[2] = 0
    got, want = lp.quantize_rows_triton(x, gelu), lp.quantize_rows_reference(x, gelu)
    torch.testing.assert_close(got.scale, want.scale, rtol=1e-5, atol=0)
    assert got.codes[2].float().abs().max() == 0
    if not interpreting():  # whose conversion to fp8 drops the carry of the rounding
        value = F.gelu(x.double(), approximate="tanh") if gelu else x.double()
        error = (got.codes.double() * got.scale.double() - value).abs()
        assert (error <= value.abs() * STEP * 1.01 + got.scale * 2.0**-9).all()


@pytest.mark.parametrize("rows", [pytest.param(2**20 + 1, marks=pytest.mark.gpu)])
def test_kernel_on_many_rows(rows):
    x = _grid_rows(rows, 16, "cuda")
    assert torch.equal(
        lp.quantize_rows_triton(x, False).codes.float(), lp.quantize_rows_reference(x, False).codes.float()
    )


@pytest.mark.gpu
@pytest.mark.parametrize("gelu", [False, True])
def test_tensor_cores_give_the_product_of_the_rounded_factors(gelu):
    if backends.selected("fp8_linear", "cuda").name == backends.REFERENCE:
        pytest.skip("no fp8 tensor cores here")
    x = _randn(1000, 1536, dtype=torch.bfloat16, device="cuda")
    weight, bias = _randn(512, 1536, seed=1, device="cuda") / 40, _randn(512, seed=2, device="cuda")
    codes, scale = lp.quantize_fp8(weight)
    got = lp.fp8_linear_scaled(x, codes, scale, bias, gelu)
    want = lp.fp8_linear_reference(x.float(), codes, scale, bias, gelu)
    assert (got.float() - want).norm() / want.norm() < 4e-3  # one rounding to bfloat16, few codes differ
    odd = lp.fp8_linear(x[:, :1533], codes[:500, :1533], scale[:500], bias[:500], gelu=gelu)
    assert odd.shape == (1000, 500) and torch.isfinite(odd).all()
