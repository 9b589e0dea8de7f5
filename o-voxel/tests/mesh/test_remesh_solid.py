"""Remeshing to one surface: topology and position on known solids, sheets, holes; every backend and device."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel import mesh as M
from o_voxel.mesh.contour_reference import case_table
from o_voxel.mesh.remesh_core import NodeGrid
from o_voxel.mesh.remesh_surface import contour, remesh_solid
from o_voxel.mesh.solid import label_nodes

Mesh = tuple[np.ndarray, np.ndarray]


def join(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    counts = np.cumsum([0] + [len(v) for v, _ in meshes])
    return np.concatenate([v for v, _ in meshes]), np.concatenate([f + o for (_, f), o in zip(meshes, counts)])


def soup(count: int, seed: int, size: float = 0.15) -> Mesh:
    """Unconnected triangles around the origin."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-0.4, 0.4, (count, 1, 3))
    return (centre + rng.normal(0, size, (count, 3, 3))).reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def volume(v: np.ndarray, f: np.ndarray) -> float:
    p = np.asarray(v, dtype=np.float64)[f]
    return float((p[:, 0] * np.cross(p[:, 1], p[:, 2])).sum() / 6)


def assert_solid(v: np.ndarray, f: np.ndarray, *, components: int | None = None, euler: int | None = None) -> None:
    """Closed, consistently wound, one fan around every vertex, fronts outward."""
    stats = M.mesh_stats(v, f)
    assert stats.watertight
    assert len(M.repair_non_manifold(v, f)[0]) == len(np.unique(f)), "a vertex has several fans of faces"
    assert volume(v, f) > 0
    assert components is None or stats.num_components == components
    assert euler is None or stats.euler == euler


@pytest.mark.parametrize(("name", "euler"), [("cube", 2), ("sphere", 2), ("torus", 0)])
def test_closed_solids_keep_topology_volume_and_position(shapes: SimpleNamespace, name: str, euler: int) -> None:
    v, f = getattr(shapes, name)()
    rng = np.random.default_rng(0)
    turn = rng.random(len(f)) < 0.5  # winding does not matter
    result = remesh_solid(v, np.where(turn[:, None], f[:, [0, 2, 1]], f), 1 / 40)
    assert_solid(result.vertices, result.faces, components=1, euler=euler)
    assert volume(result.vertices, result.faces) == pytest.approx(volume(v, f), rel=0.01)
    assert M.BVH(v, f).nearest(result.vertices.astype(np.float64))[0].max() < 0.2 / 40  # not inflated by a band
    assert (result.kinds == 0).all()


def test_edges_and_corners_of_a_cube_stay_sharp(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube(0.6)
    out = remesh_solid(v, f, 1 / 37).vertices  # faces lie inside voxels
    corner = np.linalg.norm(np.abs(out) - 0.3, axis=1).min()
    assert corner < 0.05 / 37
    assert np.abs(np.abs(out).max(1) - 0.3).max() < 0.05 / 37  # every vertex lies on a face of the cube


def test_inner_shells_voids_and_enclosed_walls_vanish(shapes: SimpleNamespace) -> None:
    v, f = join(shapes.sphere(3, 0.4), shapes.sphere(3, 0.37), shapes.cube(0.2), shapes.grid_sheet(4))
    inside = (np.linalg.norm(v[f], axis=2) < 0.41).all(1)
    result = remesh_solid(v, f[inside], 1 / 40)
    assert_solid(result.vertices, result.faces, components=1, euler=2)
    assert np.linalg.norm(result.vertices, axis=1).min() > 0.38


@pytest.mark.parametrize(("gap", "closed"), [(4.0, True), (0.0, False)])
def test_holes_up_to_the_gap_do_not_let_the_outside_in(shapes: SimpleNamespace, gap: float, closed: bool) -> None:
    v, f = shapes.sphere(5, 0.4)
    cap = v[f].mean(1)[:, 2] > 0.4 * np.cos(1.5 / 40 / 0.4)  # a hole of about three voxels
    result = remesh_solid(v, f[~cap], 1 / 40, gap=gap, sheets="drop")
    if closed:
        assert_solid(result.vertices, result.faces, components=1, euler=2)
        assert volume(result.vertices, result.faces) == pytest.approx(volume(v, f), rel=0.01)
        assert 0 < (result.kinds == 2).sum() < 60
    else:
        assert len(result.faces) == 0


def test_narrow_clefts_without_a_rim_stay_open(shapes: SimpleNamespace) -> None:
    a, b = shapes.cube(0.3), shapes.cube(0.3)
    apart = (a[0] + np.float32([0.15 + 1.5 / 80, 0, 0]), a[1]), (b[0] - np.float32([0.15 + 1.5 / 80, 0, 0]), b[1])
    assert_solid(*remesh_solid(*join(*apart), 1 / 40, gap=4.0)[:2], components=2, euler=4)


def test_touching_cubes_stay_manifold(shapes: SimpleNamespace) -> None:
    a, b = shapes.cube(0.3), shapes.cube(0.3)
    for shift in ([0.3, 0.3, 0], [0.3, 0.3, 0.3], [0.3, 0, 0]):  # an edge, a corner, a face in common
        v, f = join(a, (b[0] + np.float32(shift), b[1]))
        result = remesh_solid(v, f, 0.05)
        assert_solid(result.vertices, result.faces)
        assert volume(result.vertices, result.faces) == pytest.approx(2 * 0.3**3, rel=0.03)


@pytest.mark.parametrize("name", ["grid_sheet", "moebius", "bow_tie", "fins"])
def test_open_sheets_become_plates_or_go(shapes: SimpleNamespace, name: str) -> None:
    v, f = shapes.fins(3) if name == "fins" else getattr(shapes, name)()
    plate = remesh_solid(v, f, 1 / 30, thickness=0.6)
    assert_solid(plate.vertices, plate.faces)
    assert M.BVH(v, f).nearest(plate.vertices.astype(np.float64))[0].max() < 1.5 / 30
    assert len(remesh_solid(v, f, 1 / 30, sheets="drop").faces) < 0.01 * len(plate.faces)


def test_plate_has_the_thickness_asked_for(shapes: SimpleNamespace) -> None:
    v, f = shapes.grid_sheet(4)
    v = v + np.float32([0, 0, 0.013])
    out = remesh_solid(v, f, 1 / 30, thickness=0.6).vertices
    middle = ((out[:, :2] > 0.1) & (out[:, :2] < 0.9)).all(1)
    np.testing.assert_allclose(np.abs(out[middle, 2] - 0.013), 0.3 / 30, atol=1e-6)


def test_walls_closer_than_a_voxel_keep_their_distance(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube(1.0)
    v = v * np.float32([0.6, 0.6, 0.4 / 30]) + np.float32([0, 0, 0.5 / 30])  # a plate of 0.4 voxels between two layers
    for sheets in ("pairs", "thicken"):
        result = remesh_solid(v, f, 1 / 30, sheets=sheets)
        assert_solid(result.vertices, result.faces, components=1, euler=2)
        assert volume(result.vertices, result.faces) == pytest.approx(0.6 * 0.6 * 0.4 / 30, rel=0.1)
    assert len(remesh_solid(v, f, 1 / 30, sheets="drop").faces) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.floats(0.05, 0.95))
def test_any_set_of_inside_nodes_gives_a_manifold(seed: int, size: int, share: float) -> None:
    """The case table, on random labels: closed, 2-manifold, the volume of the set."""
    from o_voxel.mesh.node_bits import pack
    from o_voxel.mesh.solid import Solid

    rng = np.random.default_rng(seed)
    inside = np.pad(rng.random((size,) * 3) < share, 2)
    grid = NodeGrid(inside.shape, torch.device("cpu"))
    outside = torch.from_numpy(pack(~inside))
    nothing = torch.zeros(0, dtype=torch.int64)
    zero = torch.zeros(3)
    solid = Solid(
        grid, torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.int32),
        grid.numbered(grid.zeros(3)), nothing, nothing, outside, outside, zero, zero,
    )  # fmt: skip
    v, f, _ = (t.numpy() for t in contour(solid, "drop", 1.0))
    if not inside.any():
        assert len(f) == 0
        return
    stats = M.mesh_stats(v, f)
    assert stats.watertight
    assert len(M.repair_non_manifold(v, f)[0]) == len(v)
    assert volume(v, f) > 0


def test_case_table_is_complete_and_symmetric() -> None:
    plain, cut, twice = case_table()
    for case in range(256):
        edges = [int(plain[case]) >> 4 * e & 15 for e in range(12)]
        assert max([e for e in edges if e < 15], default=-1) + 1 == int(plain[case]) >> 48 & 15
        assert ((int(plain[case]) ^ int(cut[case])) != 0) == (twice[case] >= 0)
    assert (twice >= 0).sum() == 36


@pytest.mark.parametrize("gap", [0.0, 4.0])
def test_reference_agrees(shapes: SimpleNamespace, gap: float) -> None:
    v, f = join(soup(12, 3), shapes.cube(0.5))
    results = []
    for backend in ("native", "reference"):
        solid = label_nodes(
            torch.from_numpy(v).double(), torch.from_numpy(f), torch.full((3,), 1 / 9), torch.zeros(3), gap=gap,
            backend=backend,
        )  # fmt: skip
        parts = [solid.outside, solid.first, solid.last, solid.crossed.bits, solid.face_sides()]
        results.append((parts, [contour(solid, sheets, 0.6) for sheets in ("thicken", "pairs", "drop")]))
    (parts, surfaces), (expected, others) = results
    assert all(torch.equal(a, b) for a, b in zip(parts, expected, strict=True))
    for (points, faces, kinds), (points2, faces2, kinds2) in zip(surfaces, others, strict=True):
        torch.testing.assert_close(points, points2, atol=1e-11, rtol=0)  # the solver sums in another order
        assert torch.equal(faces, faces2) and torch.equal(kinds, kinds2)


@pytest.mark.gpu
@pytest.mark.parametrize("resolution", [24, 150])
def test_gpu_gives_the_bits_of_the_cpu(shapes: SimpleNamespace, resolution: int) -> None:
    sphere_v, sphere_f = shapes.sphere(5, 0.45)
    keep = np.random.default_rng(0).random(len(sphere_f)) > 0.01
    for v, f in ((sphere_v, sphere_f[keep]), soup(2000, 1, 0.02), shapes.moebius(), shapes.cube()):
        for sheets in ("thicken", "pairs"):
            results = [
                remesh_solid(
                    torch.from_numpy(v).double().to(d), torch.from_numpy(f).to(d), 1 / resolution, sheets=sheets
                )
                for d in ("cpu", "cuda")
            ]
            assert torch.equal(results[0].faces, results[1].faces.cpu())
            assert torch.equal(results[0].kinds, results[1].kinds.cpu())
            torch.testing.assert_close(results[0].vertices, results[1].vertices.cpu(), atol=1e-12, rtol=0)


def test_anisotropic_voxels_and_an_origin(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(4, 0.4)
    result = remesh_solid(torch.from_numpy(v), torch.from_numpy(f), (1 / 30, 1 / 40, 1 / 50), (0.01, 0.02, 0.03))
    assert isinstance(result.vertices, torch.Tensor) and result.vertices.dtype == torch.float32
    assert_solid(result.vertices.numpy(), result.faces.numpy(), components=1, euler=2)
    assert (result.vertices.norm(dim=1) - 0.4).abs().max() < 0.1 / 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxel_size": 0.0}, "voxel_size must be > 0"),
        ({"voxel_size": (1, 1, np.nan)}, "voxel_size must be > 0"),
        ({"origin": (0, 0)}, "origin must be three finite numbers"),
        ({"gap": -1}, r"gap must lie in \[0, 64\]"),
        ({"sheets": "keep"}, "sheets must be one of"),
        ({"thickness": 0}, "thickness must lie in"),
        ({"voxel_size": 1e-6}, r"fewer than 2\^33 nodes"),
    ],
)
def test_bad_arguments_are_refused(shapes: SimpleNamespace, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        remesh_solid(*shapes.cube(), **({"voxel_size": 0.1} | arguments))


def test_no_face_is_refused() -> None:
    with pytest.raises(ValueError, match="faces must not be empty"):
        remesh_solid(np.zeros((3, 3)), np.zeros((0, 3), int), 0.1)
