"""Which faces are seen from outside: nested shells, holes, thin walls, open sheets, glass."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from o_voxel import mesh as M
from o_voxel.mesh.shells import find_shells, remove_hidden_faces
from o_voxel.mesh.solid import label_nodes

Mesh = tuple[np.ndarray, np.ndarray]


def join(*meshes: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Several meshes as one, and the mesh that each face comes from."""
    counts = np.cumsum([0] + [len(v) for v, _ in meshes])
    faces = np.concatenate([f + o for (_, f), o in zip(meshes, counts)])
    return np.concatenate([v for v, _ in meshes]), faces, np.repeat(range(len(meshes)), [len(f) for _, f in meshes])


def test_enclosed_walls_are_hidden_and_votes_point_outward(shapes: SimpleNamespace) -> None:
    v, f, part = join(shapes.sphere(4, 0.4), shapes.sphere(3, 0.37), shapes.cube(0.2))
    turn = np.random.default_rng(0).random(len(f)) < 0.5
    f = np.where(turn[:, None], f[:, [0, 2, 1]], f)
    view = find_shells(v, f, 1 / 50).view
    np.testing.assert_array_equal(view.seen.numpy(), part == 0)
    vote = view.votes.numpy()[part == 0]
    right = np.where(turn[part == 0], -1, 1)
    assert (vote * right >= 0).all() and (vote != 0).mean() > 0.8
    assert not view.open.any() and not view.thin.any()


def test_holes_of_a_few_voxels_do_not_show_the_inside(shapes: SimpleNamespace) -> None:
    v, f, part = join(shapes.sphere(5, 0.4), shapes.sphere(4, 0.3))
    cap = (v[f].mean(1)[:, 2] > 0.4 * np.cos(1.5 / 50 / 0.4)) & (part == 0)
    f, part = f[~cap], part[~cap]
    for gap, hidden in ((4.0, True), (0.0, False)):
        seen = find_shells(v, f, 1 / 50, gap=gap).view.seen.numpy()
        assert seen[part == 0].all()
        assert seen[part == 1].any() != hidden


def test_a_wide_opening_shows_the_inside(shapes: SimpleNamespace) -> None:
    v, f, part = join(shapes.sphere(5, 0.4), shapes.sphere(4, 0.3))
    cut = (v[f].mean(1)[:, 2] > 0.33) & (part == 0)
    view = find_shells(v, f[~cut], 1 / 50, gap=4.0).view
    assert view.seen.all()
    shell = part[~cut] == 0
    assert view.open.numpy()[shell].mean() > 0.9  # outside on both sides
    assert not view.open.numpy()[~shell].any()


def test_rays_overrule_a_closed_hole_that_shows_much(shapes: SimpleNamespace) -> None:
    v, f, part = join(shapes.sphere(5, 0.4), shapes.cube(0.06))
    v[part_vertices(part, f, 1)] += np.float32([0, 0, 0.34])  # right behind a hole of ten voxels
    cut = (v[f].mean(1)[:, 2] > 0.4 * np.cos(0.25)) & (part == 0)
    view = find_shells(v, f[~cut], 1 / 50, gap=16.0).view
    assert view.seen[torch.from_numpy(part[~cut] == 1)].all()
    v[part_vertices(part, f, 1)] -= np.float32([0, 0, 0.7])  # at the far end it is hidden
    view = find_shells(v, f[~cut], 1 / 50, gap=16.0).view
    assert not view.seen[torch.from_numpy(part[~cut] == 1)].any()


def part_vertices(part: np.ndarray, f: np.ndarray, which: int) -> np.ndarray:
    return np.unique(f[part == which])


def test_far_coordinates_end_with_a_bounded_grid(shapes: SimpleNamespace) -> None:
    v, f, part = join(shapes.sphere(3, 0.4), shapes.cube(0.2), shapes.cube(0.2))
    v[part_vertices(part, f, 2)] *= np.float32(1e20)
    shells = find_shells(v, f, 1 / 30, box=([-0.5] * 3, [0.5] * 3))
    assert max(shells.solid.grid.size) < 60
    np.testing.assert_array_equal(shells.view.seen.numpy(), part != 1)
    with pytest.raises(ValueError, match=r"fewer than 2\^33 nodes"):
        find_shells(v, f, 1 / 30)


def test_two_walls_within_a_voxel_are_thin_not_open(shapes: SimpleNamespace) -> None:
    v, f = shapes.grid_sheet(6)
    v, f, part = join((v + np.float32([0, 0, 0.004]), f), (v + np.float32([0, 0, 0.012]), f[:, ::-1]))
    view = find_shells(v, f, 1 / 30).view
    assert view.seen.all() and view.thin.all() and not view.open.any()
    assert (view.votes.numpy()[part == 0] < 0).all() and (view.votes.numpy()[part == 1] < 0).all()


@pytest.mark.parametrize("name", ["grid_sheet", "moebius", "bow_tie"])
def test_open_sheets_are_seen_on_both_sides(shapes: SimpleNamespace, name: str) -> None:
    view = find_shells(*getattr(shapes, name)(), 1 / 30).view
    assert view.seen.all() and view.open.all()
    assert name == "moebius" or (view.votes == 0).all()  # parts of the band lie close to each other


def test_glass_hides_nothing(shapes: SimpleNamespace) -> None:
    v, f, part = join(shapes.sphere(4, 0.4), shapes.cube(0.2))
    assert not find_shells(v, f, 1 / 40).view.seen.numpy()[part == 1].any()
    view = find_shells(v, f, 1 / 40, see_through=part == 0).view
    assert view.seen.all()
    behind = find_shells(v, f, 1 / 40, see_through=part == 1).view  # a glass cube in a ball stays hidden
    np.testing.assert_array_equal(behind.seen.numpy(), part == 0)
    assert find_shells(v, f, 1 / 40, see_through=np.ones(len(f), bool)).view.seen.any()


def test_long_rows_of_large_faces_are_cut_to_what_is_met() -> None:
    """Random faces as large as the grid, slivers and faces along the axes among them, against the plain search."""
    generator = torch.Generator().manual_seed(4)
    v = torch.rand(180, 3, generator=generator, dtype=torch.float64)
    v[1:45:3] = v[0:45:3] + 1e-4 * torch.rand(15, 3, generator=generator, dtype=torch.float64)
    v[46:90:3, 0] = v[45:90:3, 0]
    v[90:120, 2] = v[90, 2]
    v[150] *= 1e5  # the box bounds the grid, not the faces
    f = torch.arange(180).view(-1, 3)
    sizes, box = torch.full((3,), 1 / 40, dtype=torch.float64), torch.tensor([[0.0] * 3, [1.0] * 3])
    native, plain = (
        label_nodes(v, f, sizes, torch.zeros(3), box=box, backend=backend) for backend in ("native", "reference")
    )
    assert native.crossed.count == plain.crossed.count > 10_000
    for mine, other in ((native.first, plain.first), (native.last, plain.last), (native.outside, plain.outside)):
        assert torch.equal(mine, other)
    sides = native.face_sides()
    assert torch.equal(sides, plain.face_sides())
    assert int(sides[:, 0].max()) > 500 and bool((sides[:, 0] > 2 * sides[:, 1:3].sum(1)).any())  # deep inside


@pytest.mark.parametrize("far", [1e3, 1e9, 1e18, 1e24])
def test_sides_far_longer_than_the_grid_come_to_an_end(far: float) -> None:
    v = torch.tensor([[0.1, 0.2, 0.3], [0.8, 0.1, 0.2], [far, far / 3, 0.5]], dtype=torch.float64)
    shells = find_shells(v, torch.tensor([[0, 1, 2]]), 0.05, box=[[0, 0, 0], [1, 1, 1]])
    assert shells.view.seen.all() and shells.view.open.all()


def test_removal_keeps_kind_and_drops_what_is_hidden(shapes: SimpleNamespace) -> None:
    v, f, _ = join(shapes.sphere(3, 0.4), shapes.cube(0.2))
    out_v, out_f = remove_hidden_faces(torch.from_numpy(v), torch.from_numpy(f), 1 / 30)
    assert isinstance(out_f, torch.Tensor) and len(out_f) == len(shapes.sphere(3, 0.4)[1])
    assert M.mesh_stats(out_v, out_f).watertight


def test_bad_glass_is_refused(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube()
    with pytest.raises(ValueError, match="see_through must be bool"):
        find_shells(v, f, 0.1, see_through=np.zeros(3, bool))
    with pytest.raises(ValueError, match="voxel_size must be > 0"):
        find_shells(v, f, -0.1)


@pytest.mark.gpu
def test_gpu_sees_what_the_cpu_sees(shapes: SimpleNamespace) -> None:
    v, f, part = join(shapes.sphere(5, 0.4), shapes.sphere(4, 0.3), shapes.grid_sheet(5))
    keep = np.random.default_rng(0).random(len(f)) > 0.02
    v, f = torch.from_numpy(v), torch.from_numpy(f[keep])
    for glass in (None, torch.from_numpy(part[keep] == 0)):
        on_cpu = find_shells(v, f, 1 / 60, see_through=glass).view
        on_gpu = find_shells(v.cuda(), f.cuda(), 1 / 60, see_through=None if glass is None else glass.cuda()).view
        assert all(torch.equal(a, b.cpu()) for a, b in zip(on_cpu, on_gpu, strict=True))
