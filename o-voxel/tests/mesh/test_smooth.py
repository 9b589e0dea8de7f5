"""Smoothing: noise goes, edges stay, nothing moves far; every backend and device."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from o_voxel.mesh.smooth import smooth_surface

VOXEL = 0.02


def noisy(v: np.ndarray, amount: float = 0.2) -> np.ndarray:
    return v.astype(np.float64) + np.random.default_rng(0).normal(0, amount * VOXEL, v.shape)


def fine_cube(size: float = 0.6, cuts: int = 5) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.box(extents=[size] * 3)
    for _ in range(cuts):
        mesh = mesh.subdivide()
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def test_noise_on_a_ball_is_halved_without_shrinking_it(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(4, 0.4)
    rough = noisy(v)
    out = smooth_surface(rough, f, voxel=VOXEL)
    error = np.abs(np.linalg.norm(out, axis=1) - 0.4)
    assert error.mean() < 0.5 * np.abs(np.linalg.norm(rough, axis=1) - 0.4).mean()
    assert np.linalg.norm(out, axis=1).mean() == pytest.approx(0.4, abs=0.02 * VOXEL)


def test_edges_of_a_noisy_cube_stay_sharp() -> None:
    v, f = fine_cube()
    rough = noisy(v, 0.1)
    out = smooth_surface(rough, f, voxel=VOXEL, rounds=8)

    def roughness(p: np.ndarray) -> float:
        return float(np.abs(np.abs(p).max(1) - 0.3).mean())

    assert roughness(out) < 0.6 * roughness(rough)
    corner = np.abs(v).sum(1) > 0.9 - 1e-9
    assert np.abs(np.abs(out[corner]) - 0.3).max() < 0.4 * VOXEL


def test_a_clean_cube_does_not_move() -> None:
    v, f = fine_cube(cuts=3)
    np.testing.assert_allclose(smooth_surface(v, f, voxel=VOXEL), v, atol=1e-12)


def test_no_vertex_moves_farther_than_the_limit_and_rims_stay(shapes: SimpleNamespace) -> None:
    v, f = shapes.grid_sheet(20)
    rough = noisy(v, 3.0)
    out = smooth_surface(rough, f, voxel=VOXEL, limit=0.3, contrast=2.0)
    distance = np.linalg.norm(out - rough, axis=1)
    assert 0.29 * VOXEL < distance.max() <= 0.3 * VOXEL * (1 + 1e-9)
    rim = ((v[:, :2] == 0) | (v[:, :2] == 1)).any(1)
    assert (distance[rim] == 0).all()


def test_kind_and_dtype_stay_and_nothing_is_nothing(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(2)
    out = smooth_surface(torch.from_numpy(v), torch.from_numpy(f), voxel=VOXEL)
    assert isinstance(out, torch.Tensor) and out.dtype == torch.float32
    np.testing.assert_array_equal(smooth_surface(v, f, voxel=VOXEL, rounds=0), v)
    assert smooth_surface(np.zeros((2, 3)), np.zeros((0, 3), int), voxel=1.0).shape == (2, 3)


def test_faces_without_area_do_no_harm(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(2)
    v = np.concatenate([v, v[:1]])
    f = np.concatenate([f, [[0, len(v) - 1, 1], [3, 3, 4]]])
    assert np.isfinite(smooth_surface(noisy(v), f, voxel=VOXEL)).all()


def test_reference_agrees(shapes: SimpleNamespace) -> None:
    v, f = shapes.torus()
    results = [smooth_surface(noisy(v), f, voxel=VOXEL, backend=b) for b in ("native", "reference")]
    np.testing.assert_allclose(*results, atol=1e-12)  # sums in another order


@pytest.mark.gpu
def test_gpu_gives_the_bits_of_the_cpu(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(5)
    rough, faces = torch.from_numpy(noisy(v)), torch.from_numpy(f[:-7])
    on_cpu = smooth_surface(rough, faces, voxel=VOXEL)
    assert torch.equal(on_cpu, smooth_surface(rough.cuda(), faces.cuda(), voxel=VOXEL).cpu())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"voxel": 0.0}, "voxel must be > 0"),
        ({"rounds": -1}, "rounds must be an int"),
        ({"limit": -1.0}, "limit must be >= 0"),
        ({"contrast": 3.0}, r"contrast must lie in \(0, 2\]"),
    ],
)
def test_bad_arguments_are_refused(shapes: SimpleNamespace, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smooth_surface(*shapes.cube(), **({"voxel": 1.0} | arguments))
