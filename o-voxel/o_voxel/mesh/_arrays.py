"""The border of the mesh tools: torch tensors or NumPy arrays in, the same kind out, NumPy inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

__all__ = ["ArrayLike", "Border", "as_numpy", "enter", "like", "to_float64", "to_int32"]

ArrayLike: TypeAlias = Any  # torch.Tensor or numpy.ndarray; results are of the kind that came in


def as_numpy(array: ArrayLike, name: str) -> np.ndarray:
    """A NumPy view or copy of a tensor or array. Raises TypeError for anything else."""
    if isinstance(array, torch.Tensor):
        return array.detach().cpu().numpy()
    if isinstance(array, np.ndarray):
        return array
    raise TypeError(f"{name} must be a torch.Tensor or numpy.ndarray, got {type(array).__name__}")


def like(array: np.ndarray, template: ArrayLike) -> ArrayLike:
    """`array` as a tensor on the template's device if that is a tensor, else as it is."""
    if isinstance(template, torch.Tensor):
        return torch.from_numpy(np.ascontiguousarray(array)).to(template.device)
    return array


def to_float64(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float64)


def to_int32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.int32)


@dataclass(frozen=True)
class Border:
    """A checked mesh in NumPy form and the way back to the caller's kind of array."""

    vertices: np.ndarray  # [V, 3] float, finite
    faces: np.ndarray  # [F, 3] int64, in range
    _vertices_in: ArrayLike
    _faces_in: ArrayLike

    def leave_vertices(self, vertices: np.ndarray) -> ArrayLike:
        """[V', 3] in the dtype, kind and device of the caller's vertices."""
        return like(vertices.astype(self.vertices.dtype, copy=False), self._vertices_in)

    def leave_faces(self, faces: np.ndarray) -> ArrayLike:
        """[F', 3] in the dtype, kind and device of the caller's faces."""
        return like(faces.astype(as_numpy(self._faces_in, "faces").dtype, copy=False), self._faces_in)

    def leave(self, vertices: np.ndarray, faces: np.ndarray) -> tuple[ArrayLike, ArrayLike]:
        return self.leave_vertices(vertices), self.leave_faces(faces)

    def leave_index(self, index: np.ndarray) -> ArrayLike:
        """An index or mask array as the caller's kind (of the faces)."""
        return like(index, self._faces_in)


def enter(vertices: ArrayLike, faces: ArrayLike) -> Border:
    """Check a triangle mesh at the border.

    Raises TypeError on another kind of array or dtype, ValueError on a wrong shape, non-finite vertices, or faces that
    index outside the vertices.
    """
    v, f = as_numpy(vertices, "vertices"), as_numpy(faces, "faces")
    if v.ndim != 2 or v.shape[1] != 3:
        raise ValueError(f"vertices must have shape [V, 3], got {list(v.shape)}")
    if f.ndim != 2 or f.shape[1] != 3:
        raise ValueError(f"faces must have shape [F, 3], got {list(f.shape)}")
    if not np.issubdtype(v.dtype, np.floating):
        raise TypeError(f"vertices must be floating point, got {v.dtype}")
    if not np.issubdtype(f.dtype, np.integer):
        raise TypeError(f"faces must be integers, got {f.dtype}")
    if not np.isfinite(v).all():
        bad = int(np.flatnonzero(~np.isfinite(v).all(axis=1))[0])
        raise ValueError(f"vertices must be finite, got {v[bad].tolist()} at row {bad}")
    if f.size and (int(f.min()) < 0 or int(f.max()) >= len(v)):
        raise ValueError(f"faces must lie in [0, {len(v)}), got {int(f.min())} to {int(f.max())}")
    if v.dtype == np.float16:
        v = v.astype(np.float32)
    return Border(v, f.astype(np.int64), vertices, faces)
