"""Connectivity, clean-up, holes, orientation: published vectors, known shapes, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel import mesh as M
from o_voxel.mesh.connectivity import build_edges, connected_components, parity_components
from o_voxel.mesh.holes import boundary_loops


@pytest.fixture(scope="module")
def vectors(vectors_dir: Path) -> dict:
    return json.loads((vectors_dir / "o_voxel" / "mesh_ops.json").read_text())


def test_published_hole_patch(vectors: dict) -> None:
    case = vectors["fill_holes"]
    v, f = np.array(case["vertices"], dtype=np.float64), np.array(case["faces"])
    new_v, new_f = M.fill_holes(v, f, case["max_hole_perimeter"], quirks="published")
    np.testing.assert_allclose(new_v[5], case["new_vertex"], atol=1e-9)
    assert sorted(new_f[4:].tolist()) == sorted(case["new_faces_sorted"])
    same = M.fill_holes(v, f, case["loop_perimeter"] - 1e-9, quirks="published")
    assert len(same[1]) == len(f)


def test_published_non_manifold_split(vectors: dict) -> None:
    case = vectors["repair_non_manifold_edges"]
    v, f = np.array(case["vertices"], dtype=np.float32), np.array(case["faces"])
    new_v, new_f = M.repair_non_manifold(v, f)
    assert new_f.tolist() == case["after_repair_faces"]
    np.testing.assert_array_equal(new_v, v[case["after_repair_vertex_source"]])


def test_published_orientation(vectors: dict) -> None:
    case = vectors["unify_face_orientations"]
    faces = np.array(case["faces_in"])
    vertices = np.random.default_rng(0).random((5, 3))
    assert M.unify_face_orientations(vertices, faces)[1].tolist() == case["faces_out"]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.booleans()), max_size=30))
def test_components_match_the_reference(n: int, links: list[tuple[int, int, bool]]) -> None:
    links = [(a % n, b % n, d) for a, b, d in links]
    pairs = np.array([(a, b) for a, b, _ in links], dtype=np.int64).reshape(-1, 2)
    differ = np.array([d for *_, d in links], dtype=bool)
    labels = connected_components(n, pairs)
    np.testing.assert_array_equal(labels, connected_components(n, pairs, backend="reference"))
    found = parity_components(n, pairs, differ)
    for got, want in zip(found, parity_components(n, pairs, differ, backend="reference")):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(found[0], labels)
    kept = ~found[2]
    np.testing.assert_array_equal(found[1][pairs[kept, 0]] ^ found[1][pairs[kept, 1]], differ[kept])


def test_edges_are_sorted_and_know_their_sides() -> None:
    f = np.array([[0, 1, 2], [2, 1, 3], [0, 1, 4]])
    table = build_edges(f)
    assert table.edges.tolist() == [[0, 1], [0, 2], [0, 4], [1, 2], [1, 3], [1, 4], [2, 3]]
    assert table.counts.tolist() == [2, 1, 1, 2, 1, 1, 1]
    ids, sides = table.manifold_pairs()
    assert ids.tolist() == [0, 3] and sides.tolist() == [[0, 6], [1, 3]]


@pytest.mark.parametrize(
    ("name", "euler", "watertight"),
    [("sphere", 2, True), ("torus", 0, True), ("cube", 2, True), ("grid_sheet", 1, False), ("moebius", 0, False)],
)
def test_stats_of_known_shapes(shapes: SimpleNamespace, name: str, euler: int, watertight: bool) -> None:
    stats = M.mesh_stats(*getattr(shapes, name)())
    assert (stats.euler, stats.watertight, stats.num_components) == (euler, watertight, 1)


def test_empty_mesh_passes_through_every_tool() -> None:
    v, f = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)
    for tool in (
        M.remove_unreferenced_vertices,
        M.remove_duplicate_faces,
        M.remove_degenerate_faces,
        M.repair_non_manifold,
        M.unify_face_orientations,
        M.merge_close_vertices,
        M.fill_holes,
    ):
        out_v, out_f = tool(v, f)
        assert out_v.shape == (0, 3) and out_f.shape == (0, 3), tool.__name__
    assert M.remove_small_components(v, f, 1.0)[1].shape == (0, 3)
    assert M.mesh_stats(v, f).watertight is False
    assert M.BVH(v, f).unsigned_distance(np.ones((2, 3))).distance.tolist() == [np.inf, np.inf]


def test_results_keep_kind_and_dtype(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube()
    out_v, out_f = M.repair_non_manifold(torch.from_numpy(v), torch.from_numpy(f).long())
    assert isinstance(out_v, torch.Tensor) and out_v.dtype == torch.float32
    assert isinstance(out_f, torch.Tensor) and out_f.dtype == torch.int64
    out_v, out_f = M.repair_non_manifold(v.astype(np.float64), f)
    assert out_v.dtype == np.float64 and out_f.dtype == np.int32


@pytest.mark.parametrize(
    ("vertices", "faces", "error", "message"),
    [
        (np.zeros((3, 2)), np.zeros((1, 3), int), ValueError, r"vertices must have shape \[V, 3\]"),
        (np.zeros((3, 3)), np.zeros((1, 4), int), ValueError, r"faces must have shape \[F, 3\]"),
        (np.zeros((3, 3)), np.full((1, 3), 3), ValueError, r"faces must lie in \[0, 3\), got 3"),
        (np.zeros((3, 3)), np.full((1, 3), -1), ValueError, r"faces must lie in"),
        (np.full((3, 3), np.nan), np.zeros((1, 3), int), ValueError, "vertices must be finite"),
        (np.zeros((3, 3), int), np.zeros((1, 3), int), TypeError, "vertices must be floating point"),
        (np.zeros((3, 3)), np.zeros((1, 3)), TypeError, "faces must be integers"),
        ([[0.0] * 3], np.zeros((1, 3), int), TypeError, "vertices must be a torch.Tensor or numpy.ndarray"),
    ],
)
def test_bad_meshes_are_refused(vertices: object, faces: object, error: type[Exception], message: str) -> None:
    for tool in (M.repair_non_manifold, M.fill_holes, M.mesh_stats, M.BVH):
        with pytest.raises(error, match=message):
            tool(vertices, faces)


def test_duplicates_and_degenerates_go_and_order_stays() -> None:
    v = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [5, 5, 5]], dtype=np.float32)
    f = np.array([[0, 1, 2], [2, 1, 0], [0, 1, 3], [1, 1, 2], [1, 3, 2]])
    v1, f1 = M.remove_duplicate_faces(v, f)
    assert f1.tolist() == [[0, 1, 2], [0, 1, 3], [1, 1, 2], [1, 3, 2]] and len(v1) == 4
    assert M.remove_degenerate_faces(v, f)[1].tolist() == [[0, 1, 2], [2, 1, 0], [1, 3, 2]]


def test_merge_welds_split_vertices(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(2)
    apart_v, apart_f = v[f].reshape(-1, 3), np.arange(f.size).reshape(-1, 3)
    welded_v, welded_f = M.merge_close_vertices(apart_v, apart_f)
    assert len(welded_v) == len(v) and M.mesh_stats(welded_v, welded_f).watertight


def test_remove_faces_drops_where_true(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube()
    mask = np.zeros(len(f), dtype=bool)
    mask[:10] = True
    out_v, out_f = M.remove_faces(torch.from_numpy(v), torch.from_numpy(f), torch.from_numpy(mask))
    np.testing.assert_array_equal(out_v.numpy()[out_f.numpy()], v[f[10:]])
    with pytest.raises(ValueError, match="mask must be bool"):
        M.remove_faces(v, f, mask[:3])


def test_small_components_go_and_the_largest_stays_when_relative(shapes: SimpleNamespace) -> None:
    a, b = shapes.cube(0.6), shapes.cube(0.01)
    v, f = np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1] + len(a[0])])
    assert len(M.remove_small_components(v, f, 1e-2)[1]) == 12
    assert len(M.remove_small_components(v, f, 1e-6)[1]) == 24
    assert len(M.remove_small_components(v, f, 2.0, relative=True)[1]) == 12
    assert len(M.remove_small_components(v, f, 100.0)[1]) == 0


def test_bow_tie_comes_apart(shapes: SimpleNamespace) -> None:
    v, f = M.repair_non_manifold(*shapes.bow_tie())
    assert len(v) == 6 and len(np.unique(f)) == 6


def test_pairing_sheets_keeps_closed_solids_closed(shapes: SimpleNamespace) -> None:
    v, f = shapes.two_tetrahedra_on_an_edge()
    assert M.mesh_stats(v, f).non_manifold_edges == 1
    for pair_sheets in (False, True):
        stats = M.mesh_stats(*M.repair_non_manifold(v, f, pair_sheets=pair_sheets))
        assert stats.boundary_edges == 0 and stats.non_manifold_edges == 0


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_pairing_sheets_leaves_no_crowded_edge(shapes: SimpleNamespace, count: int) -> None:
    v, f = shapes.fins(count)
    out = M.repair_non_manifold(v, f, pair_sheets=True)
    assert M.mesh_stats(*out).non_manifold_edges == 0
    assert M.face_areas(*out).sum() == pytest.approx(M.face_areas(v, f).sum())


def test_crossing_surfaces_join_along_what_is_seen() -> None:
    # Two open boxes of quads that cross in one line: four faces on each edge of the line.
    n = 8
    z = np.linspace(0, 1, n + 1)
    line = np.stack([0 * z, 0 * z, z], 1)
    arms = [np.stack([0 * z + x, 0 * z + y, z], 1) for x, y in ((1, 0.2), (0.2, 1), (-1, -0.2), (-0.2, -1))]
    v = np.concatenate([line, *arms])
    f = []
    for a in range(4):
        o = (a + 1) * (n + 1)
        for i in range(n):
            f += [[i, i + 1, o + i], [i + 1, o + i + 1, o + i]]
    v, f = M.repair_non_manifold(v, np.array(f), pair_sheets=True)
    stats = M.mesh_stats(v, f)
    assert stats.non_manifold_edges == 0 and stats.num_components == 2


def test_hole_of_a_sphere_is_closed_with_its_winding(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(3)
    f = f[~(f == 5).any(axis=1)]  # drop the fan around one vertex
    assert len(boundary_loops(f.astype(np.int64))) == 1
    new_v, new_f = M.fill_holes(v, f, 10.0)
    stats = M.mesh_stats(new_v, new_f)
    assert stats.watertight and stats.euler == 2
    assert len(M.fill_holes(v, f, 1e-3)[1]) == len(f)


def test_long_hole_is_closed_without_new_vertices(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(3)
    keep = v[f].mean(1)[:, 2] < 0.2
    assert len(boundary_loops(f[keep].astype(np.int64))[0]) > 40
    new_v, new_f = M.fill_holes(v, f[keep], 10.0)
    assert M.mesh_stats(new_v, new_f).watertight and len(new_v) == len(v)
    slow_v, slow_f = M.fill_holes(v, f[keep], 10.0, backend="reference")  # with a centre vertex
    assert M.mesh_stats(slow_v, slow_f).watertight and len(slow_v) == len(v) + 1


def test_hole_limit_can_be_relative(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(3)
    f = f[~(f == 5).any(axis=1)]
    big_v = v * np.float32(1000)
    assert M.mesh_stats(*M.fill_holes(big_v, f, 1.0, relative=True)).watertight
    assert not M.mesh_stats(*M.fill_holes(big_v, f, 1.0)).watertight


def test_loops_of_a_sheet_run_with_the_surface(shapes: SimpleNamespace) -> None:
    v, f = shapes.grid_sheet(3)
    (loop,) = boundary_loops(f.astype(np.int64))
    assert len(loop) == 12
    p = v[loop].astype(np.float64)
    q = np.roll(p, -1, axis=0)
    assert (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / 2 == pytest.approx(1.0)  # counter-clockwise, like the faces


@pytest.mark.parametrize("name", ["sphere", "torus", "cube"])
def test_random_winding_is_undone(shapes: SimpleNamespace, name: str) -> None:
    v, f = getattr(shapes, name)()
    rng = np.random.default_rng(3)
    mixed = f.copy()
    flip = rng.random(len(f)) < 0.5
    mixed[flip] = mixed[flip][:, [0, 2, 1]]
    assert M.mesh_stats(v, mixed).winding_conflicts > 0
    v2, f2 = M.unify_face_orientations(v, mixed)
    f3 = M.orient_outward(v2, f2)
    np.testing.assert_array_equal(np.sort(f3, 1), np.sort(f, 1))
    assert M.mesh_stats(v2, f3).watertight
    assert signed_volume(v2, f3) == pytest.approx(signed_volume(v, f))


def signed_volume(v: np.ndarray, f: np.ndarray) -> float:
    p = v.astype(np.float64)[f]
    return float((p[:, 0] * np.cross(p[:, 1], p[:, 2])).sum() / 6)


def test_walls_of_a_void_face_into_it(shapes: SimpleNamespace) -> None:
    outer, inner = shapes.sphere(2, 0.4), shapes.sphere(2, 0.2)
    v = np.concatenate([outer[0], inner[0]])
    f = np.concatenate([outer[1][:, ::-1], inner[1] + len(outer[0])])  # both wrong
    f = M.orient_outward(v, f)
    assert signed_volume(v, f) == pytest.approx(signed_volume(*outer) - signed_volume(*inner))


def test_band_with_a_twist_is_cut_once(shapes: SimpleNamespace) -> None:
    v, f = shapes.moebius()
    v2, f2 = M.unify_face_orientations(v, f)
    assert M.mesh_stats(v2, f2).winding_conflicts == 1
    v3, f3 = M.unify_face_orientations(v, f, cut_conflicts=True)
    stats = M.mesh_stats(v3, f3)
    assert stats.winding_conflicts == 0 and stats.num_components == 1 and stats.non_manifold_edges == 0


def test_vertex_normals_point_out_and_are_unit(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(3)
    n = M.vertex_normals(torch.from_numpy(v), torch.from_numpy(f)).numpy()
    np.testing.assert_allclose(np.linalg.norm(n, axis=1), 1, atol=1e-6)
    assert ((n * v).sum(1) / 0.4).min() > 0.999
    assert M.face_areas(v, f).sum() == pytest.approx(4 * np.pi * 0.16, rel=0.01)


def test_cancelling_faces_still_get_a_normal() -> None:
    v = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]], dtype=np.float32)
    n = M.vertex_normals(v, np.array([[0, 1, 2], [0, 2, 1]]))
    assert (np.abs(n[:3, 2]) == 1).all() and (n[3] == 0).all()
