"""UV unwrapping: no overlap, nothing mirrored, padding kept, one density, any input in bounded time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel import mesh as M
from o_voxel.mesh import unwrap_measure, unwrap_reference
from o_voxel.mesh.unwrap import texture_padding

SHAPES = ["sphere", "torus", "cube", "grid_sheet", "moebius"]


def signed_uv_areas(uvs: np.ndarray, faces: np.ndarray) -> np.ndarray:
    t = uvs[faces].astype(np.float64)
    e, g = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    return (e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]) / 2


def texel_counts(uvs: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """How many faces hold each texel centre [size, size], their borders left out: more than one is an overlap."""
    counts = np.zeros((size, size), dtype=np.int64)
    for p in uvs[faces].astype(np.float64) * size:
        if (p[1, 0] - p[0, 0]) * (p[2, 1] - p[0, 1]) < (p[1, 1] - p[0, 1]) * (p[2, 0] - p[0, 0]):
            p = p[::-1]
        (x0, y0), (x1, y1) = np.floor(p.min(0)).astype(int), np.ceil(p.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
        inside = np.ones(x.shape, dtype=bool)
        for a, b in zip(p, np.roll(p, -1, axis=0), strict=True):
            inside &= (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) > 1e-4  # float32 UVs
        counts[y0:y1, x0:x1][inside] += 1
    return counts


def chart_texels(uvs: np.ndarray, faces: np.ndarray, chart: np.ndarray, size: int) -> list[np.ndarray]:
    """The texels [n, 2] (column, row) that each chart touches, over samples of its faces half a texel apart."""
    out: list[list[np.ndarray]] = [[] for _ in range(int(chart.max()) + 1)]
    for p, c in zip(uvs[faces].astype(np.float64) * size, chart, strict=True):
        n = int(np.ceil(np.ptp(p, axis=0).max() * 2)) + 1
        i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
        keep = i + j <= n
        w = np.stack([i[keep], j[keep], n - i[keep] - j[keep]], 1) / n
        out[c].append(np.floor(np.clip(w @ p, 0, size - 1e-3)).astype(int))
    return [np.unique(np.concatenate(cells), axis=0) for cells in out]


def check(r: M.UnwrapResult, v: np.ndarray, f: np.ndarray, size: int) -> None:
    """The claims that hold for every result."""
    np.testing.assert_array_equal(r.vertices[r.faces], v[f])
    np.testing.assert_array_equal(r.vmap[r.faces], f)
    assert np.isfinite(r.uvs).all() and r.uvs.min() >= 0 and r.uvs.max() <= 1
    assert r.num_charts == len(np.unique(r.chart)) == int(r.chart.max()) + 1
    assert texel_counts(r.uvs, r.faces, size).max() <= 1
    areas = signed_uv_areas(r.uvs, r.faces)
    assert r.use == pytest.approx(np.abs(areas).sum(), rel=1e-4)
    assert 0 <= r.thin_chart_share <= 1 and 0 <= r.thin_area_share <= 1
    assert r.stretch >= 0.999 and r.density_range[0] <= 1.001 and r.density_range[1] >= 0.999


@pytest.mark.parametrize("method", ["charts", "xatlas"])
@pytest.mark.parametrize("name", SHAPES)
def test_charts_are_valid(shapes: SimpleNamespace, name: str, method: str) -> None:
    v, f = getattr(shapes, name)()
    r = M.unwrap(v, f, resolution=512, padding=2, method=method)  # type: ignore[arg-type]
    check(r, v, f, 1024)
    areas = signed_uv_areas(r.uvs, r.faces)
    assert (areas > 0).all()  # nothing mirrored
    # One density: UV area of each chart proportional to its area in space.
    space = np.bincount(r.chart, weights=M.face_areas(v, f))
    flat = np.bincount(r.chart, weights=areas)
    np.testing.assert_allclose(np.sqrt(flat / space) * 512, r.texels_per_unit, rtol=1e-3)
    assert r.padding == 2 and r.level == ("full" if method == "charts" else "xatlas")


@pytest.mark.parametrize("name", SHAPES)
def test_charts_keep_their_distance(shapes: SimpleNamespace, name: str) -> None:
    v, f = getattr(shapes, name)()
    size, padding = 128, 3
    r = M.unwrap(v, f, resolution=size, padding=padding, method="charts")
    assert r.padding == padding
    owner = np.full((size, size), -1)
    for c, cells in enumerate(chart_texels(r.uvs, r.faces, r.chart, size)):
        owner[cells[:, 1], cells[:, 0]] = c
    rows, columns = np.nonzero(owner >= 0)
    assert min(rows.min(), columns.min()) >= padding and max(rows.max(), columns.max()) < size - padding
    for y, x in zip(rows, columns, strict=True):
        near = owner[max(0, y - 2 * padding) : y + 2 * padding + 1, max(0, x - 2 * padding) : x + 2 * padding + 1]
        assert set(np.unique(near)) <= {-1, owner[y, x]}


def test_padding_is_given_up_first_and_reported() -> None:
    rng = np.random.default_rng(0)
    v = rng.random((600, 3)).astype(np.float32)
    r = M.unwrap(v, np.arange(600).reshape(-1, 3), resolution=64, padding=8, method="charts")
    assert r.padding < 8 and r.num_charts == 200
    assert texel_counts(r.uvs, r.faces, 64).max() <= 1


@pytest.mark.parametrize(("size", "padding"), [(1, 1), (512, 2), (1024, 4), (2048, 8), (4096, 16), (8192, 16)])
def test_padding_rule(size: int, padding: int) -> None:
    assert texture_padding(size) == padding


def test_cube_has_six_charts_and_makes_good_use_of_the_texture(shapes: SimpleNamespace) -> None:
    r = M.unwrap(*shapes.cube(), resolution=512, padding=2, method="charts")
    assert r.num_charts == 6 and r.use > 0.6 and r.stretch == pytest.approx(1, abs=1e-6)


def test_curved_shapes_have_few_charts_and_little_stretch(shapes: SimpleNamespace) -> None:
    for name, most in (("sphere", 12), ("torus", 20)):
        r = M.unwrap(*getattr(shapes, name)(), resolution=512, padding=2, method="charts")
        assert r.num_charts <= most and r.stretch < 1.05 and r.thin_chart_share == 0


def test_spiral_ramp_is_cut_where_it_covers_itself() -> None:
    t = np.linspace(0, 6 * np.pi, 181)
    ring = np.stack([np.cos(t), np.sin(t)], 1)
    z = t[:, None] * 0.02
    v = np.concatenate([np.concatenate([ring * 0.5, z], 1), np.concatenate([ring, z], 1)]).astype(np.float32)
    i = np.arange(180)
    f = np.concatenate([np.stack([i, i + 181, i + 182], 1), np.stack([i, i + 182, i + 1], 1)])
    r = M.unwrap(v, f, resolution=512, method="charts")
    assert 3 <= r.num_charts <= 10
    check(r, v, f, 1024)


def test_noise_does_not_shred_the_charts(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(4)
    noisy = v + np.random.default_rng(0).normal(size=v.shape).astype(np.float32) * 0.008  # a third of an edge
    r = M.unwrap(noisy, f, resolution=1024, padding=4, method="charts")
    assert r.num_charts < 60 and r.thin_area_share < 0.02
    check(r, noisy, f, 1024)


@pytest.mark.parametrize("name", ["sphere", "torus"])
def test_compiled_figures_agree_with_their_definition(shapes: SimpleNamespace, name: str) -> None:
    v, f = getattr(shapes, name)()
    r = M.unwrap(v, f, resolution=256, padding=2, method="charts")
    arguments = (
        v.astype(np.float64),
        f,
        r.uvs.astype(np.float64) * 256.0,
        r.faces,
        r.chart.astype(np.int32),
        r.num_charts,
    )
    fast, plain = (unwrap_measure.measure(*arguments, backend=b) for b in ("native", "reference"))  # type: ignore[arg-type]
    np.testing.assert_allclose(fast[:4], plain[:4], rtol=1e-9)
    np.testing.assert_allclose(fast.density_range, plain.density_range, rtol=0.003)  # bins 0.2 % wide


def test_figures_of_a_strip_by_hand() -> None:
    """A flat strip of 32 x 2 texels: mean width 128 / 68 < 3; stretched to twice its length for the second test."""
    v = np.array([[0, 0, 0], [32, 0, 0], [32, 2, 0], [0, 2, 0]], dtype=np.float64)
    f = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
    q = unwrap_measure.measure(v, f, v[:, :2].copy(), f, np.zeros(2, np.int32), 1, backend="reference")
    assert (q.thin_charts, q.thin_area, q.area) == (1, 1, 64) and q.stretch == pytest.approx(1)
    q = unwrap_measure.measure(v, f, v[:, :2] * [2, 1], f, np.zeros(2, np.int32), 1, backend="reference")
    assert q.stretch == pytest.approx(np.sqrt((1 + 0.25) / 2 * 2))


def test_split_vertices_and_double_sheets_hold_together(shapes: SimpleNamespace) -> None:
    v, f = shapes.grid_sheet(8)
    r = M.unwrap(v[f.reshape(-1)], np.arange(f.size).reshape(-1, 3), resolution=128, method="charts")
    assert r.num_charts == 1 and len(r.uvs) == f.size
    both = np.concatenate([f, f[:, ::-1]])
    assert M.unwrap(v, both, resolution=128, method="charts").num_charts == 2


@pytest.mark.timeout(120)  # a method that is quadratic in the charts would take hours
def test_triangle_soup_is_unwrapped() -> None:
    rng = np.random.default_rng(0)
    v = rng.random((30000, 3)).astype(np.float32)
    f = np.arange(30000).reshape(-1, 3)
    r = M.unwrap(v, f, resolution=256)
    assert r.num_charts == 10000 and np.isfinite(r.uvs).all() and r.padding == 0
    assert (signed_uv_areas(r.uvs, r.faces) > 0).all()


def test_degenerate_faces_get_a_place(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube()
    f = np.concatenate([f, [[0, 0, 1], [2, 2, 2]]])
    for method in ("charts", "xatlas"):
        r = M.unwrap(v, f, resolution=64, method=method)  # type: ignore[arg-type]
        assert np.isfinite(r.uvs).all() and len(r.faces) == len(f)
        np.testing.assert_array_equal(r.vmap[r.faces], f)


def _fan(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Many faces around one vertex, their rim wavy: loops over pairs of them would be felt."""
    t = np.arange(n) * 2 * np.pi / n
    v = np.concatenate([[[0, 0, 0.3]], np.stack([np.cos(t), np.sin(t), 0.05 * np.sin(40 * t)], 1)])
    return v, np.stack([np.zeros(n, int), np.arange(n) + 1, (np.arange(n) + 1) % n + 1], 1)


def _ribbon(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """One quad wide, to and fro in a plane."""
    t = np.arange(n + 1)
    along = np.where(t // 100 % 2 == 0, t % 100, 99 - t % 100)
    a = np.stack([along, 2.0 * (t // 100), 0.1 * np.sin(t * 0.05)], 1)
    i = np.arange(n)
    f = np.concatenate([np.stack([i, i + 1, i + n + 2], 1), np.stack([i, i + n + 2, i + n + 1], 1)])
    return np.concatenate([a, a + [0, 0.8, 0.3]]), f


def _crumbs(n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Loose tetrahedra, every fifth of them without volume."""
    rng = np.random.default_rng(0)
    v = rng.random((n, 1, 3)) + rng.normal(size=(n, 4, 3)) * 0.01
    v[::5, 3] = v[::5, :3].mean(1)
    f = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    return v.reshape(-1, 3), (np.arange(n)[:, None, None] * 4 + f).reshape(-1, 3)


def _knot(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Faces between vertices taken at random: most edges have many faces or one."""
    rng = np.random.default_rng(0)
    return rng.random((n // 6, 3)), rng.integers(0, n // 6, (n, 3))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("make", [_fan, _ribbon, _crumbs, _knot])
def test_hostile_meshes_stay_within_the_budget(make: Callable[[], tuple[np.ndarray, np.ndarray]]) -> None:
    v, f = make()
    r = M.unwrap(v, f, resolution=1024, padding=2, method="charts", time_budget=60.0)
    assert r.level == "full"  # anything else says that the budget ran out
    np.testing.assert_array_equal(r.vmap[r.faces], f)
    assert np.isfinite(r.uvs).all() and r.uvs.min() >= 0 and r.uvs.max() <= 1
    assert (signed_uv_areas(r.uvs, r.faces) >= -1e-12).all()
    assert texel_counts(r.uvs, r.faces, 1024).max() <= 1


@pytest.mark.parametrize(("budget", "level"), [(1e-9, "faces"), (60.0, "full")])
def test_a_spent_budget_still_gives_every_face_its_place(shapes: SimpleNamespace, budget: float, level: str) -> None:
    v, f = shapes.torus()
    r = M.unwrap(v, f, resolution=512, method="charts", time_budget=budget)
    assert r.level == level
    assert r.num_charts == len(f) if level == "faces" else r.num_charts < 20
    check(r, v, f, 1024)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_soup_is_unwrapped(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12), label="vertices")
    coordinate = st.one_of(st.integers(-2, 2).map(float), st.floats(-1, 1, width=32))
    v = np.array(data.draw(st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=n, max_size=n)), np.float32)
    corner = st.integers(0, n - 1)
    f = np.array(data.draw(st.lists(st.tuples(corner, corner, corner), min_size=1, max_size=24)), np.int32)
    r = M.unwrap(v, f, resolution=64, padding=1, method="charts")
    np.testing.assert_array_equal(r.vmap[r.faces], f)
    assert np.isfinite(r.uvs).all() and r.uvs.min() >= 0 and r.uvs.max() <= 1
    assert (signed_uv_areas(r.uvs, r.faces) >= -1e-9).all()
    assert texel_counts(r.uvs, r.faces, 256).max() <= 1


@pytest.mark.parametrize("scale", [2.0**-14, 2.0**13])
def test_scale_does_not_matter(shapes: SimpleNamespace, scale: float) -> None:
    v, f = shapes.torus()
    v = v.astype(np.float64)
    small, large = (M.unwrap(v * s, f, resolution=256, method="charts") for s in (1.0, scale))
    np.testing.assert_array_equal(small.chart, large.chart)
    np.testing.assert_allclose(small.uvs, large.uvs, atol=1e-9)
    assert large.texels_per_unit * scale == pytest.approx(small.texels_per_unit, rel=1e-9)


def test_results_do_not_depend_on_the_number_of_threads(
    shapes: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    v, f = shapes.sphere(4)
    v = v + np.random.default_rng(0).normal(size=v.shape) * 0.008
    results = []
    for threads in ("1", "5", "5"):
        monkeypatch.setenv("OVOXEL_NUM_THREADS", threads)
        results.append(M.unwrap(v, f, resolution=256, method="charts"))
    for r in results[1:]:
        np.testing.assert_array_equal(r.uvs, results[0].uvs)
        np.testing.assert_array_equal(r.faces, results[0].faces)


def test_tensors_come_back_as_tensors(shapes: SimpleNamespace) -> None:
    v, f = (torch.from_numpy(a) for a in shapes.cube())
    r = M.unwrap(v, f, resolution=64)
    assert r.uvs.dtype == torch.float32 and r.faces.dtype == torch.int32 and r.vmap.dtype == torch.int64
    assert torch.equal(r.vmap[r.faces.long()], f.long())


def test_fallback_without_the_native_core(shapes: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["o_voxel.mesh.unwrap"], "resolve_backend", lambda _: "reference")
    v, f = shapes.torus()
    r = M.unwrap(v, f, resolution=512, method="charts")
    assert (signed_uv_areas(r.uvs, r.faces) > 0).all() and r.use > 0.2 and r.level == "reference"
    assert texel_counts(r.uvs, r.faces, 1024).max() <= 1


def test_shelf_packing_places_without_overlap() -> None:
    rng = np.random.default_rng(0)
    size = rng.random((40, 2))
    flat = (size[:, None] * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])).reshape(-1, 2) + rng.random((40, 1, 2)).repeat(
        4, 1
    ).reshape(-1, 2)
    corner = (np.arange(40)[:, None, None] * 4 + np.array([[0, 1, 2], [1, 3, 2]])).reshape(-1, 3)
    scale, texel = unwrap_reference.shelf_pack(flat, corner, np.arange(80) // 2, 40, 256, 1)
    assert scale > 0 and texel.min() >= 1 and texel.max() <= 255
    counts = texel_counts(texel / 256, corner, 256)
    assert counts.max() == 1 and counts.mean() > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 0}, "resolution must be an int"),
        ({"padding": -1}, "padding must be an int"),
        ({"method": "magic"}, "method must be"),
        ({"max_cone_angle": 90.0}, "max_cone_angle must lie"),
        ({"time_budget": 0.0}, "time_budget must be > 0"),
    ],
)
def test_bad_arguments_are_refused(shapes: SimpleNamespace, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        M.unwrap(*shapes.cube(), **change)


def test_empty_mesh_is_refused() -> None:
    with pytest.raises(ValueError, match="faces must not be empty"):
        M.unwrap(np.zeros((3, 3)), np.zeros((0, 3), dtype=int))
