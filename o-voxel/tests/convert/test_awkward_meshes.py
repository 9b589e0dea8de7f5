"""The conversions on awkward random meshes: native as the reference, CUDA as the CPU bit for bit, for any threads."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel._native import native_module
from o_voxel.convert import device as device_limits
from o_voxel.convert import mesh_to_flexible_dual_grid, textured_mesh_to_volumetric_attr
from o_voxel.convert.materials import (
    ALPHA_MODES,
    FILTERS,
    TEXTURE_SLOTS,
    WRAPS,
    Material,
    Texture,
    TexturedTriangles,
)
from o_voxel.convert.mip_levels import mip_levels

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
needs_native = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")


KINDS = ["soup", "grid", "sliver", "degenerate", "duplicate", "huge", "tiny", "outside", "plane"]


def random_triangles(seed: int, kind: str) -> np.ndarray:  # [T, 3, 3] float32 around the canonical box
    """Triangle soups: anywhere, on planes of a 10-cell grid, slivers, without area, repeated, far too large, far too
    small, outside the box, and in one grid plane."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    corners = rng.uniform(-0.6, 0.6, (n, 3, 3))
    if kind in ("grid", "plane"):
        corners = np.round(corners * 20) / 20
    if kind == "plane":
        corners[:, :, rng.integers(0, 3)] = rng.integers(-5, 6) / 10
    elif kind == "sliver":
        along = corners[:, 0] + (corners[:, 1] - corners[:, 0]) * rng.random((n, 1))
        corners[:, 2] = along + rng.normal(0, 10.0 ** rng.integers(-9, -3), (n, 3))
    elif kind == "degenerate":
        corners[:, 2] = corners[:, rng.integers(0, 2)]
    elif kind == "duplicate":
        corners = np.concatenate([corners, corners[:, [1, 2, 0]], corners[:, [0, 2, 1]]])
    elif kind == "huge":
        corners *= 10.0 ** rng.integers(1, 6)
    elif kind == "tiny":
        corners = corners[:, :1] + rng.normal(0, 10.0 ** rng.integers(-7, -2), (n, 3, 3))
    elif kind == "outside":
        corners[:, :, rng.integers(0, 3)] += rng.choice([-1.2, 1.2])
    return corners.astype(np.float32)


def _texture(rng: np.random.Generator, channels: int) -> Texture:
    size = rng.integers(1, 12, 2)
    image = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    wrap = tuple(str(w) for w in rng.choice(list(WRAPS), 2))
    return Texture(image, str(rng.choice(list(FILTERS))), wrap, bool(rng.integers(0, 2)))  # type: ignore[arg-type]


def textured_soup(seed: int, kind: str) -> TexturedTriangles:
    """Random triangles with three materials, textures in some slots, two UV channels and vertex colours."""
    rng = np.random.default_rng(seed + 10**6)
    triangles = random_triangles(seed, kind)
    count = len(triangles)
    materials = []
    for _ in range(3):
        slots = {name: 3 if name in ("base_color", "emissive", "normal") else 1 for name in TEXTURE_SLOTS}
        textures = {name: _texture(rng, channels) for name, channels in slots.items() if rng.random() < 0.6}
        factor = rng.uniform(0, 1, 9)
        materials.append(
            Material(
                (factor[0], factor[1], factor[2]), factor[3], factor[4], factor[5], (factor[6], factor[7], factor[8]),
                str(rng.choice(list(ALPHA_MODES))), 0.4, textures, {name: int(rng.integers(0, 2)) for name in textures},
            )
        )  # fmt: skip
    normals = rng.normal(size=(count, 3, 3))
    normals[0] = 0
    return TexturedTriangles(
        triangles,
        normals.astype(np.float32),
        rng.uniform(-2, 3, (count, 3, 2, 2)).astype(np.float32),
        rng.uniform(0, 1, (count, 3, 4)).astype(np.float32) if seed % 2 else np.zeros((0, 3, 4), np.float32),
        rng.integers(0, 3, count).astype(np.int32),
        materials,
    )


def random_mesh(seed, kind, shared):
    """Vertices and faces: a soup, or (shared) faces over common vertices, with edges of two, three and more faces."""
    corners = torch.from_numpy(random_triangles(seed, kind))
    vertices, faces = corners.reshape(-1, 3), torch.arange(3 * len(corners)).reshape(-1, 3)
    if shared:
        faces = torch.randint(0, len(vertices), (2 * len(faces), 3), generator=torch.Generator().manual_seed(seed))
    return vertices, faces


COUNTS = st.sampled_from([8, 10, (7, 12, 9), 33])
QUIRKS = st.sampled_from([None, "published"])
CHUNKS = st.sampled_from([1 << 27, 200])
CASES = {"seed": st.integers(0, 10**6), "kind": st.sampled_from(KINDS), "count": COUNTS}
GRID_CASES = {**CASES, "quirks": QUIRKS, "double": st.sampled_from(["keep", "cancel"]), "shared": st.booleans()}


def grid_run(count, quirks, double):
    def run(vertices, faces, **more):
        return mesh_to_flexible_dual_grid(
            vertices, faces, None, count, UNIT, 1.0, 0.3, 0.05, quirks=quirks, double_crossings=double, **more
        )

    return run


@needs_native
@settings(max_examples=100, deadline=None)
@given(**GRID_CASES)
def test_grid_native_equals_reference(seed, kind, count, quirks, double, shared):
    run, mesh = grid_run(count, quirks, double), random_mesh(seed, kind, shared)
    coords, dual, flags = run(*mesh, backend="native")
    expected_coords, expected_dual, expected_flags = run(*mesh, backend="reference")
    assert torch.equal(coords, expected_coords)
    assert torch.equal(flags, expected_flags)
    error = ((dual - expected_dual).abs() * torch.tensor(count)).max() if len(coords) else 0  # the sums differ in order
    assert float(error) < 1e-4


@needs_native
@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_attributes_native_equals_reference(seed, kind, count):
    run = partial(textured_mesh_to_volumetric_attr, textured_soup(seed, kind), None, count, UNIT, 0.5)
    coords, got = run(backend="native")
    expected_coords, expected = run(backend="reference")
    assert torch.equal(coords, expected_coords)
    # Bytes differ by rounding, and wholly where it decides a side: the nearest texel, or alpha against the cut-off.
    for key in expected:
        same = (got[key].int() - expected[key].int()).abs() <= 1
        assert same.float().mean() >= 0.98 if len(coords) else True, key


@needs_native
def test_results_do_not_depend_on_threads(monkeypatch):
    results = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OVOXEL_NUM_THREADS", threads)
        found = []
        for seed, kind in enumerate(KINDS):
            for count in (20, 150):
                found += list(grid_run(count, None, "keep")(*random_mesh(seed, kind, False)))
                coords, attrs = textured_mesh_to_volumetric_attr(textured_soup(seed, kind), None, count, UNIT)
                found += [coords, *attrs.values()]
        results.append(found)
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def far_corner_triangle(count):
    """A triangle of a few voxels at the upper corner of a box of `count` voxels of size 1 / 64."""
    offset = torch.tensor([[-3.2, -0.7, -1.1], [-0.4, -2.9, -1.6], [-1.5, -0.8, -4.3]]) + count
    return (offset / 64, torch.tensor([[0, 1, 2]])), [[0, 0, 0], [count / 64] * 3]


@pytest.mark.parametrize("count", [2048, 1 << 20])
@pytest.mark.parametrize("backend", [pytest.param("native", marks=needs_native), "reference"])
def test_cells_far_out_are_numbered_right(count, backend):
    """Cell numbers pass 2^32 (2048^3) and reach 2^60."""
    mesh, box = far_corner_triangle(count)
    near, near_box = far_corner_triangle(64)
    run = partial(mesh_to_flexible_dual_grid, backend=backend)
    coords, dual, flags = run(*mesh, None, count, box)
    expected = run(*near, None, 64, near_box)
    assert torch.equal(coords - (count - 64), expected[0]) and torch.equal(flags, expected[2])
    if count == 2048:  # at 2^20 single precision holds an eighth of a voxel
        torch.testing.assert_close(dual * 64 - coords, expected[1] * 64 - expected[0], atol=2e-3, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("count", [2048, 1 << 20])
def test_cells_far_out_on_cuda(count):
    mesh, box = far_corner_triangle(count)
    assert_same_grid(lambda v, f: mesh_to_flexible_dual_grid(v, f, None, count, box), *mesh)


@needs_native
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (6, 5), (33, 64)])
def test_mip_levels_native_equals_reference(shape):
    image = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for srgb in (False, True):
        texture = Texture(image.numpy(), srgb=srgb)
        for a, b in zip(mip_levels(texture), mip_levels(texture, backend="reference"), strict=True):
            assert torch.equal(a, b)


def assert_same_grid(run, *mesh):
    expected = run(*mesh)
    got = run(*(t.cuda() for t in mesh))
    for a, b in zip(got, expected, strict=True):
        assert a.is_cuda and a.dtype == b.dtype and torch.equal(a.cpu(), b)


@pytest.mark.gpu
@settings(max_examples=200, deadline=None)
@given(**GRID_CASES, chunk=CHUNKS)
def test_grid_on_cuda(seed, kind, count, quirks, double, shared, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_limits, "CHUNK_WORK", chunk)
        assert_same_grid(grid_run(count, quirks, double), *random_mesh(seed, kind, shared))


@pytest.mark.gpu
@settings(max_examples=150, deadline=None)
@given(**CASES, chunk=CHUNKS)
def test_attributes_on_cuda(seed, kind, count, chunk):
    run = partial(textured_mesh_to_volumetric_attr, textured_soup(seed, kind), None, count, UNIT, 0.5)
    coords, expected = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_limits, "CHUNK_WORK", chunk)
        got_coords, got = run(device="cuda")
    assert got_coords.is_cuda and torch.equal(got_coords.cpu(), coords)
    for key, value in expected.items():
        assert got[key].is_cuda and torch.equal(got[key].cpu(), value), key


@pytest.mark.gpu
def test_attributes_follow_tensors_on_the_gpu():
    source = textured_soup(3, "soup")
    fields = ("triangles", "normals", "uvs", "colors", "material_ids")
    moved = dataclasses.replace(source, **{f: torch.as_tensor(getattr(source, f)).cuda() for f in fields})
    coords, attrs = textured_mesh_to_volumetric_attr(moved, None, 20, UNIT)
    expected_coords, expected = textured_mesh_to_volumetric_attr(source, None, 20, UNIT)
    assert coords.is_cuda and torch.equal(coords.cpu(), expected_coords)
    assert all(torch.equal(attrs[key].cpu(), expected[key]) for key in expected)


@pytest.mark.gpu
def test_empty_meshes_on_cuda():
    vertices, faces = torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)
    assert_same_grid(lambda v, f: mesh_to_flexible_dual_grid(v, f, None, 8, UNIT), vertices, faces)
    far = torch.full((3, 3), 9.0)
    assert_same_grid(lambda v, f: mesh_to_flexible_dual_grid(v, f, None, 8, UNIT), far, torch.tensor([[0, 1, 2]]))


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (6, 5), (33, 64)])
def test_mip_levels_on_cuda(shape):
    image = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for srgb in (False, True):
        texture = Texture(image.numpy(), srgb=srgb)
        for a, b in zip(mip_levels(texture, device=torch.device("cuda")), mip_levels(texture), strict=True):
            assert torch.equal(a.cpu(), b)
