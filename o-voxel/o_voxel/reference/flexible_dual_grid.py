"""Triangle mesh -> flexible dual grid in NumPy: the meaning of `mesh_to_flexible_dual_grid`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from o_voxel.reference.surface_voxels import (
    boundary_edges,
    find_crossings,
    find_overlaps,
    find_rows,
    voxel_rows,
    walk_segments,
)

__all__ = ["mesh_to_dual_grid", "minimize_in_box", "quadric_error"]


def _normalized(v: np.ndarray) -> np.ndarray:
    length = np.sqrt((v * v).sum(-1, keepdims=True))
    return np.divide(v, length, out=np.zeros_like(v), where=length > 0)


def quadric_error(A: np.ndarray, b: np.ndarray, c: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x'Ax + 2 b'x + c for x [..., N, 3]."""
    return ((x[..., None, :] * A).sum(-1) * x + 2 * b * x).sum(-1) + c


def _plane(n: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared distance to planes through p [M, 3] with unit normals n."""
    d = -(n * p).sum(-1)
    return n[:, :, None] * n[:, None, :], n * d[:, None], d * d


def _line(d: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared distance to lines through p [M, 3] with unit directions d."""
    q = p - d * (d * p).sum(-1, keepdims=True)
    return np.eye(3) - d[:, :, None] * d[:, None, :], -q, (p * q).sum(-1)


def minimize_in_box(A: np.ndarray, b: np.ndarray, c: np.ndarray, origin: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Minimisers [N, 3] of the quadrics A [N, 3, 3], b [N, 3], c [N] over the closed box [0, size].

    The free minimum if it lies inside, else the best of 6 faces, 12 edges and 8 corners. Along directions in which
    the error is flat the free minimum keeps the coordinates of `origin`.
    """
    damping = 1e-9 * np.trace(A, axis1=1, axis2=2)
    system = A + np.where(damping > 0, damping, 1)[:, None, None] * np.eye(3)
    gradient = b + (A @ origin[:, :, None])[:, :, 0]
    x = origin + np.linalg.solve(system, -gradient[:, :, None])[:, :, 0]
    outside = ~((x >= 0) & (x <= size)).all(1)
    if not outside.any():
        return x
    A, b, c = A[outside], b[outside], c[outside]
    candidates = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for a in range(3):
            i, j = (a + 1) % 3, (a + 2) % 3
            for fixed in (0.0, size[a]):
                p = np.empty_like(b)
                p[:, a] = fixed
                ri, rj = -(b[:, i] + A[:, i, a] * fixed), -(b[:, j] + A[:, j, a] * fixed)
                det = A[:, i, i] * A[:, j, j] - A[:, i, j] ** 2
                p[:, i] = (ri * A[:, j, j] - rj * A[:, i, j]) / det
                p[:, j] = (rj * A[:, i, i] - ri * A[:, i, j]) / det
                candidates.append(p)
        for a in range(3):
            i, j = (a + 1) % 3, (a + 2) % 3
            for fixed_i in (0.0, size[i]):
                for fixed_j in (0.0, size[j]):
                    p = np.empty_like(b)
                    p[:, i], p[:, j] = fixed_i, fixed_j
                    p[:, a] = -(b[:, a] + A[:, a, i] * fixed_i + A[:, a, j] * fixed_j) / A[:, a, a]
                    candidates.append(p)
        for corner in range(7, -1, -1):
            where = np.array([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
            candidates.append(np.broadcast_to(where * size, b.shape))
        points = np.stack(candidates)  # [26, M, 3]
        error = quadric_error(A, b, c, points)
        error[~((points >= 0) & (points <= size)).all(-1)] = np.inf
    x[outside] = points[np.argmin(error, axis=0), np.arange(len(b))]
    return x


def mesh_to_dual_grid(
    vertices: np.ndarray,  # [V, 3] float32 box-relative
    faces: np.ndarray,  # [F, 3] int32
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    face_weight: float,
    boundary_weight: float,
    regularization_weight: float,
    odd_crossings: bool,
    published: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # [N, 3] int32, [N, 3] float32 box-relative, [N, 3] uint8
    """Voxels, dual vertices and flags of a mesh; see `o_voxel.convert.mesh_to_flexible_dual_grid`."""
    size, count = np.asarray(voxel_size, np.float32).astype(np.float64), np.asarray(grid_size, np.int64)
    corners = vertices.astype(np.float64)[faces]  # [F, 3, 3]
    crossings = find_crossings(corners, size, count, published)
    voxels = voxel_rows(crossings, count)
    num_voxels = len(voxels.coords)
    times_crossed = np.zeros((num_voxels, 3), np.int64)
    np.add.at(times_crossed, (voxels.around[:, 0], crossings.axis), 1)
    flags = (times_crossed % 2 if odd_crossings else times_crossed > 0).astype(np.uint8)

    normals = _normalized(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]))
    lower = voxels.coords * size  # [N, 3]
    A, b, c = np.zeros((num_voxels, 3, 3)), np.zeros((num_voxels, 3)), np.zeros(num_voxels)

    def add(rows: np.ndarray, quadric: tuple[np.ndarray, np.ndarray, np.ndarray], weight: float) -> None:
        for total, term in zip((A, b, c), quadric, strict=True):
            np.add.at(total, rows, weight * term)

    # Crossings: each one counts in the four voxels around its edge.
    rows = voxels.around.reshape(-1)
    tri = np.repeat(crossings.triangle, 4)
    add(rows, _plane(normals[tri], corners[tri, 0] - lower[rows]), 1.0)
    points = crossings.cell.astype(np.float64)
    item = np.arange(len(points))
    for offset in (1, 2):
        points[item, (crossings.axis + offset) % 3] += 1
    points[item, crossings.axis] += crossings.at
    mean, num_crossings = np.zeros((num_voxels, 3)), np.bincount(rows, minlength=num_voxels)
    np.add.at(mean, rows, (np.repeat(points, 4, axis=0) - voxels.coords[rows]) * size)
    mean /= np.maximum(num_crossings, 1)[:, None]

    if face_weight > 0:
        rows, tri = find_overlaps(corners, voxels, size, count, published)
        add(rows, _plane(normals[tri], corners[tri, 0] - lower[rows]), 1.0 if published else face_weight)
    if boundary_weight > 0:
        edges = boundary_edges(vertices, faces, weld=not published)
        start, end = vertices.astype(np.float64)[edges[:, 0]], vertices.astype(np.float64)[edges[:, 1]]
        for segment, cells in walk_segments(start, end, size, count):
            rows = find_rows(cells, voxels, count)
            segment, rows = segment[rows >= 0], rows[rows >= 0]
            direction = _normalized(end[segment] - start[segment])
            add(rows, _line(direction, start[segment] - lower[rows]), boundary_weight)
    if regularization_weight > 0:
        strength = regularization_weight * num_crossings
        A += strength[:, None, None] * np.eye(3)
        b -= strength[:, None] * mean
        c += strength * (mean * mean).sum(1)
    dual = lower + minimize_in_box(A, b, c, mean, size) if num_voxels else lower
    return voxels.coords, dual.astype(np.float32), flags
