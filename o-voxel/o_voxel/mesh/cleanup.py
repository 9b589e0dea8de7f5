"""Clean-up of triangle meshes: every function takes vertices [V, 3] and faces [F, 3] and returns new ones.

Tensors (of any device) or NumPy arrays; the results have the caller's kind, dtype and device, and the same indices on
every device. Vertices that no face uses are dropped and the order of what stays is kept, unless stated otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors, like
from o_voxel.mesh.connectivity import face_components
from o_voxel.mesh.grouping import exact_sums, first_equal, where
from o_voxel.mesh.normals import areas, by_chunks, dot
from o_voxel.mesh.split import repair_non_manifold, split_non_manifold

__all__ = [
    "compact",
    "merge_close_vertices",
    "remove_degenerate_faces",
    "remove_duplicate_faces",
    "remove_faces",
    "remove_small_components",
    "remove_unreferenced_vertices",
    "repair_non_manifold",
    "split_non_manifold",
]


def compact(vertices: ArrayLike, faces: ArrayLike) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Drop unused vertices, order preserved: -> (vertices, faces, source index of each kept vertex)."""
    v, f = as_tensor(vertices, "vertices"), as_tensor(faces, "faces").long()
    used = torch.zeros(len(v), dtype=torch.bool, device=v.device)
    used[f.reshape(-1)] = True
    source = used.nonzero()[:, 0]
    if len(source) < len(v):
        v, f = v.index_select(0, source), (used.cumsum(0) - 1).take(f)
    return like(v, vertices), like(f, faces), like(source, faces)


def remove_unreferenced_vertices(vertices: ArrayLike, faces: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Drop vertices that no face uses."""
    mesh = enter_tensors(vertices, faces)
    return mesh.leave(*compact(mesh.vertices, mesh.faces)[:2])


def remove_faces(vertices: ArrayLike, faces: ArrayLike, mask: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Drop the faces where `mask` [F] bool is true. Raises ValueError if the mask does not fit the faces."""
    mesh = enter_tensors(vertices, faces)
    drop = as_tensor(mask, "mask")
    if drop.dtype != torch.bool or drop.shape != (len(mesh.faces),):
        raise ValueError(f"mask must be bool of shape [{len(mesh.faces)}], got {drop.dtype} {list(drop.shape)}")
    return mesh.leave(*compact(mesh.vertices, where(mesh.faces, ~drop.to(mesh.faces.device)))[:2])


def merge_close_vertices(vertices: ArrayLike, faces: ArrayLike, tolerance: float = 0.0) -> tuple[ArrayLike, ArrayLike]:
    """Weld vertices at one position (`tolerance` 0), or in one cell of a grid of that size; the first one stays.

    Faces that lose a corner are dropped.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be >= 0, got {tolerance}")
    mesh = enter_tensors(vertices, faces)
    # + 0.0 turns -0.0 into 0.0. By a tensor: a GPU would multiply by the reciprocal of a number, which rounds apart.
    key = mesh.vertices
    if tolerance > 0:
        key = (key / torch.full((1,), tolerance, dtype=key.dtype, device=key.device)).round()
    key = key + 0.0
    f = first_equal(key).take(mesh.faces) if len(key) else mesh.faces
    return mesh.leave(*compact(mesh.vertices, where(f, _distinct_corners(f)))[:2])


def remove_duplicate_faces(vertices: ArrayLike, faces: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    """Of faces with the same three vertices (in any order or winding) keep the first, as it is."""
    mesh = enter_tensors(vertices, faces)
    f = mesh.faces
    corners = _sorted_corners(f)
    first = first_equal(corners.int() if len(mesh.vertices) < 1 << 31 else corners)
    return mesh.leave(*compact(mesh.vertices, where(f, first == torch.arange(len(f), device=f.device)))[:2])


def _sorted_corners(faces: Tensor) -> Tensor:
    a, b, c = faces.unbind(1)
    low, high = torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)
    return torch.stack([low, a + b + c - low - high, high], dim=1)


def _distinct_corners(faces: Tensor) -> Tensor:
    a, b, c = faces.unbind(1)
    return (a != b) & (b != c) & (c != a)


def remove_degenerate_faces(
    vertices: ArrayLike, faces: ArrayLike, abs_thresh: float = 1e-24, rel_thresh: float = 1e-12
) -> tuple[ArrayLike, ArrayLike]:
    """Drop faces that repeat a corner or whose area is below min(rel_thresh * longest edge^2, abs_thresh)."""
    mesh = enter_tensors(vertices, faces)

    def is_proper(part: Tensor) -> Tensor:
        a, b, c = (mesh.vertices.index_select(0, part[:, k]).double() for k in range(3))
        ab2, bc2, ca2 = (dot(d, d) for d in (b - a, c - b, a - c))
        longest2 = torch.maximum(torch.maximum(ab2, bc2), ca2)
        enough = areas(mesh.vertices, part) >= (rel_thresh * longest2).clamp_max(abs_thresh)
        return enough & _distinct_corners(part)

    return mesh.leave(*compact(mesh.vertices, where(mesh.faces, by_chunks(is_proper, mesh.faces)))[:2])


def remove_small_components(
    vertices: ArrayLike, faces: ArrayLike, min_area: float, *, relative: bool = False
) -> tuple[ArrayLike, ArrayLike]:
    """Drop face components (over manifold edges) whose area is below `min_area`.

    With `relative`, `min_area` is a fraction of the total area, and the largest component always stays.
    """
    mesh = enter_tensors(vertices, faces)
    if len(mesh.faces) == 0:
        return mesh.leave(mesh.vertices, mesh.faces)
    label = face_components(mesh.faces)
    area = exact_sums(areas(mesh.vertices, mesh.faces), label, int(label.amax()) + 1)
    if relative:
        min_area *= float(exact_sums(area, torch.zeros_like(area, dtype=torch.int64), 1))
    keep = area >= min_area
    if relative:
        keep[area.argmax()] = True
    return mesh.leave(*compact(mesh.vertices, where(mesh.faces, keep[label]))[:2])
