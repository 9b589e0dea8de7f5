"""Winding: consistent inside a component, and outward as seen from outside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from o_voxel.mesh._arrays import ArrayLike, enter
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.connectivity import build_edges, face_components, parity_components
from o_voxel.mesh.normals import numpy_face_areas, numpy_face_crosses, numpy_normalize
from o_voxel.mesh.split import split_non_manifold

__all__ = ["ComponentView", "component_views", "orient_outward", "unify_face_orientations"]


RAY_BUDGET = 400_000  # rays per call, about
MANY_COMPONENTS = 100  # from here on only rays that hit nothing are asked for: the search ends at the first hit
FREE_VOTE = 8.0  # weight of a ray that hits nothing, against one that hits an even number of faces
FLAT_PATCH_COS = 0.97  # edges within about 14 degrees keep their faces in one patch
CLEAR_SCORE = 0.05  # share of the possible votes from which on a patch has a preferred side


def unify_face_orientations(
    vertices: ArrayLike, faces: ArrayLike, *, cut_conflicts: bool = False
) -> tuple[ArrayLike, ArrayLike]:
    """Give all faces of a component (over manifold edges) one winding: that of its first face.

    Exchanging the 2nd and 3rd corner flips a face. Relations are honoured from the flattest edge to the sharpest, so
    on non-orientable pieces the contradictions end up on few sharp edges.

    With `cut_conflicts`, contradictions are opened by splitting vertices, and where there are any, relations between
    flat patches that agree with what their sides see come first: the cuts go where a seen surface meets one that is
    wound the other way. Vertex order is kept without cuts.
    """
    mesh = enter(vertices, faces)
    v, f = mesh.vertices, mesh.faces.copy()
    relations = _relations(v, f)
    order = np.argsort(-relations.cosine, kind="stable")
    _, parity, conflict = parity_components(len(f), relations.pair[order], relations.differ[order])
    if cut_conflicts and conflict.any():
        order = _order_by_view(v, f, relations)
        _, parity, conflict = parity_components(len(f), relations.pair[order], relations.differ[order])
    f[parity] = f[parity][:, [0, 2, 1]]
    if cut_conflicts and conflict.any():
        weld = np.ones(relations.num_edges, dtype=bool)
        weld[relations.edge[order[conflict]]] = False
        v, f, _ = split_non_manifold(v, f, weld)
    return mesh.leave(v, f)


class _Relations(NamedTuple):
    pair: np.ndarray  # [M, 2] faces on both sides of each manifold edge
    differ: np.ndarray  # [M] bool, both run along the edge in one direction: one of them has to flip
    cosine: np.ndarray  # [M] of the angle between their normals, once one winding is shared
    edge: np.ndarray  # [M] edge id
    num_edges: int


def _relations(v: np.ndarray, f: np.ndarray) -> _Relations:
    table = build_edges(f)
    ids, sides = table.manifold_pairs()
    start = f.reshape(-1)[sides]
    differ = start[:, 0] == start[:, 1]
    normal = numpy_normalize(numpy_face_crosses(v, f))
    pair = sides // 3
    cosine = (normal[pair[:, 0]] * normal[pair[:, 1]]).sum(-1) * np.where(differ, -1.0, 1.0)
    return _Relations(pair, differ, cosine, ids, len(table.edges))


def _order_by_view(v: np.ndarray, f: np.ndarray, relations: _Relations) -> np.ndarray:
    """Relations that agree with the outer side of the patches they join, then undecided ones, then the others."""
    flat = np.flatnonzero(relations.cosine >= FLAT_PATCH_COS)
    flat = flat[np.argsort(-relations.cosine[flat], kind="stable")]
    label, parity, _ = parity_components(len(f), relations.pair[flat], relations.differ[flat])
    patch = np.unique(label, return_inverse=True)[1].reshape(-1)
    wound = f.copy()
    wound[parity] = wound[parity][:, [0, 2, 1]]
    view = component_views(v, wound, label=patch, samples=4, directions=8, free_only=True)
    side = np.where(np.abs(view.score) >= CLEAR_SCORE, np.sign(view.score), 0.0)[
        patch
    ]  # +1: keep, -1: flip, 0: undecided
    side = np.where(parity, -side, side)  # against the given winding
    a, b = side[relations.pair[:, 0]], side[relations.pair[:, 1]]
    agrees = (a * b) * np.where(relations.differ, -1.0, 1.0)
    return np.lexsort((-relations.cosine, -agrees))


class ComponentView(NamedTuple):
    """What rays from both sides of each face component see."""

    label: np.ndarray  # [F] component of each face
    score: np.ndarray  # [K] in -1..1; > 0: the side that normals point to is the outer one
    escape: np.ndarray  # [K] share of rays, from either side, that leave without hitting anything
    num_rays: int  # per component


def component_views(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    bvh: BVH | None = None,
    label: np.ndarray | None = None,
    samples: int = 24,
    directions: int = 12,
    free_only: bool = False,
    seed: int = 0,
) -> ComponentView:
    """Shoot rays from area-weighted sample points of every component (or group `label` [F]), from both sides.

    A ray that hits nothing is strong evidence that its side is outside; else an even number of hits is weak evidence
    (not asked for with `free_only`, which is quicker).
    After K. Takayama et al., A Simple Method for Correcting Facet Orientations in Polygon Meshes Based on Ray Casting,
    2014.
    """
    label = face_components(faces) if label is None else label
    num = int(label.max()) + 1 if len(label) else 0
    if num == 0:
        return ComponentView(label, np.zeros(0), np.zeros(0), 0)
    # Many components share a fixed number of rays, so that any input ends in bounded time.
    samples = int(np.clip(RAY_BUDGET // (2 * directions * num), 2, samples))
    directions = int(np.clip(RAY_BUDGET // (2 * samples * num), 4, directions))
    free_only = free_only or num > MANY_COMPONENTS
    rng = np.random.default_rng(seed)
    area = numpy_face_areas(vertices, faces)
    # Sample faces of each component proportionally to area: invert the running sum inside each component.
    order = np.argsort(label, kind="stable")
    running = np.cumsum(area[order])
    last = np.cumsum(np.bincount(label, minlength=num)) - 1
    upper = running[last]
    lower = np.concatenate([[0.0], upper[:-1]])
    u = lower[:, None] + rng.random((num, samples)) * (upper - lower)[:, None]
    at = np.minimum(np.searchsorted(running, u, side="right"), last[:, None])
    picked = order[at].reshape(-1)  # [K * samples]
    weight = rng.dirichlet(np.ones(3), len(picked))
    p = vertices.astype(np.float64)[faces[picked]]
    normal = numpy_normalize(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]))
    point = (p * weight[:, :, None]).sum(1)
    used = vertices[faces.reshape(-1)].astype(np.float64)
    offset = 1e-5 * float(np.linalg.norm(used.max(0) - used.min(0)))
    bvh = BVH(vertices, faces) if bvh is None else bvh
    ray = numpy_normalize(rng.normal(size=(len(picked), directions, 3)))
    ray *= np.where((ray * normal[:, None]).sum(-1, keepdims=True) < 0, -1.0, 1.0)  # into the front half space
    ray = numpy_normalize(ray + 0.2 * normal[:, None])
    score, escape = np.zeros(num), np.zeros(num)
    component = np.repeat(label[picked], directions)
    valid = np.repeat(normal.any(axis=1), directions)
    for sign in (1.0, -1.0):
        origin = np.repeat(point + sign * offset * normal, directions, axis=0)
        hits = bvh.count_hits(origin, sign * ray.reshape(-1, 3), max_hits=1 if free_only else 1 << 62)
        free = (hits == 0) & valid
        vote = np.where(free, FREE_VOTE, np.where((hits % 2 == 0) & (not free_only), 1.0, 0.0)) * valid
        score += sign * np.bincount(component, weights=vote, minlength=num)
        escape += np.bincount(component, weights=free.astype(np.float64), minlength=num)
    rays = samples * directions
    return ComponentView(label, score / (FREE_VOTE * rays), escape / (2.0 * rays), 2 * rays)


def orient_outward(vertices: ArrayLike, faces: ArrayLike, *, bvh: BVH | None = None, seed: int = 0) -> ArrayLike:
    """Flip whole components so that the side seen from outside is the front: -> faces.

    Expects one winding per component (`unify_face_orientations`). Walls of enclosed voids face into the void.
    """
    mesh = enter(vertices, faces)
    f = mesh.faces.copy()
    if len(f) == 0:
        return mesh.leave_faces(f)
    view = component_views(mesh.vertices, f, bvh=bvh, seed=seed)
    flip = (view.score < 0)[view.label]
    f[flip] = f[flip][:, [0, 2, 1]]
    return mesh.leave_faces(f)
