"""Clean-up of triangle meshes: every function takes vertices [V, 3] and faces [F, 3] and returns new ones.

Tensors or NumPy arrays; the results have the caller's kind, dtype and device. Vertices that no face uses are dropped
and the order of what stays is kept, unless stated otherwise.
"""

from __future__ import annotations

import numpy as np

from o_voxel.mesh._arrays import ArrayLike, as_numpy, enter
from o_voxel.mesh.connectivity import build_edges, connected_components, face_components
from o_voxel.mesh.normals import numpy_face_areas
from o_voxel.mesh.sheets import sheet_pairs

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
    """Split vertices where sheets touch, so that the faces around every vertex form one fan.

    All face corners start apart and are welded across edges with exactly two faces; each welded set becomes a vertex,
    numbered by its smallest corner 3 * face + k. No face is lost or moved, and edges with more than two faces come
    apart into boundaries, unless the fans at both of their ends are joined elsewhere.

    With `pair_sheets` no boundary is made where it can be avoided, and no edge keeps more than two faces: an edge with
    four faces becomes two edges, one with three keeps two of them joined (`sheet_pairs` says which), and edges whose
    ends stay joined get a midpoint for each of their sheets (which adds faces at the end).
    """
    mesh = enter(vertices, faces)
    v, f, _ = split_non_manifold(mesh.vertices, mesh.faces, pair_sheets=pair_sheets)
    if pair_sheets:
        v, f = _separate_sheets(v, f)
    return mesh.leave(v, f)


def _separate_sheets(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subdivide edges with more than two faces, with one midpoint for each sheet that passes through."""
    while True:
        table = build_edges(faces)
        bad = np.flatnonzero(table.counts > 2)
        if len(bad) == 0:
            return vertices, faces
        partner = {int(a): int(b) for pair in sheet_pairs(vertices, faces, table) for a, b in (pair, pair[::-1])}
        faces = faces.copy()
        new_vertices: list[np.ndarray] = []
        new_faces: list[tuple[int, int, int]] = []
        touched: set[int] = set()
        for e in bad.tolist():
            sides = table.sides[table.offsets[e] : table.offsets[e + 1]].tolist()
            if touched & {s // 3 for s in sides}:  # another edge of these faces was split just now: next round
                continue
            touched |= {s // 3 for s in sides}
            midpoint: dict[int, int] = {}
            for s in sides:
                if s not in midpoint:
                    midpoint[s] = midpoint[partner.get(s, s)] = len(vertices) + len(new_vertices)
                    new_vertices.append(vertices[table.edges[e]].mean(axis=0))
                face, k = divmod(s, 3)
                a, b, c = (int(faces[face, (k + i) % 3]) for i in range(3))
                faces[face] = (a, midpoint[s], c)
                new_faces.append((midpoint[s], b, c))
        vertices = np.concatenate([vertices, np.array(new_vertices, dtype=vertices.dtype)])
        faces = np.concatenate([faces, np.array(new_faces, dtype=faces.dtype)])


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
        sides = np.concatenate([sides, sheet_pairs(vertices, faces, table)])
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
