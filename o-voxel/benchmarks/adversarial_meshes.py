"""Meshes that break mesh tools: for the tests and the benchmark of `to_glb` on hostile input.

Each maker takes a size and returns vertices [V, 3] float64 in [-0.5, 0.5]³ (unless that is the point) and faces
[F, 3] int64; about `size` faces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh

__all__ = ["MESHES", "Mesh", "voxels_of"]

Mesh = tuple[np.ndarray, np.ndarray]


def voxels_of(mesh: Mesh, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells near the surface [N, 3] int32, with attributes [N, 6] float32: position as colour, rough, opaque.

    A mesh without area, beyond the box or not finite gets the middle of the grid.
    """
    vertices, faces = mesh
    cells = np.full((1, 3), grid // 2, dtype=np.int64)
    ok = len(faces) and np.isfinite(vertices).all() and np.abs(vertices).max() <= 0.5
    if ok:
        corners = vertices[faces]
        mids = np.concatenate(
            [corners.reshape(-1, 3), corners.mean(1), (corners + np.roll(corners, 1, 1)).reshape(-1, 3) / 2]
        )
        near = np.floor((mids + 0.5) * grid).astype(np.int64).clip(0, grid - 1)
        steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
        near = np.unique(near, axis=0)
        cells = np.unique((near[:, None] + steps).reshape(-1, 3).clip(0, grid - 1), axis=0)
    flat = np.tile([0.0, 0.6, 1.0], (len(cells), 1))
    return cells.astype(np.int32), np.concatenate([(cells + 0.5) / grid, flat], 1).astype(np.float32)


def fins(size: int) -> Mesh:
    """A ball whose every third edge or so carries one or two further faces: about 28 % of the edges non-manifold."""
    ball = trimesh.creation.icosphere(subdivisions=max(0, round(np.log(size / 2 / 20) / np.log(4))), radius=0.4)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    edges = np.asarray(ball.edges_unique)
    rng = np.random.default_rng(0)
    chosen = edges[rng.random(len(edges)) < 0.60]
    tips = vertices[chosen].mean(1) * rng.uniform(1.02, 1.15, (len(chosen), 1))
    new = np.stack([chosen[:, 0], chosen[:, 1], len(vertices) + np.arange(len(chosen))], 1)
    flip = rng.random(len(new)) < 0.5
    new[flip] = new[flip][:, ::-1]
    return np.concatenate([vertices, tips]), np.concatenate([faces, new])


def crumbs(size: int) -> Mesh:
    """A ball and size / 4 loose tetrahedra around and inside it (48,000 faces: 12,000 components)."""
    rng = np.random.default_rng(1)
    count = max(1, size // 4)
    solid = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 1.8
    middle = rng.uniform(-0.47, 0.47, (count, 1, 3))
    points = (middle + solid * rng.uniform(0.002, 0.02, (count, 1, 1))).reshape(-1, 3)
    one = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    faces = (one + 4 * np.arange(count)[:, None, None]).reshape(-1, 3)
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.3)
    return (np.concatenate([points, np.asarray(ball.vertices)]),
            np.concatenate([faces, np.asarray(ball.faces) + len(points)]))  # fmt: skip


def slivers(size: int) -> Mesh:
    """A cylinder of needles, every second face of zero area: points on an edge, and repeated corners."""
    n = max(3, size // 4)
    t = 2 * np.pi * np.arange(n) / n
    ring = np.stack([0.4 * np.cos(t), 0.4 * np.sin(t)], 1)
    low, high = np.insert(ring, 2, -0.45, 1), np.insert(ring, 2, 0.45, 1)
    middle = (low + high) / 2
    i, j = np.arange(n), (np.arange(n) + 1) % n
    proper = np.concatenate([np.stack([i, j, n + j], 1), np.stack([i, n + j, n + i], 1)])
    flat = np.stack([i, 2 * n + i, n + i], 1)  # three points of one line
    same = np.stack([i, i, n + j], 1)
    return np.concatenate([low, high, middle]), np.concatenate([proper, flat, same])


def single_triangle(size: int) -> Mesh:
    return np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.3, 0.0]]), np.array([[0, 1, 2]])


def empty(size: int) -> Mesh:
    return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)


def not_a_number(size: int) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
    vertices = np.asarray(ball.vertices).copy()
    vertices[7, 1] = np.nan
    return vertices, np.asarray(ball.faces)


def huge(size: int) -> Mesh:
    """A ball of radius 1e30, far beyond the box."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=1e30)
    return np.asarray(ball.vertices), np.asarray(ball.faces)


def far_vertex(size: int) -> Mesh:
    """A ball with one vertex pulled 1,000 boxes away."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    vertices = np.asarray(ball.vertices).copy()
    vertices[11] *= 2500
    return vertices, np.asarray(ball.faces)


def coplanar(size: int) -> Mesh:
    """A flat sheet whose faces also lie on one another twice, all in one plane."""
    n = max(2, int(np.sqrt(size / 4)))
    u, v = np.meshgrid(np.linspace(-0.4, 0.4, n + 1), np.linspace(-0.4, 0.4, n + 1), indexing="ij")
    points = np.stack([u, v, 0 * u], -1).reshape(-1, 3)
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    quads = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    shift = points + [0.37 * 0.8 / n, 0.21 * 0.8 / n, 0.0]
    return np.concatenate([points, shift]), np.concatenate([quads, quads[:, ::-1] + len(points)])


def tangle(size: int) -> Mesh:
    """Twelve thin closed tubes along random closed curves that cut themselves and one another."""
    rng = np.random.default_rng(2)
    seg, sides = max(8, size // (12 * 2 * 6)), 6
    t = np.linspace(0, 2 * np.pi, seg, endpoint=False)
    points, faces, at = [], [], 0
    for _ in range(12):
        phase, speed = rng.uniform(0, 2 * np.pi, 3), rng.integers(1, 6, 3)
        path = 0.42 * np.sin(speed * t[:, None] + phase)
        along = np.roll(path, -1, 0) - np.roll(path, 1, 0)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
        side = np.cross(along, rng.normal(size=3))
        side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12)
        other = np.cross(along, side)
        angle = 2 * np.pi * np.arange(sides) / sides
        ring = path[:, None] + 0.03 * (
            np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * other[:, None]
        )
        points.append(ring.reshape(-1, 3))
        i, k = np.meshgrid(np.arange(seg), np.arange(sides), indexing="ij")
        index = lambda i, k, at=at: at + i % seg * sides + k % sides  # noqa: E731
        a, b, c, d = index(i, k), index(i + 1, k), index(i + 1, k + 1), index(i, k + 1)
        faces.append(np.stack([a, b, c, a, c, d], -1).reshape(-1, 3))
        at += seg * sides
    return np.concatenate(points).clip(-0.5, 0.5), np.concatenate(faces)


def soup(size: int) -> Mesh:
    """Unconnected random triangles through the whole box."""
    points = np.random.default_rng(3).uniform(-0.49, 0.49, (3 * size, 3))
    return points, np.arange(3 * size).reshape(-1, 3)


def one_edge(size: int) -> Mesh:
    """A fan of faces that all share one edge."""
    t = 2 * np.pi * np.arange(size) / size
    tips = np.stack([0.4 * np.cos(t), 0.4 * np.sin(t), 0 * t], 1)
    ends = np.array([[0.0, 0.0, -0.3], [0.0, 0.0, 0.3]])
    return np.concatenate([ends, tips]), np.stack([0 * t, 0 * t + 1, 2 + np.arange(size)], 1).astype(np.int64)


def moebius(size: int) -> Mesh:
    """A one-sided band."""
    n, m = max(8, size // 8), 4
    t, w = np.meshgrid(2 * np.pi * np.arange(n) / n, np.linspace(-0.12, 0.12, m + 1), indexing="ij")
    points = np.stack(
        [(0.33 + w * np.cos(t / 2)) * np.cos(t), (0.33 + w * np.cos(t / 2)) * np.sin(t), w * np.sin(t / 2)], -1
    )
    index = np.arange(n * (m + 1)).reshape(n, m + 1)
    following = np.concatenate([index[1:], index[:1, ::-1]])
    a, b, c, d = index[:, :-1], following[:, :-1], following[:, 1:], index[:, 1:]
    return points.reshape(-1, 3), np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)


def random_winding(size: int) -> Mesh:
    """A ball with faces repeated, half of them turned."""
    ball = trimesh.creation.icosphere(subdivisions=max(1, round(np.log(size / 40) / np.log(4))), radius=0.4)
    rng = np.random.default_rng(4)
    faces = np.concatenate([np.asarray(ball.faces), np.asarray(ball.faces)[::2]])
    flip = rng.random(len(faces)) < 0.5
    faces[flip] = faces[flip][:, [0, 2, 1]]
    return np.asarray(ball.vertices), rng.permutation(faces)


MESHES: dict[str, Callable[[int], Mesh]] = {
    make.__name__: make
    for make in (
        fins, crumbs, slivers, single_triangle, empty, not_a_number, huge, far_vertex, coplanar, tangle, soup, one_edge,
        moebius, random_winding,
    )
}  # fmt: skip
