"""Small meshes with known topology, shared by the mesh tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

Mesh = tuple[np.ndarray, np.ndarray]


def _arrays(mesh: trimesh.Trimesh) -> Mesh:
    return np.asarray(mesh.vertices, dtype=np.float32), np.asarray(mesh.faces, dtype=np.int32)


def sphere(subdivisions: int = 3, radius: float = 0.4) -> Mesh:
    return _arrays(trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius))


def cube(size: float = 0.6) -> Mesh:
    return _arrays(trimesh.creation.box(extents=[size] * 3))


def torus() -> Mesh:
    return _arrays(trimesh.creation.torus(0.3, 0.12, major_sections=48, minor_sections=24))


def grid_sheet(n: int = 20) -> Mesh:
    """A flat open sheet of 2 n^2 faces in the unit square, z = 0."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1), indexing="ij")
    v = np.stack([x.reshape(-1), y.reshape(-1), np.zeros(x.size)], 1).astype(np.float32)
    i = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1)
    a, b, c, d = i, i + n + 1, i + n + 2, i + 1
    return v, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def moebius(n: int = 30) -> Mesh:
    """A band with one half twist: 2 n faces, not orientable."""
    t = np.arange(n) * 2 * np.pi / n
    side = np.stack([np.cos(t / 2) * np.cos(t), np.cos(t / 2) * np.sin(t), np.sin(t / 2)], 1) * 0.3
    ring = np.stack([np.cos(t), np.sin(t), 0 * t], 1)
    v = np.concatenate([ring - side, ring + side]).astype(np.float32)
    faces = []
    for i in range(n):
        low, high, low2, high2 = i, n + i, (i + 1) % n, n + (i + 1) % n
        if i == n - 1:
            low2, high2 = high2, low2
        faces += [[low, low2, high2], [low, high2, high]]
    return v, np.array(faces, dtype=np.int32)


def bow_tie() -> Mesh:
    """Two triangles that touch in one vertex."""
    v = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [-1, 0, 0], [-1, 1, 0]], dtype=np.float32)
    return v, np.array([[0, 1, 2], [0, 4, 3]], dtype=np.int32)


def fins(count: int) -> Mesh:
    """`count` triangles around one edge."""
    t = np.arange(count) * 2 * np.pi / count
    v = np.concatenate([[[0, 0, 0], [0, 0, 1]], np.stack([np.cos(t), np.sin(t), 0 * t + 0.5], 1)]).astype(np.float32)
    return v, np.array([[0, 1, 2 + i] for i in range(count)], dtype=np.int32)


def two_tetrahedra_on_an_edge() -> Mesh:
    """Two closed tetrahedra that share an edge, which therefore has four faces."""
    v = np.array(
        [[0, 0, 0], [0, 0, 1], [1, 0, 0.5], [0.8, 0.6, 0.5], [-1, 0, 0.5], [-0.8, -0.6, 0.5]], dtype=np.float32
    )
    one = [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    two = [[0, 4, 1], [0, 1, 5], [0, 5, 4], [1, 4, 5]]
    return np.array(v, dtype=np.float32), np.array(one + two, dtype=np.int32)


@pytest.fixture(scope="session")
def shapes() -> SimpleNamespace:
    """The functions above, by name."""
    functions = (bow_tie, cube, fins, grid_sheet, moebius, sphere, torus, two_tetrahedra_on_an_edge)
    return SimpleNamespace(**{f.__name__: f for f in functions})
