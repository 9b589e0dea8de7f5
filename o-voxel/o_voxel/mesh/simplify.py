"""Simplification to a face budget by quadric edge collapse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh._arrays import ArrayLike, enter, to_float64, to_int32
from o_voxel.mesh.parallel_collapse import parallel_simplify
from o_voxel.mesh.simplify_reference import simplify_reference

__all__ = ["SimplifyResult", "simplify"]


class SimplifyResult(NamedTuple):
    vertices: ArrayLike  # [V', 3]
    faces: ArrayLike  # [F', 3]
    vertex_source: ArrayLike  # [V'] int64, the input vertex that each one grew from
    phase: int  # 0: every collapse passed the strict tests; 1: flips up to 90 degrees; 2: topology was changed


def simplify(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    target_faces: int,
    *,
    boundary_weight: float = 100.0,
    regularization: float = 1e-4,
    max_normal_angle: float = 78.0,
    must_reach_target: bool = True,
    backend: Backend = "auto",
    quirks: Literal["published"] | None = None,
    options: Mapping[str, float] | None = None,
) -> SimplifyResult:
    """Collapse edges, cheapest quadric error first, until at most `target_faces` faces are left.

    The result has `target_faces` or one face less wherever the topology allows it, and never more with
    `must_reach_target` (the tests are then relaxed in two further phases, see `SimplifyResult.phase`). Boundaries are
    held by planes of weight `boundary_weight`; no collapse of the strict phase changes the topology (link condition),
    turns a face by more than `max_normal_angle` degrees or makes a sliver. Scale-free, deterministic, and indifferent
    to winding. Degenerate faces are dropped.

    `quirks="published"` runs the published procedure instead (`parallel_simplify`), which undershoots and has no
    topology tests; only then `options` (`thresh`, `lambda_edge_length`, `lambda_skinny`) apply.

    Raises ValueError if `target_faces` is not a positive int.
    Based on: M. Garland and P. S. Heckbert, Surface Simplification Using Quadric Error Metrics, 1997.
    """
    if isinstance(target_faces, bool) or not isinstance(target_faces, (int, np.integer)) or target_faces < 1:
        raise ValueError(f"target_faces must be a positive int, got {target_faces!r}")
    if not 0 < max_normal_angle <= 90:
        raise ValueError(f"max_normal_angle must lie in (0, 90] degrees, got {max_normal_angle}")
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    unknown = set(options or {}) - {"thresh", "lambda_edge_length", "lambda_skinny"}
    if unknown:
        raise ValueError(f"options must be thresh, lambda_edge_length and lambda_skinny, got {sorted(unknown)}")
    mesh = enter(vertices, faces)
    if quirks == "published":
        v, f, source = parallel_simplify(mesh.vertices, mesh.faces, int(target_faces), **(options or {}))
        return SimplifyResult(*mesh.leave(v, f), mesh.leave_index(source), 2)
    arguments = (
        to_float64(mesh.vertices),
        to_int32(mesh.faces),
        int(target_faces),
        float(boundary_weight),
        float(regularization),
        float(np.cos(np.deg2rad(max_normal_angle))),
        bool(must_reach_target),
    )
    if resolve_backend(backend) == "native":
        native = native_module()
        assert native is not None
        v, f, source, phase = native.mesh_simplify(*arguments)
    else:
        v, f, source, phase = simplify_reference(*arguments)
    new_v, new_f = mesh.leave(v, f)
    return SimplifyResult(new_v, new_f, mesh.leave_index(source.astype(np.int64)), int(phase))
