"""Sparse grid sampling: vectors, hand values, native against reference, gradients, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.sampling import VoxelIndex, grid_sample_3d

BACKENDS = ["reference"] + (["native"] if native_module() is not None else [])
needs_native = pytest.mark.skipif(native_module() is None, reason="compiled core not built")


def _line(backend: str, q: tuple[float, float, float], **options: object) -> float:
    """Voxels (0,0,0) = 1 and (1,0,0) = 3."""
    coords = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.int32)
    grid = torch.tensor([[q]])
    return grid_sample_3d(
        torch.tensor([[1.0], [3.0]]), coords, (1, 1, 4, 4, 4), grid, backend=backend, **options
    ).item()


def _random(seed: int, count: int = 60, points: int = 50) -> tuple[Tensor, Tensor, tuple[int, ...], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, 5, 4, 6)
    keys = torch.randperm(2 * 5 * 4 * 6, generator=generator)[:count]
    coords = torch.stack([keys // 120, keys // 24 % 5, keys // 6 % 4, keys % 6], 1).int()
    grid = torch.rand(2, points, 3, generator=generator) * 9 - 2
    return torch.randn(len(coords), 3, generator=generator), coords, shape, grid


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["trilinear", "nearest"])
def test_matches_published_vectors(vectors_dir: Path, backend: str, mode: str) -> None:
    data = np.load(vectors_dir / "o_voxel" / "grid_sample_3d.npz")
    feats, coords, grid = (torch.from_numpy(data[k]) for k in ("feats", "coords", "grid"))
    out = grid_sample_3d(feats, coords, data["shape"].tolist(), grid, mode, quirks="published", backend=backend)
    torch.testing.assert_close(out, torch.from_numpy(data[mode]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hand_values(backend: str) -> None:
    assert _line(backend, (0.75, 0.5, 0.5)) == pytest.approx(1.5)
    assert _line(backend, (0.2, 0.5, 0.5)) == pytest.approx(1.0)
    assert _line(backend, (1.9, 0.5, 0.5)) == pytest.approx(3.0)
    assert _line(backend, (1.9, 0.5, 0.5), normalize=False) == pytest.approx(1.8)
    assert _line(backend, (3.9, 0.5, 0.5)) == 0
    assert _line(backend, (1.2, 0.9, 0.9), mode="nearest") == 3
    assert _line(backend, (-0.2, 0.5, 0.5), mode="nearest") == 0
    assert _line(backend, (-0.2, 0.5, 0.5), mode="nearest", quirks="published") == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_strange_points_give_zeros(backend: str) -> None:
    for q in (float("nan"), float("inf"), -float("inf"), 1e30, -1e30):
        for mode in ("trilinear", "nearest"):
            assert _line(backend, (q, 0.5, 0.5), mode=mode) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_absent_corners_never_read_row_zero(backend: str) -> None:
    feats = torch.tensor([[float("nan")], [2.0]])
    coords = torch.tensor([[0, 3, 3, 3], [0, 0, 0, 0]], dtype=torch.int32)
    out = grid_sample_3d(
        feats, coords, (1, 1, 4, 4, 4), torch.tensor([[[0.7, 0.7, 0.7], [2.0, 1.0, 1.0]]]), backend=backend
    )
    assert out.flatten().tolist() == [2.0, 0.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_voxels_outside_the_shape_do_not_alias(backend: str) -> None:
    coords = torch.tensor([[0, 0, 0, 4], [0, 0, -1, 0], [3, 0, 0, 0], [0, 0, 1, 1]], dtype=torch.int32)
    feats = torch.tensor([[5.0], [6.0], [7.0], [8.0]])
    points = torch.tensor([[[0.5, 1.5, 0.5], [0.5, 0.5, 3.5], [0.5, 0.5, 0.5], [0.5, 1.5, 1.5]]])
    out = grid_sample_3d(feats, coords, (1, 1, 4, 4, 4), points, "nearest", backend=backend)
    assert out.flatten().tolist() == [0, 0, 0, 8]


@needs_native
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["trilinear", "nearest"]), st.booleans(), st.booleans())
def test_native_equals_reference(seed: int, mode: str, normalize: bool, published: bool) -> None:
    feats, coords, shape, grid = _random(seed, count=seed % 240)
    options = {"mode": mode, "normalize": normalize, "quirks": "published" if published else "none"}
    native = grid_sample_3d(feats, coords, shape, grid, backend="native", **options)
    reference = grid_sample_3d(feats, coords, shape, grid, backend="reference", **options)
    torch.testing.assert_close(native, reference, atol=1e-5, rtol=1e-5)
    leaf = feats.clone().requires_grad_()
    again = grid_sample_3d(leaf, coords, shape, grid, backend="native", **options)
    torch.testing.assert_close(again.detach(), reference, atol=1e-5, rtol=1e-5)


def test_gradients() -> None:
    feats, coords, shape, grid = _random(3, points=12)
    for mode in ("trilinear", "nearest"):
        for normalize in (True, False):

            def run(f: Tensor, mode: str = mode, normalize: bool = normalize) -> Tensor:
                return grid_sample_3d(f, coords, shape, grid.double(), mode, normalize=normalize)

            assert torch.autograd.gradcheck(run, feats.double().requires_grad_())
    leaf = [feats.clone().requires_grad_() for _ in BACKENDS]
    for f, backend in zip(leaf, BACKENDS):
        grid_sample_3d(f, coords, shape, grid, backend=backend).square().sum().backward()
    torch.testing.assert_close(leaf[0].grad, leaf[-1].grad, atol=1e-4, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["trilinear", "nearest"]), st.booleans())
def test_gradient_is_the_adjoint(seed: int, mode: str, normalize: bool) -> None:
    """Sampling is linear in feats: <sample(f), g> = <f, gradient(g)>."""
    feats, coords, shape, grid = _random(seed, count=1 + seed % 200)
    leaf = feats.requires_grad_()
    out = grid_sample_3d(leaf, coords, shape, grid, mode, normalize=normalize)
    seed_gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(out, leaf, seed_gradient)
    torch.testing.assert_close((out * seed_gradient).sum(), (feats * gradient).sum(), atol=1e-3, rtol=1e-4)


@needs_native
def test_result_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    feats, coords, shape, grid = _random(4, count=200, points=20_000)
    results = []
    for threads in ("1", "5"):
        monkeypatch.setenv("OVOXEL_NUM_THREADS", threads)
        leaf = feats.clone().requires_grad_()
        out = grid_sample_3d(leaf, coords, shape, grid)
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_index_serves_many_calls(backend: str) -> None:
    feats, coords, shape, grid = _random(6)
    index = VoxelIndex(coords.long() + 0, shape, batches=2, backend=backend)
    for mode in ("trilinear", "nearest"):
        for f, g in ((feats, grid), (feats[:, :1], grid[:, :7]), (feats, grid[:, ::3])):
            want = grid_sample_3d(f, coords, shape, g, mode, backend=backend)
            assert torch.equal(index.sample(f, g, mode), want)
    with pytest.raises(ValueError, match="batch items"):
        index.sample(feats, grid[:1])
    with pytest.raises(ValueError, match="coords must have shape"):
        index.sample(feats[:5], grid)


@pytest.mark.parametrize("backend", BACKENDS)
def test_first_of_equal_rows_is_found(backend: str) -> None:
    coords = torch.tensor([[0, 1, 1, 1], [0, 2, 2, 2], [0, 1, 1, 1], [0, 2, 2, 2]], dtype=torch.int32)
    feats = torch.tensor([[5.0], [6.0], [7.0], [8.0]])
    points = torch.tensor([[[1.5, 1.5, 1.5], [2.5, 2.5, 2.5]]])
    assert grid_sample_3d(feats, coords, (4, 4, 4), points, backend=backend).flatten().tolist() == [5, 6]


@pytest.mark.parametrize("backend", BACKENDS)
def test_coordinates_beyond_int32_do_not_wrap(backend: str) -> None:
    coords = torch.tensor([[0, 2**32, 0, 0], [2**32, 0, 0, 0]])
    points = torch.tensor([[[0.5, 0.5, 0.5]]])
    assert grid_sample_3d(torch.ones(2, 1), coords, (4, 4, 4), points, backend=backend).item() == 0


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["trilinear", "nearest"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("voxels", "size", "channels", "points", "dtype"),
    [
        (0, 4, 3, 5, torch.float32),
        (1, 1, 1, 5, torch.float32),
        (300, 6, 6, 0, torch.float32),
        (300, 6, 5, 700, torch.float16),
        (300, 6, 64, 700, torch.bfloat16),
        (1_400_000, 100, 6, 530_000, torch.float32),  # more than 2^20 rows and queries
        (20_000, 2048, 8, 2000, torch.float16),
    ],
)
def test_cuda_equals_cpu(
    mode: str, normalize: bool, voxels: int, size: int, channels: int, points: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(voxels)
    batched = torch.tensor([2, size, size, size])
    coords = (torch.rand(voxels, 4, generator=generator) * batched).int()
    feats = torch.randn(voxels, channels, generator=generator).to(dtype)
    grid = torch.rand(2, points, 3, generator=generator) * (size + 2) - 1
    seed = torch.randn(2, points, channels, generator=generator).to(dtype)
    results = []
    for device, ordered in (("cpu", False), ("cuda", True), ("cuda", True), ("cuda", False)):
        leaf = feats.to(device).clone().requires_grad_()
        torch.use_deterministic_algorithms(ordered)
        try:
            out = grid_sample_3d(
                leaf, coords.to(device), (size, size, size), grid.to(device), mode, normalize=normalize
            )  # fmt: skip
            out.backward(seed.to(device))
        finally:
            torch.use_deterministic_algorithms(False)
        assert out.device.type == device and out.dtype == dtype
        results.append((out.detach().cpu(), leaf.grad.cpu()))
    cpu, cuda, again, unordered = results
    assert torch.equal(cpu[0], cuda[0]) and torch.equal(cpu[0], unordered[0])
    assert torch.equal(cpu[1], cuda[1]) and torch.equal(cuda[1], again[1])
    scale = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]  # order of summation, one cast
    torch.testing.assert_close(unordered[1], cpu[1], atol=scale, rtol=scale)


@pytest.mark.gpu
def test_ordered_gradient_of_many_queries_on_cuda() -> None:
    """More queries than are sorted at once."""
    generator = torch.Generator().manual_seed(0)
    coords = torch.nn.functional.pad((torch.rand(3000, 3, generator=generator) * 20).int(), (1, 0))
    grid = torch.rand(1, (1 << 22) + 1000, 3, generator=generator) * 20
    gradients = []
    for device in ("cpu", "cuda"):
        leaf = torch.ones(3000, 1, device=device, requires_grad=True)
        torch.use_deterministic_algorithms(True)
        try:
            grid_sample_3d(leaf, coords.to(device), (20, 20, 20), grid.to(device)).sum().backward()
        finally:
            torch.use_deterministic_algorithms(False)
        gradients.append(leaf.grad.cpu())
    assert torch.equal(*gradients)


@pytest.mark.gpu
def test_cuda_gradcheck() -> None:
    feats, coords, shape, grid = _random(3, points=12)
    arguments = coords.cuda(), shape, grid.double().cuda()
    assert torch.autograd.gradcheck(lambda f: grid_sample_3d(f, *arguments), feats.double().cuda().requires_grad_())


def test_reproduces_a_linear_field_on_a_dense_grid() -> None:
    n = 6
    c = torch.stack(torch.meshgrid(*[torch.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coords = torch.cat([torch.zeros(len(c), 1, dtype=torch.int32), c.int()], 1)
    field = (c + 0.5) @ torch.tensor([[1.0, 0.5], [2.0, 0.0], [-1.0, 3.0]])
    points = torch.rand(1, 200, 3) * (n - 1) + 0.5
    out = grid_sample_3d(field, coords, (1, 2, n, n, n), points)
    want = points @ torch.tensor([[1.0, 0.5], [2.0, 0.0], [-1.0, 3.0]])
    torch.testing.assert_close(out, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_and_half_precision(backend: str) -> None:
    empty = torch.zeros(0, 2), torch.zeros(0, 4, dtype=torch.int32), (1, 2, 4, 4, 4)
    assert grid_sample_3d(*empty, torch.rand(1, 5, 3), backend=backend).abs().sum() == 0
    assert grid_sample_3d(*empty, torch.rand(3, 0, 3), backend=backend).shape == (3, 0, 2)
    feats, coords, shape, grid = _random(8)
    half = grid_sample_3d(feats.half(), coords, shape, grid, backend=backend)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), grid_sample_3d(feats, coords, shape, grid), atol=5e-3, rtol=5e-3)


def test_bad_arguments_are_named() -> None:
    feats, coords, shape, grid = _random(0)
    with pytest.raises(ValueError, match="mode must be"):
        grid_sample_3d(feats, coords, shape, grid, "linear")
    with pytest.raises(ValueError, match=r"coords must have shape \[60, 4\]"):
        grid_sample_3d(feats, coords[:, :3], shape, grid)
    with pytest.raises(TypeError, match="coords must hold integers"):
        grid_sample_3d(feats, coords.float(), shape, grid)
    with pytest.raises(ValueError, match=r"grid must be floating point of shape \[B, L, 3\]"):
        grid_sample_3d(feats, coords, shape, grid[0])
    with pytest.raises(ValueError, match="shape must end in X, Y, Z"):
        grid_sample_3d(feats, coords, (2, 3), grid)
