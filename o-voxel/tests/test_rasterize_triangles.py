"""The triangle rasteriser: fill rule, clipping, depth, peeling, interpolation, texture look-up."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.rasterize import DepthPeeler, interpolate, rasterize, texture, triangle_index

BACKENDS = ["reference"] + (["native"] if native_module() is not None else [])
needs_native = pytest.mark.skipif(native_module() is None, reason="compiled core not built")


def _soup(count: int, size: float, seed: int) -> tuple[Tensor, Tensor]:
    """Random triangles in clip space, some of them behind the camera or across its planes."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(count, 1, 4, generator=generator)
    centre[..., 3] = centre[..., 3].abs() + 0.5
    pos = (centre + size * torch.randn(count, 3, 4, generator=generator)).reshape(-1, 4)
    return pos, torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3)


def _flat(points: list[tuple[float, ...]]) -> Tensor:
    """Clip-space corners with w = 1 from (x, y) or (x, y, z) in NDC."""
    return torch.tensor([[*(p + (0.0,))[:3], 1.0] for p in points])


@needs_native
@pytest.mark.parametrize(("count", "size"), [(40, 2.0), (150, 0.6), (200, 0.1)])
def test_native_equals_reference(count: int, size: float) -> None:
    pos, tri = _soup(count, size, seed=count)
    got = rasterize(pos, tri, (40, 56), backend="native")
    want = rasterize(pos, tri, (40, 56), backend="reference")
    assert (want[..., 3] > 0).any()
    assert torch.equal(got[..., 3], want[..., 3])
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


@needs_native
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(1, 1), (7, 65), (66, 3), (129, 64)]), st.floats(0.01, 30))
def test_native_equals_reference_on_any_soup(seed: int, resolution: tuple[int, int], size: float) -> None:
    pos, tri = _soup(8, size, seed)
    got = rasterize(pos, tri, resolution, backend="native")
    torch.testing.assert_close(got, rasterize(pos, tri, resolution, backend="reference"), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_barycentrics_follow_the_formula(backend: str) -> None:
    pos = torch.tensor([[-0.9, -0.8, 0.1, 1.0], [1.8, -1.0, 0.6, 2.0], [0.3, 2.4, 1.5, 3.0]])
    rast = rasterize(pos, torch.tensor([[0, 1, 2]], dtype=torch.int32), (9, 11), backend=backend)[0]
    rows, columns = (rast[..., 3] > 0).nonzero(as_tuple=True)
    assert len(rows) > 10
    u, v, depth = rast[rows, columns, :3].double().T
    weights = torch.stack([u, v, 1 - u - v], 1)
    clip = weights @ pos.double()
    torch.testing.assert_close(clip[:, 0] / clip[:, 3], (2 * columns + 1).double() / 11 - 1, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip[:, 1] / clip[:, 3], (2 * rows + 1).double() / 9 - 1, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip[:, 2] / clip[:, 3], depth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_row_zero_is_negative_y(backend: str) -> None:
    pos = _flat([(-1, -1), (1, -1), (-1, -0.5)])
    rast = rasterize(pos, torch.tensor([[0, 1, 2]]), (8, 8), backend=backend)[0]
    assert rast[0, 0, 3] == 1
    assert (rast[2:, :, 3] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flip", [False, True])
def test_shared_edges_through_pixel_centres_are_owned_once(backend: str, flip: bool) -> None:
    # Every edge of this quad fan passes exactly through pixel centres; the middle vertex lies on one.
    size = 8
    at = [(2 * i + 1) / size - 1 for i in range(size)]
    ring = [(at[1], at[1]), (at[4], at[1]), (at[7], at[1]), (at[7], at[4]), (at[7], at[7]), (at[4], at[7]),
            (at[1], at[7]), (at[1], at[4])]  # fmt: skip
    pos = _flat([(at[4], at[4]), *ring])
    tri = torch.tensor([[0, 1 + i, 1 + (i + 1) % 8] for i in range(8)], dtype=torch.int32)
    if flip:
        tri = tri.flip(1)
    count = sum((rasterize(pos, t[None], (size, size), backend=backend)[0, ..., 3] > 0).int() for t in tri)
    want = torch.zeros(size, size, dtype=torch.int32)
    want[1:7, 1:7] = 1  # left and low edges in, right and high edges out
    assert torch.equal(count, want)


@pytest.mark.parametrize("seed", range(4))
def test_triangulated_square_covers_every_pixel_exactly_once(seed: int) -> None:
    # A jittered grid in perspective: every pixel inside belongs to exactly one of its triangles.
    generator = torch.Generator().manual_seed(seed)
    n = 12
    u = torch.linspace(-1, 1, n + 1)
    x, y = torch.meshgrid(u, u, indexing="ij")
    inner = (x.abs() < 1) & (y.abs() < 1)
    x = x + inner * (torch.rand(x.shape, generator=generator) - 0.5) * 0.08
    y = y + inner * (torch.rand(x.shape, generator=generator) - 0.5) * 0.08
    w = 1 + torch.rand(x.shape, generator=generator)
    pos = torch.stack([x * w, y * w, 0 * w, w], -1).reshape(-1, 4)
    i = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).reshape(-1)
    tri = torch.cat([torch.stack([i, i + 1, i + n + 1], 1), torch.stack([i + 1, i + n + 2, i + n + 1], 1)])
    tri = tri[torch.randperm(len(tri), generator=generator)]
    hits = torch.zeros(33, 47, dtype=torch.long)
    for t in tri.split(1):
        hits += rasterize(pos, t, (33, 47))[0, ..., 3] > 0
    assert torch.equal(hits, torch.ones_like(hits))


def test_mesh_across_the_near_plane_stays_watertight() -> None:
    # A floor from behind the camera to the far plane, in two different triangulations of the same vertices.
    n, near, far = 6, 0.1, 10.0
    xs, zs = torch.linspace(-3, 3, n + 1), torch.linspace(-2, 8, n + 1)
    x, z = torch.meshgrid(xs, zs, indexing="ij")
    zc = (far + near) / (far - near) * z - 2 * far * near / (far - near)
    pos = torch.stack([x, torch.full_like(x, -0.3), zc, z], -1).reshape(-1, 4)
    i = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).reshape(-1)
    tri = torch.cat([torch.stack([i, i + 1, i + n + 1], 1), torch.stack([i + 1, i + n + 2, i + n + 1], 1)])
    hits = torch.zeros(41, 41, dtype=torch.long)
    for t in tri.split(1):
        hits += rasterize(pos, t, (41, 41))[0, ..., 3] > 0
    assert hits.max() == 1
    column = hits[:20, 20]  # rows from y = -1 (just in front of the near plane) up to the horizon
    y = (2 * torch.arange(20) + 1) / 41 - 1
    depth = -0.3 / y
    assert torch.equal(column == 1, (depth > near) & (depth < 8))


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_order_and_ties(backend: str) -> None:
    square = [(-1.0, -1.0), (3.0, -1.0), (-1.0, 3.0)]
    pos = _flat([(*p, z) for z in (0.5, -0.5, -0.5, 1.5, -1.5) for p in square])
    tri = torch.arange(15, dtype=torch.int32).reshape(5, 3)
    rast = rasterize(pos, tri, (4, 4), backend=backend)
    assert (rast[..., 3] == 3).all()  # nearest inside the view volume, later of two equal ones
    assert (rast[..., 2] == -0.5).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_degenerate_triangles_are_skipped(backend: str) -> None:
    nan, inf = float("nan"), float("inf")
    pos = torch.tensor(
        [[-1, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1], [0, 0, 0, 1], [1, 1, 0, 1], [nan, 0, 0, 1], [inf, 0, 0, 1],
         [0, 0, 0, 0], [0, 0, 0, -1], [1, 0, 0, -1], [0, 1, 0, -1]],
    )  # fmt: skip
    bad = [[0, 0, 1], [0, 3, 4], [3, 3, 3], [0, 1, 5], [0, 1, 6], [0, 1, 99], [-1, 1, 2], [7, 7, 7], [8, 9, 10]]
    assert (rasterize(pos, torch.tensor(bad), (8, 8), backend=backend) == 0).all()
    rast = rasterize(pos, torch.tensor([*bad, [0, 1, 2]]), (8, 8), backend=backend)
    assert (rast[..., 3] == len(bad) + 1).all()
    assert rast.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_inputs_give_empty_images(backend: str) -> None:
    assert rasterize(torch.zeros(0, 4), torch.zeros(0, 3, dtype=torch.int32), (3, 5), backend=backend).sum() == 0
    assert rasterize(torch.zeros(0, 7, 4), torch.zeros(0, 3, dtype=torch.int32), 4, backend=backend).shape == (
        0,
        4,
        4,
        4,
    )


def _wild(seed: int, decades: int) -> tuple[Tensor, Tensor]:
    """Six triangles over 18 points whose coordinates are spread over `decades` powers of ten on either side of 1."""
    generator = torch.Generator().manual_seed(seed)
    power = torch.randint(-decades, decades + 1, (18, 4), generator=generator)
    pos = torch.randn(18, 4, generator=generator) * 10.0**power
    return pos, torch.randint(0, 18, (6, 3), generator=generator)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
@example(seed=582)  # cut corners coincide in double precision
def test_values_of_any_magnitude_stay_in_range(backend: str, seed: int) -> None:
    pos, tri = _wild(seed, 30)
    rast = rasterize(pos, tri, (16, 20), backend=backend)
    assert rast.isfinite().all()
    assert (rast[..., :2] >= 0).all() and (rast[..., :2].sum(-1) <= 1.00001).all() and (rast[..., 2].abs() <= 1).all()


@needs_native
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31))
def test_native_equals_reference_over_twelve_decades(seed: int) -> None:
    """Wider spreads leave triangles without an area in double precision, where the formulas may differ."""
    pos, tri = _wild(seed, 6)
    native, reference = (rasterize(pos, tri, (16, 20), backend=name)[..., 3] for name in ("native", "reference"))
    assert torch.equal(native, reference)


def test_huge_coordinates_are_clipped_not_overflowed() -> None:
    pos = torch.tensor([[-1e12, -1e12, 0, 1], [1e12, -1e12, 0, 1], [0, 1e12, 0, 1]])
    rast = rasterize(pos, torch.tensor([[0, 1, 2]]), (16, 16))
    assert (rast[..., 3] == 1).all()
    assert rast.isfinite().all()


def test_batch_draws_each_instance() -> None:
    pos, tri = _soup(30, 0.6, seed=3)
    other, _ = _soup(30, 0.6, seed=4)
    both = rasterize(torch.stack([pos, other]), tri, (16, 24))
    assert torch.equal(both[0], rasterize(pos, tri, (16, 24))[0])
    assert torch.equal(both[1], rasterize(other, tri, (16, 24))[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_ranges_draw_several_meshes_over_one_set_of_corners(backend: str) -> None:
    pos, tri = _soup(30, 0.6, seed=3)
    ranges = torch.tensor([[0, 10], [10, 20], [5, 0], [0, 30]], dtype=torch.int32)
    leaf = pos.clone().requires_grad_()
    rast = rasterize(leaf, tri, (16, 24), ranges=ranges, backend=backend)
    weight = torch.rand(rast.shape, generator=torch.Generator().manual_seed(0))
    (rast[..., :3] * weight[..., :3]).sum().backward()
    want_grad = torch.zeros_like(pos)
    for b, (first, count) in enumerate(ranges.tolist()):
        other = pos.clone().requires_grad_()
        part = rasterize(other, tri[first : first + count], (16, 24), backend=backend)[0]
        want = part.detach().clone()
        want[..., 3] += first * (want[..., 3] > 0)
        assert torch.equal(rast[b], want)
        (part[..., :3] * weight[b, ..., :3]).sum().backward()
        want_grad += other.grad
    torch.testing.assert_close(leaf.grad, want_grad, rtol=1e-4, atol=1e-4 * float(want_grad.abs().max()))
    attr = torch.rand(len(pos), 2)
    assert torch.equal(interpolate(attr, rast, tri)[1], interpolate(attr, rast[1:2], tri)[0])
    peeler = DepthPeeler(pos, tri, (16, 24), ranges=ranges, backend=backend)
    peeler.rasterize_next_layer()
    alone = DepthPeeler(pos, tri, (16, 24), backend=backend)
    alone.rasterize_next_layer()
    assert torch.equal(peeler.rasterize_next_layer()[3], alone.rasterize_next_layer()[0])


def test_bad_ranges_are_named() -> None:
    pos, tri = _soup(4, 0.6, seed=3)
    with pytest.raises(ValueError, match=r"within the 4 rows of tri"):
        rasterize(pos, tri, 4, ranges=torch.tensor([[2, 3]]))
    with pytest.raises(ValueError, match=r"ranges must be \[B, 2\] for pos \[V, 4\]"):
        rasterize(torch.stack([pos, pos]), tri, 4, ranges=torch.tensor([[0, 1], [1, 1]]))
    with pytest.raises(TypeError, match=r"ranges must be an int32 tensor"):
        rasterize(pos, tri, 4, ranges=torch.rand(1, 2))


def test_result_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pos, tri = _soup(20000, 0.3, seed=9)
    want = rasterize(pos, tri, (128, 128))
    monkeypatch.setenv("OVOXEL_NUM_THREADS", "1")
    assert torch.equal(rasterize(pos, tri, (128, 128)), want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_peeling_visits_every_layer_once(backend: str) -> None:
    triangle = [(-1.0, -1.0), (3.0, -1.0), (-1.0, 3.0)]
    depths = (0.25, -0.5, 0.75, -0.5, 0.0)
    pos = _flat([(*p, z) for z in depths for p in triangle])
    tri = torch.arange(15, dtype=torch.int32).reshape(5, 3)
    with DepthPeeler(pos, tri, (4, 6), backend=backend) as peeler:
        layers = [peeler.rasterize_next_layer() for _ in range(6)]
    assert [float(layer[0, 0, 0, 3]) for layer in layers] == [4, 5, 1, 3, 0, 0]  # coplanar duplicate vanishes
    assert all((layer[..., 3] == layer[0, 0, 0, 3]).all() for layer in layers)


@needs_native
def test_peeling_native_equals_reference() -> None:
    pos, tri = _soup(60, 0.8, seed=21)
    native, reference = (DepthPeeler(pos, tri, (24, 24), backend=b) for b in ("native", "reference"))
    for _ in range(4):
        a, b = native.rasterize_next_layer(), reference.rasterize_next_layer()
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        assert (a[..., 3] > 0).any()


def test_interpolate_matches_barycentric_sum_and_zeroes_background() -> None:
    pos, tri = _soup(20, 0.5, seed=5)
    attr = torch.randn(len(pos), 3, dtype=torch.float64)
    rast = rasterize(pos, tri, (20, 20))
    out = interpolate(attr, rast, tri)
    index = triangle_index(rast)
    assert (out[index < 0] == 0).all()
    b, i, j = (index >= 0).nonzero()[7].tolist()
    u, v = rast[b, i, j, :2].double()
    a0, a1, a2 = attr[tri[index[b, i, j]].long()]
    torch.testing.assert_close(out[b, i, j], u * a0 + v * a1 + (1 - u - v) * a2)
    per_face = torch.arange(20.0)[:, None]
    face_index = torch.arange(20, dtype=torch.int32)[:, None].expand(20, 3)
    torch.testing.assert_close(interpolate(per_face, rast, face_index)[..., 0], index.clamp(min=0).float())


def test_interpolate_gradients() -> None:
    pos, tri = _soup(6, 0.8, seed=6)
    rast = rasterize(pos.expand(2, -1, -1), tri, (5, 5)).double().requires_grad_()
    attr = torch.randn(2, len(pos), 2, dtype=torch.float64, requires_grad=True)
    drawn = (rast[..., 3:] > 0).detach()

    def run(a: Tensor, uv: Tensor) -> Tensor:
        return interpolate(a, torch.cat([torch.where(drawn, uv, 0), rast[..., 2:].detach()], -1), tri)

    assert torch.autograd.gradcheck(run, (attr, rast[..., :2].detach().requires_grad_()))


def test_triangle_index_decodes_large_ids() -> None:
    large = torch.tensor([0x4A800000 + 2**24 + 5], dtype=torch.int32).view(torch.float32)
    rast = torch.zeros(1, 1, 3, 4)
    rast[0, 0, 1, 3], rast[0, 0, 2, 3] = 2**24, large[0]
    assert triangle_index(rast).flatten().tolist() == [-1, 2**24 - 1, 2**24 + 4]


def test_texture_reads_texel_centres_and_blends_between() -> None:
    tex = torch.arange(12.0).reshape(3, 4, 1)
    row, column = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    uv = torch.stack([(column + 0.5) / 4, (row + 0.5) / 3], -1)[None]
    for mode in ("linear", "nearest"):
        torch.testing.assert_close(texture(tex, uv, mode)[0], tex, atol=1e-5, rtol=0)
    torch.testing.assert_close(texture(tex, torch.tensor([[[[0.5, 0.5]]]]))[0, 0, 0], torch.tensor([5.5]))


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [("wrap", [3.0, 3.0, 0.0, 1.5]), ("clamp", [0.0, 0.0, 3.0, 0.0]), ("mirror", [0.0, 0.0, 3.0, 0.0])],
)
def test_texture_boundaries(boundary: str, expected: list[float]) -> None:
    tex = torch.arange(4.0).reshape(1, 4, 1)
    nearest = texture(tex, torch.tensor([[[[-0.125, 0.5], [3.875, 3.5], [1.125, -0.5]]]]), "nearest", boundary)
    want = {"wrap": [3.0, 3.0, 0.0], "clamp": [0.0, 3.0, 3.0], "mirror": [0.0, 0.0, 3.0]}[boundary]
    assert nearest.flatten().tolist() == want
    edge = texture(tex, torch.tensor([[[[0.0, 0.5]]]]), "linear", boundary)
    assert edge.item() == expected[3]


def test_texture_zero_boundary_and_bad_coordinates() -> None:
    tex = torch.ones(2, 2, 1)
    uv = torch.tensor([[[[0.0, 0.0], [2.0, 0.5], [float("nan"), 0.25], [float("inf"), 1e38]]]])
    out = texture(tex, uv, "linear", "zero").flatten()
    assert out.tolist() == [0.25, 0.0, 0.5, 0.0]
    assert texture(tex, uv).isfinite().all()


def test_texture_gradients_and_batches() -> None:
    tex = torch.randn(2, 3, 5, 2, dtype=torch.float64, requires_grad=True)
    uv = (torch.rand(2, 4, 4, 2, dtype=torch.float64) * 2 - 0.5).requires_grad_()
    for boundary in ("wrap", "clamp", "mirror", "zero"):
        assert torch.autograd.gradcheck(lambda t, c: texture(t, c, "linear", boundary), (tex, uv))  # noqa: B023
    assert torch.equal(texture(tex, uv)[1], texture(tex[1], uv[1:])[0])


@needs_native
@pytest.mark.parametrize("batched", [False, True])
def test_native_interpolation_equals_reference(batched: bool) -> None:
    pos, tri = _soup(40, 0.5, seed=12)
    rast = rasterize(torch.stack([pos, pos.flip(0)]), tri, (31, 23))
    attr = torch.randn(*([2] if batched else []), len(pos), 5)
    native = interpolate(attr, rast, tri, backend="native")
    torch.testing.assert_close(native, interpolate(attr, rast, tri, backend="reference"))
    assert interpolate(attr[..., :0], rast, tri).shape == (2, 31, 23, 0)


@needs_native
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["linear", "nearest"]),
    st.sampled_from(["wrap", "clamp", "mirror", "zero"]),
    st.sampled_from([(1, 1), (1, 5), (4, 3), (16, 16)]),
    st.sampled_from([0.5, 3.0, 200.0]),
)
def test_native_texture_equals_reference(
    seed: int, filter_mode: str, boundary: str, size: tuple[int, int], spread: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tex = torch.randn(2 if seed % 2 else 1, *size, 3, generator=generator)
    uv = (torch.rand(2, 5, 6, 2, generator=generator) - 0.5) * 2 * spread + 0.5
    uv[0, 0, 0] = torch.tensor([float("nan"), -float("inf")])
    native = texture(tex, uv, filter_mode, boundary, backend="native")
    reference = texture(tex, uv, filter_mode, boundary, backend="reference")
    torch.testing.assert_close(native, reference, atol=1e-5, rtol=1e-5)


def test_bad_arguments_are_named() -> None:
    pos, tri = torch.zeros(3, 4), torch.zeros(1, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"pos must have shape"):
        rasterize(pos[:, :3], tri, (4, 4))
    with pytest.raises(TypeError, match=r"tri must be an int32"):
        rasterize(pos, tri.float(), (4, 4))
    with pytest.raises(ValueError, match=r"resolution"):
        rasterize(pos, tri, (0, 4))
    with pytest.raises(ValueError, match=r"peel_depth must be"):
        rasterize(pos, tri, (4, 4), torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"attr must have shape"):
        interpolate(torch.zeros(3), torch.zeros(1, 2, 2, 4), tri)
    with pytest.raises(ValueError, match=r"tri has 1 rows but rast shows triangle 4"):
        interpolate(torch.zeros(3, 1), torch.full((1, 2, 2, 4), 5.0), tri)
    with pytest.raises(ValueError, match=r"boundary_mode"):
        texture(torch.zeros(2, 2, 1), torch.zeros(1, 1, 1, 2), "linear", "repeat")
