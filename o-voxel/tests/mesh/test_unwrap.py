"""UV unwrapping: no overlap, one density, any input in bounded time."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from o_voxel import mesh as M
from o_voxel.mesh import unwrap_reference
from o_voxel.rasterize import rasterize


def uv_areas(result: M.UnwrapResult) -> np.ndarray:
    t = result.uvs[result.faces].astype(np.float64)
    e, g = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
    return (e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]) / 2


def overlap(result: M.UnwrapResult, size: int) -> float:
    """Share of the covered texel area that is covered more than once, from the sum of areas against the union."""
    clip = np.concatenate([result.uvs * 2 - 1, np.zeros((len(result.uvs), 1)), np.ones((len(result.uvs), 1))], 1)
    rast = rasterize(
        torch.from_numpy(clip.astype(np.float32)), torch.from_numpy(result.faces.astype(np.int32)), (size, size)
    )
    union = float((rast[..., 3] > 0).float().mean())
    return max(0.0, float(np.abs(uv_areas(result)).sum()) / union - 1)


@pytest.mark.parametrize("method", ["charts", "xatlas"])
@pytest.mark.parametrize("name", ["sphere", "torus", "cube", "grid_sheet", "moebius"])
def test_charts_are_valid(shapes: SimpleNamespace, name: str, method: str) -> None:
    v, f = getattr(shapes, name)()
    r = M.unwrap(v, f, resolution=512, padding=2, method=method)  # type: ignore[arg-type]
    np.testing.assert_array_equal(r.vertices[r.faces], v[f])
    np.testing.assert_array_equal(r.vmap[r.faces], f)
    assert r.uvs.min() >= 0 and r.uvs.max() <= 1
    areas = uv_areas(r)
    if method == "charts":
        assert (areas > 0).all()  # nothing mirrored
    assert overlap(r, 2048) < 0.01
    # One density: UV area of each chart proportional to its area in space.
    space = np.bincount(r.chart, weights=M.face_areas(v, f))
    flat = np.bincount(r.chart, weights=np.abs(areas))
    np.testing.assert_allclose(np.sqrt(flat / space) * 512, r.texels_per_unit, rtol=1e-3)


def test_charts_keep_their_distance(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube()
    r = M.unwrap(v, f, resolution=128, padding=3, method="charts")
    boxes = [(r.uvs[r.faces[r.chart == c]].reshape(-1, 2) * 128) for c in range(r.num_charts)]
    assert r.num_charts == 6
    for i in range(6):
        for j in range(i):
            low = np.maximum(boxes[i].min(0), boxes[j].min(0))
            high = np.minimum(boxes[i].max(0), boxes[j].max(0))
            assert (low - high).max() >= 6 - 1e-3


def test_cube_makes_good_use_of_the_texture(shapes: SimpleNamespace) -> None:
    r = M.unwrap(*shapes.cube(), resolution=512, padding=2, method="charts")
    assert uv_areas(r).sum() > 0.6


def test_spiral_ramp_is_cut_where_it_covers_itself() -> None:
    t = np.linspace(0, 6 * np.pi, 181)
    ring = np.stack([np.cos(t), np.sin(t)], 1)
    z = t[:, None] * 0.02
    v = np.concatenate([np.concatenate([ring * 0.5, z], 1), np.concatenate([ring, z], 1)]).astype(np.float32)
    i = np.arange(180)
    f = np.concatenate([np.stack([i, i + 181, i + 182], 1), np.stack([i, i + 182, i + 1], 1)])
    r = M.unwrap(v, f, resolution=512, method="charts")
    assert r.num_charts >= 3 and overlap(r, 2048) < 0.01


@pytest.mark.timeout(120)  # a method that is quadratic in the charts would take hours
def test_triangle_soup_is_unwrapped() -> None:
    rng = np.random.default_rng(0)
    v = rng.random((30000, 3)).astype(np.float32)
    f = np.arange(30000).reshape(-1, 3)
    r = M.unwrap(v, f, resolution=256)
    assert r.num_charts == 10000 and np.isfinite(r.uvs).all() and overlap(r, 4096) < 0.05


def test_degenerate_faces_get_a_place(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube()
    f = np.concatenate([f, [[0, 0, 1], [2, 2, 2]]])
    for method in ("charts", "xatlas"):
        r = M.unwrap(v, f, resolution=64, method=method)  # type: ignore[arg-type]
        assert np.isfinite(r.uvs).all() and len(r.faces) == len(f)
        np.testing.assert_array_equal(r.vmap[r.faces], f)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_scale_does_not_matter(shapes: SimpleNamespace, scale: float) -> None:
    v, f = shapes.torus()
    r = M.unwrap(v.astype(np.float64) * scale, f, resolution=256, method="charts")
    assert r.texels_per_unit * scale == pytest.approx(
        M.unwrap(v, f, resolution=256, method="charts").texels_per_unit, rel=0.05
    )


def test_fallback_without_the_native_core(shapes: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["o_voxel.mesh.unwrap"], "resolve_backend", lambda _: "reference")
    v, f = shapes.torus()
    r = M.unwrap(v, f, resolution=512, method="charts")
    assert (uv_areas(r) > 0).all() and uv_areas(r).sum() > 0.2 and overlap(r, 2048) < 0.01


def test_shelf_packing_places_without_overlap() -> None:
    size = np.random.default_rng(0).random((40, 2))
    scale, x, y, turned = unwrap_reference.shelf_pack(size, 256, 1)
    texels = np.ceil(np.where(turned[:, None] == 1, size[:, ::-1], size) * scale) + 3
    grid = np.zeros((256, 256), dtype=int)
    for i in range(40):
        grid[y[i] : y[i] + int(texels[i, 1]), x[i] : x[i] + int(texels[i, 0])] += 1
    assert grid.max() == 1 and grid.mean() > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 0}, "resolution must be an int"),
        ({"padding": -1}, "padding must be an int"),
        ({"method": "magic"}, "method must be"),
        ({"max_cone_angle": 90.0}, "max_cone_angle must lie"),
    ],
)
def test_bad_arguments_are_refused(shapes: SimpleNamespace, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        M.unwrap(*shapes.cube(), **change)


def test_empty_mesh_is_refused() -> None:
    with pytest.raises(ValueError, match="faces must not be empty"):
        M.unwrap(np.zeros((3, 3)), np.zeros((0, 3), dtype=int))
