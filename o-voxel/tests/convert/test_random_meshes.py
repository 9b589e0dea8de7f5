"""Meshes that nobody would make on purpose, through the whole public path: native equals reference, nothing crashes.

Each mesh mixes triangle soups, slivers, collapsed and repeated triangles, huge and tiny ones, geometry outside the box,
and corners exactly on voxel borders, centres and the box itself.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel._native import native_module
from o_voxel.convert import (
    flexible_dual_grid_to_mesh,
    mesh_to_flexible_dual_grid,
    textured_mesh_to_volumetric_attr,
)
from o_voxel.convert.materials import Material, Texture, TexturedTriangles

UNIT = [[-0.5] * 3, [0.5] * 3]
pytestmark = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")
KINDS = ("soup", "sliver", "point", "segment", "duplicate", "flipped", "huge", "tiny", "outside", "border", "plane")


@st.composite
def meshes(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Triangles float32 [T, 3, 3] and a grid size."""
    count = draw(st.sampled_from([2, 3, 4, 7, 8, 16, 21]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8))
    triangles: list[np.ndarray] = []
    for kind in kinds:
        base = rng.uniform(-0.5, 0.5, (3, 3))
        if kind == "sliver":
            base[2] = base[0] + (base[1] - base[0]) * rng.uniform(0, 1) + rng.normal(0, 1e-7, 3)
        elif kind == "point":
            base[:] = base[0]
        elif kind == "segment":
            base[2] = base[1]
        elif kind in ("duplicate", "flipped") and triangles:
            base = triangles[int(rng.integers(len(triangles)))][:: 1 if kind == "duplicate" else -1]
        elif kind == "huge":
            base *= 10.0 ** rng.integers(1, 5)
        elif kind == "tiny":
            base = base[0] + (base - base[0]) * 10.0 ** -rng.integers(2, 8)
        elif kind == "outside":
            base += rng.choice([-1.2, -1.0, 1.0, 1.2]) * np.eye(3)[rng.integers(3)]
        elif kind == "border":  # corners on borders and centres of voxels, up to one voxel outside
            base = rng.integers(-2, 2 * count + 3, (3, 3)) / (2 * count) - 0.5
        elif kind == "plane":  # in a grid plane, or a side of the box
            base[:, rng.integers(3)] = rng.integers(0, count + 1) / count - 0.5
        triangles.append(base.astype(np.float32).astype(np.float64))
    return np.stack(triangles).astype(np.float32), count


def soup(triangles: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices and faces; equal corners are joined, as in a file."""
    vertices, index = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    return torch.from_numpy(vertices), torch.from_numpy(index.reshape(-1, 3))


def check(coords: torch.Tensor, local: torch.Tensor, flags: torch.Tensor, count: int) -> None:
    """What every dual grid promises: cells of the grid, once each; points in their voxel; quads complete inside."""
    assert len(coords.unique(dim=0)) == len(coords)
    if not len(coords):
        return
    assert int(coords.min()) >= 0 and int(coords.max()) < count
    assert bool(local.isfinite().all())
    assert float(local.min()) >= -1e-3 and float(local.max()) <= 1 + 1e-3
    vertices, faces = flexible_dual_grid_to_mesh(coords, local, flags, None, UNIT, grid_size=count)
    assert len(vertices) == len(coords)
    around = {0: [(0, 1, 0), (0, 0, 1), (0, 1, 1)], 1: [(1, 0, 0), (0, 0, 1), (1, 0, 1)],
              2: [(1, 0, 0), (0, 1, 0), (1, 1, 0)]}  # fmt: skip
    cells = set(map(tuple, coords.tolist()))
    complete = sum(
        all(tuple(c + d for c, d in zip(coords[row].tolist(), offset)) in cells for offset in around[int(axis)])
        for row, axis in flags.nonzero()
    )
    assert len(faces) == 2 * complete
    inner = flags & torch.stack([(coords < count - 1)[:, [1, 2]].all(1), (coords < count - 1)[:, [0, 2]].all(1),
                                 (coords < count - 1)[:, [0, 1]].all(1)], 1)  # fmt: skip
    assert complete == int(inner.sum())  # every flag inside the box has its four voxels


@settings(max_examples=150, deadline=None)
@given(meshes(), st.sampled_from(["keep", "cancel"]), st.sampled_from([(1, 0.2, 0.01), (1, 1, 0.1), (0, 0, 0)]))
def test_dual_grid_native_equals_reference(mesh, double, weights):
    triangles, count = mesh
    vertices, faces = soup(triangles)
    results = [
        mesh_to_flexible_dual_grid(
            vertices, faces, None, count, UNIT, *map(float, weights), double_crossings=double, backend=backend
        )
        for backend in ("native", "reference")
    ]
    (coords, dual, flags), (ref_coords, ref_dual, ref_flags) = results
    assert torch.equal(coords, ref_coords)
    assert torch.equal(flags, ref_flags)
    if len(coords) and weights[2] > 0:  # without regularisation a flat surface leaves the minimum undetermined
        assert float((dual - ref_dual).abs().max()) * count < 1e-2
    check(coords, dual * count - coords, flags, count)


def textured(triangles: np.ndarray, rng: np.random.Generator) -> TexturedTriangles:
    """Random corner attributes, UVs of all sizes in two channels, and materials with every kind of sampler."""
    n = len(triangles)
    materials = []
    for wrap, filter_, mode in (("repeat", "linear", "OPAQUE"), (("clamp", "mirror"), "nearest", "MASK"),
                                (("mirror", "repeat"), "nearest_mip", "BLEND")):  # fmt: skip
        textures = {
            "base_color": Texture(rng.integers(0, 256, (5, 9, 3), dtype=np.uint8), filter_, wrap, srgb=True),
            "alpha": Texture(rng.integers(0, 256, (4, 4, 1), dtype=np.uint8), filter_, wrap),
            "normal": Texture(rng.integers(0, 256, (1, 1, 3), dtype=np.uint8), filter_, wrap),
        }
        materials.append(
            Material(alpha_mode=mode, metallic=0.3, textures=textures, uv_channels={"alpha": 1, "normal": 1})
        )
    uvs = rng.uniform(-3, 3, (n, 3, 2, 2)) * 10.0 ** rng.integers(-4, 3, (n, 1, 1, 1))
    uvs[rng.random(n) < 0.2] = 0.3  # a point; not on a border of texels, where rounding would choose
    return TexturedTriangles(
        triangles, rng.normal(size=(n, 3, 3)).astype(np.float32), uvs.astype(np.float32),
        rng.uniform(0, 1, (n, 3, 4)).astype(np.float32), rng.integers(0, 3, n).astype(np.int32), materials,
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(meshes(), st.integers(0, 2**32 - 1))
def test_attributes_native_equals_reference(mesh, seed):
    triangles, count = mesh
    source = textured(triangles, np.random.default_rng(seed))
    (coords, attrs), (ref_coords, ref_attrs) = (
        textured_mesh_to_volumetric_attr(source, None, count, UNIT, backend=backend)
        for backend in ("native", "reference")
    )
    assert torch.equal(coords, ref_coords)
    vertices, faces = soup(triangles)
    grid = mesh_to_flexible_dual_grid(vertices, faces, None, count, UNIT)[0]
    assert torch.equal(coords.unique(dim=0), grid.unique(dim=0)) or not len(coords)
    for name, values in attrs.items():
        difference = (values.int() - ref_attrs[name].int()).abs()
        # A cut-off, a nearest texel or a vanishing normal may fall either way by rounding: few values may differ.
        assert int((difference > 1).any(1).sum()) <= max(1, len(values) // 100), name


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_nothing_but_degenerate_triangles(count):
    point = np.full((4, 3, 3), 0.25, np.float32)
    line = np.array([[[0, 0, 0], [0.3, 0.3, 0.3], [0, 0, 0]]], np.float32)
    for triangles in (point, line, np.zeros((0, 3, 3), np.float32)):
        vertices, faces = soup(triangles)
        coords, dual, flags = mesh_to_flexible_dual_grid(vertices, faces, None, count, UNIT)
        check(coords, dual * count - coords, flags, count)
        source = textured(triangles, np.random.default_rng(0))
        assert len(textured_mesh_to_volumetric_attr(source, None, count, UNIT)[0]) == len(coords)


def test_far_away_and_subnormal_numbers():
    for scale in (1e30, 1e-30, 1e-42):
        vertices = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]]) * scale
        coords, dual, flags = mesh_to_flexible_dual_grid(vertices, torch.tensor([[0, 1, 2]]), None, 8, UNIT)
        check(coords, dual * 8 - coords, flags, 8)
