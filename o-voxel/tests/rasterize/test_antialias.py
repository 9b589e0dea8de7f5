"""Edge antialiasing: coverage it produces, its gradients, and the topology it needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.rasterize import antialias, antialias_construct_topology_hash, interpolate, rasterize

BACKENDS = ["reference"] + (["native"] if native_module() is not None else [])
needs_native = pytest.mark.skipif(native_module() is None, reason="compiled core not built")
Soup = Callable[[int, float, int], tuple[Tensor, Tensor]]


def _mask(pos: Tensor, tri: Tensor, size: tuple[int, int], backend: str = "auto") -> Tensor:
    rast = rasterize(pos, tri, size, backend=backend)  # type: ignore[call-overload]
    color = (rast[..., 3:] > 0).float()
    return antialias(color, rast, pos, tri, backend=backend)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
def test_vertical_edge_gives_its_exact_coverage(backend: str) -> None:
    # The right edge of a quad moves across a pixel: that pixel's value is the part of it that is covered.
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    for covered in torch.linspace(0.02, 0.98, 13).tolist():
        right = (5 + covered) / 8 * 2 - 1
        pos = torch.tensor([[-1.5, -1.5, 0, 1], [right, -1.5, 0, 1], [right, 1.5, 0, 1], [-1.5, 1.5, 0, 1]])
        row = _mask(pos, tri, (6, 8), backend)[0, 3, :, 0]
        torch.testing.assert_close(row, torch.tensor([1.0, 1, 1, 1, 1, covered, 0, 0]), atol=1e-5, rtol=0)
        column = _mask(pos[:, [1, 0, 2, 3]], tri, (8, 6), backend)[0, :, 3, 0]
        torch.testing.assert_close(column, torch.tensor([1.0, 1, 1, 1, 1, covered, 0, 0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slanted_disc_has_the_area_of_the_polygon(backend: str) -> None:
    angle = torch.arange(64) * (2 * torch.pi / 64) + 0.1
    rim = torch.stack([0.7 * angle.cos() + 0.03, 0.6 * angle.sin() - 0.01], 1)
    w = 1 + 0.3 * rim[:, :1]
    pos = torch.cat([rim * w, 0 * w, w], 1)
    pos = torch.cat([torch.tensor([[0.03, -0.01, 0, 1.0]]), pos])
    tri = torch.tensor([[0, 1 + i, 1 + (i + 1) % 64] for i in range(64)], dtype=torch.int32)
    following = rim.roll(-1, 0)
    area = float((rim[:, 0] * following[:, 1] - rim[:, 1] * following[:, 0]).sum() / 2)
    got = float(_mask(pos, tri, (48, 64), backend).double().sum()) * (2 / 48) * (2 / 64)
    rough = float((rasterize(pos, tri, (48, 64))[..., 3] > 0).double().sum()) * (2 / 48) * (2 / 64)
    assert abs(got - area) / area < 2e-3
    assert abs(got - area) < abs(rough - area) or abs(rough - area) / area < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_position_gradient_matches_finite_differences(backend: str) -> None:
    pos = torch.tensor([[-0.61, -0.7, 0.1, 1], [0.73 * 1.5, -0.52 * 1.5, 0.2, 1.5], [-0.1, 0.67, 0.3, 1.0]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    weight = torch.rand(1, 16, 20, 1, generator=torch.Generator().manual_seed(0)) + 0.5

    def loss(p: Tensor) -> Tensor:
        return (_mask(p, tri, (16, 20), backend) * weight).double().sum()

    leaf = pos.clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    for i in range(3):
        for j in (0, 1, 3):
            step = torch.zeros(3, 4)
            step[i, j] = 2e-4
            want = float(loss(pos + step) - loss(pos - step)) / 4e-4
            assert float(leaf.grad[i, j]) == pytest.approx(want, rel=0.02, abs=0.15)
    assert (leaf.grad[:, 2] == 0).all()
    boosted = pos.clone().requires_grad_()
    rast = rasterize(pos, tri, (16, 20))
    color = (rast[..., 3:] > 0).float()
    plain = antialias(color, rast, pos, tri, backend=backend)  # type: ignore[arg-type]
    out = antialias(color, rast, boosted, tri, pos_gradient_boost=3.0, backend=backend)  # type: ignore[arg-type]
    assert torch.equal(out, plain)
    (out * weight).double().sum().backward()
    torch.testing.assert_close(boosted.grad, 3 * leaf.grad, rtol=1e-4, atol=1e-4)


@needs_native
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(1, 1), (17, 9), (24, 40)]), st.floats(0.1, 5), st.booleans())
def test_compiled_equals_reference_forward_and_backward(
    soup: Soup, seed: int, size: tuple[int, int], spread: float, shared: bool
) -> None:
    pos, tri = soup(12, spread, seed)
    tri = torch.cat([tri, tri[:, [1, 0, 2]], torch.tensor([[0, 1, 5], [0, 1, 8], [3, 3, 4]], dtype=torch.int32)])
    both = torch.stack([pos, pos.flip(0)]) if not shared else pos[None]
    rast = rasterize(both.expand(2, -1, -1), tri, size)
    generator = torch.Generator().manual_seed(seed)
    color, weight = (torch.rand(*rast.shape[:3], 3, generator=generator) for _ in range(2))
    out, grads = [], []
    for backend in ("native", "reference"):
        c, p = color.clone().requires_grad_(), both.clone().requires_grad_()
        got = antialias(c, rast, p, tri, backend=backend)  # type: ignore[arg-type]
        out.append(got.detach())
        grads.append(torch.autograd.grad((got * weight).sum(), (c, p)))
    torch.testing.assert_close(out[0], out[1], atol=2e-6, rtol=0)
    torch.testing.assert_close(grads[0][0], grads[1][0], atol=2e-6, rtol=0)
    scale = float(grads[1][1].abs().max())
    torch.testing.assert_close(grads[0][1], grads[1][1], atol=1e-4 * (1 + scale), rtol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_interior_edges_of_a_smooth_mesh_are_left_alone(backend: str, sphere: tuple[Tensor, Tensor]) -> None:
    pos, tri = sphere
    # One vertex at each pole: the triangles without area there would be neighbours whose side is a matter of rounding.
    last = len(pos) - 1
    tri = torch.where(tri < 16, 0, torch.where(tri > last - 16, last, tri))
    rast = rasterize(pos, tri, (48, 48))
    color = torch.rand(1, 48, 48, 2, generator=torch.Generator().manual_seed(0))
    out = antialias(color, rast, pos, tri, backend=backend)  # type: ignore[arg-type]
    drawn = rast[0, ..., 3] > 0
    inner = drawn.clone()
    inner[1:] &= drawn[:-1]
    inner[:-1] &= drawn[1:]
    inner[:, 1:] &= drawn[:, :-1]
    inner[:, :-1] &= drawn[:, 1:]
    assert torch.equal(out[0][inner], color[0][inner])
    assert not torch.equal(out[0][drawn], color[0][drawn])


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_colour_stays_and_values_stay_in_range(backend: str, soup: Soup) -> None:
    pos, tri = soup(60, 0.8, 5)
    rast = rasterize(pos, tri, (32, 32))
    flat = torch.full((1, 32, 32, 1), 0.3)
    assert torch.equal(antialias(flat, rast, pos, tri, backend=backend), flat)  # type: ignore[arg-type]
    out = antialias((rast[..., 3:] > 0).float(), rast, pos, tri, backend=backend)  # type: ignore[arg-type]
    assert out.min() >= -1e-6 and out.max() <= 1 + 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_topology(backend: str) -> None:
    tri = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 5, 6], [6, 5, 4], [7, 8, 9], [8, 7, 10], [7, 8, 11], [0, 0, 1]])
    want = [
        [3, -1, -1],  # edge (1, 2) continues in vertex 3
        [-1, -1, 0],
        [-1, -1, -1],  # a triangle and its back: nothing continues
        [-1, -1, -1],
        [-1, -1, 11],  # three triangles at (7, 8): 9, 10, 11 opposite it
        [-1, -1, 9],
        [-1, -1, 9],
        [-1, -1, -1],
    ]
    got = antialias_construct_topology_hash(tri, backend=backend)  # type: ignore[arg-type]
    assert got.dtype == torch.int32
    # [8, 7, 10] has its opposite vertex 10 neither smallest nor largest: it sees the smallest
    assert got.tolist() == want


@needs_native
def test_topology_of_a_random_mesh_equals_the_reference() -> None:
    tri = torch.randint(0, 60, (4000, 3), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    native, reference = (antialias_construct_topology_hash(tri, backend=b) for b in ("native", "reference"))  # type: ignore[arg-type]
    assert torch.equal(native, reference)


def test_silhouette_gradients_pull_a_disc_towards_a_larger_one() -> None:
    # A few steps of gradient descent on the mask alone, as a rendering loss would take them.
    angle = torch.arange(24) * (2 * torch.pi / 24)
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    tri = torch.tensor([[0, 1 + i, 1 + (i + 1) % 24] for i in range(24)], dtype=torch.int32)

    def disc(radius: Tensor) -> Tensor:
        xy = torch.cat([torch.zeros(1, 2), ring * radius])
        return torch.cat([xy, torch.zeros(25, 1), torch.ones(25, 1)], 1)

    target = _mask(disc(torch.tensor(0.7)), tri, (32, 32))
    radius = torch.tensor(0.55, requires_grad=True)
    for _ in range(40):
        loss = ((_mask(disc(radius), tri, (32, 32)) - target) ** 2).mean()
        (grad,) = torch.autograd.grad(loss, radius)
        radius = (radius - 0.3 * grad).detach().requires_grad_()
    assert radius.item() == pytest.approx(0.7, abs=0.01)


def test_gradient_reaches_the_mesh_through_a_whole_picture(sphere: tuple[Tensor, Tensor]) -> None:
    pos, tri = sphere
    leaf = pos.clone().requires_grad_()
    rast = rasterize(leaf, tri, (40, 40))
    color = interpolate(leaf[:, :3] / leaf[:, 3:], rast, tri)
    antialias(color, rast, leaf, tri).square().mean().backward()
    assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.abs().max() > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_mesh_and_empty_picture(backend: str) -> None:
    none = torch.zeros(0, 3, dtype=torch.int32)
    color = torch.rand(1, 4, 4, 2)
    out = antialias(color, torch.zeros(1, 4, 4, 4), torch.zeros(0, 4), none, backend=backend)  # type: ignore[arg-type]
    assert torch.equal(out, color)


def test_bad_arguments_are_named() -> None:
    rast, pos, tri = torch.zeros(1, 2, 2, 4), torch.zeros(3, 4), torch.zeros(1, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"color must have shape \[1, 2, 2, 'C'\]"):
        antialias(torch.zeros(1, 2, 3, 1), rast, pos, tri)
    with pytest.raises(ValueError, match=r"pos must have shape"):
        antialias(torch.zeros(1, 2, 2, 1), rast, pos[:, :3], tri)
    with pytest.raises(TypeError, match=r"color must be a floating-point tensor"):
        antialias(torch.zeros(1, 2, 2, 1, dtype=torch.int32), rast, pos, tri)
    with pytest.raises(ValueError, match=r"topology_hash must be int32 \[1, 3\]"):
        antialias(torch.zeros(1, 2, 2, 1), rast, pos, tri, torch.zeros(2, 3, dtype=torch.int32))
