"""Winding: consistent inside a component, and outward as seen from outside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from o_voxel.mesh._arrays import ArrayLike, enter
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.cleanup import split_non_manifold
from o_voxel.mesh.connectivity import build_edges, face_components, parity_components
from o_voxel.mesh.normals import numpy_face_areas, numpy_face_crosses, numpy_normalize

__all__ = ["ComponentView", "component_views", "orient_outward", "unify_face_orientations"]


def unify_face_orientations(
    vertices: ArrayLike, faces: ArrayLike, *, cut_conflicts: bool = False
) -> tuple[ArrayLike, ArrayLike]:
    """Give all faces of a component (over manifold edges) one winding: that of its first face.

    Exchanging the 2nd and 3rd corner flips a face. Relations are honoured from the flattest edge to the sharpest, so
    on non-orientable pieces the contradictions end up on few sharp edges; `cut_conflicts` opens those edges by
    splitting their vertices. Vertex order is kept without cuts.
    """
    mesh = enter(vertices, faces)
    v, f = mesh.vertices, mesh.faces.copy()
    table = build_edges(f)
    ids, sides = table.manifold_pairs()
    if len(ids) == 0:
        return mesh.leave(v, f)
    start = f.reshape(-1)[sides]
    differ = start[:, 0] == start[:, 1]  # both faces run along the edge in one direction
    normal = numpy_normalize(numpy_face_crosses(v, f))
    pair = sides // 3
    cosine = (normal[pair[:, 0]] * normal[pair[:, 1]]).sum(-1) * np.where(differ, -1.0, 1.0)
    order = np.argsort(-cosine, kind="stable")
    _, parity, conflict = parity_components(len(f), pair[order], differ[order])
    f[parity] = f[parity][:, [0, 2, 1]]
    if cut_conflicts and conflict.any():
        weld = np.ones(len(table.edges), dtype=bool)
        weld[ids[order[conflict]]] = False
        cut_v, cut_f, source = split_non_manifold(v, f, weld)
        v, f = cut_v, cut_f
    return mesh.leave(v, f)


class ComponentView(NamedTuple):
    """What rays from both sides of each face component see."""

    label: np.ndarray  # [F] component of each face
    score: np.ndarray  # [K] > 0: the side that normals point to is the outer one
    escape: np.ndarray  # [K] share of rays, from either side, that leave without hitting anything


def component_views(
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    bvh: BVH | None = None,
    samples: int = 24,
    directions: int = 12,
    seed: int = 0,
) -> ComponentView:
    """Shoot rays from area-weighted sample points of every component, from both sides.

    A ray that hits nothing is strong evidence that its side is outside; else an even number of hits is weak evidence.
    After K. Takayama et al., A Simple Method for Correcting Facet Orientations in Polygon Meshes Based on Ray Casting,
    2014.
    """
    label = face_components(faces)
    num = int(label.max()) + 1 if len(label) else 0
    if num == 0:
        return ComponentView(label, np.zeros(0), np.zeros(0))
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
        hits = bvh.count_hits(origin, sign * ray.reshape(-1, 3))
        free = (hits == 0) & valid
        vote = np.where(free, 8.0, np.where(hits % 2 == 0, 1.0, 0.0)) * valid
        score += sign * np.bincount(component, weights=vote, minlength=num)
        escape += np.bincount(component, weights=free.astype(np.float64), minlength=num)
    return ComponentView(label, score, escape / (2.0 * samples * directions))


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
