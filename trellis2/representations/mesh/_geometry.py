"""Calls into `o_voxel.mesh` that keep vertex attributes in step with the geometry."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fill_holes", "simplify"]

_SIMPLIFY_OPTIONS = ("lambda_edge_length", "lambda_skinny", "thresh")


def fill_holes(
    vertices: Tensor,  # [V, 3] float32
    faces: Tensor,  # [F, 3] int32
    vertex_attrs: Tensor | None,  # [V, C]
    max_hole_perimeter: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Close small holes; appended vertices take the mean attributes of the old vertices they connect to."""
    import o_voxel.mesh as ops

    old = vertices.shape[0]
    new_vertices, new_faces = ops.fill_holes(vertices, faces, max_hole_perimeter)[:2]
    if vertex_attrs is not None and new_vertices.shape[0] > old:
        vertex_attrs = _extend_attrs(vertex_attrs, new_faces.long(), old, new_vertices.shape[0])
    return new_vertices, new_faces, vertex_attrs


def simplify(
    vertices: Tensor,  # [V, 3] float32
    faces: Tensor,  # [F, 3] int32
    vertex_attrs: Tensor | None,  # [V, C]
    target: int,
    verbose: bool,
    options: dict[str, float],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Collapse edges down to `target` faces; attributes are read off the old surface at the nearest point."""
    import o_voxel.mesh as ops

    unknown = sorted(set(options) - set(_SIMPLIFY_OPTIONS))
    if unknown:
        raise ValueError(f"unknown simplify options {unknown}, choose from: {', '.join(_SIMPLIFY_OPTIONS)}")
    new_vertices, new_faces = ops.simplify(vertices, faces, target, **options)[:2]
    if vertex_attrs is not None:
        vertex_attrs = _nearest_attrs(vertices, vertex_attrs, new_vertices)
    return new_vertices, new_faces, vertex_attrs


def _extend_attrs(attrs: Tensor, faces: Tensor, old: int, new: int) -> Tensor:
    """Append a row for each vertex `old…new-1`: the mean over the old vertices that share a face with it."""
    flat = attrs.reshape(old, -1).float()
    total = flat.new_zeros(new, flat.shape[1])
    count = flat.new_zeros(new, 1)
    for i in range(3):
        for j in range(3):
            take = (faces[:, i] >= old) & (faces[:, j] < old)
            total.index_add_(0, faces[take, i], flat[faces[take, j]])
            count.index_add_(0, faces[take, i], torch.ones_like(flat[: int(take.sum()), :1]))
    mean = (total / count.clamp(min=1))[old:].to(attrs.dtype)
    return torch.cat([attrs, mean.reshape(new - old, *attrs.shape[1:])])


def _nearest_attrs(vertices: Tensor, attrs: Tensor, queries: Tensor, chunk: int = 4096) -> Tensor:
    """Attributes of the nearest old vertex of each query, [Q, C]."""
    rows = [torch.cdist(part, vertices).argmin(dim=1) for part in queries.split(chunk)]
    return attrs[torch.cat(rows)] if rows else attrs[:0]
