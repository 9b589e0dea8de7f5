"""The border of the mesh tools: torch tensors of any device or NumPy arrays in, the same kind out, tensors inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "ArrayLike",
    "Border",
    "TensorBorder",
    "as_numpy",
    "as_tensor",
    "enter",
    "enter_tensors",
    "like",
    "to_float64",
    "to_int32",
]

ArrayLike: TypeAlias = Any  # torch.Tensor or numpy.ndarray; results are of the kind that came in


def as_numpy(array: ArrayLike, name: str) -> np.ndarray:
    """A NumPy view or copy of a tensor or array. Raises TypeError for anything else."""
    if isinstance(array, Tensor):
        return array.detach().cpu().numpy()
    if isinstance(array, np.ndarray):
        return array
    raise TypeError(f"{name} must be a torch.Tensor or numpy.ndarray, got {type(array).__name__}")


def as_tensor(array: ArrayLike, name: str) -> Tensor:
    """A tensor on the array's device, sharing its memory where that is possible. Raises TypeError for anything else."""
    if isinstance(array, Tensor):
        return array.detach()
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a torch.Tensor or numpy.ndarray, got {type(array).__name__}")
    if not (array.flags.writeable and array.dtype.isnative and all(s >= 0 for s in array.strides)):
        array = array.astype(array.dtype.newbyteorder("="), order="C")  # what torch cannot view
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    return torch.from_numpy(array)


def like(array: ArrayLike, template: ArrayLike) -> ArrayLike:
    """`array` (either kind) as a tensor on the template's device if that is a tensor, else as a NumPy array."""
    if isinstance(template, Tensor):
        tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(template.device)
    return array.cpu().numpy() if isinstance(array, Tensor) else array


def to_float64(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float64)


def to_int32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.int32)


@dataclass(frozen=True)
class TensorBorder:
    """A checked mesh as tensors on its device, and the way back to the caller's kind of array."""

    vertices: Tensor  # [V, 3] float32 or float64, finite
    faces: Tensor  # [F, 3] int64, in range
    _vertices_in: ArrayLike
    _faces_in: ArrayLike

    def leave_vertices(self, vertices: Tensor) -> ArrayLike:
        """[V', 3] (or [V']) in the dtype, kind and device of the caller's vertices."""
        return like(vertices.to(self.vertices.dtype), self._vertices_in)

    def leave_faces(self, faces: Tensor) -> ArrayLike:
        """[F', 3] in the dtype, kind and device of the caller's faces."""
        if isinstance(self._faces_in, Tensor):
            return faces.to(self._faces_in.dtype).to(self._faces_in.device)
        return faces.cpu().numpy().astype(self._faces_in.dtype, copy=False)

    def leave(self, vertices: Tensor, faces: Tensor) -> tuple[ArrayLike, ArrayLike]:
        return self.leave_vertices(vertices), self.leave_faces(faces)

    def leave_index(self, index: Tensor) -> ArrayLike:
        """An index or mask as the caller's kind (of the faces)."""
        return like(index, self._faces_in)

    def without_mesh(self) -> TensorBorder:
        """The way back alone, which keeps no copy of the mesh in memory."""
        return replace(self, vertices=self.vertices.new_empty(0, 3), faces=self.faces.new_empty(0, 3))


def enter_tensors(vertices: ArrayLike, faces: ArrayLike) -> TensorBorder:
    """Check a triangle mesh at the border; it stays on the device of its vertices.

    Raises TypeError on another kind of array or dtype, ValueError on a wrong shape, non-finite vertices, faces that
    index outside the vertices, or faces on another device.
    """
    v, f = as_tensor(vertices, "vertices"), as_tensor(faces, "faces")
    if v.ndim != 2 or v.shape[1] != 3:
        raise ValueError(f"vertices must have shape [V, 3], got {list(v.shape)}")
    if f.ndim != 2 or f.shape[1] != 3:
        raise ValueError(f"faces must have shape [F, 3], got {list(f.shape)}")
    if not v.is_floating_point():
        raise TypeError(f"vertices must be floating point, got {v.dtype}")
    if f.is_floating_point() or f.is_complex() or f.dtype == torch.bool:
        raise TypeError(f"faces must be integers, got {f.dtype}")
    if v.device != f.device:
        raise ValueError(f"faces must be on the device of the vertices, {v.device}, got {f.device}")
    if v.dtype not in (torch.float32, torch.float64):
        v = v.float()
    v, f = v.contiguous(), f.long().contiguous()
    # All checks in one transfer. A sum is finite only if no term is infinite or NaN; it may overflow by itself.
    nothing = torch.zeros((), dtype=torch.float64, device=v.device)
    low, high = torch.aminmax(f) if f.numel() else (nothing, nothing)
    finite = torch.isfinite(v.sum(dtype=torch.float64)) if v.numel() else nothing == 0
    lowest, highest, is_finite = torch.stack([low.double(), high.double(), finite.double()]).tolist()
    if not is_finite and not bool(torch.isfinite(v).all()):
        bad = int((~torch.isfinite(v).all(dim=1)).nonzero()[0])
        raise ValueError(f"vertices must be finite, got {v[bad].tolist()} at row {bad}")
    if f.numel() and (lowest < 0 or highest >= len(v)):
        raise ValueError(f"faces must lie in [0, {len(v)}), got {int(lowest)} to {int(highest)}")
    return TensorBorder(v, f, vertices, faces)


@dataclass(frozen=True)
class Border:
    """A checked mesh in NumPy form and the way back to the caller's kind of array."""

    vertices: np.ndarray  # [V, 3] float32 or float64, finite
    faces: np.ndarray  # [F, 3] int64, in range
    _inner: TensorBorder

    def leave_vertices(self, vertices: np.ndarray) -> ArrayLike:
        """[V', 3] in the dtype, kind and device of the caller's vertices."""
        return self._inner.leave_vertices(torch.from_numpy(np.ascontiguousarray(vertices)))

    def leave_faces(self, faces: np.ndarray) -> ArrayLike:
        """[F', 3] in the dtype, kind and device of the caller's faces."""
        return self._inner.leave_faces(torch.from_numpy(np.ascontiguousarray(faces)))

    def leave(self, vertices: np.ndarray, faces: np.ndarray) -> tuple[ArrayLike, ArrayLike]:
        return self.leave_vertices(vertices), self.leave_faces(faces)

    def leave_index(self, index: np.ndarray) -> ArrayLike:
        """An index or mask array as the caller's kind (of the faces)."""
        return self._inner.leave_index(torch.from_numpy(np.ascontiguousarray(index)))


def enter(vertices: ArrayLike, faces: ArrayLike) -> Border:
    """`enter_tensors` for a tool that works on NumPy arrays in host memory."""
    inner = enter_tensors(vertices, faces)
    return Border(inner.vertices.cpu().numpy(), inner.faces.cpu().numpy(), inner)
