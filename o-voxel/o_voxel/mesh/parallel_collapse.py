"""The published simplification: rounds of independent edge collapses against a rising cost threshold.

E edges, sorted as in `build_edges`. Kept for comparison; `simplify` collapses one edge at a time instead, which meets
the face budget exactly and keeps the topology.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from o_voxel.mesh.cleanup import compact
from o_voxel.mesh.connectivity import EdgeTable, build_edges

__all__ = ["CollapseCosts", "collapse_costs", "parallel_simplify"]

MAX_ROUNDS = 10000


class CollapseCosts(NamedTuple):
    edges: np.ndarray  # [E, 2] int64, a < b
    position: np.ndarray  # [E, 3] where the joined vertex goes
    quadric: np.ndarray  # [E] summed plane error there
    length2: np.ndarray  # [E] squared edge length
    skinny: np.ndarray  # [E] mean over the surviving faces around of 1 - shape (0: all equilateral)
    cost: (
        np.ndarray
    )  # [E] quadric + lambda_edge_length * length2 + lambda_skinny * length2 * skinny; inf where a face flips


def _face_rows(faces: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces around each vertex: (faces grouped by vertex, offsets [V + 1])."""
    corner = faces.reshape(-1)
    order = np.argsort(corner, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(corner, minlength=num_vertices))])
    return order // 3, offsets


def _around(edges: np.ndarray, rows: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All (edge, face) pairs where the face touches an end of the edge; faces at both ends appear twice."""
    end = edges.reshape(-1)
    count = offsets[end + 1] - offsets[end]
    first = np.repeat(offsets[end] - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
    return np.repeat(np.arange(len(end)) // 2, count), rows[first + np.arange(count.sum())]


def collapse_costs(
    vertices: np.ndarray,  # [V, 3]
    faces: np.ndarray,  # [F, 3]
    *,
    lambda_edge_length: float = 1e-2,
    lambda_skinny: float = 1e-3,
    table: EdgeTable | None = None,
) -> CollapseCosts:
    """Cost of collapsing each edge: unweighted plane quadrics plus penalties for length and for skinny triangles.

    The joined vertex goes to the midpoint, or to the boundary end if exactly one end lies on the boundary.
    """
    v = vertices.astype(np.float64)
    table = build_edges(faces) if table is None else table
    edges = table.edges
    p = v[faces]
    normal = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    unit = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    plane = np.concatenate([unit, -(unit * p[:, 0]).sum(1, keepdims=True)], axis=1)
    quadric = np.zeros((len(v), 4, 4))
    outer = plane[:, :, None] * plane[:, None]
    for k in range(3):
        np.add.at(quadric, faces[:, k], outer)
    boundary = np.zeros(len(v), dtype=bool)
    boundary[edges[table.counts == 1].reshape(-1)] = True
    a, b = edges[:, 0], edges[:, 1]
    position = (v[a] + v[b]) / 2
    position = np.where((boundary[a] & ~boundary[b])[:, None], v[a], position)
    position = np.where((boundary[b] & ~boundary[a])[:, None], v[b], position)
    h = np.concatenate([position, np.ones((len(edges), 1))], axis=1)
    error = np.einsum("ei,eij,ej->e", h, quadric[a] + quadric[b], h)
    length2 = ((v[a] - v[b]) ** 2).sum(1)

    edge, face = _around(edges, *_face_rows(faces, len(v)))
    corner = faces[face]
    is_a, is_b = corner == a[edge][:, None], corner == b[edge][:, None]
    stays = ~(is_a.any(1) & is_b.any(1))
    edge, face = edge[stays], face[stays]
    moved = np.where((is_a | is_b)[stays][:, :, None], position[edge][:, None], p[face])
    after = np.cross(moved[:, 1] - moved[:, 0], moved[:, 2] - moved[:, 0])
    sides = sum(((moved[:, k] - moved[:, (k + 1) % 3]) ** 2).sum(1) for k in range(3))
    shape = np.clip(2 * 3**0.5 * np.linalg.norm(after, axis=1) / np.maximum(sides, 1e-12), 0, 1)
    count = np.bincount(edge, minlength=len(edges))
    skinny = np.bincount(edge, weights=1 - shape, minlength=len(edges)) / np.maximum(count, 1)
    flips = np.bincount(edge, weights=(after * normal[face]).sum(1) < 0, minlength=len(edges)) > 0
    cost = error + lambda_edge_length * length2 + lambda_skinny * length2 * skinny
    return CollapseCosts(edges, position, error, length2, skinny, np.where(flips, np.inf, cost))


def parallel_simplify(
    vertices: np.ndarray,
    faces: np.ndarray,
    target: int,
    *,
    thresh: float = 1e-8,
    lambda_edge_length: float = 1e-2,
    lambda_skinny: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Collapse in rounds all edges that are the cheapest in every face around: -> (vertices, faces, source vertex).

    A round that removes less than 1 % of the faces raises the threshold tenfold. The last round is not trimmed, so
    the result undershoots `target`; there is no link test. Ends early when no edge can be collapsed at any threshold.
    """
    v, source = vertices.astype(np.float64), np.arange(len(vertices))
    faces = faces[(faces != faces[:, [1, 2, 0]]).all(1)]
    for _ in range(MAX_ROUNDS):
        if len(faces) <= target:
            break
        costs = collapse_costs(v, faces, lambda_edge_length=lambda_edge_length, lambda_skinny=lambda_skinny)
        rank = np.empty(len(costs.edges), dtype=np.int64)
        rank[np.lexsort((np.arange(len(rank)), costs.cost))] = np.arange(len(rank))
        edge, face = _around(costs.edges, *_face_rows(faces, len(v)))
        cheapest = np.full(len(faces), len(rank))
        np.minimum.at(cheapest, face, rank[edge])
        beaten = np.bincount(edge, weights=cheapest[face] < rank[edge], minlength=len(rank)) > 0
        chosen = np.flatnonzero(~beaten & (costs.cost <= thresh) & np.isfinite(costs.cost))
        before = len(faces)
        a, b = costs.edges[chosen].T
        v[a] = costs.position[chosen]
        rename = np.arange(len(v))
        rename[b] = a
        faces = rename[faces]
        faces = faces[(faces != faces[:, [1, 2, 0]]).all(1)]
        v, faces, kept = compact(v, faces)
        source = source[kept]
        if before - len(faces) < 0.01 * before:
            if not (costs.cost[np.isfinite(costs.cost)] > thresh).any():
                break
            thresh *= 10
    return v, faces, source
