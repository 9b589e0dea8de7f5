"""Manifold dual contouring of a node grid in NumPy, cell by cell: the meaning of src/remesh/contour_body.h."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from o_voxel.mesh.node_bits import members, pack, rank, unpack

__all__ = [
    "remesh_active_cells",
    "remesh_active_edges",
    "remesh_cell_sheets",
    "remesh_cell_vertices",
    "remesh_quads",
]

Size = tuple[int, int, int]
NO_SHEET = 15
CORNERS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]


def _edge(axis: int, p: int, q: int) -> int:
    """Edge along `axis` from the corner with offsets p along axis + 1 and q along axis + 2."""
    return 4 * axis + 2 * p + q


def _edge_start(edge: int) -> tuple[int, list[int]]:
    """(axis, offsets of the lower corner)."""
    axis = edge // 4
    offset = [0, 0, 0]
    offset[(axis + 1) % 3], offset[(axis + 2) % 3] = edge >> 1 & 1, edge & 1
    return axis, offset


def _face(axis: int, side: int) -> tuple[list[int], list[int]]:
    """Corners in order around a cell face, and the edges from each to the next."""
    u, w = (axis + 1) % 3, (axis + 2) % 3
    corners = []
    for p, q in ((0, 0), (1, 0), (1, 1), (0, 1)):
        offset = [0, 0, 0]
        offset[axis], offset[u], offset[w] = side, p, q
        corners.append(CORNERS.index((offset[0], offset[1], offset[2])))
    return corners, [_edge(u, 0, side), _edge(w, side, 1), _edge(u, 1, side), _edge(w, side, 0)]


def _trace(case: int, cut_face: int) -> tuple[list[int], int, int]:
    """Sheet of each edge, the number of sheets, and the face that one sheet passes twice (-1: none)."""
    inside = [bool(case >> c & 1) for c in range(8)]
    group = list(range(12))

    def join(a: int, b: int) -> None:
        group[:] = [group[b] if g == group[a] else g for g in group]

    crossed, pieces = set(), {}
    for face in range(6):
        corners, edges = _face(face // 2, face % 2)
        ins = [inside[c] for c in corners]
        cuts = [i for i in range(4) if ins[i] != ins[(i + 1) % 4]]
        crossed |= {edges[i] for i in cuts}
        if len(cuts) == 2:
            join(edges[cuts[1]], edges[cuts[0]])
        elif len(cuts) == 4:
            around = [i for i in range(4) if ins[i] == (face == cut_face)]
            for i in around:
                join(edges[i - 1], edges[i])
            pieces[face] = [edges[i] for i in around]
    names: dict[int, int] = {}
    sheets = [names.setdefault(group[e], len(names)) if e in crossed else NO_SHEET for e in range(12)]
    twice = [face for face, (a, b) in pieces.items() if group[a] == group[b]]
    return sheets, len(names), twice[-1] if twice else -1


@cache
def case_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each case the packed sheets, those with the doubled face cut apart, and that face: 3 arrays [256]."""

    def packed(sheets: list[int], count: int) -> int:
        return sum(s << 4 * e for e, s in enumerate(sheets)) | count << 48

    plain, cut, twice = [], [], []
    for case in range(256):
        sheets, count, face = _trace(case, -1)
        plain.append(packed(sheets, count))
        cut.append(packed(*_trace(case, face)[:2]) if face >= 0 else plain[-1])
        twice.append(face)
    return np.array(plain), np.array(cut), np.array(twice)


def remesh_active_cells(inside: Tensor, size: Size, out: Tensor, launch: Any) -> None:
    """Cells with inside and outside corners."""
    solid = unpack(inside.numpy(), size)
    x, y, z = (n - 1 for n in size)
    corners = np.stack([solid[i : i + x, j : j + y, k : k + z] for i, j, k in CORNERS])
    mixed = corners.any(0) & ~corners.all(0)
    out.numpy()[:] = pack(np.pad(mixed, ((0, 1),) * 3))


def remesh_active_edges(inside: Tensor, size: Size, out: Tensor, launch: Any) -> None:
    """Grid edges with one inside end: 3 sets."""
    solid = unpack(inside.numpy(), size)
    sets = []
    for axis in range(3):
        changes = np.diff(solid.astype(np.int8), axis=axis) != 0
        sets.append(pack(np.pad(changes, [(0, int(a == axis)) for a in range(3)])))
    out.numpy()[:] = np.concatenate(sets)


def _places(places: np.ndarray, size: Size) -> np.ndarray:
    column = (size[2] + 63) // 64
    word = places // 64
    return np.stack([word // column // size[1], word // column % size[1], word % column * 64 + places % 64], 1)


def _cases(solid: np.ndarray, cells: np.ndarray) -> np.ndarray:
    total = np.zeros(len(cells), dtype=np.int64)
    for c, offset in enumerate(CORNERS):
        total |= solid[tuple((cells + offset).T)].astype(np.int64) << c
    return total


def remesh_cell_sheets(inside: Tensor, size: Size, places: Tensor, sheets: Tensor, counts: Tensor, launch: Any) -> None:
    """Sheets of every listed cell, and how many."""
    plain, cut, twice = case_table()
    solid, cells = unpack(inside.numpy(), size), _places(places.numpy(), size)
    case = _cases(solid, cells)
    result, face = plain[case], twice[case]
    for f in range(6):
        rows = np.flatnonzero(face == f)
        other = cells[rows].copy()
        other[:, f // 2] += 1 if f % 2 else -1
        ok = (other >= 0).all(1) & (other + 1 < np.array(size)).all(1)
        rows, other = rows[ok], other[ok]
        rows = rows[twice[_cases(solid, other)] == (f ^ 1)]
        result[rows] = cut[case[rows]]
    sheets.numpy()[:] = result
    counts.numpy()[:] = result >> 48 & 15


def remesh_cell_vertices(
    vertices: Tensor, faces: Tensor, size: Size, crossed: Tensor, before: Tensor, first: Tensor, last: Tensor,
    inside: Tensor, sheet_nodes: Tensor | None, cell_bits: Tensor, cell_before: Tensor, sheets: Tensor,
    first_vertex: Tensor, places: Tensor, options: tuple[float, float, float], out: Tensor, kinds: Tensor, launch: Any,
) -> None:  # fmt: skip
    """Vertices of every cell, one a sheet, by least squares of distances to the planes of crossing faces."""
    thickness, pull, margin = options
    v, f = vertices.numpy(), faces.numpy()
    solid = unpack(inside.numpy(), size)
    beside = None if sheet_nodes is None else unpack(sheet_nodes.numpy(), size)
    edges = members(crossed.numpy(), size, 3)
    low, high = first.numpy().view(np.uint64), last.numpy().view(np.uint64)

    def crossing(node: np.ndarray, axis: int, use_last: bool) -> tuple[np.ndarray, np.ndarray, bool]:
        """(point, unit normal, whether it is the only one on its edge)"""
        row = int(rank(crossed.numpy(), before.numpy(), size, node[None], axis)[0])
        t = (np.stack([low[row], high[row]]) >> np.uint64(32)).astype(np.uint32).view(np.float32).astype(np.float64)
        face = int((high if use_last else low)[row] & np.uint64(0xFFFFFFFF))
        p0, p1, p2 = v[f[face]]
        normal = np.cross(p1 - p0, p2 - p0)
        length = np.sqrt((normal**2).sum())
        normal = normal / length if length > 0 else normal
        point = node.astype(np.float64)
        point[axis] += t[int(use_last)]
        return point, normal, bool(low[row] == high[row])

    def beside_sheet(a: np.ndarray, middle: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, bool]]:
        """(unit normal, point, whether of an open sheet) of the planes beside the sheets around node a."""
        planes = []
        for axis in range(3):
            for side in (0, 1):
                node, other = a.copy(), a.copy()
                node[axis] -= side
                other[axis] += -1 if side else 1
                if (other < 0).any() or (other >= np.array(size)).any() or not edges[(axis, *node)]:
                    continue
                if beside is None or not beside[tuple(other)]:
                    continue
                point, normal, single = crossing(node, axis, bool(side))
                normal = normal if (normal[axis] > 0) == (side == 1) else -normal
                reach = thickness / 2 if single else 0.0
                planes.append((normal, middle - (normal @ (middle - point) - reach) * normal, single))
        return planes

    for cell, packed, row in zip(_places(places.numpy(), size), sheets.numpy(), first_vertex.numpy(), strict=True):
        origin = cell + 0.5
        for s in range(int(packed) >> 48 & 15):
            points, planes, is_beside, on_sheet = [], [], False, False
            for e in range(12):
                if int(packed) >> 4 * e & 15 != s:
                    continue
                axis, offset = _edge_start(e)
                node = cell + offset
                from_inside = bool(solid[tuple(node)])
                if edges[(axis, *node)]:
                    point, normal, _ = crossing(node, axis, from_inside)
                    points.append(point)
                    planes.append((normal, point))
                    continue
                a, middle = node.copy(), node.astype(np.float64)
                a[axis] += not from_inside
                middle[axis] += 0.5
                found = beside_sheet(a, middle) if beside is not None and beside[tuple(a)] else []
                planes += [(normal, point) for normal, point, _ in found]
                is_beside |= bool(found)
                on_sheet |= any(single for *_, single in found)
                points.append(np.mean([p for _, p, _ in found], axis=0) if found else middle)
            mean = np.mean(points, axis=0)
            x = mean
            if planes:
                n = np.array([normal for normal, _ in planes])
                d = np.array([normal @ (p - origin) for normal, p in planes])
                w = pull * len(planes)
                x = origin + np.linalg.solve(n.T @ n + w * np.eye(3), n.T @ d + w * (mean - origin))
            reach = 1.5 if is_beside else 0.5 - margin
            out.numpy()[row + s] = np.clip(x, origin - reach, origin + reach)
            kinds.numpy()[row + s] = 1 if on_sheet else 0 if planes else 2


def remesh_quads(
    inside: Tensor, size: Size, cell_bits: Tensor, cell_before: Tensor, sheets: Tensor, first_vertex: Tensor,
    edges: Tensor, before: Tensor, vertices: Tensor, faces: Tensor, launch: Any,
) -> None:  # fmt: skip
    """Two faces around every edge with one inside end, along the flatter diagonal, fronts outward."""
    solid, v, at = unpack(inside.numpy(), size), vertices.numpy(), 0

    def flatness(pair: np.ndarray) -> float:
        p = v[pair.reshape(2, 3)]
        n = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        length = np.sqrt((n**2).sum(1))
        return float(n[0] @ n[1] / (length[0] * length[1])) if (length > 1e-9).all() else -2.0

    for axis, active in enumerate(members(edges.numpy(), size, 3)):
        for node in np.argwhere(active):
            quad = []
            for p, q in ((1, 1), (0, 1), (0, 0), (1, 0)):
                cell = node.copy()
                cell[(axis + 1) % 3] -= p
                cell[(axis + 2) % 3] -= q
                row = int(rank(cell_bits.numpy(), cell_before.numpy(), size, cell[None])[0])
                sheet = int(sheets[row]) >> 4 * _edge(axis, p, q) & 15
                quad.append(int(first_vertex[row]) + sheet)
            if not solid[tuple(node)]:
                quad[1], quad[3] = quad[3], quad[1]
            a, b, c, d = quad
            one, two = np.array([a, b, c, a, c, d]), np.array([a, b, d, d, b, c])
            best = two if flatness(two) > flatness(one) + 1e-9 else one
            faces.numpy()[2 * at : 2 * at + 2] = best.reshape(2, 3)
            at += 1
