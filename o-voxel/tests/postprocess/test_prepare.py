"""What the profiles promise, on decoded surfaces with noise: jitter, flipped flags, missing voxels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import example, given, settings
from hypothesis import strategies as st

from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.mesh import BVH, mesh_stats
from o_voxel.postprocess import prepare
from o_voxel.postprocess.mend import degenerate_faces, drop_copies, give_area, open_conflicts, weld
from o_voxel.postprocess.prepare import PreparedSurface, SurfaceGrid, prepare_surface
from o_voxel.postprocess.verify import verify

BOX = [[-0.5] * 3, [0.5] * 3]


def grid_of(size: int) -> SurfaceGrid:
    return SurfaceGrid((-0.5,) * 3, (1 / size,) * 3, (size,) * 3)


def shape(name: str) -> trimesh.Trimesh:
    """Closed, nested and open shapes in the unit box."""
    if name == "box":
        return trimesh.creation.box(extents=[0.7, 0.5, 0.6])
    if name == "nested":
        return trimesh.util.concatenate(
            [trimesh.creation.icosphere(3, 0.4), trimesh.creation.icosphere(3, 0.34), trimesh.creation.box([0.2] * 3)]
        )
    if name == "ring":
        return trimesh.creation.torus(0.3, 0.1)
    if name == "bowl":
        ball = trimesh.creation.icosphere(4, 0.4)
        return trimesh.Trimesh(ball.vertices, ball.faces[ball.triangles_center[:, 2] < 0.05], process=False)
    assert name == "crossed"
    return trimesh.util.concatenate([trimesh.creation.box([0.7, 0.3, 0.3]), trimesh.creation.box([0.3, 0.3, 0.7])])


def decoded(
    name: str, size: int, *, jitter: float = 0.0, flips: float = 0.0, missing: float = 0.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The surface as a network's dual grid gives it: vertices float64 [V, 3], faces int64 [F, 3]."""
    mesh = shape(name)
    coords, dual, flags = mesh_to_flexible_dual_grid(
        torch.from_numpy(np.asarray(mesh.vertices)).float(), torch.from_numpy(np.asarray(mesh.faces)).int(),
        None, size, BOX, 1.0, 0.2, 1e-2,
    )  # fmt: skip
    noise = torch.Generator().manual_seed(seed)
    local = dual * size - coords
    local = (local + jitter * (2 * torch.rand(local.shape, generator=noise) - 1)).clamp(0, 1)
    flags = flags ^ (torch.rand(flags.shape, generator=noise) < flips)
    keep = torch.rand(len(coords), generator=noise) >= missing
    parts = (coords[keep], local[keep].contiguous(), flags[keep].contiguous())
    v, f = flexible_dual_grid_to_mesh(*parts, None, BOX, grid_size=size)
    return v.double(), f.long()


def chamfer(result: PreparedSurface, size: int, closed: bool) -> float:
    """Sum of the mean distances both ways between the result and its source, in voxels.

    Of a closed result the source may have more: what lies deeper inside than a voxel is not asked for.
    """

    def sample(v: torch.Tensor, f: torch.Tensor) -> np.ndarray:
        return np.asarray(trimesh.sample.sample_surface(trimesh.Trimesh(v, f, process=False), 4000, seed=0)[0])

    def distance(points: np.ndarray, v: torch.Tensor, f: torch.Tensor) -> np.ndarray:
        return np.asarray(BVH(v.numpy(), f.numpy()).nearest(points)[0]) * size

    made, source = (result.vertices, result.faces), (result.source_vertices, result.source_faces)
    points = sample(*source)
    missed = distance(points, *made)
    if closed:
        inside = np.asarray(BVH(made[0].numpy(), made[1].numpy()).contains(points))
        missed = missed[~(inside & (missed > 1))]
    return float(distance(sample(*made), *source).mean() + missed.mean())


def assert_promises(result: PreparedSurface, profile: str, target: int) -> None:
    assert result.verdict.ok, result.verdict.problems
    v, f = result.vertices, result.faces
    assert 0 < len(f) <= target
    for stats in (mesh_stats(v, f), mesh_stats(v, weld(v, f))):
        assert stats.winding_conflicts == 0
        assert profile == "game" or (stats.boundary_edges == 0 and stats.non_manifold_edges == 0)
    if profile == "print":
        assert result.verdict.volume > 0 and result.verdict.stats.watertight


@settings(max_examples=8, deadline=None)
@example("nested", 1, 0.0, 0.0, 0.015625, ("game", True))  # holes that let see the inner shell: it goes all the same
@given(
    st.sampled_from(["box", "nested", "ring", "bowl", "crossed"]), st.integers(0, 1000), st.floats(0, 0.3),
    st.floats(0, 0.02), st.floats(0, 0.02), st.sampled_from([("game", False), ("game", True), ("print", False)]),
)  # fmt: skip
def test_promises_hold_on_noisy_grids(
    name: str, seed: int, jitter: float, flips: float, missing: float, how: tuple[Any, bool]
) -> None:
    v, f = decoded(name, 32, jitter=jitter, flips=flips, missing=missing, seed=seed)
    result = prepare_surface(v, f, grid_of(32), target_faces=2000, profile=how[0], remesh=how[1])
    assert_promises(result, how[0], 2000)
    assert chamfer(result, 32, closed=how[1] or how[0] == "print") <= 0.5


@pytest.mark.parametrize(("profile", "remesh"), [("game", False), ("game", True), ("print", False)])
def test_no_inner_shell_is_left(profile: Any, remesh: bool) -> None:
    v, f = decoded("nested", 48, jitter=0.1, missing=0.003)
    result = prepare_surface(v, f, grid_of(48), target_faces=3000, profile=profile, remesh=remesh)
    assert_promises(result, profile, 3000)
    assert result.vertices.norm(dim=1).min() > 0.37
    assert result.hidden_faces > 0.3 * len(f)
    assert result.verdict.stats.num_components == 1


def test_raw_keeps_everything_and_promises_nothing() -> None:
    v, f = decoded("nested", 32)
    result = prepare_surface(v, f, grid_of(32), profile="raw")
    assert len(result.faces) == len(f) and result.hidden_faces == 0 and result.verdict.ok
    assert result.verdict.stats.num_components == 3


def test_open_bowl_stays_open_in_game_and_gets_a_wall_for_print() -> None:
    v, f = decoded("bowl", 40, jitter=0.1, missing=0.003)
    for remesh in (False, True):
        result = prepare_surface(v, f, grid_of(40), target_faces=3000, remesh=remesh)
        assert_promises(result, "game", 3000)
        assert result.two_sided
    solid = prepare_surface(v, f, grid_of(40), target_faces=3000, profile="print")
    assert_promises(solid, "print", 3000)
    assert not solid.two_sided and solid.verdict.stats.euler == 2


def test_smoothing_takes_noise_out_and_can_be_left_out() -> None:
    v, f = decoded("box", 48, jitter=0.2)
    distance = []
    for smooth in (0, 4):
        result = prepare_surface(v, f, grid_of(48), profile="print", smooth=smooth)
        half = torch.tensor([0.35, 0.25, 0.3], dtype=torch.float64)
        distance.append(float((result.fine_vertices.abs() - half).abs().amin(1).mean()))
    assert distance[1] < 0.75 * distance[0]


def test_glass_does_not_hide_what_is_behind() -> None:
    v, f = decoded("nested", 40)
    result = prepare_surface(v, f, grid_of(40), see_through=lambda points: points.norm(dim=1) > 0.38)
    assert result.vertices.norm(dim=1).min() < 0.36 and result.vertices.abs().amax(1).min() > 0.12


@pytest.mark.parametrize("kind", [np.asarray, lambda t: t.float()], ids=["numpy", "float32"])
def test_results_have_the_kind_of_the_input(kind: Callable[[Any], Any]) -> None:
    v, f = decoded("box", 16)
    result = prepare_surface(kind(v), f.numpy() if kind is np.asarray else f, grid_of(16), profile="print")
    assert type(result.vertices) is type(kind(v)) and result.vertices.dtype == kind(v).dtype
    assert type(result.source_faces) is type(result.fine_faces) is type(result.faces)


@pytest.mark.gpu
@pytest.mark.parametrize(("profile", "remesh"), [("game", False), ("game", True), ("print", False)])
def test_promises_hold_on_a_gpu(profile: Any, remesh: bool) -> None:
    for name in ("nested", "bowl", "crossed"):
        v, f = decoded(name, 64, jitter=0.15, flips=0.01, missing=0.003)
        result = prepare_surface(v.cuda(), f.cuda(), grid_of(64), target_faces=3000, profile=profile, remesh=remesh)
        assert result.vertices.is_cuda
        assert_promises(result, profile, 3000)


def test_the_check_finds_each_broken_promise() -> None:
    box = trimesh.creation.box()
    v, f = torch.from_numpy(np.array(box.vertices)), torch.from_numpy(np.array(box.faces))
    assert verify(v, f, "print", 12).ok

    def problems(faces: torch.Tensor, vertices: torch.Tensor = v, target: int | None = None) -> str:
        return " ".join(verify(vertices, faces, "print", target).problems)

    assert "12 faces, 10 were asked for" in problems(f, target=10)
    assert "boundary edges" in problems(f[:-1])
    assert "conflicting winding" in problems(torch.cat([f[:-1], f[-1:, [0, 2, 1]]]))
    assert "volume" in problems(f[:, [0, 2, 1]])
    assert "duplicate" in problems(torch.cat([f, f[:1]]))
    flat = v.clone()
    flat[:, 0] = 0
    assert "degenerate" in problems(f, flat)
    two = torch.cat([f, torch.where(f == 0, 0, f + 7)])  # a second box on one of the first one's corners
    corners = torch.cat([v, v[1:] + 2])
    assert "several fans" in problems(two, corners)
    assert verify(v, f[:0], "raw").problems == ("no face",)


def test_copies_conflicts_and_flat_faces_are_mended() -> None:
    v = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=torch.float64)
    two = torch.tensor([[0, 1, 2], [4, 5, 3]])
    again = torch.cat([two, two[:1], two[:1]])
    assert drop_copies(v, again)[1].tolist() == drop_copies(v, two)[1].tolist()
    flap = torch.cat([two, two[:1, [0, 2, 1]]])
    assert len(drop_copies(v, flap)[1]) == 1
    wrong = torch.tensor([[0, 1, 2], [5, 4, 3]])  # meets the first one by position, wound the other way
    assert mesh_stats(v, weld(v, wrong)).winding_conflicts == 1
    apart = open_conflicts(v, wrong)
    assert mesh_stats(apart, weld(apart, wrong)).winding_conflicts == 0
    assert (apart - v).abs().max() < 0.05
    line = torch.tensor([[0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, 0], [1, -1, 0]], dtype=torch.float64)
    fan = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 4, 1], [1, 4, 2]])
    assert degenerate_faces(line, fan).any() and not degenerate_faces(give_area(line, fan), fan).any()


def test_faces_that_mending_drops_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mend = prepare._mend

    def dropping(v: torch.Tensor, f: torch.Tensor, profile: Any) -> tuple[torch.Tensor, torch.Tensor]:
        v, f = mend(v, f, profile)
        return v, f[:-3]

    v, f = decoded("bowl", 24)
    monkeypatch.setattr(prepare, "_mend", dropping)
    assert len(prepare_surface(v, f, grid_of(24), target_faces=900).faces) == 900
    monkeypatch.setattr(prepare, "BUDGET_TRIES", 0)
    assert len(prepare_surface(v, f, grid_of(24), target_faces=900).faces) == 897


@pytest.mark.parametrize(
    ("v", "f"), [(np.zeros((3, 3)), np.array([[0, 1, 2]])), (np.zeros((0, 3)), np.zeros((0, 3), int))]
)
def test_nothing_proper_is_refused(v: np.ndarray, f: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no proper face"):
        prepare_surface(v, f, grid_of(8))
