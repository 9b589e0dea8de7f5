"""The rasteriser against brute force in float64, and shared edges on random triangulations.

The oracle shares nothing with the library. A point of a triangle is sum l_k V_k with l >= 0 and projects to the pixel
centre (nx, ny) where its (x, y, w) is a positive multiple of (nx, ny, 1). So l solves a 3 x 3 system, whatever the
signs of w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay
from torch import Tensor

from o_voxel.rasterize import DepthPeeler, rasterize, triangle_index


@dataclass
class Oracle:
    """H x W results; `sure` is False where rounding could decide otherwise."""

    face: np.ndarray  # int, -1 where empty
    weights: np.ndarray  # [H, W, 3]
    depth: np.ndarray  # [H, W]
    sure: np.ndarray  # bool


def draw(pos: np.ndarray, tri: np.ndarray, height: int, width: int, edge: float = 1 / 100, gap: float = 1e-6) -> Oracle:
    """Nearest triangle of each pixel. Unsure within `edge` pixels of an edge or a depth difference below `gap`."""
    y, x = np.meshgrid((2 * np.arange(height) + 1) / height - 1, (2 * np.arange(width) + 1) / width - 1, indexing="ij")
    ray = np.stack([x, y, np.ones_like(x)], -1)  # [H, W, 3]
    face = np.full((height, width), -1)
    weights = np.zeros((height, width, 3))
    depth = np.full((height, width), np.inf)
    second = np.full((height, width), np.inf)
    sure = np.ones((height, width), bool)
    for f, row in enumerate(tri):
        corner = pos[row].astype(np.float64)  # [3, 4]
        matrix = corner[:, [0, 1, 3]].T
        if np.linalg.matrix_rank(matrix) < 3:
            continue
        inverse = np.linalg.inv(matrix)
        share = ray @ inverse.T  # [H, W, 3], a positive multiple of the weights inside
        slope = np.hypot(inverse[:, 0] * 2 / width, inverse[:, 1] * 2 / height)  # per pixel
        distance = (share / slope).min(-1)
        z = share @ corner[:, 2]  # share @ w is 1
        total = share.sum(-1, keepdims=True)
        share = share / np.where(total == 0, 1, total)
        inside = (distance >= 0) & (np.abs(z) <= 1)
        possible = (distance > -edge) & (np.abs(z) < 1 + gap)
        doubtful = possible & ((distance < edge) | (np.abs(np.abs(z) - 1) < gap))
        sure &= ~(doubtful & (z <= depth + gap))
        nearer = inside & (z <= depth)
        second = np.where(nearer, depth, np.where(inside, np.minimum(second, z), second))
        face[nearer], depth[nearer], weights[nearer] = f, z[nearer], share[nearer]
    finite = np.where(np.isfinite(second), second, 2e9)
    sure &= ~((face >= 0) & (finite - np.where(face >= 0, depth, 0) < gap))
    return Oracle(face, weights, depth, sure)


def _soup(count: int, size: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(count, 1, 4, generator=generator)
    centre[..., 3] = centre[..., 3].abs() + 0.5
    pos = (centre + size * torch.randn(count, 3, 4, generator=generator)).reshape(-1, 4)
    return pos, torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3)


def _camera_scene(seed: int) -> tuple[Tensor, Tensor]:
    """A bumpy closed surface around the camera's near plane: corners in front of, beside and behind the camera."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(60, 3, generator=generator)
    points = points / points.norm(dim=1, keepdim=True) * (0.8 + 0.4 * torch.rand(60, 1, generator=generator))
    tri = torch.from_numpy(ConvexHull(points.numpy()).simplices.astype(np.int32))
    near, far = 0.3, 4.0
    x, y, z = (points + torch.tensor([0.1, -0.2, 0.6])).unbind(1)
    return torch.stack([1.5 * x, 1.5 * y, (far + near) / (far - near) * z - 2 * far * near / (far - near), z], 1), tri


@pytest.mark.parametrize(
    ("scene", "resolution"),
    [
        ((30, 2.0, 1), (40, 56)),
        ((150, 0.6, 2), (48, 48)),
        ((400, 0.1, 3), (61, 47)),
        ((20, 8.0, 4), (33, 64)),
        (5, (64, 64)),
        (6, (50, 80)),
    ],
)
def test_ids_barycentrics_and_depth_match_brute_force(scene: object, resolution: tuple[int, int]) -> None:
    pos, tri = _soup(*scene) if isinstance(scene, tuple) else _camera_scene(scene)  # type: ignore[misc, arg-type]
    want = draw(pos.numpy(), tri.numpy(), *resolution)
    rast = rasterize(pos, tri, resolution)
    face = triangle_index(rast)[0].numpy()
    assert want.sure.mean() > 0.8  # the comparison means something
    assert (face == want.face)[want.sure].all()
    same = (face == want.face) & (face >= 0)
    assert same.sum() > 300
    value = rast[0].double().numpy()
    # Barycentrics are compared where the pixel centre is inside: outside (by up to 1/256 pixel) they are bounded.
    inside = same & (want.weights.min(-1) >= 0)
    assert np.abs(value[..., :2] - want.weights[..., :2])[inside].max() < 1e-5
    assert np.abs(value[..., 2] - want.depth)[inside].max() < 1e-5


def test_peeled_layers_match_brute_force() -> None:
    pos, tri = _soup(40, 0.8, seed=11)
    peeler = DepthPeeler(pos, tri, (32, 32))
    rest = np.ones(len(tri), bool)
    layers = [triangle_index(peeler.rasterize_next_layer())[0].numpy() for _ in range(3)]
    # A pixel's layers are the triangles that cover it, one after the other: drop the earlier ones and draw again.
    for row, column in [(5, 7), (16, 16), (20, 9), (12, 25), (16, 20)]:
        rest[:] = True
        for layer in layers:
            kept = np.flatnonzero(rest)
            want = draw(pos.numpy(), tri.numpy()[kept], 32, 32)
            if not want.sure[row, column]:
                break
            found = want.face[row, column]
            assert layer[row, column] == (kept[found] if found >= 0 else -1)
            if found < 0:
                break
            rest[kept[found]] = False


def _cover_count(pos: Tensor, tri: Tensor, size: tuple[int, int]) -> Tensor:
    hits = torch.zeros(size, dtype=torch.long)
    for row in tri.split(1):
        hits += rasterize(pos, row, size)[0, ..., 3] > 0
    return hits


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(9, 9), (16, 24), (31, 17)]), st.booleans())
def test_random_triangulations_own_every_pixel_once(seed: int, size: tuple[int, int], on_centres: bool) -> None:
    # Delaunay triangulation of points over more than the picture; half of them exactly on pixel centres and corners.
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1.3, 1.3, (24, 2))
    if on_centres:
        grid = np.array([size[1], size[0]]) * 2
        points[:12] = np.round((points[:12] + 1) * grid / 2) / grid * 2 - 1
    points = np.concatenate([points, [[-2, -2], [2, -2], [-2, 2], [2, 2]]])
    tri = torch.from_numpy(Delaunay(points).simplices.astype(np.int32))
    tri = tri[torch.from_numpy(rng.permutation(len(tri)))]
    w = torch.from_numpy(rng.uniform(0.5, 2, len(points)))[:, None]
    clip = torch.cat([torch.from_numpy(points), torch.zeros(len(points), 1, dtype=torch.float64)], 1)
    pos = torch.cat([clip * w, w], 1).float()
    assert torch.equal(_cover_count(pos, tri, size), torch.ones(size, dtype=torch.long))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([3, 7, 24]))
def test_fans_around_a_centre_behind_or_before_the_camera_overlap_nowhere(seed: int, blades: int) -> None:
    # A flat fan seen in perspective, its middle anywhere: every pixel of the plane that the rim encloses is drawn once.
    generator = torch.Generator().manual_seed(seed)
    angle = torch.arange(blades) * (2 * torch.pi / blades)
    rim = torch.stack([angle.cos(), angle.sin(), torch.zeros(blades)], 1) * 3
    points = torch.cat([torch.rand(1, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.0]), rim])  # inside the rim
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    x, y, z = (points @ turn.T + torch.tensor([0.0, 0.0, 1.0])).unbind(1)
    near, far = 0.1, 20.0
    pos = torch.stack([x, y, (far + near) / (far - near) * z - 2 * far * near / (far - near), z], 1)
    tri = torch.tensor([[0, 1 + i, 1 + (i + 1) % blades] for i in range(blades)], dtype=torch.int32)
    hits = _cover_count(pos, tri, (41, 41))
    assert hits.max() <= 1
    whole = draw(pos.numpy(), tri.numpy(), 41, 41)
    single = draw(pos.numpy(), np.array([[1, 1 + i, 2 + i] for i in range(1, blades - 1)]), 41, 41)
    both = whole.sure & single.sure
    assert ((hits.numpy() > 0) == (single.face >= 0))[both].all()
