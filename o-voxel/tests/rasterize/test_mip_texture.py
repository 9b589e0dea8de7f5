"""Mip chains and mip-mapped look-up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.rasterize import MipChain, build_mips, texture

BACKENDS = ["reference"] + (["native"] if native_module() is not None else [])
needs_native = pytest.mark.skipif(native_module() is None, reason="compiled core not built")


def _box_matrix(size: int) -> np.ndarray:
    """[half, size]: how much of each new texel lies over each old one, from interval overlaps."""
    half = max(1, size // 2)
    edges = np.linspace(0, size, half + 1)
    i = np.arange(size)
    overlap = np.minimum(edges[1:, None], i + 1) - np.maximum(edges[:-1, None], i)
    return np.clip(overlap, 0, None) * half / size


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(8, 16), (1, 4), (5, 7), (13, 1), (6, 9), (1, 1)])
def test_levels_are_box_averages(backend: str, shape: tuple[int, int]) -> None:
    tex = torch.rand(2, *shape, 3, generator=torch.Generator().manual_seed(1))
    chain = build_mips(tex, backend=backend)
    assert isinstance(chain, MipChain)
    want, sizes = tex.double().numpy(), [shape]
    for level in chain.levels:
        rows, columns = (_box_matrix(s) for s in sizes[-1])
        want = np.einsum("yh,xw,bhwc->byxc", rows, columns, want)
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
        assert tuple(level.shape) == (2, *sizes[-1], 3)
        np.testing.assert_allclose(level.numpy(), want, atol=1e-6)
    assert sizes[-1] == (1, 1)
    assert len(build_mips(tex, 2, backend=backend).levels) == min(2, len(chain.levels))
    # Every texel counts the same: the last level is the mean.
    if chain.levels:
        torch.testing.assert_close(chain.levels[-1][:, 0, 0], tex.mean((1, 2)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_of_a_chain_is_the_transpose(backend: str) -> None:
    generator = torch.Generator().manual_seed(2)
    tex = torch.rand(1, 7, 12, 2, generator=generator, dtype=torch.float32).requires_grad_()
    levels = build_mips(tex, backend=backend).levels
    cotangents = [torch.randn(level.shape, generator=generator) for level in levels]
    (got,) = torch.autograd.grad(levels, tex, cotangents)
    other = torch.randn(tex.shape, generator=generator)
    # <A x, y> = <x, A^T y> for the linear map A from a texture to its chain
    image = build_mips(other, backend=backend).levels
    left = sum((a.double() * b.double()).sum() for a, b in zip(image, cotangents))
    assert float((other.double() * got.double()).sum()) == pytest.approx(float(left), rel=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_level_follows_the_footprint(backend: str) -> None:
    # Level l of a texture whose levels are the constants l: the look-up returns the level itself.
    tex = torch.zeros(16, 32, 1)
    mip = [torch.full((16 >> i or 1, 32 >> i or 1, 1), float(i)) for i in range(1, 6)]
    uv = torch.full((1, 1, 5, 2), 0.4)
    da = torch.zeros(1, 1, 5, 4)
    da[0, 0, 0] = torch.tensor([2 / 32, 0, 0, 2 / 16])  # two texels a pixel: level 1
    da[0, 0, 1] = torch.tensor([8 / 32, 0, 0, 1 / 16])  # the longer axis counts: level 3
    da[0, 0, 2] = torch.tensor([0.0, 0, 0, 0])  # no footprint: level 0
    da[0, 0, 3] = torch.tensor([3.0, 4.0, 0, 0]) / 32 * 2**1.5 / 5  # one long direction, 2^1.5 texels
    da[0, 0, 4] = 1e9
    at = texture(tex, uv, da, mip=mip, backend=backend).flatten()
    torch.testing.assert_close(at, torch.tensor([1.0, 3.0, 0.0, 1.5, 5.0]), atol=1e-5, rtol=0)
    biased = texture(tex, uv, da, torch.full((1, 1, 5), 0.25), mip=mip, backend=backend).flatten()
    torch.testing.assert_close(biased, torch.tensor([1.25, 3.25, 0.0, 1.75, 5.0]), atol=1e-5, rtol=0)
    capped = texture(tex, uv, da, mip=mip, max_mip_level=2, backend=backend).flatten()
    torch.testing.assert_close(capped, torch.tensor([1.0, 2.0, 0.0, 1.5, 2.0]), atol=1e-5, rtol=0)
    nearest = texture(tex, uv, da, mip=mip, filter_mode="linear-mipmap-nearest", backend=backend).flatten()
    assert [round(v, 5) for v in nearest.tolist()] in ([1, 3, 0, 1, 5], [1, 3, 0, 2, 5])  # 1.5 may go either way
    bias = torch.tensor([[[0.0, 1.0, 2.5, -3.0, 99.0]]])
    alone = texture(tex, uv, mip_level_bias=bias, mip=MipChain(tuple(m[None] for m in mip)), backend=backend).flatten()
    torch.testing.assert_close(alone, torch.tensor([0.0, 1.0, 2.5, 0.0, 5.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("boundary", ["wrap", "clamp", "mirror", "zero"])
def test_reference_passes_gradcheck_over_all_inputs(boundary: str) -> None:
    generator = torch.Generator().manual_seed(3)
    tex = torch.rand(1, 6, 8, 2, dtype=torch.float64, generator=generator).requires_grad_()
    uv = (torch.rand(1, 3, 3, 2, dtype=torch.float64, generator=generator) * 2 - 0.5).requires_grad_()
    da = (torch.rand(1, 3, 3, 4, dtype=torch.float64, generator=generator) * 0.4).requires_grad_()
    bias = (torch.rand(1, 3, 3, dtype=torch.float64, generator=generator) * 0.2).requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda t, c, d, b: texture(t, c, d, b, boundary_mode=boundary), (tex, uv, da, bias))


@needs_native
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"]),
    st.sampled_from(["wrap", "clamp", "mirror", "zero"]),
    st.sampled_from([(1, 1), (1, 5), (4, 3), (16, 16), (33, 20)]),
    st.sampled_from([0.5, 3.0, 40.0]),
    st.booleans(),
)
def test_compiled_equals_reference_forward_and_backward(
    seed: int, mode: str, boundary: str, size: tuple[int, int], spread: float, with_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tex = torch.randn(2 if seed % 2 else 1, *size, 3, generator=generator)
    uv = (torch.rand(2, 5, 6, 2, generator=generator) - 0.5) * 2 * spread + 0.5
    da = torch.randn(2, 5, 6, 4, generator=generator) * 10 ** (torch.rand(2, 5, 6, 1, generator=generator) * 3 - 2)
    bias = torch.randn(2, 5, 6, generator=generator) if with_bias else None
    uv[0, 0, 0] = torch.tensor([float("nan"), -float("inf")])
    da[0, 0, 1], da[0, 0, 2] = float("nan"), float("inf")
    weight = torch.randn(2, 5, 6, 3, generator=generator)
    out, grads = {}, {}
    for backend in ("native", "reference"):
        leaves = [t.clone().requires_grad_() for t in (tex, uv, da)] + (
            [] if bias is None else [bias.clone().requires_grad_()]
        )
        uses = leaves if "mipmap" in mode else leaves[:2]
        got = texture(*leaves, filter_mode=mode, boundary_mode=boundary, backend=backend)
        out[backend] = got.detach()
        found = torch.autograd.grad((got * weight).sum(), uses, allow_unused=True)
        grads[backend] = [torch.zeros_like(t) if g is None else g for g, t in zip(found, uses)]
    # Weights are differences of coordinates of size spread * extent: float32 keeps 7 digits of those.
    tolerance = 1e-6 * max(1.0, spread * max(size)) * 8
    torch.testing.assert_close(out["native"], out["reference"], atol=tolerance, rtol=1e-5)
    for native, reference in zip(grads["native"], grads["reference"]):
        # The slope of the level at a footprint that is not finite has no meaning; both must be no number there or 0.
        ok = reference.isfinite() & native.isfinite()
        scale = float(reference[ok].abs().max()) if ok.any() else 0.0
        torch.testing.assert_close(native[ok], reference[ok], atol=tolerance * (1 + scale), rtol=1e-3)


@needs_native
def test_compiled_gradients_stay_finite_at_bad_footprints() -> None:
    da = torch.zeros(1, 1, 4, 4)
    da[0, 0, 1], da[0, 0, 2], da[0, 0, 3] = float("nan"), float("inf"), 1e-30
    leaves = [torch.rand(8, 8, 2), torch.rand(1, 1, 4, 2), da]
    for leaf in leaves:
        leaf.requires_grad_()
    out = texture(*leaves)
    assert out.isfinite().all()
    out.sum().backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_given_chain_gets_its_own_gradient_and_made_chain_flows_to_the_texture() -> None:
    tex, uv, level = torch.rand(4, 4, 1), torch.rand(1, 2, 2, 2), torch.full((1, 2, 2), 1.5)
    given_mip = [m.clone().requires_grad_() for m in build_mips(tex).levels]
    texture(tex, uv, mip_level_bias=level, mip=given_mip).sum().backward()
    assert [m.grad is not None and float(m.grad.sum()) for m in given_mip] == pytest.approx([2.0, 2.0])
    leaf = tex.clone().requires_grad_()
    texture(leaf, uv, mip_level_bias=level).sum().backward()
    assert leaf.grad is not None and float(leaf.grad.sum()) == pytest.approx(4.0)


def test_positional_modes_and_types() -> None:
    tex, uv = torch.rand(4, 4, 2), torch.rand(1, 3, 3, 2)
    assert torch.equal(
        texture(tex, uv, "nearest", "clamp"), texture(tex, uv, filter_mode="nearest", boundary_mode="clamp")
    )
    half = texture(tex.half(), uv, torch.full((1, 3, 3, 4), 0.5))
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), texture(tex, uv, torch.full((1, 3, 3, 4), 0.5)), atol=2e-3, rtol=0)
    wide = texture(tex, uv, torch.full((1, 3, 3, 4), 0.5, dtype=torch.float64))
    assert wide.dtype == torch.float32


def _errors() -> list[tuple[dict[str, object], str]]:
    level, ones = torch.zeros(1, 2, 2), torch.zeros(1, 1, 1)
    return [
        ({"uv": torch.zeros(2, 2, 2)}, r"uv must have shape"),
        ({"uv_da": torch.zeros(1, 2, 2, 2)}, r"uv_da must have shape"),
        ({"mip_level_bias": torch.zeros(1, 2, 2, 1)}, r"mip_level_bias must have shape"),
        ({"filter_mode": "linear-mipmap-linear"}, r"needs uv_da or mip_level_bias"),
        ({"filter_mode": "cubic"}, r"filter_mode must be one of"),
        ({"mip_level_bias": level, "mip": [torch.zeros(3, 3, 1)]}, r"mip level 1 must be"),
        ({"mip_level_bias": level, "max_mip_level": -1}, r"max_mip_level"),
        ({"mip_level_bias": level, "mip": [torch.zeros(2, 2, 1), ones, ones]}, r"at most 2"),
        ({"backend": "opengl"}, r"backend must be one of"),
    ]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), _errors())
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    call: dict[str, object] = {"tex": torch.zeros(4, 4, 1), "uv": torch.zeros(1, 2, 2, 2), **change}
    with pytest.raises(ValueError, match=message):
        texture(**call)  # type: ignore[arg-type]


def test_a_minified_checkerboard_is_grey_not_noise() -> None:
    board = ((torch.arange(256)[:, None] + torch.arange(256)) % 2).float()[..., None]
    step = (torch.arange(16) + 0.37) / 16
    uv = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1)[None]
    da = torch.zeros(1, 16, 16, 4)
    da[..., 0] = da[..., 3] = 1 / 16
    assert (texture(board, uv, da) - 0.5).abs().max() < 1e-6
    assert (texture(board, uv, filter_mode="nearest") - 0.5).abs().min() > 0.4


def test_tensor_types() -> None:
    with pytest.raises(TypeError, match=r"tex must be a floating-point tensor"):
        build_mips(torch.zeros(2, 2, 1, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"max_mip_level must not be negative"):
        build_mips(torch.zeros(2, 2, 1), -2)
    assert isinstance(build_mips(Tensor([[[1.0]]])).levels, tuple)
