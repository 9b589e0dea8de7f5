"""Face and vertex normals and face areas."""

from __future__ import annotations

import numpy as np

from o_voxel.mesh._arrays import ArrayLike, enter

__all__ = ["face_areas", "face_normals", "numpy_face_areas", "numpy_face_crosses", "vertex_normals"]


def numpy_face_crosses(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(v1 - v0) x (v2 - v0) in float64: [F, 3]; twice the area vector."""
    p = vertices.astype(np.float64)[faces]  # [F, 3, 3]
    return np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])


def numpy_face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return np.linalg.norm(numpy_face_crosses(vertices, faces), axis=1) / 2


def numpy_normalize(vectors: np.ndarray) -> np.ndarray:
    """Unit rows; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def face_areas(vertices: ArrayLike, faces: ArrayLike) -> ArrayLike:
    """Area of every face: [F]."""
    mesh = enter(vertices, faces)
    return mesh.leave_vertices(numpy_face_areas(mesh.vertices, mesh.faces))


def face_normals(vertices: ArrayLike, faces: ArrayLike) -> ArrayLike:
    """Unit normal of every face, zero where it has no area: [F, 3]."""
    mesh = enter(vertices, faces)
    return mesh.leave_vertices(numpy_normalize(numpy_face_crosses(mesh.vertices, mesh.faces)))


def numpy_vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    crosses = numpy_face_crosses(vertices, faces)
    total = np.zeros((len(vertices), 3))
    for axis in range(3):
        for k in range(3):
            total[:, axis] += np.bincount(faces[:, k], weights=crosses[:, axis], minlength=len(vertices))
    normals = numpy_normalize(total)
    lost = np.flatnonzero(~normals.any(axis=1))
    if len(lost) and len(faces):
        # Opposing faces cancel: take the first incident face that has a normal.
        unit = numpy_normalize(crosses)
        usable = np.flatnonzero(unit.any(axis=1))[::-1]
        first = np.full(len(vertices), -1, dtype=np.int64)
        for k in range(3):
            first[faces[usable, k]] = usable
        known = lost[first[lost] >= 0]
        normals[known] = unit[first[known]]
    return normals


def vertex_normals(vertices: ArrayLike, faces: ArrayLike) -> ArrayLike:
    """Area-weighted unit normal of every vertex: [V, 3].

    Where the sum cancels, the normal of an incident face is taken; a vertex without any proper face gets zero.
    """
    mesh = enter(vertices, faces)
    return mesh.leave_vertices(numpy_vertex_normals(mesh.vertices, mesh.faces))
