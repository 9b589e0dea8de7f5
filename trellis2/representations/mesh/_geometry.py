"""Calls into `o_voxel.mesh` that keep vertex attributes in step with the geometry."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["fill_holes", "simplify"]

logger = logging.getLogger(__name__)

_SIMPLIFY_OPTIONS = ("boundary_weight", "max_normal_angle", "regularization")
#: Knobs of the published scheme, which this one (an ordered heap of edges) has no use for.
_PUBLISHED_OPTIONS = ("lambda_edge_length", "lambda_skinny", "thresh")


def fill_holes(
    vertices: Tensor,  # [V, 3] float32
    faces: Tensor,  # [F, 3] int32
    vertex_attrs: Tensor | None,  # [V, C]
    max_hole_perimeter: float,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Close small holes; appended vertices take the mean attributes of the old vertices they connect to."""
    import o_voxel.mesh as ops

    old = vertices.shape[0]
    new_vertices, new_faces = ops.fill_holes(vertices, faces, max_hole_perimeter)
    if vertex_attrs is not None and new_vertices.shape[0] > old:
        vertex_attrs = _extend_attrs(vertex_attrs, new_faces.long(), old, new_vertices.shape[0])
    return new_vertices, new_faces, vertex_attrs


def simplify(
    vertices: Tensor,  # [V, 3] float32
    faces: Tensor,  # [F, 3] int32
    vertex_attrs: Tensor | None,  # [V, C]
    target: int,
    verbose: bool,
    options: Mapping[str, float],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Collapse edges down to `target` faces; a vertex keeps the attributes of the one it grew from."""
    import o_voxel.mesh as ops

    unknown = sorted(set(options) - set(_SIMPLIFY_OPTIONS) - set(_PUBLISHED_OPTIONS))
    if unknown:
        raise ValueError(f"unknown simplify options {unknown}, choose from: {', '.join(_SIMPLIFY_OPTIONS)}")
    known: dict[str, Any] = {name: value for name, value in options.items() if name in _SIMPLIFY_OPTIONS}
    result = ops.simplify(vertices, faces, target, **known)
    if verbose:
        logger.info("simplified %d faces to %d", faces.shape[0], result.faces.shape[0])
    if vertex_attrs is not None:
        vertex_attrs = vertex_attrs[torch.as_tensor(result.vertex_source, device=vertex_attrs.device)]
    return result.vertices, result.faces, vertex_attrs


def _extend_attrs(attrs: Tensor, faces: Tensor, old: int, new: int) -> Tensor:
    """Append a row for each vertex `old…new-1`: the mean over the old vertices that share a face with it."""
    flat = attrs.reshape(old, -1).float()
    total = flat.new_zeros(new, flat.shape[1])
    count = flat.new_zeros(new, 1)
    for i in range(3):
        for j in range(3):
            take = (faces[:, i] >= old) & (faces[:, j] < old)
            total.index_add_(0, faces[take, i], flat[faces[take, j]])
            count.index_add_(0, faces[take, i], flat.new_ones(int(take.sum()), 1))
    mean = (total / count.clamp(min=1))[old:].to(attrs.dtype)
    return torch.cat([attrs, mean.reshape(new - old, *attrs.shape[1:])])
