"""Remeshing as a level set of the distance to a surface, by dual contouring in a narrow band.

S is the grid resolution, C the number of active cells. Grid position g lies at (g / S - 1/2) * scale + center.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from o_voxel.mesh._arrays import ArrayLike, as_numpy, enter
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.cleanup import compact
from o_voxel.mesh.connectivity import build_edges, face_components
from o_voxel.mesh.normals import numpy_face_crosses, numpy_normalize

__all__ = ["remesh_narrow_band_dc"]

# Cells around the grid edge along each axis that ends at a cell's upper corner, in cyclic order.
QUAD_OFFSETS = np.array(
    [
        [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0]],
        [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]],
        [[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]],
    ]
)
CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])  # corner 4i + 2j + k of a cell
FOLD_COS = -0.2  # neighbouring faces that turn by more than about 100 degrees count as folded
UNFOLD_ROUNDS = 12
HALF_DIAGONAL = 0.87  # of a cell, rounded up: distances change by no more between centre and corner


def remesh_narrow_band_dc(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    center: Sequence[float] | ArrayLike,  # [3]
    scale: float,
    resolution: int,
    band: float = 1,
    project_back: float = 0,
    verbose: bool = False,
    bvh: BVH | None = None,
    *,
    shell: Literal["double", "outer"] = "double",
    quirks: Literal["published"] | None = None,
) -> tuple[ArrayLike, ArrayLike]:
    """Mesh the points at distance `band` cells from the surface: closed, manifold-edged, wound away from the surface.

    The domain is a cube of edge `scale` around `center` with `resolution` cells per axis (2^k times at most 32).
    `project_back` moves vertices that share of the way to the surface. The level set has a sheet on either side of
    the surface; `shell="outer"` keeps only components that face outward, i.e. drops the inner side of closed solids.
    Quads split along the flatter diagonal, and folds that the projection makes in concave corners are smoothed out;
    `quirks="published"` always splits along the first diagonal and leaves the folds. `verbose` is accepted for
    compatibility.

    Raises ValueError on arguments out of range. T. Ju et al., Dual Contouring of Hermite Data, 2002, with mass points.
    """
    del verbose
    mesh = enter(vertices, faces)
    middle = np.asarray(as_numpy(center, "center") if hasattr(center, "shape") else center, dtype=np.float64)
    if middle.shape != (3,) or not np.isfinite(middle).all():
        raise ValueError(f"center must be three finite numbers, got {center}")
    if not scale > 0 or not band > 0:
        raise ValueError(f"scale and band must be > 0, got {scale} and {band}")
    if shell not in ("double", "outer"):
        raise ValueError(f"shell must be 'double' or 'outer', got {shell!r}")
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    if len(mesh.faces) == 0:
        raise ValueError("faces must not be empty: there is no surface to remesh")
    bvh = BVH(mesh.vertices, mesh.faces) if bvh is None else bvh
    base = _base_resolution(resolution)
    level = band * scale / resolution
    cells = _active_cells(bvh, middle, scale, base, resolution, level)

    def position(grid: np.ndarray) -> np.ndarray:
        return (grid / resolution - 0.5) * scale + middle

    side = resolution + 1
    corner_key = _pack(cells[:, None] + CORNERS, side)  # [C, 8]
    unique, inverse = np.unique(corner_key, return_inverse=True)
    value = bvh.nearest(position(_unpack(unique, side).astype(np.float64)))[0] - level
    value = value[inverse.reshape(-1, 8)]  # [C, 8]
    dual = position(_dual_points(cells, value))

    order = np.argsort(_pack(cells, side), kind="stable")
    sorted_keys = _pack(cells, side)[order]
    quads, flips = _quads(cells, value, sorted_keys, order, side)
    f = _split(dual, quads, flips, quirks == "published")
    v, f, _ = compact(dual, f)
    if shell == "outer":
        label = face_components(f)
        p = v[f]
        volume = np.bincount(label, weights=(p[:, 0] * np.cross(p[:, 1], p[:, 2])).sum(-1))
        if (volume > 0).any():
            v, f, _ = compact(v, f[(volume > 0)[label]])
    if project_back:
        _, face, uvw = bvh.nearest(v)
        v = v - project_back * (v - bvh.closest_points(face, uvw))
        if quirks is None:
            v = _unfold(v, f, bvh, project_back)
    return mesh.leave(v, f)


def _base_resolution(resolution: int) -> int:
    """Halve until at most 32; raises ValueError if that is not exact."""
    if isinstance(resolution, bool) or not isinstance(resolution, (int, np.integer)) or not 1 <= resolution <= 4096:
        raise ValueError(f"resolution must be an int in [1, 4096], got {resolution!r}")
    base = int(resolution)
    while base > 32:
        if base % 2:
            raise ValueError(f"resolution must be 2^k times a number up to 32, got {resolution}")
        base //= 2
    return base


def _pack(grid: np.ndarray, side: int) -> np.ndarray:
    return (grid[..., 0] * side + grid[..., 1]) * side + grid[..., 2]


def _unpack(key: np.ndarray, side: int) -> np.ndarray:
    return np.stack([key // (side * side), key // side % side, key % side], axis=-1)


def _active_cells(bvh: BVH, middle: np.ndarray, scale: float, base: int, resolution: int, level: float) -> np.ndarray:
    """Cells that the level set can touch, refined from the base grid: [C, 3] int64, parents before children order."""
    axis = np.arange(base)
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    child = np.array([[i, j, k] for k in (0, 1) for j in (0, 1) for i in (0, 1)])  # x fastest
    while True:
        centre = ((cells + 0.5) / base - 0.5) * scale + middle
        distance = bvh.nearest(centre)[0]
        cells = cells[np.abs(distance - level) < HALF_DIAGONAL * scale / base]
        if base == resolution:
            return cells
        cells = (cells[:, None] * 2 + child).reshape(-1, 3)
        base *= 2


def _dual_points(cells: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Mean of the zero crossings on the 12 edges of each cell, its centre if there is none: grid units [C, 3]."""
    total, count = np.zeros((len(cells), 3)), np.zeros(len(cells))
    for a in range(8):
        for b in range(a + 1, 8):
            if bin(a ^ b).count("1") != 1:
                continue
            crossing = (value[:, a] < 0) != (value[:, b] < 0)
            gap = np.where(crossing, value[:, b] - value[:, a], 1.0)
            t = -value[:, a] / gap
            point = CORNERS[a] + t[:, None] * (CORNERS[b] - CORNERS[a])
            total += np.where(crossing[:, None], point, 0.0)
            count += crossing
    centre = np.full((len(cells), 3), 0.5)
    return cells + np.divide(total, count[:, None], out=centre, where=count[:, None] > 0)


def _quads(
    cells: np.ndarray, value: np.ndarray, sorted_keys: np.ndarray, order: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cell rows of the quads around crossed grid edges, ordered by (cell, axis): [Q, 4]; True where the edge goes out.

    Looked at are the three edges that end at a cell's upper corner.
    """
    quads, flips, ranks = [], [], []
    for axis in range(3):
        start = value[:, 7 - (4 >> axis)] < 0
        end = value[:, 7] < 0
        rows = np.flatnonzero(start != end)
        around = _pack(cells[rows][:, None] + QUAD_OFFSETS[axis], side)
        inside = (cells[rows][:, None] + QUAD_OFFSETS[axis] < side - 1).all(axis=(1, 2))
        at = np.minimum(np.searchsorted(sorted_keys, around), len(sorted_keys) - 1)
        found = (sorted_keys[at] == around).all(axis=1) & inside
        quads.append(order[at[found]])
        flips.append(start[rows[found]])
        ranks.append(rows[found] * 3 + axis)
    rank = np.argsort(np.concatenate(ranks), kind="stable")
    return np.concatenate(quads)[rank], np.concatenate(flips)[rank]


def _split(points: np.ndarray, quads: np.ndarray, flips: np.ndarray, first_diagonal: bool) -> np.ndarray:
    """Two triangles a quad, along the diagonal whose two triangles are flatter to each other."""
    one = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1)  # [Q, 2, 3]
    two = np.stack([quads[:, [0, 1, 3]], quads[:, [3, 1, 2]]], axis=1)
    if not first_diagonal and len(quads):

        def flatness(pair: np.ndarray) -> np.ndarray:
            normal = numpy_normalize(numpy_face_crosses(points, pair.reshape(-1, 3))).reshape(-1, 2, 3)
            return (normal[:, 0] * normal[:, 1]).sum(-1)

        one = np.where((flatness(two) > flatness(one) + 1e-9)[:, None, None], two, one)
    return np.where(flips[:, None, None], one[:, :, [0, 2, 1]], one).reshape(-1, 3)


def _unfold(v: np.ndarray, f: np.ndarray, bvh: BVH, share: float) -> np.ndarray:
    """Smooth the vertices of faces that lie folded over a neighbour or against the surface, and project them again."""
    v = v.copy()
    table = build_edges(f)
    edges = np.concatenate([table.edges, table.edges[:, ::-1]])
    degree = np.bincount(edges[:, 0], minlength=len(v))
    _, sides = table.manifold_pairs()
    pair = sides // 3
    for _ in range(UNFOLD_ROUNDS):
        normal = numpy_normalize(numpy_face_crosses(v, f))
        folded = np.zeros(len(f), dtype=bool)
        folded[pair[(normal[pair[:, 0]] * normal[pair[:, 1]]).sum(1) < FOLD_COS].reshape(-1)] = True
        bad = np.zeros(len(v), dtype=bool)
        bad[f[folded].reshape(-1)] = True
        if not bad.any():
            break
        bad[edges[bad[edges[:, 0]], 1]] = True  # and their neighbours
        rows = np.flatnonzero(bad)
        mean = np.stack([np.bincount(edges[:, 0], weights=v[edges[:, 1], k], minlength=len(v)) for k in range(3)], 1)
        moved = (v[rows] + mean[rows] / degree[rows, None]) / 2
        _, face, uvw = bvh.nearest(moved)
        v[rows] = moved - share * (moved - bvh.closest_points(face, uvw))
    return v
