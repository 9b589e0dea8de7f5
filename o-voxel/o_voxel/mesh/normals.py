"""Face and vertex normals and face areas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors
from o_voxel.mesh.grouping import sum_rows

__all__ = [
    "areas",
    "by_chunks",
    "cross",
    "dot",
    "face_areas",
    "face_crosses",
    "face_normals",
    "normalize",
    "square_root",
    "numpy_face_areas",
    "numpy_face_crosses",
    "numpy_normalize",
    "numpy_vertex_normals",
    "unit_vertex_normals",
    "vertex_normals",
]

# Sums of three terms are spelt out: separate operations round alike on every device.


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Of rows [..., 3]: [...]"""
    product = a * b
    return product[..., 0] + product[..., 1] + product[..., 2]


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Of rows [..., 3]: [..., 3]"""
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-1)


def square_root(values: Tensor) -> Tensor:
    """Rounded correctly, as a GPU does; PyTorch's own on a CPU may be a bit off (it calls a vector library)."""
    return values.sqrt() if values.is_cuda else torch.from_numpy(np.sqrt(values.numpy()))


def normalize(vectors: Tensor) -> Tensor:
    """Unit rows [..., 3]; zero rows stay zero."""
    length = square_root(dot(vectors, vectors))
    return vectors / torch.where(length > 0, length, 1.0)[..., None]


def by_chunks(run: Callable[[Tensor], Tensor], faces: Tensor) -> Tensor:
    """`run` on some faces at a time, results joined: temporary float64 corners stay small (on a CPU, in its cache)."""
    return torch.cat([run(part) for part in faces.split(1 << 21 if faces.is_cuda else 1 << 16)])


def face_crosses(vertices: Tensor, faces: Tensor) -> Tensor:
    """(v1 - v0) x (v2 - v0) in float64: [F, 3]; twice the area vector."""

    def run(part: Tensor) -> Tensor:
        a, b, c = (vertices.index_select(0, part[:, k]).double() for k in range(3))
        return cross(b - a, c - a)

    return by_chunks(run, faces)


def areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """[F] float64"""

    def run(part: Tensor) -> Tensor:
        crosses = face_crosses(vertices, part)
        return square_root(dot(crosses, crosses)) / 2

    return by_chunks(run, faces)


def unit_vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Of `vertex_normals`: [V, 3] float64."""
    crosses = face_crosses(vertices, faces)
    first, second, third = (sum_rows(crosses, faces[:, k], len(vertices)) for k in range(3))
    normals = normalize(first + second + third)
    lost = ~(normals != 0).any(dim=1)
    if len(faces) and bool(lost.any()):
        # Opposing faces cancel: take the first incident face that has a normal.
        unit = normalize(crosses)
        usable = (unit != 0).any(dim=1).nonzero()[:, 0]
        first = torch.full((len(vertices),), len(faces), dtype=torch.int64, device=faces.device)
        first.scatter_reduce_(0, faces[usable].reshape(-1), usable.repeat_interleave(3), "amin")
        known = (lost & (first < len(faces))).nonzero()[:, 0]
        normals[known] = unit[first[known]]
    return normals


def face_areas(vertices: ArrayLike, faces: ArrayLike) -> ArrayLike:
    """Area of every face: [F]."""
    mesh = enter_tensors(vertices, faces)
    return mesh.leave_vertices(areas(mesh.vertices, mesh.faces))


def face_normals(vertices: ArrayLike, faces: ArrayLike) -> ArrayLike:
    """Unit normal of every face, zero where it has no area: [F, 3]."""
    mesh = enter_tensors(vertices, faces)
    return mesh.leave_vertices(normalize(face_crosses(mesh.vertices, mesh.faces)))


def vertex_normals(vertices: ArrayLike, faces: ArrayLike) -> ArrayLike:
    """Area-weighted unit normal of every vertex: [V, 3].

    Where the sum cancels, the normal of an incident face is taken; a vertex without any proper face gets zero.
    """
    mesh = enter_tensors(vertices, faces)
    return mesh.leave_vertices(unit_vertex_normals(mesh.vertices, mesh.faces))


# The same for callers that hold NumPy arrays.


def numpy_face_crosses(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return face_crosses(as_tensor(vertices, "vertices"), as_tensor(faces, "faces")).numpy()


def numpy_face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return areas(as_tensor(vertices, "vertices"), as_tensor(faces, "faces")).numpy()


def numpy_normalize(vectors: np.ndarray) -> np.ndarray:
    """Unit rows; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def numpy_vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return unit_vertex_normals(as_tensor(vertices, "vertices"), as_tensor(faces, "faces")).numpy()
