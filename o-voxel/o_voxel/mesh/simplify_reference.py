"""Quadric edge collapse in plain Python: the meaning of `simplify`, and its fallback without the compiled core."""

from __future__ import annotations

import heapq
from itertools import combinations

import numpy as np

from o_voxel.mesh.normals import numpy_normalize

__all__ = ["simplify_reference"]


MOST_FACES = 4  # of an edge that may go


class _Mesh:
    """Vertices, quadrics and the faces around each vertex."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, boundary_weight: float, regularization: float) -> None:
        self.pos = vertices.copy()
        self.faces = {i: tuple(f) for i, f in enumerate(faces.tolist()) if len(set(f)) == 3}
        self.around: list[set[int]] = [set() for _ in vertices]
        for i, f in self.faces.items():
            for v in f:
                self.around[v].add(i)
        self.version = [0] * len(vertices)
        self.boundary = [False] * len(vertices)
        self.quadric = np.zeros((len(vertices), 4, 4))
        for f in self.faces.values():
            p = self.pos[list(f)]
            n = np.cross(p[1] - p[0], p[2] - p[0])
            length = float(np.linalg.norm(n))
            if length > 0:
                plane = np.append(n / length, -n @ p[0] / length)
                for v in f:
                    self.quadric[v] += length / 6 * np.outer(plane, plane)
                    point = np.block(
                        [[np.eye(3), -self.pos[v][:, None]], [-self.pos[v][None], self.pos[v] @ self.pos[v]]]
                    )
                    self.quadric[v] += regularization * length / 6 * point
        for a, b in self.edges():
            common = self.around[a] & self.around[b]
            if len(common) == 2:
                continue
            self.boundary[a] = self.boundary[b] = True
            e = self.pos[b] - self.pos[a]
            for i in sorted(common):
                p = self.pos[list(self.faces[i])]
                side = numpy_normalize(np.cross(e, np.cross(p[1] - p[0], p[2] - p[0])))
                plane = np.append(side, -side @ self.pos[a])
                self.quadric[[a, b]] += boundary_weight * (e @ e) * np.outer(plane, plane)

    def edges(self) -> list[tuple[int, int]]:
        return sorted({e for f in self.faces.values() for e in combinations(sorted(f), 2)})

    def evaluate(self, a: int, b: int) -> tuple[float, np.ndarray]:
        q = self.quadric[a] + self.quadric[b]

        def error(x: np.ndarray) -> float:
            h = np.append(x, 1.0)
            return max(0.0, float(h @ q @ h))

        pa, pb = self.pos[a], self.pos[b]
        if self.boundary[a] != self.boundary[b]:
            x = pa if self.boundary[a] else pb
            return error(x), x
        mid = (pa + pb) / 2
        if abs(np.linalg.det(q[:3, :3])) > 1e-14 * np.trace(q[:3, :3]) ** 3:
            x = np.linalg.solve(q[:3, :3], -q[:3, 3])
            if (x - mid) @ (x - mid) <= (pa - pb) @ (pa - pb):
                return error(x), x
        return min(((error(x), x) for x in (mid, pa, pb)), key=lambda item: item[0])

    def link_holds(self, a: int, b: int) -> bool:
        common = self.around[a] & self.around[b]
        tips = {v for i in common for v in self.faces[i]} - {a, b}
        if not 1 <= len(common) <= MOST_FACES or len(tips) != len(common):
            return False
        if self.around[a] | self.around[b] == common:  # nothing but these faces
            return False
        if len(common) == 2 and self.boundary[a] and self.boundary[b]:
            return False
        for pair in combinations(tips, 2):
            if all(any(set(pair) <= set(self.faces[i]) for i in self.around[v]) for v in (a, b)):
                return False  # two faces would fall onto each other
        ring_a, ring_b = ({v for i in self.around[end] for v in self.faces[i]} for end in (a, b))
        return (ring_a & ring_b) - {a, b} == tips and (len(common) == 2 or self.singular_edges_hold(a, b, tips))

    def singular_edges_hold(self, a: int, b: int, tips: set[int]) -> bool:
        """Edges of one face or more than two must not meet in a tip, nor end at both ends of the edge ab."""
        single = [len(self.around[end]) == 1 for end in (a, b)]
        for tip in tips:
            at_a, at_b = (len(self.around[end] & self.around[tip]) for end in (a, b))
            ear = len(tips) == 1 and ((single[0] and at_b > 2) or (single[1] and at_a > 2))
            if at_a != 2 and at_b != 2 and not ear:
                return False
        return any(single) or any(self.singular_edges(end) == 2 for end in (a, b))

    def singular_edges(self, v: int) -> int:
        ring = {w for i in self.around[v] for w in self.faces[i]} - {v}
        return sum(len(self.around[v] & self.around[w]) != 2 for w in ring)

    def normals_hold(self, a: int, b: int, x: np.ndarray, limit: float, no_slivers: bool) -> bool:
        for v, other in ((a, b), (b, a)):
            for i in self.around[v]:
                f = self.faces[i]
                if other in f:
                    continue
                p = self.pos[list(f)]
                r = p.copy()
                r[f.index(v)] = x
                before, after = (np.cross(t[1] - t[0], t[2] - t[0]) for t in (p, r))
                lengths = np.linalg.norm(before), np.linalg.norm(after)
                if lengths[0] < 1e-16:
                    continue
                if not before @ after > limit * lengths[0] * lengths[1]:
                    return False
                shape = [
                    2 * 3**0.5 * length / max(((t - t[[1, 2, 0]]) ** 2).sum(), 1e-300)
                    for length, t in zip(lengths, (p, r))
                ]
                if no_slivers and shape[1] < 0.05 and shape[1] < shape[0]:
                    return False
        return True

    def drop(self, i: int) -> None:
        for v in self.faces.pop(i):
            self.around[v].discard(i)

    def collapse(self, a: int, b: int, x: np.ndarray, drop_folds: bool) -> None:
        for i in sorted(self.around[a] & self.around[b]):
            self.drop(i)
        for i in self.around[b]:
            self.faces[i] = tuple(a if v == b else v for v in self.faces[i])
        self.around[a] |= self.around[b]
        self.around[b] = set()
        self.quadric[a] += self.quadric[b]
        self.pos[a] = x
        self.boundary[a] |= self.boundary[b]
        self.version[a] += 1
        self.version[b] += 1
        if not drop_folds:
            return
        seen: dict[frozenset[int], int] = {}
        for i in sorted(self.around[a]):
            f = self.faces[i]
            key = frozenset(f)
            if key not in seen:
                seen[key] = i
                continue
            g = self.faces[seen[key]]
            k = g.index(f[0])
            self.drop(i)
            if g[(k + 1) % 3] != f[1]:  # opposite winding: the two faces cancel
                self.drop(seen.pop(key))


def simplify_reference(
    vertices: np.ndarray,  # [V, 3] float64, in the unit box
    faces: np.ndarray,
    target: int,
    boundary_weight: float,
    regularization: float,
    max_normal_angle_cos: float,
    must_reach_target: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Same contract as the compiled `mesh_simplify`."""
    mesh = _Mesh(vertices, faces, boundary_weight, regularization)
    phase = 0
    while len(mesh.faces) > target:
        before = len(mesh.faces)
        heap = [(mesh.evaluate(a, b)[0], a, b, mesh.version[a], mesh.version[b]) for a, b in mesh.edges()]
        heapq.heapify(heap)
        while heap and len(mesh.faces) > target:
            _, a, b, version_a, version_b = heapq.heappop(heap)
            if (mesh.version[a], mesh.version[b]) != (version_a, version_b):
                continue
            x = mesh.evaluate(a, b)[1]
            limit = max_normal_angle_cos if phase == 0 else 0.0
            if phase < 2 and not (mesh.link_holds(a, b) and mesh.normals_hold(a, b, x, limit, phase == 0)):
                continue
            mesh.collapse(a, b, x, phase == 2)
            for v in sorted({w for i in mesh.around[a] for w in mesh.faces[i]} - {a}):
                low, high = min(a, v), max(a, v)
                heapq.heappush(heap, (mesh.evaluate(low, high)[0], low, high, mesh.version[low], mesh.version[high]))
        if len(mesh.faces) == before:
            if phase == 2 or not must_reach_target:
                break
            phase += 1
    kept = np.array([mesh.faces[i] for i in sorted(mesh.faces)], dtype=np.int64).reshape(-1, 3)
    source = np.unique(kept)
    rename = np.zeros(len(vertices), dtype=np.int64)
    rename[source] = np.arange(len(source))
    return mesh.pos[source], rename[kept], source, phase
