"""Which faces to keep joined where more than two meet in one edge."""

from __future__ import annotations

import numpy as np

from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.connectivity import EdgeTable
from o_voxel.mesh.normals import numpy_normalize

__all__ = ["sheet_pairs"]

NUM_RAYS = 12  # per wedge


def sheet_pairs(vertices: np.ndarray, faces: np.ndarray, table: EdgeTable) -> np.ndarray:
    """Face sides to keep joined at edges with three or four faces: [M, 2].

    The faces around an edge bound three or four wedges of space. Joined are the two faces that bound the wedge that
    sees most of the outside, and with four faces also the other two: where closed surfaces pass through each other,
    their outer parts become one sheet all along the crossing, and their inner parts another. Unseen four-face edges
    join across their narrower wedges, three-face edges along the flattest pair.
    """
    corner = faces.reshape(-1)
    out = [np.zeros((0, 2), dtype=np.int64)]
    bvh = BVH(vertices, faces) if (table.counts > 2).any() else None
    for count in (3, 4):
        ids = np.flatnonzero(table.counts == count)
        if len(ids) == 0 or bvh is None:
            continue
        sides = table.sides[table.offsets[ids][:, None] + np.arange(count)]  # [M, count]
        p = vertices.astype(np.float64)[table.edges[ids]]  # [M, 2, 3]
        axis = numpy_normalize(p[:, 1] - p[:, 0])
        tip = vertices.astype(np.float64)[corner[sides // 3 * 3 + (sides + 2) % 3]] - p[:, :1]  # [M, count, 3]
        tip = numpy_normalize(tip - (tip * axis[:, None]).sum(-1, keepdims=True) * axis[:, None])
        u = tip[:, 0]
        w = np.cross(axis, u)
        angle = np.arctan2((tip * w[:, None]).sum(-1), (tip * u[:, None]).sum(-1)) % (2 * np.pi)
        order = np.argsort(angle, axis=1, kind="stable")
        sides, angle = np.take_along_axis(sides, order, 1), np.take_along_axis(angle, order, 1)
        # Wedge k lies between faces k and k + 1.
        gap = np.concatenate([np.diff(angle, axis=1), angle[:, :1] + 2 * np.pi - angle[:, -1:]], axis=1)
        middle = angle + gap / 2
        bisector = np.cos(middle)[..., None] * u[:, None] + np.sin(middle)[..., None] * w[:, None]
        seen = _openness(bvh, p, bisector)
        rows = np.arange(len(ids))
        if count == 4:
            score = np.stack([seen[:, 0] + seen[:, 2], seen[:, 1] + seen[:, 3]], axis=1)
            score += 1e-3 * np.stack([gap[:, 1] + gap[:, 3], gap[:, 0] + gap[:, 2]], axis=1)
            late = (score[:, 1] > score[:, 0])[:, None]
            sides = np.where(late, np.roll(sides, -1, axis=1), sides)
            out += [sides[:, :2], sides[:, 2:]]
        else:
            best = np.argmax(seen - 1e-3 * np.abs(gap - np.pi), axis=1)
            out.append(np.stack([sides[rows, best], sides[rows, (best + 1) % 3]], axis=1))
    return np.concatenate(out)


def _openness(bvh: BVH, edge: np.ndarray, bisector: np.ndarray) -> np.ndarray:
    """Share of rays that leave the mesh from a point just inside each wedge: edge [M, 2, 3] -> [M, W]."""
    length = np.linalg.norm(edge[:, 1] - edge[:, 0], axis=1)[:, None, None]
    origin = edge.mean(axis=1)[:, None] + 0.05 * length * bisector  # [M, W, 3]
    spread = numpy_normalize(np.random.default_rng(0).normal(size=(NUM_RAYS, 3)))
    rays = numpy_normalize(spread + 0.8 * bisector[..., None, :])  # [M, W, NUM_RAYS, 3]
    origins = np.broadcast_to(origin[..., None, :], rays.shape)
    free = bvh.count_hits(origins.reshape(-1, 3), rays.reshape(-1, 3), max_hits=1) == 0
    return free.reshape(rays.shape[:-1]).mean(axis=-1)
