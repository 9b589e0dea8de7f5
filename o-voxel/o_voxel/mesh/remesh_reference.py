"""The remeshing core in NumPy: slow, plain, and the meaning of the compiled one (see src/remesh).

Every function has the arguments of its counterpart in `o_voxel._C`; bit sets are int64 words (see `remesh_core`),
results are written into the arrays given. G is the number of nodes as [x, y, z].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from o_voxel.mesh.contour_reference import (
    remesh_active_cells,
    remesh_active_edges,
    remesh_cell_sheets,
    remesh_cell_vertices,
    remesh_quads,
)
from o_voxel.mesh.node_bits import members, pack, rank, unpack

__all__ = [
    "remesh_active_cells",
    "remesh_active_edges",
    "remesh_ask_rows",
    "remesh_cell_sheets",
    "remesh_cell_vertices",
    "remesh_count_bits",
    "remesh_dilate",
    "remesh_doubled",
    "remesh_face_sides",
    "remesh_flood",
    "remesh_list_bits",
    "remesh_mark_crossings",
    "remesh_mark_rims",
    "remesh_quads",
    "remesh_record_crossings",
    "remesh_rim_hashes",
    "remesh_sheet_nodes",
    "remesh_step",
]

Size = tuple[int, int, int]


def _side(a: np.ndarray, b: np.ndarray, swapped: bool, u: int, w: int, points: np.ndarray) -> np.ndarray:
    """Twice the area of (a, b, point) [N]; ties as if the point were slightly greater in u, then in w."""
    if swapped:
        a, b = b, a
    du, dw = b[u] - a[u], b[w] - a[w]
    side = du * (points[:, 1] - a[w]) - dw * (points[:, 0] - a[u])
    side = np.where(side == 0, (-dw if dw != 0 else du) * 1e-300, side)
    return -side if swapped else side


def crossings(vertices: np.ndarray, faces: np.ndarray, size: Size) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """(face, axis, start nodes [N, 3], places on the edges [N] float32) of all grid edges that faces cross."""
    for face, corners in enumerate(faces.tolist()):
        p = vertices[corners]
        for axis in range(3):
            u, w = (axis + 1) % 3, (axis + 2) % 3
            end = np.array(size) - 1.0
            if (p.min(0)[[u, w]] > end[[u, w]]).any() or (p.max(0)[[u, w]] < 0).any():
                continue
            low = np.ceil(np.maximum(p.min(0), 0)).astype(np.int64)
            high = np.floor(np.minimum(p.max(0), end)).astype(np.int64)
            if low[u] > high[u] or low[w] > high[w]:
                continue
            grid = np.meshgrid(np.arange(low[u], high[u] + 1), np.arange(low[w], high[w] + 1), indexing="ij")
            lines = np.stack(grid, -1).reshape(-1, 2)
            sides = np.stack(
                [
                    _side(p[i], p[j], corners[i] > corners[j], u, w, lines.astype(np.float64))
                    for i, j in ((1, 2), (2, 0), (0, 1))
                ]
            )
            hit = (sides > 0).all(0) | (sides < 0).all(0)
            lines, sides = lines[hit], sides[:, hit]
            total = sides[0] + sides[1] + sides[2]
            with np.errstate(invalid="ignore", divide="ignore"):
                s = sides / total
            depth = s[0] * p[0, axis] + s[1] * p[1, axis] + s[2] * p[2, axis]
            inside = (depth >= 0) & (depth < size[axis])
            lines, depth = lines[inside], depth[inside]
            nodes = np.empty((len(lines), 3), dtype=np.int64)
            nodes[:, axis], nodes[:, u], nodes[:, w] = np.floor(depth), lines[:, 0], lines[:, 1]
            yield face, axis, nodes, (depth - np.floor(depth)).astype(np.float32)


def _packed(t: np.ndarray, face: int) -> np.ndarray:
    return t.view(np.uint32).astype(np.uint64) << np.uint64(32) | np.uint64(face)


def remesh_mark_crossings(vertices: Tensor, faces: Tensor, size: Size, bits: Tensor, launch: Any) -> None:
    """Grid edges that faces cross: 3 sets."""
    marked = np.zeros((3, *size), dtype=bool)
    for _, axis, nodes, _ in crossings(vertices.numpy(), faces.numpy(), size):
        marked[(axis, *nodes.T)] = True
    bits.numpy()[:] |= np.concatenate([pack(m) for m in marked])


def remesh_record_crossings(
    vertices: Tensor, faces: Tensor, size: Size, bits: Tensor, before: Tensor, first: Tensor, last: Tensor, launch: Any
) -> None:
    """The smallest and the largest (place, face) on each crossed edge."""
    low, high = first.numpy().view(np.uint64), last.numpy().view(np.uint64)
    for face, axis, nodes, t in crossings(vertices.numpy(), faces.numpy(), size):
        edge = rank(bits.numpy(), before.numpy(), size, nodes, axis)
        np.minimum.at(low, edge, _packed(t, face))
        np.maximum.at(high, edge, _packed(t, face))


def remesh_doubled(
    size: Size, bits: Tensor, before: Tensor, first: Tensor, last: Tensor, out: Tensor, launch: Any
) -> None:
    """Crossed edges with crossings of several faces."""
    edges = members(bits.numpy(), size, 3)
    edges[edges] = (first.numpy() & 0xFFFFFFFF) != (last.numpy() & 0xFFFFFFFF)
    out.numpy()[:] = np.concatenate([pack(e) for e in edges])


def remesh_face_sides(
    vertices: Tensor, faces: Tensor, size: Size, bits: Tensor, before: Tensor, first: Tensor, last: Tensor,
    outside: Tensor, counts: Tensor, launch: Any,
) -> None:  # fmt: skip
    """(crossings, front towards outside, back towards outside, both at once, of thin walls) of every face."""
    v, f = vertices.numpy(), faces.numpy()
    low, high = first.numpy().view(np.uint64), last.numpy().view(np.uint64)
    out = np.pad(unpack(outside.numpy(), size), 1)
    table = counts.numpy().reshape(-1, 5)
    table[:] = 0
    normal = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
    for face, axis, nodes, t in crossings(v, f, size):
        edge = rank(bits.numpy(), before.numpy(), size, nodes, axis)
        end = nodes.copy()
        end[:, axis] += 1
        open_low, open_high = out[tuple((nodes + 1).T)], out[tuple((end + 1).T)]
        at_low = (low[edge] == _packed(t, face)) & open_low
        at_high = (high[edge] == _packed(t, face)) & open_high
        thin = (at_low != at_high) & open_low & open_high
        up = normal[face, axis] > 0
        front, back = (at_high, at_low) if up else (at_low, at_high)
        table[face] += [len(nodes), front.sum(), back.sum(), (at_low & at_high).sum(), thin.sum()]


def remesh_ask_rows(faces: Tensor, kinds: Tensor, out: Tensor, launch: Any) -> None:
    """Kinds, where those of unknown (0) faces come from the faces before and after that share an edge with them."""
    f, kind = faces.numpy(), kinds.numpy()
    best = kind.copy()
    shares = (f[:-1, :, None] == f[1:, None]).sum((1, 2)) == 2
    for mine, other in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        best[mine] = np.where((kind[mine] == 0) & shares, np.maximum(best[mine], kind[other]), best[mine])
    out.numpy()[:] = best


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64 of [N] integers: uint64."""
    x = x.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def remesh_rim_hashes(faces: Tensor, hashes: Tensor, launch: Any) -> None:
    """Hashes of the other corners by exclusive or over the faces around a vertex: 0 if all edges have even counts."""
    f = faces.numpy()
    mixed = _mix(f.reshape(-1)).reshape(-1, 3)
    out = hashes.numpy().view(np.uint64)
    for k in range(3):
        np.bitwise_xor.at(out, f[:, k], mixed[:, (k + 1) % 3] ^ mixed[:, (k + 2) % 3])


def remesh_mark_rims(vertices: Tensor, faces: Tensor, hashes: Tensor, size: Size, bits: Tensor, launch: Any) -> None:
    """Corners of the cells that face sides between two rim vertices run through."""
    marked, rim = np.zeros(size, dtype=bool), hashes.numpy() != 0
    f = faces.numpy()
    sides = np.sort(np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]), 1)
    for a, b in vertices.numpy()[np.unique(sides[rim[sides].all(1)], axis=0)]:
        length, d = np.abs(b - a).max(), b - a
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.sort(np.stack([-1 - a, np.array(size) - a]) / d, axis=0)  # of the part in the grid
        within = (a >= -1) & (a <= np.array(size))
        ends = np.where(d == 0, np.where(within, [[0.0], [1.0]], [[2.0], [-1.0]]), ends)
        start, stop = max(0.0, *ends[0]), min(1.0, *ends[1])
        if start > stop:
            continue
        s = np.arange(np.floor(start * 2 * length), np.ceil(stop * 2 * length) + 2)
        t = np.minimum(s / (np.ceil(2 * length) + 1), 1.0)
        cell = np.floor(a + t[:, None] * d).clip(-2, np.array(size)).astype(np.int64)
        for corner in range(8):
            node = cell + [corner >> 2, corner >> 1 & 1, corner & 1]
            node = node[((node >= 0) & (node < np.array(size))).all(1)]
            marked[tuple(node.T)] = True
    bits.numpy()[:] |= pack(marked)


def _stepped(labels: np.ndarray, walls: np.ndarray, open_nodes: np.ndarray) -> np.ndarray:
    """Labels after they passed to all neighbours over edges that are no walls."""
    out = labels.copy()
    for axis in range(3):
        head, tail = [slice(None)] * 3, [slice(None)] * 3
        head[axis], tail[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(head), tuple(tail)
        free = ~walls[axis][a]
        out[b] |= labels[a] & free
        out[a] |= labels[b] & free
    return labels | (out & open_nodes)


def _open(size: Size, closed: Tensor | None, other: Tensor | None) -> np.ndarray:
    result = np.ones(size, dtype=bool)
    for bits in (closed, other):
        if bits is not None:
            result &= ~unpack(bits.numpy(), size)
    return result


def remesh_step(
    labels: Tensor, walls: Tensor, closed: Tensor | None, other: Tensor | None, size: Size, out: Tensor, launch: Any
) -> None:
    """Labels after one step, where neither `closed` nor `other` nodes are entered."""
    free = _open(size, closed, other)
    out.numpy()[:] = pack(_stepped(unpack(labels.numpy(), size), members(walls.numpy(), size, 3), free))


def remesh_flood(
    labels: Tensor, walls: Tensor, closed: Tensor | None, other: Tensor | None, size: Size, launch: Any
) -> None:
    """Labels after as many steps as change something, in place."""
    free, barred = _open(size, closed, other), members(walls.numpy(), size, 3)
    now = unpack(labels.numpy(), size)
    while True:
        after = _stepped(now, barred, free)
        if np.array_equal(after, now):
            break
        now = after
    labels.numpy()[:] = pack(now)


def remesh_dilate(bits: Tensor, size: Size, out: Tensor, launch: Any) -> None:
    """Every node with its 26 neighbours."""
    grown = np.pad(unpack(bits.numpy(), size), 1)
    for axis in range(3):
        grown = grown | np.roll(grown, 1, axis) | np.roll(grown, -1, axis)
    out.numpy()[:] = pack(grown[1:-1, 1:-1, 1:-1])


def remesh_sheet_nodes(crossed: Tensor, outside: Tensor, size: Size, out: Tensor, launch: Any) -> None:
    """Outside nodes at the ends of crossed edges with two outside ends."""
    free, result = unpack(outside.numpy(), size), np.zeros(size, dtype=bool)
    for axis, wall in enumerate(members(crossed.numpy(), size, 3)):
        head, tail = [slice(None)] * 3, [slice(None)] * 3
        head[axis], tail[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(head), tuple(tail)
        both = wall[a] & free[a] & free[b]
        result[a] |= both
        result[b] |= both
    out.numpy()[:] = pack(result)


def remesh_count_bits(bits: Tensor, out: Tensor, launch: Any) -> None:
    """Members in every word."""
    out.numpy()[:] = np.unpackbits(bits.numpy().view(np.uint8).reshape(-1, 8), axis=1).sum(1)


def remesh_list_bits(bits: Tensor, before: Tensor, out: Tensor, launch: Any) -> None:
    """64 * word + bit of the members, ascending."""
    flat = np.unpackbits(bits.numpy().view(np.uint8), bitorder="little")
    out.numpy()[:] = np.flatnonzero(flat)
