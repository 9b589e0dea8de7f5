"""Meshes of the round-trip benchmark: closed, open, non-manifold and nested ones, made or read, in the unit box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

__all__ = ["MADE", "SUFFIXES", "Mesh", "load_mesh", "normalised", "weld"]

Mesh = tuple[np.ndarray, np.ndarray]  # vertices float64 [V, 3], faces int64 [F, 3]
SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


def normalised(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Centred, longest side 0.99999."""
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) * (0.99999 / (high - low).max()), np.asarray(faces, np.int64)


def weld(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Equal positions joined, collapsed and repeated faces dropped."""
    unique, index = np.unique(np.round(vertices, 7), axis=0, return_inverse=True)
    joined = index.reshape(-1)[faces]
    joined = joined[(joined != np.roll(joined, 1, 1)).all(1)]
    _, keep = np.unique(np.sort(joined, 1), axis=0, return_index=True)
    return unique, joined[np.sort(keep)]


def _sphere() -> Mesh:
    mesh = trimesh.creation.icosphere(subdivisions=5)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def _hemisphere() -> Mesh:
    """Open: half of a sphere, with a round rim."""
    vertices, faces = _sphere()
    return vertices, faces[(vertices[faces][:, :, 2] > 0.0).all(1)]


def _nested() -> Mesh:
    """Three closed surfaces inside one another: sphere, turned box, small sphere."""
    turn = trimesh.transformations.rotation_matrix(0.4, [1, 2, 3])
    parts = [trimesh.creation.icosphere(subdivisions=5), trimesh.creation.box((0.9, 0.8, 0.7), transform=turn),
             trimesh.creation.icosphere(subdivisions=4, radius=0.25)]  # fmt: skip
    whole = trimesh.util.concatenate(parts)
    return np.asarray(whole.vertices), np.asarray(whole.faces)


def _book() -> Mesh:
    """Non-manifold and open: five curved leaves that meet in one edge."""
    n = 40
    u, v = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(-1, 1, n + 1), indexing="ij")
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    quads = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    parts = []
    for k in range(5):
        angle = 2 * np.pi * k / 5 + 0.6 * u + 0.1
        leaf = np.stack([u * np.cos(angle), u * np.sin(angle), v], -1).reshape(-1, 3)
        parts.append((leaf, quads + k * len(leaf)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


MADE: dict[str, Callable[[], Mesh]] = {
    "sphere": _sphere,
    "hemisphere": _hemisphere,
    "nested": _nested,
    "book": _book,
}


def load_mesh(name: str) -> Mesh:
    """A made mesh by name, a file, or an array `NAME` of a packed `FILE.npz:NAME`; normalised."""
    if name in MADE:
        return normalised(*MADE[name]())
    path, _, member = name.partition(".npz:")
    if member:
        with np.load(f"{path}.npz") as data:
            return normalised(data[f"{member}_v"], data[f"{member}_f"])
    loaded = trimesh.load(Path(name), process=False)
    mesh = loaded.to_mesh() if isinstance(loaded, trimesh.Scene) else loaded
    return normalised(np.asarray(mesh.vertices), np.asarray(mesh.faces))
