"""The voxels of a triangle mesh in NumPy: crossings with grid lines, overlaps, and boundary edges.

Letters: F triangles, E crossings, N voxels, P pairs (voxel, triangle). All coordinates are box-relative.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Crossings", "VoxelRows", "boundary_edges", "find_crossings", "find_overlaps", "voxel_rows", "walk_segments"]

TIE_SHIFT = np.array([1.1357e-6, 1.6180e-6, 2.7539e-6])  # voxels; see the C++ header for why
OUTSIDE_TOLERANCE = 1e-4  # voxels

MAX_CANDIDATES = 1 << 20


class Crossings(NamedTuple):
    """Where triangles cross grid edges, in order of triangle, axis, row, column."""

    cell: np.ndarray  # [E, 3] int64, lowest of the four voxels around the edge
    axis: np.ndarray  # [E] int64, direction of the edge
    triangle: np.ndarray  # [E] int64
    at: np.ndarray  # [E] float32, position along the edge in voxels, [0, 1]


class VoxelRows(NamedTuple):
    """Voxels in order of first creation."""

    coords: np.ndarray  # [N, 3] int32
    keys: np.ndarray  # [N] int64 ascending
    row_of_key: np.ndarray  # [N] int64, row of keys[i]
    around: np.ndarray  # [E, 4] int64, rows of the voxels (du, dw) = 00, 01, 10, 11 of each crossing


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For item i repeated counts[i] times: the item, and the number of the repetition."""
    item = np.repeat(np.arange(len(counts)), counts)
    start = np.cumsum(counts) - counts
    return item, np.arange(len(item)) - start[item]


def _clamp(values: np.ndarray, high: int) -> np.ndarray:
    return np.clip(values, 0, high).astype(np.int64)


def _scan_exact(
    t: np.ndarray, size: np.ndarray, count: np.ndarray, axes: tuple[int, int, int]
) -> tuple[np.ndarray, ...]:
    """Crossings of w-sorted triangles t [F, 3, (u, w, a)] in grid units: triangle, column, row, cell along a, place."""
    u, w, a = axes
    with np.errstate(divide="ignore", invalid="ignore"):
        first = _clamp(np.floor(t[:, 0, 1]), count[w] - 1)
        last = _clamp(np.floor(t[:, 2, 1]), count[w] - 1)
        tri, step = _expand(last - first)
        row = first[tri] + 1 + step
        bottom, middle, top = (t[tri, i] for i in range(3))
        lower_half = (row <= middle[:, 1])[:, None]
        low, high = np.where(lower_half, bottom, middle), np.where(lower_half, middle, top)

        def on_edge(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            f = (row - p[:, 1]) / (q[:, 1] - p[:, 1])
            return p[:, 0] + f * (q[:, 0] - p[:, 0]), p[:, 2] + f * (q[:, 2] - p[:, 2])

        (u1, a1), (u2, a2) = on_edge(low, high), on_edge(bottom, top)
        swap = u2 < u1
        ua, ub = np.where(swap, u2, u1), np.where(swap, u1, u2)
        aa, ab = np.where(swap, a2, a1), np.where(swap, a1, a2)
        first_column = _clamp(np.floor(ua), count[u] - 1)
        line, step = _expand(_clamp(np.floor(ub), count[u] - 1) - first_column)
        column = first_column[line] + 1 + step
        at = aa[line] + (column - ua[line]) / (ub[line] - ua[line]) * (ab[line] - aa[line])
    at = np.clip(at, np.minimum(aa, ab)[line], np.maximum(aa, ab)[line])
    keep = (at >= -OUTSIDE_TOLERANCE) & (at <= count[a] + OUTSIDE_TOLERANCE)
    at, line, column = at[keep], line[keep], column[keep]
    cell = _clamp(np.floor(at), count[a] - 1)
    local = np.clip(at - TIE_SHIFT[a] - cell, 0, 1)
    return tri[line], column - 1, row[line] - 1, cell, local


def _scan_published(
    t: np.ndarray, size: np.ndarray, count: np.ndarray, axes: tuple[int, int, int]
) -> tuple[np.ndarray, ...]:
    """The same in mesh units with the published truncation and interpolation."""
    u, w, a = axes
    size32 = size.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = [_clamp(np.trunc(t[:, i, 1] / size[w]), count[w] - 1) for i in range(3)]
        tri, step = _expand(rows[2] - rows[0])
        row = rows[0][tri] + step
        plane = ((row + 1).astype(np.float32) * size32[w]).astype(np.float64)
        from_bottom = (row < rows[1][tri])[:, None]
        apex, far = np.where(from_bottom, t[tri, 0], t[tri, 2]), np.where(from_bottom, t[tri, 2], t[tri, 0])

        def on_edge(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            f = np.where(apex[:, 1] == q[:, 1], 0.0, (plane - apex[:, 1]) / (q[:, 1] - apex[:, 1]))
            return (1 - f) * apex[:, 0] + f * q[:, 0], (1 - f) * apex[:, 2] + f * q[:, 2]

        (u1, a1), (u2, a2) = on_edge(t[tri, 1]), on_edge(far)
        swap = u2 < u1
        ua, ub = np.where(swap, u2, u1), np.where(swap, u1, u2)
        aa, ab = np.where(swap, a2, a1), np.where(swap, a1, a2)
        first_column = _clamp(np.trunc(ua / size[u]), count[u] - 1)
        line, step = _expand(_clamp(np.trunc(ub / size[u]), count[u] - 1) - first_column)
        column = first_column[line] + step
        at_u = ((column + 1).astype(np.float32) * size32[u]).astype(np.float64)
        f = np.where(ua[line] == ub[line], 0.0, (at_u - ua[line]) / (ub[line] - ua[line]))
    at = ((1 - f) * aa[line] + f * ab[line]) / size[a]
    cell = np.trunc(at)
    keep = (cell >= 0) & (cell < count[a])
    at, line, column, cell = at[keep], line[keep], column[keep], cell[keep]
    return tri[line], column, row[line], cell.astype(np.int64), at - cell


def find_crossings(triangles: np.ndarray, size: np.ndarray, count: np.ndarray, published: bool) -> Crossings:
    """Crossings of triangles [F, 3, 3] with the lines of a grid of `count` cells of `size`."""
    found = []
    for a in range(3):
        u, w = (a + 1) % 3, (a + 2) % 3
        corners = triangles.astype(np.float64)[:, :, [u, w, a]]
        if not published:
            corners = corners / size[[u, w, a]] + TIE_SHIFT[[u, w, a]]
        order = np.argsort(corners[:, :, 1], axis=1, kind="stable")
        corners = np.take_along_axis(corners, order[:, :, None], axis=1)
        scan = _scan_published if published else _scan_exact
        tri, cell_u, cell_w, cell_a, local = scan(corners, size, count, (u, w, a))
        cell = np.empty((len(tri), 3), np.int64)
        cell[:, u], cell[:, w], cell[:, a] = cell_u, cell_w, cell_a
        found.append((cell, np.full(len(tri), a), tri, local))
    cell, axis, tri, local = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(tri, kind="stable")
    return Crossings(cell[order], axis[order], tri[order], local[order].astype(np.float32))


def voxel_rows(crossings: Crossings, count: np.ndarray) -> VoxelRows:
    """The four voxels around each crossed edge, numbered in order of first creation."""
    offsets = np.zeros((3, 4, 3), np.int64)
    for a in range(3):
        for corner in range(4):
            offsets[a, corner, (a + 1) % 3] = corner >> 1
            offsets[a, corner, (a + 2) % 3] = corner & 1
    cells = crossings.cell[:, None] + offsets[crossings.axis]  # [E, 4, 3]
    keys = _keys(cells, count).reshape(-1)
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    row_of_key = np.empty(len(unique), np.int64)
    row_of_key[order] = np.arange(len(unique))
    coords = cells.reshape(-1, 3)[first[order]].astype(np.int32)
    return VoxelRows(coords, unique, row_of_key, row_of_key[inverse].reshape(-1, 4))


def _keys(cells: np.ndarray, count: np.ndarray) -> np.ndarray:
    return (cells[..., 0] * count[1] + cells[..., 1]) * count[2] + cells[..., 2]


def find_rows(cells: np.ndarray, voxels: VoxelRows, count: np.ndarray) -> np.ndarray:
    """Rows of cells [..., 3], or -1 where there is no voxel."""
    if len(voxels.keys) == 0:
        return np.full(cells.shape[:-1], -1, np.int64)
    inside = ((cells >= 0) & (cells < count)).all(-1)
    keys = _keys(cells, count)
    slot = np.minimum(np.searchsorted(voxels.keys, keys), len(voxels.keys) - 1)
    return np.where(inside & (voxels.keys[slot] == keys), voxels.row_of_key[slot], -1)


def _chunks(counts: np.ndarray) -> Iterator[slice]:
    """Slices of consecutive items whose counts add up to about MAX_CANDIDATES."""
    begin, total = 0, 0
    for i, n in enumerate(counts.tolist()):
        if total and total + n > MAX_CANDIDATES:
            yield slice(begin, i)
            begin, total = i, 0
        total += n
    if begin < len(counts):
        yield slice(begin, len(counts))


def _overlaps(v: np.ndarray, tri: np.ndarray, p: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Separating-axis test of triangles v[tri] [F, 3, 3] with boxes [p, p + size], touching included."""
    e = v[:, [1, 2, 0]] - v
    n = np.stack([e[:, 0, b] * e[:, 1, c] - e[:, 0, c] * e[:, 1, b] for b, c in ((1, 2), (2, 0), (0, 1))], axis=1)
    length = np.sqrt(n[:, 0] * n[:, 0] + n[:, 1] * n[:, 1] + n[:, 2] * n[:, 2])
    valid = length > 0
    n = n / np.where(valid, length, 1)[:, None]
    zero = v.dtype.type(0)
    d1 = d2 = np.zeros(len(v), v.dtype)
    for a in range(3):
        c = np.where(n[:, a] > 0, size[a], zero)
        d1 = d1 + n[:, a] * (c - v[:, 0, a])
        d2 = d2 + n[:, a] * (size[a] - c - v[:, 0, a])
    at = n[tri, 0] * p[:, 0] + n[tri, 1] * p[:, 1] + n[tri, 2] * p[:, 2]
    result = valid[tri] & ((at + d1[tri]) * (at + d2[tri]) <= 0)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        sign = np.where(n[:, k] < 0, v.dtype.type(-1), v.dtype.type(1))
        for s in range(3):
            mi, mj = -e[:, s, j] * sign, e[:, s, i] * sign
            d = -(mi * v[:, s, i] + mj * v[:, s, j])
            d = d + np.maximum(mi, zero) * size[i] + np.maximum(mj, zero) * size[j]
            result &= mi[tri] * p[:, i] + mj[tri] * p[:, j] + d[tri] >= 0
    return result


def find_overlaps(
    triangles: np.ndarray, voxels: VoxelRows, size: np.ndarray, count: np.ndarray, published: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Existing voxels that each triangle overlaps: rows [P], triangles [P]. `published`: in single precision.

    Based on: M. Schwarz and H.-P. Seidel, "Fast Parallel Surface and Solid Voxelization on GPUs", 2010.
    """
    dtype = np.float32 if published else np.float64
    v, s = triangles.astype(dtype), size.astype(dtype)
    low = _clamp_each(np.trunc(v.min(1) / s), count)
    high = _clamp_each(np.trunc(v.max(1) / s + dtype(1)), count)
    extent = np.maximum(high - low, 0)
    rows, tris = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for part in _chunks(extent.prod(1)):
        tri, step = _expand(extent[part].prod(1))
        box = extent[part][tri]
        cells = low[part][tri] + np.stack(
            [step // (box[:, 1] * box[:, 2]), step // box[:, 2] % box[:, 1], step % box[:, 2]], axis=1
        )
        row = find_rows(cells, voxels, count)
        keep = row >= 0
        tri, cells, row = tri[keep], cells[keep], row[keep]
        keep = _overlaps(v[part], tri, cells.astype(dtype) * s, s)
        rows.append(row[keep])
        tris.append(tri[keep] + part.start)
    return np.concatenate(rows), np.concatenate(tris)


def _clamp_each(values: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, high).astype(np.int64)


def boundary_edges(vertices: np.ndarray, faces: np.ndarray, weld: bool) -> np.ndarray:
    """Edges that one face uses, as vertex pairs [B, 2] in ascending order.

    With `weld`, vertices of equal position are one, collapsed faces are ignored and equal faces count once.
    """
    faces = faces.astype(np.int64)
    if weld and len(vertices):
        _, first, inverse = np.unique(vertices + 0.0, axis=0, return_index=True, return_inverse=True)
        faces = first[inverse.reshape(-1)][faces]
        corners = np.sort(faces, axis=1)
        corners = corners[(corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2])]
        faces = np.unique(corners, axis=0)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    return unique[uses == 1]


def _clip_segments(
    start: np.ndarray, end: np.ndarray, size: np.ndarray, count: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments cut to the box and one cell around it, and which of them are left [B] bool."""
    delta = end - start
    lo, hi = -size, (count + 1) * size
    with np.errstate(divide="ignore", invalid="ignore"):
        t0, t1 = (lo - start) / delta, (hi - start) / delta
    still = delta == 0
    missed = still & ((start < lo) | (start > hi))
    begin = np.where(still, 0.0, np.minimum(t0, t1)).max(1).clip(min=0)
    leave = np.where(still, 1.0, np.maximum(t0, t1)).min(1).clip(max=1)
    cut_end = np.where((leave < 1)[:, None], start + delta * leave[:, None], end)
    cut_start = np.where((begin > 0)[:, None], start + delta * begin[:, None], start)
    return cut_start, cut_end, (begin <= leave) & ~missed.any(1)


def walk_segments(
    start: np.ndarray, end: np.ndarray, size: np.ndarray, count: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Step all segments [B, 3] through the grid at once; yields (segment numbers, their current cells [., 3]).

    Based on: J. Amanatides and A. Woo, "A Fast Voxel Traversal Algorithm for Ray Tracing", 1987.
    """
    if len(start) == 0:
        return
    start, end, left = _clip_segments(start, end, size, count)
    delta = end - start
    length = np.sqrt(delta[:, 0] * delta[:, 0] + delta[:, 1] * delta[:, 1] + delta[:, 2] * delta[:, 2])
    active = np.nonzero(left & (length >= 1e-6))[0]
    start, delta, length = start[active], delta[active], length[active]
    direction = delta / length[:, None]
    cell = np.floor(start / size).astype(np.int64)
    step = np.where(direction > 0, 1, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        border = (cell + (direction > 0)) * size
        reach = np.where(direction == 0, np.inf, (border - start) / direction)
        stride = np.where(direction == 0, np.inf, size / np.abs(direction))
    while len(active):
        yield active, cell
        x, y, z = reach.T
        axis = np.where((x < y) & (x < z), 0, np.where((x >= y) & (y < z), 1, 2))  # ties: z over y over x
        item = np.arange(len(active))
        go = reach[item, axis] <= length
        cell[item, axis] += step[item, axis]
        reach[item, axis] += stride[item, axis]
        active, cell, step, reach, stride, length = (v[go] for v in (active, cell, step, reach, stride, length))
