"""Simplification to a face budget by quadric edge collapse, on the device of the mesh."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch

from o_voxel._native import Backend, resolve_backend
from o_voxel.mesh._arrays import ArrayLike, enter, enter_tensors
from o_voxel.mesh.parallel_collapse import parallel_simplify
from o_voxel.mesh.quadric_surface import Limits, Method, QuadricSurface, UnitBox, reduce_to

__all__ = ["SimplifyResult", "check_target", "shortfall", "simplify"]

logger = logging.getLogger(__name__)


class SimplifyResult(NamedTuple):
    vertices: ArrayLike  # [V', 3]
    faces: ArrayLike  # [F', 3]
    vertex_source: ArrayLike  # [V'] int64, the input vertex that each one grew from
    phase: int  # 0: every collapse passed the strict tests; 1: flips up to 90 degrees; 2: topology was changed
    shortfall: str | None = None  # why there are not `target_faces` faces; None if there are, or fewer came in


def check_target(target_faces: object) -> int:
    if isinstance(target_faces, bool) or not isinstance(target_faces, (int, np.integer)) or target_faces < 1:
        raise ValueError(f"target_faces must be a positive int, got {target_faces!r}")
    return int(target_faces)


def simplify(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    target_faces: int,
    *,
    boundary_weight: float = 100.0,
    regularization: float = 1e-4,
    max_normal_angle: float = 78.0,
    must_reach_target: bool = True,
    method: Method = "auto",
    backend: Backend = "auto",
    quirks: Literal["published"] | None = None,
    options: Mapping[str, float] | None = None,
) -> SimplifyResult:
    """Collapse edges, cheapest quadric error first, until `target_faces` faces are left.

    Exactly so many; one less if the surface is closed and the number odd, because a collapse then takes two faces away
    (on an open one, an open edge gets a vertex in its middle to make up for it); never more with `must_reach_target`
    (the tests are then relaxed in two further phases, see `SimplifyResult.phase`). Boundaries are held by planes of
    weight `boundary_weight`; no collapse of the strict phase changes the topology (link condition), turns a face by
    more than `max_normal_angle` degrees or makes a sliver. Scale-free, deterministic, and indifferent to winding.
    Degenerate faces are dropped. Vertices that did not move keep their bits; faces come in another order.

    `method` "rounds" collapses many edges at once that do not touch (CPU threads or CUDA, the same bits), and takes the
    heap only where no such edge passes the tests; "one_by_one" is the heap, which is serial and on the CPU whatever the
    device; "auto" goes in rounds down to `FEW_FACES` faces or the target, and on with the heap. `quirks="published"`
    runs the published procedure instead (`parallel_simplify`), which undershoots and has no topology tests; only then
    `options` (`thresh`, `lambda_edge_length`, `lambda_skinny`) apply.

    Raises ValueError if `target_faces` is not a positive int or another argument is out of range.
    Based on: M. Garland and P. S. Heckbert, Surface Simplification Using Quadric Error Metrics, 1997.
    """
    target = check_target(target_faces)
    limits = Limits.checked(boundary_weight, regularization, max_normal_angle)
    if method not in ("auto", "rounds", "one_by_one"):
        raise ValueError(f"method must be 'auto', 'rounds' or 'one_by_one', got {method!r}")
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    unknown = set(options or {}) - {"thresh", "lambda_edge_length", "lambda_skinny"}
    if unknown:
        raise ValueError(f"options must be thresh, lambda_edge_length and lambda_skinny, got {sorted(unknown)}")
    if quirks == "published":
        border = enter(vertices, faces)
        v, f, kept = parallel_simplify(border.vertices, border.faces, target, **(options or {}))
        return SimplifyResult(
            *border.leave(v, f), border.leave_index(kept), 2, shortfall(len(f), target, len(border.faces))
        )
    native = resolve_backend(backend) == "native"
    if method == "rounds" and not native:
        raise ValueError("method='rounds' needs the compiled core, but backend='reference' or it was not built")
    mesh = enter_tensors(vertices, faces)
    had, box = len(mesh.faces), UnitBox.around(mesh.vertices, mesh.faces)
    corners = faces if isinstance(faces, torch.Tensor) and faces.dtype == torch.int32 else mesh.faces.int()
    mesh = dataclasses.replace(mesh, faces=mesh.faces[:0].clone())  # a tenth of the peak
    before = QuadricSurface.start(box.enter(mesh.vertices), corners)
    after, phase = reduce_to(before, target, limits, method, must_reach_target, native)
    old = before.positions[after.source]
    stays = ((after.positions == old) | (after.positions == old.float().double())).all(1, keepdim=True)
    new_vertices = torch.where(stays, mesh.vertices[after.source].double(), box.leave(after.positions))
    why = shortfall(len(after.faces), target, had)
    if why:
        logger.info("simplify: %s", why)
    return SimplifyResult(*mesh.leave(new_vertices, after.faces), mesh.leave_index(after.source), phase, why)


def shortfall(got: int, target: int, had: int) -> str | None:
    """Why `had` faces became `got` and not `target`, in words; None if they did, or were fewer to begin with."""
    if got == target or had < target:
        return None
    if got == target - 1:
        return f"{got} faces instead of {target}: a collapse takes two faces away, and no edge is open"
    if got < target:
        return f"{got} faces instead of {target}: the topology had to change, which takes several faces at once"
    return f"{got} faces instead of {target}: nothing more can go without a change of the topology, folds or slivers"
