"""Mesh -> flexible dual grid: published vectors, closedness, native against reference, bad input."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel._native import native_module
from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.reference.surface_voxels import boundary_edges, find_crossings

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
needs_native = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")
BACKENDS = [pytest.param("native", marks=needs_native), "reference"]

JSON_CASES = [
    "triangle_r8",
    "triangle_r8_no_boundary",
    "triangle_r8_default_weights",
    "box0p6_r8",
    "rotated_box0p6_r8",
    "unit_cube_scaled_0p99999_r8",
    "unit_cube_exact_r8",
]
NPZ_CASES = ["icosphere_r32", "open_hemisphere_r32", "soup_anisotropic", "soup_clipped"]
# Without cracks, clipping or boundary seams the published result is the right one.
CORRECT_CASES = sorted({*JSON_CASES, *NPZ_CASES} - {"box0p6_r8", "unit_cube_exact_r8", "soup_clipped"})


def load_case(vectors_dir, name):
    if name in JSON_CASES:
        case = json.loads((vectors_dir / "o_voxel" / "fdg_cases.json").read_text())[name]
        weights = case["face_weight"], case["boundary_weight"], case["regularization_weight"]
    else:
        data = np.load(vectors_dir / "o_voxel" / "fdg_cases.npz")
        case = {key.split("/")[1]: data[key] for key in data.files if key.startswith(name + "/")}
        weights = tuple(case["weights"].tolist())
    mesh = torch.tensor(np.asarray(case["vertices"], np.float32)), torch.tensor(np.asarray(case["faces"]))
    expected = [np.asarray(case[key]) for key in ("voxel_indices", "dual_vertices", "intersected")]
    aabb = np.asarray(case["aabb"], np.float32)
    return mesh, np.asarray(case["grid_size"]), aabb, weights, expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*JSON_CASES, *NPZ_CASES])
def test_published_vectors(vectors_dir, name, backend):
    mesh, count, aabb, weights, (coords, dual, flags) = load_case(vectors_dir, name)
    got = mesh_to_flexible_dual_grid(*mesh, None, count, aabb, *weights, quirks="published", backend=backend)
    assert [t.dtype for t in got] == [torch.int32, torch.float32, torch.bool]
    assert np.array_equal(got[0].numpy(), coords)
    assert np.array_equal(got[2].numpy(), flags)
    error = np.abs(got[1].numpy() - dual) / ((aabb[1] - aabb[0]) / count)
    assert (error.max(1) <= 1e-3).mean() >= 0.998


@pytest.mark.gpu
@pytest.mark.parametrize("quirks", [None, "published"])
@pytest.mark.parametrize("name", [*JSON_CASES, *NPZ_CASES])
def test_vectors_on_cuda_give_the_bits_of_the_cpu(vectors_dir, name, quirks):
    (vertices, faces), count, aabb, weights, _ = load_case(vectors_dir, name)
    expected = mesh_to_flexible_dual_grid(vertices, faces, None, count, aabb, *weights, quirks=quirks)
    got = mesh_to_flexible_dual_grid(vertices.cuda(), faces.cuda(), None, count, aabb, *weights, quirks=quirks)
    for a, b in zip(got, expected, strict=True):
        assert a.is_cuda and torch.equal(a.cpu(), b)


@pytest.mark.parametrize("name", CORRECT_CASES)
def test_correct_mode_agrees_where_no_defect_is_recorded(vectors_dir, name):
    mesh, count, aabb, weights, (coords, dual, flags) = load_case(vectors_dir, name)
    got = mesh_to_flexible_dual_grid(*mesh, None, count, aabb, *weights)
    order, expected_order = np.lexsort(got[0].numpy().T), np.lexsort(coords.T)
    assert np.array_equal(got[0].numpy()[order], coords[expected_order])
    # A surface exactly on a grid line may choose another edge of the same voxels.
    assert (got[2].numpy()[order] == flags[expected_order]).mean() >= 0.998
    error = np.abs(got[1].numpy()[order] - dual[expected_order]) / ((aabb[1] - aabb[0]) / count)
    assert (error.max(1) <= 1e-3).mean() >= 0.99


@pytest.mark.parametrize("backend", BACKENDS)
def test_box_edge_voxel_by_hand(backend):
    mesh = trimesh.creation.box((0.6, 0.6, 0.6))
    coords, dual, flags = mesh_to_flexible_dual_grid(
        torch.tensor(mesh.vertices), torch.tensor(mesh.faces), None, 8, UNIT, 1.0, 0.2, 0.01, backend=backend
    )
    assert flags.sum(0).tolist() == [50, 50, 50]
    local = dual * 8 - coords
    row = int((coords == torch.tensor([1, 1, 3])).all(1).nonzero())
    expected = (3 * 0.6 + 0.04 * 0.8) / 3.04, (4 * 0.6 + 0.04 * 0.8) / 4.04  # beside or on the face diagonal
    assert min(abs(float(local[row, 0]) - e) for e in expected) < 1e-5
    assert flags[row].tolist() == [True, True, False]


def odd_grid_faces(vertices, faces, count):
    """Number of grid faces inside the box whose four edges the mesh crosses an odd number of times in all."""
    triangles = (vertices.astype(np.float32) + np.float32(0.5)).astype(np.float64)[faces]
    crossings = find_crossings(triangles, np.full(3, 1 / count), np.full(3, count), False)
    odd = 0
    for normal in range(3):
        cells = []
        for axis in {0, 1, 2} - {normal}:
            cell = crossings.cell[crossings.axis == axis]
            for step in (0, 1):  # the edge borders two faces with this normal
                shifted = cell.copy()
                shifted[:, 3 - normal - axis] += step
                cells.append(shifted)
        unique, uses = np.unique(np.concatenate(cells), axis=0, return_counts=True)
        interior = ((unique > 0) & (unique < count - 1)).all(1)
        odd += int((uses[interior] % 2).sum())
    return odd


def octahedron():
    vertices = np.concatenate([np.eye(3), -np.eye(3)]) * 0.25
    faces = [[x, y, z] for x in (0, 3) for y in (1, 4) for z in (2, 5)]
    return vertices, np.array(faces)


@pytest.mark.parametrize("count", [8, 16, 20])
def test_closed_meshes_on_grid_lines_have_no_cracks(count):
    """Faces in grid planes, edges on grid lines, slopes of 45 degrees through grid corners."""
    box = trimesh.creation.box((0.5, 0.5, 0.5))
    assert odd_grid_faces(np.asarray(box.vertices), np.asarray(box.faces), count) == 0
    assert odd_grid_faces(*octahedron(), count) == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(4, 24))
def test_closed_meshes_have_no_cracks(seed, count):
    rng = np.random.default_rng(seed)
    mesh = trimesh.creation.icosphere(subdivisions=1)
    vertices = mesh.vertices * rng.uniform(0.05, 0.45, 3) * rng.uniform(0.5, 1, (len(mesh.vertices), 1))
    if seed % 2:
        vertices = np.round(vertices * 2 * count) / (2 * count)  # on grid planes and half-way
    assert odd_grid_faces(vertices, np.asarray(mesh.faces), count) == 0


@pytest.mark.parametrize("count", [8, 20])
def test_box_on_grid_planes_gives_a_watertight_mesh(count):
    for size in (0.5, 0.6):
        mesh = trimesh.creation.box((size, size, size))
        coords, dual, flags = mesh_to_flexible_dual_grid(
            torch.tensor(mesh.vertices), torch.tensor(mesh.faces), None, count, UNIT, 1.0, 0.0, 1e-4
        )
        vertices, triangles = flexible_dual_grid_to_mesh(
            coords, dual * count - coords, flags, None, UNIT, grid_size=count
        )
        out = trimesh.Trimesh(vertices.numpy(), triangles.numpy(), process=False)
        _, uses = np.unique(out.edges_sorted, axis=0, return_counts=True)
        assert (uses == 2).all()
        assert abs(out.area - 6 * size**2) < 0.01 and out.is_watertight


def test_rotated_boxes_have_no_cracks():
    rng = np.random.default_rng(3)
    for _ in range(10):
        rotation = trimesh.transformations.random_rotation_matrix(rng.random(3))
        mesh = trimesh.creation.box((0.55, 0.5, 0.6), transform=rotation)
        assert odd_grid_faces(np.asarray(mesh.vertices), np.asarray(mesh.faces), 16) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_thin_plate_survives_unless_double_crossings_cancel(backend):
    plate = trimesh.creation.box((0.6, 0.6, 0.02))  # a fifth of a voxel
    plate.apply_translation((0.0, 0.0, 0.03))
    run = partial(
        mesh_to_flexible_dual_grid, torch.tensor(plate.vertices), torch.tensor(plate.faces), None, 10, UNIT,
        backend=backend,
    )  # fmt: skip
    kept, cancelled = run()[2], run(double_crossings="cancel")[2]
    assert kept[:, 2].any() and not cancelled[:, 2].any()


def test_surface_on_the_box_is_kept():
    mesh = trimesh.creation.box((1.0, 1.0, 1.0))
    run = partial(mesh_to_flexible_dual_grid, torch.tensor(mesh.vertices), torch.tensor(mesh.faces), None, 8, UNIT)
    coords, _, flags = run()
    assert len(coords) == 296 and flags.sum(0).tolist() == [98, 98, 98]
    assert len(run(quirks="published")[0]) == 169


def test_geometry_below_the_box_is_dropped():
    triangle = torch.tensor([[-0.4, -0.4, -0.55], [0.4, -0.4, -0.55], [0.0, 0.4, -0.55]])
    run = partial(mesh_to_flexible_dual_grid, triangle, torch.tensor([[0, 1, 2]]), None, 8, UNIT)
    assert len(run()[0]) == 0
    assert len(run(quirks="published")[0]) > 0


def test_face_weight_is_a_weight():
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
    args = torch.tensor(mesh.vertices), torch.tensor(mesh.faces), None, 16, UNIT
    one, ten = (mesh_to_flexible_dual_grid(*args, face_weight=w)[1] for w in (1.0, 10.0))
    assert not torch.allclose(one, ten)
    one, ten = (mesh_to_flexible_dual_grid(*args, face_weight=w, quirks="published")[1] for w in (1.0, 10.0))
    assert torch.equal(one, ten)


def test_split_vertices_are_no_boundary():
    """A mesh cut along all its edges, as texture seams do, gives the result of the joined mesh."""
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
    joined = torch.tensor(mesh.vertices), torch.tensor(mesh.faces)
    split = joined[0][joined[1].reshape(-1)], torch.arange(joined[1].numel()).reshape(-1, 3)
    expected = mesh_to_flexible_dual_grid(*joined, None, 16, UNIT)
    for got, want in zip(mesh_to_flexible_dual_grid(*split, None, 16, UNIT), expected, strict=True):
        assert torch.equal(got, want)
    assert not torch.equal(mesh_to_flexible_dual_grid(*split, None, 16, UNIT, quirks="published")[1], expected[1])


def test_boundary_edges_weld_duplicates_and_collapsed_faces():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0], [-0.0, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [4, 3, 5], [0, 2, 1], [1, 4, 2]], np.int32)  # seam, duplicate, collapsed
    assert boundary_edges(vertices, faces, weld=True).tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]


def random_mesh(seed, kind):
    """Triangle soups of every awkward kind around the canonical box."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    corners = rng.uniform(-0.6, 0.6, (n, 3, 3))
    if kind == "grid":
        corners = np.round(corners * 20) / 20  # on planes of the 10 cell grid, and half-way
    elif kind == "sliver":
        corners[:, 2] = (
            corners[:, 0] + (corners[:, 1] - corners[:, 0]) * rng.random((n, 1)) + rng.normal(0, 1e-6, (n, 3))
        )
    elif kind == "degenerate":
        corners[:, 2] = corners[:, rng.integers(0, 2)]
    elif kind == "small":
        corners = corners[:, :1] + rng.normal(0, 0.02, (n, 3, 3))
    elif kind == "outside":
        corners *= 10.0 ** rng.integers(0, 6)
    elif kind == "shared":
        vertices = rng.uniform(-0.5, 0.5, (n + 2, 3))
        return torch.tensor(vertices, dtype=torch.float32), torch.tensor(rng.integers(0, n + 2, (2 * n, 3)))
    return torch.tensor(corners.reshape(-1, 3), dtype=torch.float32), torch.arange(3 * n).reshape(-1, 3)


@needs_native
@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["soup", "grid", "sliver", "degenerate", "small", "outside", "shared"]),
    count=st.sampled_from([10, 16, (7, 12, 9)]),
    quirks=st.sampled_from([None, "published"]),
    double=st.sampled_from(["keep", "cancel"]),
)
def test_native_equals_reference(seed, kind, count, quirks, double):
    mesh = random_mesh(seed, kind)
    run = partial(
        mesh_to_flexible_dual_grid, *mesh, None, count, UNIT, 1.0, 0.3, 0.05, quirks=quirks, double_crossings=double
    )
    coords, dual, flags = run(backend="native")
    expected_coords, expected_dual, expected_flags = run(backend="reference")
    assert torch.equal(coords, expected_coords)
    assert torch.equal(flags, expected_flags)
    voxel = 1.0 / torch.tensor(count)
    assert float(((dual - expected_dual).abs() / voxel).max() if len(coords) else 0) < 1e-4
    local = dual / voxel - coords
    assert bool((local > -1e-4).all()) and bool((local < 1 + 1e-4).all())
    assert len(torch.unique(coords, dim=0)) == len(coords)


@needs_native
def test_result_does_not_depend_on_threads(monkeypatch):
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=0.4)
    results = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OVOXEL_NUM_THREADS", threads)
        results.append(
            mesh_to_flexible_dual_grid(torch.tensor(mesh.vertices), torch.tensor(mesh.faces), None, 64, UNIT)
        )
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_without_regularisation_flat_directions_keep_the_mean():
    quad = torch.tensor([[-0.41, -0.41, 0.03], [0.41, -0.41, 0.03], [0.41, 0.41, 0.03], [-0.41, 0.41, 0.03]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    coords, dual, _ = mesh_to_flexible_dual_grid(quad, faces, None, 10, UNIT, 1.0, 0.0, 0.0)
    local = dual * 10 - coords
    torch.testing.assert_close(local[:, 2], torch.full((len(local),), 0.3), atol=1e-5, rtol=0)
    inner = ((coords[:, :2] > 1) & (coords[:, :2] < 8)).all(1)
    torch.testing.assert_close(local[inner][:, :2], torch.full((int(inner.sum()), 2), 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_mesh(backend):
    got = mesh_to_flexible_dual_grid(
        torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), None, 8, UNIT, backend=backend
    )
    assert [tuple(t.shape) for t in got] == [(0, 3)] * 3


def test_box_is_fitted_when_absent():
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=3.0)
    coords, _, _ = mesh_to_flexible_dual_grid(torch.tensor(mesh.vertices), torch.tensor(mesh.faces), grid_size=16)
    assert coords.min() == 0 and coords.max() == 15


def test_column_major_vertices():
    vertices = torch.tensor([[-0.30, -0.20, -0.10], [0.25, -0.15, 0.05], [-0.05, 0.30, 0.20]])
    strided = vertices.t().contiguous().t()
    assert len(mesh_to_flexible_dual_grid(strided, torch.tensor([[0, 1, 2]]), None, 8, UNIT)[0]) == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices": torch.zeros(3, 2)}, "vertices must have shape"),
        ({"vertices": torch.full((3, 3), float("nan"))}, "finite"),
        ({"faces": torch.tensor([[0, 1, 3]])}, "faces must index"),
        ({"faces": torch.tensor([[0, 1, -1]])}, "faces must index"),
        ({"faces": torch.tensor([[0.0, 1, 2]])}, "integer"),
        ({"faces": torch.tensor([0, 1, 2])}, "faces must have shape"),
        ({"grid_size": None}, "voxel_size or grid_size"),
        ({"boundary_weight": float("inf")}, "boundary_weight"),
        ({"quirks": "some"}, "quirks"),
        ({"double_crossings": "drop"}, "double_crossings"),
        ({"backend": "fast"}, "backend"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {
        "vertices": torch.rand(3, 3),
        "faces": torch.tensor([[0, 1, 2]]),
        "grid_size": 8,
        "aabb": UNIT,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        mesh_to_flexible_dual_grid(**arguments)
