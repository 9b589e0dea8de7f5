"""Boundary loops and their triangulation in plain Python: the meaning of the compiled search, and its fallback."""

from __future__ import annotations

import numpy as np

__all__ = ["boundary_loops", "close_loops"]

MAX_OPTIMAL = 40  # longer loops get a centre vertex here: the triangulation is cubic


def boundary_loops(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boundary sides [B] -> (vertices of all loops, offsets [K + 1])."""
    num = int(max(start.max(initial=-1), end.max(initial=-1))) + 1
    ends = np.stack([end, start], axis=1).reshape(-1)
    order = np.argsort(ends, kind="stable")
    count = np.bincount(ends, minlength=num)
    regular = count == 2
    first = np.cumsum(count) - count
    edge_of = order // 2  # boundary edges grouped by vertex
    loops, seen = [], np.zeros(num, dtype=bool)
    for origin in np.flatnonzero(regular).tolist():
        if seen[origin]:
            continue
        loop, forward, v, edge = [], 0, origin, int(edge_of[first[origin]])
        while regular[v] and not seen[v]:
            seen[v] = True
            loop.append(v)
            along = int(start[edge]) == v
            forward += 1 if along else -1
            v = int(end[edge] if along else start[edge])
            if regular[v]:
                one, two = int(edge_of[first[v]]), int(edge_of[first[v] + 1])
                edge = two if edge == one else one
        if v != origin or len(loop) < 3:
            continue
        loops.append(loop[:1] + loop[:0:-1] if forward < 0 else loop)
    offsets = np.cumsum([0, *(len(loop) for loop in loops)])
    return np.array([v for loop in loops for v in loop], dtype=np.int64), offsets.astype(np.int64)


def close_loops(positions: np.ndarray, offsets: np.ndarray, chords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles against the loops: positions [L, 3], offsets [K + 1], chords [C, 2] places that must not be joined
    -> (faces [T, 3] places in `positions`, L + c for centre c, centres [., 3])."""
    faces: list[tuple[int, int, int]] = []
    centres: list[np.ndarray] = []
    for low, high in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        ring = np.arange(low, high)[::-1]
        n = len(ring)
        allowed = np.ones((n, n), dtype=bool)
        inside = (chords[:, 0] >= low) & (chords[:, 0] < high)
        i, j = (high - 1 - chords[inside]).T
        allowed[i, j] = allowed[j, i] = False
        triangles = _least_area(positions[ring], allowed) if n <= MAX_OPTIMAL else []
        if not triangles:
            centre = len(positions) + len(centres)
            centres.append(positions[low:high].mean(axis=0))
            faces += [(int(a), int(b), centre) for a, b in zip(ring, np.roll(ring, -1))]
        faces += [(int(ring[a]), int(ring[b]), int(ring[c])) for a, b, c in triangles]
    return np.array(faces, dtype=np.int64).reshape(-1, 3), np.array(centres, dtype=np.float64).reshape(-1, 3)


def _least_area(p: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int, int]]:
    """Minimum-area triangulation of a closed polygon by dynamic programming; empty if none is allowed.

    G. Barequet and M. Sharir, Filling gaps in the boundary of a polyhedron, 1995 (area weight).
    """
    n = len(p)
    cost = np.full((n, n), np.inf)
    split = np.full((n, n), -1, dtype=np.int64)
    i = np.arange(n - 1)
    cost[i, i + 1] = 0
    for gap in range(2, n):
        for a in range(n - gap):
            b = a + gap
            if not allowed[a, b] and not (a == 0 and b == n - 1):
                continue
            middle = np.arange(a + 1, b)
            area = np.linalg.norm(np.cross(p[middle] - p[a], p[b] - p[a]), axis=1) / 2
            total = cost[a, middle] + cost[middle, b] + area
            best = int(np.argmin(total))
            cost[a, b], split[a, b] = total[best], middle[best]
    if not np.isfinite(cost[0, n - 1]):
        return []
    triangles, todo = [], [(0, n - 1)]
    while todo:
        a, b = todo.pop()
        if b - a < 2:
            continue
        k = int(split[a, b])
        triangles.append((a, k, b))
        todo += [(k, b), (a, k)]
    return triangles
