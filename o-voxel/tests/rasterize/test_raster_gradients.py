"""Gradients of rasterisation and interpolation: formulas against finite differences, compiled against PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.rasterize import DepthPeeler, interpolate, rasterize, texture, triangle_index
from o_voxel.reference.rasterize import barycentrics_reference

needs_native = pytest.mark.skipif(native_module() is None, reason="compiled core not built")
Soup = Callable[[int, float, int], tuple[Tensor, Tensor]]


def test_reference_barycentrics_pass_gradcheck(soup: Soup) -> None:
    pos, tri = soup(20, 1.0, 1)
    face = triangle_index(rasterize(pos, tri, (6, 5)))
    assert (face >= 0).sum() > 8
    corners = pos.double()[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda p: barycentrics_reference(p, tri, face), (corners,), atol=1e-6)


def test_image_derivatives_match_differences_between_resolutions(soup: Soup) -> None:
    # du/dX at a pixel centre, by moving the picture under the pixel grid: x/w shifted by +-h pixels.
    pos, tri = soup(6, 1.5, 8)
    height, width, h = 20, 28, 1e-3
    rast, rast_db = rasterize(pos, tri, (height, width), grad_db=True)
    face = triangle_index(rast)
    for axis, size in ((0, width), (1, height)):
        moved = []
        for sign in (1, -1):
            p = pos.double()[None].clone()
            p[..., axis] -= sign * h * 2 / size * p[..., 3]
            moved.append(barycentrics_reference(p, tri, face)[0][..., :2])
        slope = (moved[0] - moved[1]) / (2 * h)
        inside = (
            (rast[..., 3:] > 0) & (rast[..., :2] > 0.01).all(-1, keepdim=True) & (rast[..., :2].sum(-1, True) < 0.99)
        )
        got = rast_db[..., [axis, 2 + axis]].double()
        assert inside.sum() > 50
        torch.testing.assert_close(got * inside, slope * inside, atol=1e-4, rtol=1e-4)


@needs_native
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(1, 1), (17, 9), (24, 40)]), st.floats(0.1, 5), st.booleans())
def test_compiled_gradients_equal_autograd_of_the_reference(
    soup: Soup, seed: int, size: tuple[int, int], spread: float, with_db: bool
) -> None:
    pos, tri = soup(20, spread, seed)
    pos = torch.stack([pos, pos.flip(0)])
    grads = {}
    for backend in ("native", "reference"):
        leaf = pos.clone().requires_grad_()
        generator = torch.Generator().manual_seed(1)
        attr = torch.rand(2, pos.shape[1], 3, generator=generator).requires_grad_()
        if with_db:
            rast, db = rasterize(leaf, tri, size, grad_db=True, backend=backend)
            out, out_da = interpolate(attr, rast, tri, db, [2, 0], backend=backend)
        else:
            rast = rasterize(leaf, tri, size, backend=backend)
            out, out_da = interpolate(attr, rast, tri, backend=backend), torch.zeros(1)
        # Pixels at the rim of thin triangles have slopes without bound; weigh them down.
        steep = barycentrics_reference(pos, tri, triangle_index(rast))[1].abs().amax(-1, keepdim=True)
        weight = torch.rand(out.shape, generator=generator) / (1 + steep**2)
        loss = (out * weight).sum() + (rast[..., 2:3] * weight[..., :1]).sum()
        if with_db:
            loss = loss + (out_da * torch.rand(out_da.shape, generator=generator) / (1 + steep**3)).sum()
        grads[backend] = torch.autograd.grad(loss, (leaf, attr), allow_unused=True)
    for native, reference in zip(grads["native"], grads["reference"]):
        # float32 sums of up to a thousand terms in another order
        torch.testing.assert_close(native, reference, atol=2e-4 * float(reference.abs().max() + 1), rtol=1e-3)


def test_vertex_gradient_of_a_depth_image_matches_finite_differences(sphere: tuple[Tensor, Tensor]) -> None:
    pos, tri = sphere
    ids = rasterize(pos, tri, (24, 24))[..., 3]

    def loss(p: Tensor) -> Tensor:
        rast = rasterize(p, tri, (24, 24))
        return (rast[..., :3].double() * (rast[..., 3:] == ids[..., None])).sum(-1).where(keep, 0).sum()

    # Pixels whose triangle does not change under the small moves below.
    keep = torch.ones_like(ids, dtype=torch.bool)
    direction = torch.randn(pos.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    for step in (-direction, direction):
        keep &= rasterize(pos + step, tri, (24, 24))[..., 3] == ids
    rast = rasterize(pos, tri, (24, 24))
    keep &= (rast[..., :2] > 0.02).all(-1) & (rast[..., :2].sum(-1) < 0.98) & (ids > 0)
    assert keep.sum() > 100
    leaf = pos.clone().requires_grad_()
    loss(leaf).backward()
    want = (loss(pos + direction) - loss(pos - direction)) / 2
    assert leaf.grad is not None
    assert float((leaf.grad * direction).sum()) == pytest.approx(float(want), rel=2e-3)


def test_gradients_do_not_depend_on_threads(sphere: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    pos, tri = sphere

    def run() -> list[Tensor]:
        p, attr = pos.clone().requires_grad_(), pos[:, :3].clone().requires_grad_()
        tex = torch.linspace(0, 1, 48).reshape(4, 4, 3).requires_grad_()
        rast, db = rasterize(p, tri, (90, 110), grad_db=True)
        out, out_da = interpolate(attr, rast, tri, db, [0, 1])
        return list(torch.autograd.grad(texture(tex, out[..., :2], out_da).sum() + out.sum(), (p, attr, tex)))

    first = run()
    monkeypatch.setenv("OVOXEL_NUM_THREADS", "3")
    assert all(torch.equal(a, b) for a, b in zip(first, run()))


@pytest.mark.parametrize("backend", ["reference"] + (["native"] if native_module() is not None else []))
def test_gradients_of_bad_triangles_are_finite(backend: str) -> None:
    nan = float("nan")
    pos = torch.tensor([[-1, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1], [nan, 0, 0, 1],
                        [0, 0, 0, -1], [2, 2, 0.5, 1]])  # fmt: skip
    tri = torch.tensor([[0, 0, 1], [0, 3, 4], [0, 1, 5], [0, 1, 99], [-1, 1, 2], [0, 1, 6], [0, 1, 2], [0, 4, 7]])
    leaf = pos.requires_grad_()
    rast, db = rasterize(leaf, tri, (9, 9), grad_db=True, backend=backend)
    assert (rast[..., 3] > 0).any()
    (rast[..., :3].sum() + db.sum()).backward()
    assert leaf.grad is not None
    assert leaf.grad[[0, 1, 2, 3, 4, 6, 7]].isfinite().all()
    assert (leaf.grad[5] == 0).all()


def test_empty_mesh_has_an_empty_gradient() -> None:
    pos = torch.zeros(0, 4, requires_grad=True)
    rast = rasterize(pos, torch.zeros(0, 3, dtype=torch.int32), (4, 4))
    out = interpolate(torch.zeros(0, 2, requires_grad=True), rast, torch.zeros(0, 3, dtype=torch.int32))
    (rast.sum() + out.sum()).backward()
    assert pos.grad is not None and pos.grad.shape == (0, 4)


def test_derivatives_of_attributes_match_neighbouring_pixels() -> None:
    # A linear attribute on a screen-parallel plane: its derivatives are constants.
    pos = torch.tensor([[-1.0, -1, 0, 1], [1, -1, 0, 1], [-1, 1, 0, 1], [1, 1, 0, 1]])
    tri = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    rast, db = rasterize(pos, tri, (8, 16), grad_db=True)
    uv = (pos[:, :2] + 1) / 2
    out, out_da = interpolate(uv, rast, tri, db, "all")
    torch.testing.assert_close(out_da[0, ..., 0], torch.full((8, 16), 1 / 16))
    torch.testing.assert_close(out_da[0, ..., 3], torch.full((8, 16), 1 / 8))
    torch.testing.assert_close(out_da[0, ..., 1:3], torch.zeros(8, 16, 2), atol=1e-7, rtol=0)
    torch.testing.assert_close(out[0, :, 1:, 0] - out[0, :, :-1, 0], torch.full((8, 15), 1 / 16))
    chosen = interpolate(uv, rast, tri, db, [1])[1]
    assert torch.equal(chosen, out_da[..., 2:])


def test_peeled_layers_carry_gradients_and_derivatives(sphere: tuple[Tensor, Tensor]) -> None:
    pos, tri = sphere
    leaf = pos.clone().requires_grad_()
    with DepthPeeler(leaf, tri, (16, 16), grad_db=True) as peeler:
        peeler.rasterize_next_layer()
        rast, db = peeler.rasterize_next_layer()
    assert (rast[..., 3] > 0).any() and db.shape == rast.shape
    rast[..., 2].sum().backward()
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0


def test_arguments_are_named() -> None:
    tri = torch.zeros(1, 3, dtype=torch.int32)
    rast = torch.zeros(1, 2, 2, 4)
    with pytest.raises(ValueError, match=r"diff_attrs needs rast_db"):
        interpolate(torch.zeros(3, 2), rast, tri, diff_attrs=[0])
    with pytest.raises(ValueError, match=r"channels in 0\.\.1"):
        interpolate(torch.zeros(3, 2), rast, tri, rast, [2])
    with pytest.raises(ValueError, match=r"rast_db must have shape"):
        interpolate(torch.zeros(3, 2), rast, tri, rast[:, :1])
