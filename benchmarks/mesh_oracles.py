"""Measures of triangle meshes that share no code with `o_voxel.mesh`: NumPy, SciPy and counting only.

Meshes are `vertices` [V, 3] float and `faces` [F, 3] int. Topology is that of vertices welded by equal position: what a
slicer or a modelling program sees.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, label
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

__all__ = [
    "SurfaceDistance",
    "enclosed_components",
    "face_components",
    "outside_cells",
    "sample_area",
    "sample_grid",
    "topology",
    "visible_from_outside",
    "weld",
]


def weld(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join vertices of exactly equal position; faces keep their number and order."""
    unique, index = np.unique(np.asarray(vertices) + 0.0, axis=0, return_inverse=True)  # + 0.0: -0 becomes 0
    return unique, index.reshape(-1)[faces]


def face_components(faces: np.ndarray, by: str = "edge") -> tuple[int, np.ndarray]:
    """Number of components and the component of each face [F], joined by shared edges or shared vertices."""
    count = len(faces)
    rows = np.arange(count).repeat(3)
    if by == "vertex":
        keys = faces.reshape(-1)
    else:
        ends = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
        keys = np.unique(ends[:, 0] << 32 | ends[:, 1], return_inverse=True)[1].reshape(-1)
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, count + keys)), shape=(count + int(keys.max()) + 1,) * 2)
    labels = connected_components(graph, directed=False)[1][:count]
    found, labels = np.unique(labels, return_inverse=True)
    return len(found), labels.reshape(-1)


def topology(vertices: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    """Counts of defects, components, Euler number and volume of a welded mesh.

    `winding_conflicts`: edges of two faces that run through it in the same direction; `unbalanced_edges`: edges of more
    than two faces whose directions do not cancel. `non_manifold_vertices`: faces around it form more than one fan.
    """
    f = faces.astype(np.int64)
    corners = vertices[f].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    extent = float(np.ptp(vertices, axis=0).max()) or 1.0
    collapsed = (f[:, 0] == f[:, 1]) | (f[:, 1] == f[:, 2]) | (f[:, 2] == f[:, 0])
    longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
    height = np.linalg.norm(cross, axis=1) / np.maximum(longest, 1e-300)
    flat = collapsed | (height < 1e-9 * extent)
    proper = f[~collapsed]
    duplicates = len(proper) - len(np.unique(np.sort(proper, 1), axis=0))
    start, end = proper[:, [0, 1, 2]].reshape(-1), proper[:, [1, 2, 0]].reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    keys, inverse, uses = np.unique(low << 32 | high, return_inverse=True, return_counts=True)
    balance = np.bincount(inverse.reshape(-1), weights=np.where(start < end, 1, -1), minlength=len(keys))
    boundary, manifold, heavy = uses == 1, uses == 2, uses > 2
    components, labels = face_components(proper)
    center = (vertices.min(0) + vertices.max(0)) / 2
    moved = vertices[proper] - center
    parts = np.bincount(labels, weights=np.linalg.det(moved) / 6, minlength=components)
    fans = _vertex_fans(proper, len(vertices))
    used = len(np.unique(proper))
    return {
        "vertices": used,
        "faces": len(f),
        "duplicate_faces": int(duplicates),
        "degenerate_faces": int(flat.sum()),
        "boundary_edges": int(boundary.sum()),
        "non_manifold_edges": int(heavy.sum()),
        "non_manifold_vertices": int((fans > 1).sum()),
        "winding_conflicts": int((manifold & (balance != 0)).sum()),
        "unbalanced_edges": int((heavy & (balance != 0)).sum()),
        "components": components,
        "euler": int(used - len(keys) + len(proper)),
        "volume": float(parts.sum()),
        "negative_components": int((parts < 0).sum()),
        "watertight": bool(manifold.all() and len(proper) > 0),
        "two_manifold": bool(manifold.all() and (balance == 0).all() and (fans <= 1).all() and len(proper) > 0),
    }


def _vertex_fans(faces: np.ndarray, num_vertices: int) -> np.ndarray:
    """Number of edge-connected groups of faces around each vertex [V]."""
    corner = np.arange(3 * len(faces)).reshape(-1, 3)
    # Half edges (low vertex, high vertex) with the corner of the face at either end.
    start, end = faces[:, [0, 1, 2]].reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    at_start, at_end = corner[:, [0, 1, 2]].reshape(-1), corner[:, [1, 2, 0]].reshape(-1)
    swap = start > end
    low, high = np.where(swap, end, start), np.where(swap, start, end)
    at_low, at_high = np.where(swap, at_end, at_start), np.where(swap, at_start, at_end)
    order = np.lexsort((high, low))
    same = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    first, second = order[:-1][same], order[1:][same]
    rows = np.concatenate([at_low[first], at_high[first]])
    cols = np.concatenate([at_low[second], at_high[second]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, cols)), shape=(corner.size,) * 2)
    labels = connected_components(graph, directed=False)[1]
    pairs = np.unique(np.stack([faces.reshape(-1), labels], 1), axis=0)
    return np.bincount(pairs[:, 0], minlength=num_vertices)


def sample_area(vertices: np.ndarray, faces: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random points [count, 3], uniform by area, and their faces [count]."""
    rng = np.random.default_rng(seed)
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = np.sort(rng.choice(len(faces), count, p=area / area.sum()))
    u, v = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    c = corners[chosen]
    return c[:, 0] * (1 - u) + c[:, 1] * (u * (1 - v)) + c[:, 2] * (u * v), chosen


def sample_grid(vertices: np.ndarray, faces: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Points on a regular pattern in every face, neighbours at most `spacing` apart, and their faces."""
    corners = vertices[faces].astype(np.float64)
    longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
    steps = np.ceil(np.maximum(longest / spacing, 1)).astype(np.int64)
    points, owners = [], []
    for n in np.unique(steps):
        rows = np.flatnonzero(steps == n)
        i, j = np.nonzero(np.add.outer(np.arange(n + 1), np.arange(n + 1)) <= n)
        weights = np.stack([i, j, n - i - j], 1) / n
        for at in range(0, len(rows), max(1, 4_000_000 // len(weights))):
            part = rows[at : at + max(1, 4_000_000 // len(weights))]
            points.append(np.einsum("wk,fkd->fwd", weights, corners[part]).reshape(-1, 3))
            owners.append(part.repeat(len(weights)))
    return np.concatenate(points), np.concatenate(owners)


def outside_cells(points: np.ndarray, resolution: int, close: int = 0) -> np.ndarray:
    """Cells of a padded cube around [-0.5, 0.5]³ that a flood from outside reaches, bool [R+8]³.

    Cells with a point are walls; `close` thickens the walls by that many cells first, which shuts small gaps.
    """
    size = resolution + 8
    cell = np.clip(np.floor((points + 0.5) * resolution).astype(np.int64) + 4, 0, size - 1)
    wall = np.zeros((size, size, size), dtype=bool)
    wall[cell[:, 0], cell[:, 1], cell[:, 2]] = True
    if close:
        wall = binary_dilation(wall, np.ones((3, 3, 3), bool), iterations=close)
    groups, _ = label(~wall)
    return groups == groups[0, 0, 0]


def visible_from_outside(points: np.ndarray, outside: np.ndarray, resolution: int, reach: int) -> np.ndarray:
    """Whether an outside cell lies within `reach` cells (Chebyshev) of each point's cell."""
    near = binary_dilation(outside, np.ones((3, 3, 3), bool), iterations=reach)
    cell = np.clip(np.floor((points + 0.5) * resolution).astype(np.int64) + 4, 0, outside.shape[0] - 1)
    return near[cell[:, 0], cell[:, 1], cell[:, 2]]


def enclosed_components(vertices: np.ndarray, faces: np.ndarray, resolution: int = 256) -> np.ndarray:
    """Edge-connected components that a flood from outside does not touch: labels of faces [F], -1 where it does."""
    count, labels = face_components(faces)
    points, owner = sample_grid(vertices, faces, 0.7 / resolution)
    outside = outside_cells(points, resolution)
    touched = np.zeros(count, dtype=bool)
    touched[labels[owner[visible_from_outside(points, outside, resolution, 1)]]] = True
    return np.where(touched[labels], -1, labels)


class SurfaceDistance:
    """Distance of points to a mesh: exact to the triangles of the `candidates` nearest of many points on it."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, spacing: float, candidates: int = 6) -> None:
        self._corners = vertices[faces].astype(np.float64)
        points, self._face = sample_grid(vertices, faces, spacing)
        self._tree = cKDTree(points)
        self._candidates = min(candidates, len(points))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        best = np.full(len(points), np.inf)
        found = self._tree.query(points, k=self._candidates)[1].reshape(len(points), -1)
        for column in range(found.shape[1]):
            np.minimum(best, _to_triangle(points, self._corners[self._face[found[:, column]]]), out=best)
        return best


def _to_triangle(p: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance of points [N, 3] to triangles [N, 3, 3], one each."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    square = (normal * normal).sum(1)
    inside = np.ones(len(p), dtype=bool)
    best = np.full(len(p), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge, to = end - start, p - start
        t = np.clip((to * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-300), 0, 1)
        best = np.minimum(best, np.linalg.norm(to - t[:, None] * edge, axis=1))
        inside &= (np.cross(edge, to) * normal).sum(1) >= 0
    plane = np.abs(((p - a) * normal).sum(1)) / np.sqrt(np.maximum(square, 1e-300))
    return np.where(inside & (square > 0), plane, best)
