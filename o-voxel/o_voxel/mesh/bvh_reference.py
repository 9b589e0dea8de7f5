"""Nearest point and ray queries by brute force in NumPy: the meaning of `BVH`, and its fallback."""

from __future__ import annotations

import numpy as np

__all__ = ["nearest", "ray_hits", "triangle_distance"]

CHUNK = 1 << 21  # point-triangle pairs at a time


def _segment(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance of p to segment ab, and the weight of b."""
    ab = b - a
    length2 = (ab * ab).sum(-1)
    s = np.clip(np.divide(((p - a) * ab).sum(-1), length2, out=np.zeros(p.shape[:-1]), where=length2 > 0), 0, 1)
    d = a + ab * s[..., None] - p
    return (d * d).sum(-1), s


def triangle_distance(p: np.ndarray, tri: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distance and weights: points [..., 3] against triangles [..., 3, 3] (broadcast)."""
    a, b, c = tri[..., 0, :], tri[..., 1, :], tri[..., 2, :]
    p, a, b, c = np.broadcast_arrays(p, a, b, c)
    best = np.full(p.shape[:-1], np.inf)
    uvw = np.zeros(p.shape)
    for k, (x, y) in enumerate([(a, b), (b, c), (c, a)]):
        d, s = _segment(p, x, y)
        closer = d < best
        w = np.zeros(p.shape)
        w[..., k], w[..., (k + 1) % 3] = 1 - s, s
        best, uvw = np.where(closer, d, best), np.where(closer[..., None], w, uvw)
    # The orthogonal projection counts where it lies inside the triangle.
    n = np.cross(b - a, c - a)
    n2 = (n * n).sum(-1)
    longest2 = np.maximum(np.maximum(((b - a) ** 2).sum(-1), ((c - a) ** 2).sum(-1)), ((c - b) ** 2).sum(-1))
    proper = n2 > 1e-24 * longest2 * longest2
    safe = np.where(proper, n2, 1.0)
    v = (np.cross(p - a, c - a) * n).sum(-1) / safe
    w = (np.cross(b - a, p - a) * n).sum(-1) / safe
    u = 1 - v - w
    inside = proper & (u >= 0) & (v >= 0) & (w >= 0)
    plane = ((p - a) * n).sum(-1) ** 2 / safe
    take = inside & (plane < best)
    return np.where(take, plane, best), np.where(take[..., None], np.stack([u, v, w], -1), uvw)


def nearest(
    vertices: np.ndarray,  # [V, 3] float64
    faces: np.ndarray,  # [F, 3]
    points: np.ndarray,  # [N, 3]
    normals: np.ndarray | None = None,  # [N, 3]
    min_cos: float = 0.0,
    max_distance: float = float("inf"),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> (distance [N], face [N] int64 (-1: none within max_distance), uvw [N, 3])."""
    n = len(points)
    distance, face, uvw = np.full(n, np.inf), np.full(n, -1, dtype=np.int64), np.zeros((n, 3))
    if len(faces) == 0:
        return distance, face, uvw
    tri = vertices[faces]
    cross = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    unit = np.divide(cross, length, out=np.zeros_like(cross), where=length > 0)
    step = max(1, CHUNK // len(faces))
    for i in range(0, n, step):
        rows = slice(i, min(n, i + step))
        d, w = triangle_distance(points[rows, None], tri[None])
        if normals is not None:
            d = np.where(normals[rows] @ unit.T < min_cos, np.inf, d)
        best = np.argmin(d, axis=1)
        at = np.arange(len(best))
        found = np.isfinite(d[at, best]) & (d[at, best] <= max_distance**2)
        distance[rows] = np.where(found, np.sqrt(d[at, best]), np.inf)
        face[rows] = np.where(found, best, -1)
        uvw[rows] = np.where(found[:, None], w[at, best], 0.0)
    return distance, face, uvw


def ray_hits(
    vertices: np.ndarray,
    faces: np.ndarray,
    origins: np.ndarray,
    directions: np.ndarray,
    t_min: float,
    t_max: float = float("inf"),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> (depth of the first hit [N], face [N], number of hits [N]) by the signed volumes of ray and edges."""
    n = len(origins)
    depth, face, count = np.full(n, np.inf), np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
    if len(faces) == 0:
        return depth, face, count
    tri = vertices[faces]
    step = max(1, CHUNK // len(faces))
    for i in range(0, n, step):
        rows = slice(i, min(n, i + step))
        o, d = origins[rows, None], directions[rows, None]
        a, b, c = (tri[None, :, k] - o for k in range(3))
        u = (d * np.cross(c, b)).sum(-1)
        v = (d * np.cross(a, c)).sum(-1)
        w = (d * np.cross(b, a)).sum(-1)
        det = u + v + w
        hit = (((u >= 0) & (v >= 0) & (w >= 0)) | ((u <= 0) & (v <= 0) & (w <= 0))) & (det != 0)
        safe = np.where(det == 0, 1.0, det)
        point = (u[..., None] * a + v[..., None] * b + w[..., None] * c) / safe[..., None]
        t = (point * d).sum(-1) / (d * d).sum(-1)
        t = np.where(hit & (t >= t_min) & (t <= t_max), t, np.inf)
        best = np.argmin(t, axis=1)
        first = t[np.arange(len(best)), best]
        depth[rows], face[rows] = first, np.where(np.isfinite(first), best, -1)
        count[rows] = np.isfinite(t).sum(1)
    return depth, face, count
