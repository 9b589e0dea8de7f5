"""Clean-up of triangle meshes: every function takes vertices [V, 3] and faces [F, 3] and returns new ones.

Tensors or NumPy arrays; the results have the caller's kind, dtype and device. Vertices that no face uses are dropped
and the order of what stays is kept, unless stated otherwise.
"""

from __future__ import annotations

import numpy as np

from ._arrays import ArrayLike, as_numpy, enter
from .connectivity import EdgeTable, build_edges, connected_components, face_components
from .normals import numpy_face_areas, numpy_normalize

__all__ = [
    "compact",
    "merge_close_vertices",
    "remove_degenerate_faces",
    "remove_duplicate_faces",
    "remove_faces",
    "remove_small_components",
    "remove_unreferenced_vertices",
    "repair_non_manifold",
]


def compact(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop unused vertices, order preserved: -> (vertices, faces, source index of each kept vertex)."""
    used = np.zeros(len(vertices), dtype=bool)
    used[faces.reshape(-1)] = True
    rename = np.cumsum(used) - 1
    return vertices[used], rename[faces], np.flatnonzero(used)


def remove_unreferenced_vertices(vertices: ArrayLike, faces: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Drop vertices that no face uses."""
    mesh = enter(vertices, faces)
    v, f, _ = compact(mesh.vertices, mesh.faces)
    return mesh.leave(v, f)


def remove_faces(vertices: ArrayLike, faces: ArrayLike, mask: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Drop the faces where `mask` [F] bool is true. Raises ValueError if the mask does not fit the faces."""
    mesh = enter(vertices, faces)
    drop = as_numpy(mask, "mask")
    if drop.dtype != np.bool_ or drop.shape != (len(mesh.faces),):
        raise ValueError(f"mask must be bool of shape [{len(mesh.faces)}], got {drop.dtype} {list(drop.shape)}")
    v, f, _ = compact(mesh.vertices, mesh.faces[~drop])
    return mesh.leave(v, f)


def merge_close_vertices(vertices: ArrayLike, faces: ArrayLike, tolerance: float = 0.0) -> tuple[ArrayLike, ArrayLike]:
    """Weld vertices at one position (`tolerance` 0), or in one cell of a grid of that size; the first one stays.

    Faces that lose a corner are dropped.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    mesh = enter(vertices, faces)
    key = mesh.vertices + 0.0 if tolerance == 0 else np.round(mesh.vertices / tolerance)  # + 0.0 turns -0.0 into 0.0
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    f = first[inverse.reshape(-1)][mesh.faces] if len(mesh.vertices) else mesh.faces
    f = f[_distinct_corners(f)]
    v, f, _ = compact(mesh.vertices, f)
    return mesh.leave(v, f)


def remove_duplicate_faces(vertices: ArrayLike, faces: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Of faces with the same three vertices (in any order or winding) keep the first, as it is."""
    mesh = enter(vertices, faces)
    _, first = np.unique(np.sort(mesh.faces, axis=1), axis=0, return_index=True)
    v, f, _ = compact(mesh.vertices, mesh.faces[np.sort(first)])
    return mesh.leave(v, f)


def _distinct_corners(faces: np.ndarray) -> np.ndarray:
    return (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])


def remove_degenerate_faces(
    vertices: ArrayLike, faces: ArrayLike, abs_thresh: float = 1e-24, rel_thresh: float = 1e-12
) -> tuple[ArrayLike, ArrayLike]:
    """Drop faces that repeat a corner or whose area is below min(rel_thresh * longest edge^2, abs_thresh)."""
    mesh = enter(vertices, faces)
    f = mesh.faces[_distinct_corners(mesh.faces)]
    p = mesh.vertices.astype(np.float64)[f]
    longest2 = np.max(((p - p[:, [1, 2, 0]]) ** 2).sum(-1), axis=1) if len(f) else np.zeros(0)
    keep = numpy_face_areas(mesh.vertices, f) >= np.minimum(rel_thresh * longest2, abs_thresh)
    v, f, _ = compact(mesh.vertices, f[keep])
    return mesh.leave(v, f)


def repair_non_manifold(
    vertices: ArrayLike, faces: ArrayLike, *, pair_sheets: bool = False
) -> tuple[ArrayLike, ArrayLike]:
    """Split vertices so that no edge has more than two faces and the faces around every vertex form one fan.

    All face corners start apart and are welded across edges with exactly two faces; each welded set becomes a vertex,
    numbered by its smallest corner 3 * face + k. No face is lost or moved. With `pair_sheets`, an edge with four faces
    becomes two edges, each joining faces that are neighbours around it (the pairing with the smaller angles), and one
    with three faces keeps its flattest pair joined; else such edges come apart into boundaries.
    """
    mesh = enter(vertices, faces)
    v, f, _ = split_non_manifold(mesh.vertices, mesh.faces, pair_sheets=pair_sheets)
    return mesh.leave(v, f)


def split_non_manifold(
    vertices: np.ndarray, faces: np.ndarray, weld_edge: np.ndarray | None = None, *, pair_sheets: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`repair_non_manifold` on arrays: -> (vertices, faces, source vertex of each).

    `weld_edge` [E] bool (edge order of `build_edges`) can forbid more edges: those are cut open.
    """
    table = build_edges(faces)
    ids, sides = table.manifold_pairs()
    if weld_edge is not None:
        sides = sides[weld_edge[ids]]
    if pair_sheets:
        sides = np.concatenate([sides, _sheet_pairs(vertices, faces, table)])
    corner = faces.reshape(-1)
    a0, b0 = sides[:, 0], sides[:, 1]
    a1, b1 = a0 // 3 * 3 + (a0 + 1) % 3, b0 // 3 * 3 + (b0 + 1) % 3
    # Side k of a face starts at corner k. Sides that run along the edge in one direction pair start with start.
    same = (corner[a0] == corner[b0])[:, None]
    pairs = np.concatenate([np.stack([a0, b0], 1), np.stack([a1, b1], 1)])
    crossed = np.concatenate([np.stack([a0, b1], 1), np.stack([a1, b0], 1)])
    pairs = np.where(np.concatenate([same, same]), pairs, crossed)
    labels = connected_components(len(corner), pairs)
    roots, inverse = np.unique(labels, return_inverse=True)
    source = corner[roots]
    return vertices[source], inverse.reshape(-1, 3), source


def _sheet_pairs(vertices: np.ndarray, faces: np.ndarray, table: EdgeTable) -> np.ndarray:
    """Face sides to keep joined at edges with three or four faces: [M, 2]."""
    corner = faces.reshape(-1)
    out = [np.zeros((0, 2), dtype=np.int64)]
    for count in (3, 4):
        ids = np.flatnonzero(table.counts == count)
        if len(ids) == 0:
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
        gap = np.concatenate([np.diff(angle, axis=1), angle[:, :1] + 2 * np.pi - angle[:, -1:]], axis=1)
        if count == 4:
            late = (gap[:, 0] + gap[:, 2] > gap[:, 1] + gap[:, 3])[:, None]
            sides = np.where(late, np.roll(sides, -1, axis=1), sides)
            out += [sides[:, :2], sides[:, 2:]]
        else:
            flat = np.argmin(np.abs(gap - np.pi), axis=1)
            rows = np.arange(len(ids))
            out.append(np.stack([sides[rows, flat], sides[rows, (flat + 1) % 3]], axis=1))
    return np.concatenate(out)


def remove_small_components(
    vertices: ArrayLike, faces: ArrayLike, min_area: float, *, relative: bool = False
) -> tuple[ArrayLike, ArrayLike]:
    """Drop face components (over manifold edges) whose area is below `min_area`.

    With `relative`, `min_area` is a fraction of the total area, and the largest component always stays.
    """
    mesh = enter(vertices, faces)
    if len(mesh.faces) == 0:
        return mesh.leave(mesh.vertices, mesh.faces)
    label = face_components(mesh.faces)
    area = np.bincount(label, weights=numpy_face_areas(mesh.vertices, mesh.faces))
    keep = area >= (min_area * area.sum() if relative else min_area)
    if relative:
        keep[np.argmax(area)] = True
    v, f, _ = compact(mesh.vertices, mesh.faces[keep[label]])
    return mesh.leave(v, f)
