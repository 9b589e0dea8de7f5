"""Levels of detail: counts, the same surface, and with texture coordinates the same texture."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from o_voxel import mesh as M

Mesh = tuple[np.ndarray, np.ndarray]


def uv_areas(uvs: np.ndarray, faces: np.ndarray) -> np.ndarray:
    p = uvs.astype(np.float64)[faces]
    a, b = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def texture_shift(level: M.Lod, vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """How far points of a level are from where the first level has the same texture coordinates."""

    def flat(x: np.ndarray) -> np.ndarray:
        return np.c_[x, np.zeros(len(x))].astype(np.float64)

    weights = np.random.default_rng(0).dirichlet(np.ones(3), size=len(level.faces))
    point = (level.vertices[level.faces] * weights[..., None]).sum(1)
    coords = (level.uvs[level.faces] * weights[..., None]).sum(1)
    distance, face, w = (np.asarray(x) for x in M.BVH(flat(uvs), faces).nearest(flat(coords)))
    inside = distance < 1e-9
    assert inside.mean() > 0.97  # the rest is in the padding between charts
    same = (vertices[faces[face]] * w[..., None]).sum(1)
    return np.linalg.norm(same - point, axis=1)[inside]


@pytest.fixture(scope="module")
def unwrapped(shapes: SimpleNamespace) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    meshes = [shapes.sphere(4), shapes.torus()]
    results = [M.unwrap(v, f) for v, f in meshes]
    return [(np.asarray(r.vertices), np.asarray(r.faces), np.asarray(r.uvs)) for r in results]


def test_levels_have_the_counts_asked_for(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(4)  # 5120 faces
    levels = M.lod_chain(v, f, [0.5, 1000, 0.05])
    assert [len(level.faces) for level in levels] == [2560, 1000, 256]
    for level in levels:
        stats = M.mesh_stats(level.vertices, level.faces)
        assert stats.watertight and stats.euler == 2
        assert level.uvs is None and level.shortfall is None
        assert len(level.vertex_source) == len(level.vertices) and level.vertex_source.max() < len(v)


def test_first_level_is_what_simplify_makes(shapes: SimpleNamespace) -> None:
    v, f = shapes.torus()
    level, r = M.lod_chain(v, f, [500])[0], M.simplify(v, f, 500)
    np.testing.assert_array_equal(level.faces, r.faces)
    np.testing.assert_allclose(level.vertices, r.vertices, atol=1e-7)


def test_later_levels_still_measure_the_first_surface(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(5)
    chain = M.lod_chain(v, f, [0.5, 0.25, 0.125, 0.06, 0.03])[-1]
    direct = M.simplify(v, f, len(chain.faces))
    error = [
        np.abs(np.linalg.norm(p, axis=1) - 0.4).max() for p in (np.asarray(chain.vertices), np.asarray(direct.vertices))
    ]
    assert error[0] < 1.5 * error[1] + 1e-4


def test_textured_levels_share_the_texture(unwrapped: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    for v, f, uv in unwrapped:
        sign = np.sign(np.median(uv_areas(uv, f)))
        euler = M.mesh_stats(*M.merge_close_vertices(v, f)).euler
        size = np.ptp(v, axis=0).max()
        for level, bound in zip(M.lod_chain(v, f, [0.5, 0.25], uv), (0.02, 0.04), strict=True):
            assert level.shortfall is None
            assert level.uvs.shape == (len(level.vertices), 2) and level.uvs.dtype == uv.dtype
            assert (sign * uv_areas(level.uvs, level.faces) > 0).all()  # no triangle turned over
            stats = M.mesh_stats(*M.merge_close_vertices(level.vertices, level.faces))
            assert stats.watertight and stats.euler == euler and stats.winding_conflicts == 0  # no crack along seams
            shift = texture_shift(level, v, f, uv)
            assert shift.mean() < bound * size / 4 and shift.max() < bound * size
            assert np.abs(uv_areas(level.uvs, level.faces)).sum() == pytest.approx(
                np.abs(uv_areas(uv, f)).sum(), rel=0.02
            )


def test_textured_levels_stop_where_the_texture_would_shift(
    unwrapped: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    v, f, uv = unwrapped[0]
    level = M.lod_chain(v, f, [4], uv)[0]
    assert len(level.faces) > 4 and level.shortfall is not None
    assert (np.sign(np.median(uv_areas(uv, f))) * uv_areas(level.uvs, level.faces) > 0).all()


def test_a_plane_cut_in_two_charts_keeps_both_and_its_outline(shapes: SimpleNamespace) -> None:
    v, f = shapes.grid_sheet(20)
    centre = v[f].mean(1)
    left = centre[:, 0] < 0.5
    # Two charts: the right half shifted by 2 in the texture; vertices on the cut are doubled.
    parts, uvs, faces, count = [], [], [], 0
    for chosen, shift in ((left, 0.0), (~left, 2.0)):
        own = f[chosen]
        used = np.unique(own)
        rename = np.zeros(len(v), int)
        rename[used] = np.arange(len(used)) + count
        parts.append(v[used])
        uvs.append(v[used][:, :2] + np.array([shift, 0], np.float32))
        faces.append(rename[own])
        count += len(used)
    vertices, coords = np.concatenate(parts), np.concatenate(uvs)
    level = M.lod_chain(vertices, np.concatenate(faces), [24], coords)[0]
    assert len(level.faces) <= 24
    x = level.uvs[:, 0] - 2 * (level.uvs[:, 0] > 1.5)
    np.testing.assert_allclose(np.c_[x, level.uvs[:, 1]], level.vertices[:, :2], atol=1e-5)  # exact: it is flat
    assert M.face_areas(level.vertices, level.faces).sum() == pytest.approx(1, abs=1e-5)
    right = (level.uvs[level.faces][..., 0] > 1.5).all(1)
    assert right.any() and (level.uvs[level.faces[~right]][..., 0] < 1).all()  # no face spans both charts
    np.testing.assert_allclose(M.face_areas(level.vertices, level.faces[right]).sum(), 0.5, atol=1e-5)


def test_kind_of_the_input_is_kept(unwrapped: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    v, f, uv = (torch.from_numpy(np.ascontiguousarray(x)) for x in unwrapped[1])
    level = M.lod_chain(v, f.int(), [0.5], uv.double())[0]
    assert isinstance(level.vertices, torch.Tensor) and level.faces.dtype == torch.int32
    assert level.uvs.dtype == torch.float64 and level.vertices.dtype == v.dtype
    assert len(level.uvs) == len(level.vertices) == len(level.vertex_source)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([100, 100], "targets must decrease"),
        ([0.2, 0.5], "targets must decrease"),
        ([1.5], "targets must be ratios"),
        ([0], "must be a positive int"),
    ],
)
def test_bad_targets_are_refused(shapes: SimpleNamespace, targets: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        M.lod_chain(*shapes.sphere(2), targets)


def test_bad_coordinates_are_refused(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(2)
    with pytest.raises(ValueError, match="uvs must be floating point of shape"):
        M.lod_chain(v, f, [100], v)
    with pytest.raises(ValueError, match="uvs must be finite"):
        M.lod_chain(v, f, [100], np.full((len(v), 2), np.nan, np.float32))
