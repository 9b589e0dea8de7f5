"""The smoothing core in NumPy: the meaning of src/remesh/smooth_body.h, with other orders of addition."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["smooth_face_normals", "smooth_filter_normals", "smooth_move_vertices"]


def smooth_face_normals(
    vertices: Tensor, faces: Tensor, starts: Tensor, ring: Tensor, out: Tensor, launch: Any
) -> None:
    """Unit normal and area of every face: [F, 4]."""
    p = vertices.numpy()[faces.numpy()]
    cross = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    length = np.sqrt((cross**2).sum(1))
    out.numpy()[:, :3] = np.divide(cross, length[:, None], out=np.zeros_like(cross), where=length[:, None] > 0)
    out.numpy()[:, 3] = length / 2


def _around(corners: np.ndarray, starts: np.ndarray, ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, face) for every face around every vertex of `corners` [N]."""
    count = np.diff(starts)[corners]
    row = np.repeat(np.arange(len(corners)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, ring[starts[corners][row] + within]


def smooth_filter_normals(
    vertices: Tensor, faces: Tensor, starts: Tensor, ring: Tensor, normals: Tensor, limit2: float, out: Tensor,
    launch: Any,
) -> None:  # fmt: skip
    """Normals averaged over the faces around every face, weighted by area and by (1 - difference^2 / limit2)^2."""
    own = normals.numpy()
    row, face = _around(faces.numpy().reshape(-1), starts.numpy(), ring.numpy())
    row = row // 3
    far = ((own[face, :3] - own[row, :3]) ** 2).sum(1) / limit2
    weight = np.where(far < 1, own[face, 3] * (1 - far) ** 2, 0.0)
    total = own[:, :3] * own[:, 3:]
    np.add.at(total, row, weight[:, None] * own[face, :3])
    length = np.sqrt((total**2).sum(1))[:, None]
    out.numpy()[:, :3] = np.where(length > 0, total / np.where(length > 0, length, 1), own[:, :3])
    out.numpy()[:, 3] = own[:, 3]


def smooth_move_vertices(
    vertices: Tensor, faces: Tensor, starts: Tensor, ring: Tensor, normals: Tensor, original: Tensor, fixed: Tensor,
    limit: float, out: Tensor, launch: Any,
) -> None:  # fmt: skip
    """Vertices moved to the planes of their faces, at most `limit` from `original`; `fixed` ones stay."""
    x, n = vertices.numpy(), normals.numpy()
    row, face = _around(np.arange(len(x)), starts.numpy(), ring.numpy())
    away = x[faces.numpy()[face]].mean(1) - x[row]
    step = n[face, 3] * (n[face, :3] * away).sum(1)
    move, total = np.zeros_like(x), np.zeros(len(x))
    np.add.at(move, row, step[:, None] * n[face, :3])
    np.add.at(total, row, n[face, 3])
    active = (total > 0) & (fixed.numpy() == 0)
    offset = x - original.numpy() + np.where(active[:, None], move / np.where(total > 0, total, 1)[:, None], 0)
    length = np.sqrt((offset**2).sum(1))
    shrink = np.where(length > limit, limit / np.where(length > 0, length, 1), 1.0)
    out.numpy()[:] = original.numpy() + shrink[:, None] * offset
