"""The oracles of the finishing benchmark on meshes whose answers are known by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh

pytest.importorskip("scipy")
BENCHMARKS = str(Path(__file__).resolve().parent.parent.parent / "benchmarks")


@pytest.fixture(scope="module")
def oracles() -> ModuleType:
    sys.path.insert(0, BENCHMARKS)
    try:
        import mesh_oracles
    finally:
        sys.path.remove(BENCHMARKS)
    return mesh_oracles


@pytest.fixture(scope="module")
def atlas() -> ModuleType:
    sys.path.insert(0, BENCHMARKS)
    try:
        import atlas_oracles
    finally:
        sys.path.remove(BENCHMARKS)
    return atlas_oracles


def cube() -> tuple[np.ndarray, np.ndarray]:
    box = trimesh.creation.box((0.5, 0.5, 0.5))
    return np.asarray(box.vertices), np.asarray(box.faces)


def test_a_cube_has_no_defects(oracles: ModuleType) -> None:
    found = oracles.topology(*cube())
    assert found["watertight"] and found["two_manifold"] and found["euler"] == 2 and found["components"] == 1
    assert found["volume"] == pytest.approx(0.125) and found["negative_components"] == 0
    assert all(
        found[k] == 0 for k in found if k.endswith(("edges", "conflicts")) or k.startswith(("dup", "deg", "non"))
    )


def test_a_turned_face_conflicts_with_its_three_neighbours(oracles: ModuleType) -> None:
    vertices, faces = cube()
    faces[4] = faces[4][[0, 2, 1]]
    found = oracles.topology(vertices, faces)
    assert found["winding_conflicts"] == 3 and found["watertight"] and not found["two_manifold"]


def test_a_missing_face_leaves_three_boundary_edges(oracles: ModuleType) -> None:
    vertices, faces = cube()
    found = oracles.topology(vertices, faces[1:])
    assert found["boundary_edges"] == 3 and not found["watertight"] and found["non_manifold_edges"] == 0


def test_repeated_and_flat_faces_are_counted(oracles: ModuleType) -> None:
    vertices, faces = cube()
    worse = np.concatenate([faces, faces[:1][:, [1, 2, 0]], [[0, 0, 1]]])
    found = oracles.topology(vertices, worse)
    assert found["duplicate_faces"] == 1 and found["degenerate_faces"] == 1 and found["non_manifold_edges"] == 3


def test_cubes_that_share_a_corner_or_an_edge(oracles: ModuleType) -> None:
    vertices, faces = cube()
    for shift, vertex_count, edge_count in (([0.5, 0.5, 0.5], 1, 0), ([0.5, 0.5, 0.0], 0, 1)):
        both = np.concatenate([vertices, vertices + shift])
        points, joined = oracles.weld(both, np.concatenate([faces, faces + 8]))
        found = oracles.topology(points, joined)
        assert found["non_manifold_edges"] == edge_count and found["components"] == (2 if vertex_count else 1)
        assert not found["two_manifold"] and found["watertight"] == (edge_count == 0)
        assert found["non_manifold_vertices"] >= vertex_count and found["unbalanced_edges"] == 0


def test_nested_shells_are_enclosed_and_cups_are_not(oracles: ModuleType) -> None:
    outer = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    inner = trimesh.creation.icosphere(subdivisions=3, radius=0.2)
    both = trimesh.util.concatenate([outer, inner])
    vertices, faces = np.asarray(both.vertices), np.asarray(both.faces)
    hidden = oracles.enclosed_components(vertices, faces, 96) >= 0
    assert hidden.sum() == len(inner.faces) and hidden[len(outer.faces) :].all()
    opened = faces[~((vertices[faces].mean(1)[:, 2] > 0.3) & (np.arange(len(faces)) < len(outer.faces)))]
    assert not (oracles.enclosed_components(vertices, opened, 96) >= 0).any()


def test_distance_of_shifted_planes_and_spheres(oracles: ModuleType) -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    distance = oracles.SurfaceDistance(square, np.array([[0, 1, 2], [0, 2, 3]]), 0.3)
    points = np.array([[0.5, 0.5, 0.25], [0.2, 0.9, -2.0], [1.3, 0.5, 0.4], [2.0, 2.0, 0.0], [0.1, 0.1, 0.0]])
    np.testing.assert_allclose(distance(points), [0.25, 2.0, 0.5, np.sqrt(2), 0.0], atol=1e-12)
    ball = trimesh.creation.icosphere(subdivisions=4, radius=1.0)
    points = trimesh.creation.icosphere(subdivisions=3, radius=1.5).vertices
    np.testing.assert_allclose(oracles.SurfaceDistance(ball.vertices, ball.faces, 0.05)(points), 0.5, atol=3e-3)


def test_samples_are_dense_and_lie_on_their_faces(oracles: ModuleType) -> None:
    vertices, faces = cube()
    points, owner = oracles.sample_grid(vertices, faces, 0.05)
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    assert np.abs(((points - vertices[faces[owner, 0]]) * normals[owner]).sum(1)).max() < 1e-12
    random, _ = oracles.sample_area(vertices, faces, 2000, 0)
    near = np.linalg.norm(random[:, None] - points[None], axis=2).min(1) if len(points) < 20000 else np.zeros(1)
    assert near.max() < 0.05


def test_atlas_counts_charts_overlap_and_slivers(atlas: ModuleType) -> None:
    square = np.array([[0.0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]])
    strip = np.array([[0.6, 0.0], [0.9, 0.0], [0.9, 0.01], [0.6, 0.01]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    found = atlas.atlas_figures(np.concatenate([square, strip]), faces, 200)
    assert found["charts"] == 2 and found["thin_charts"] == found["sliver_charts"] == 0.5 and found["overlap"] == 0
    assert found["atlas_use"] == pytest.approx(0.25 + 0.003) and found["outside_uv"] == 0
    twice = np.concatenate([square, square + 0.25])
    found = atlas.atlas_figures(twice, faces, 200)
    assert found["overlap"] == pytest.approx(2500 / 17500, rel=0.05)
    counts = atlas.texel_counts(square, faces[:2], 64)
    assert counts[:32, :32].sum() >= 32 * 32 - 32 and counts[33:].sum() == 0 and counts.max() == 1
