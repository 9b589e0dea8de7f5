"""Simplification to a face budget by quadric edge collapse, on the device of the mesh."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from o_voxel._device import cuda_core
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh._arrays import ArrayLike, enter, enter_tensors
from o_voxel.mesh.collapse_rounds import Collapsed, UnitBox, collapse_rounds
from o_voxel.mesh.parallel_collapse import parallel_simplify
from o_voxel.mesh.simplify_reference import simplify_reference

__all__ = ["Method", "SimplifyResult", "simplify"]

logger = logging.getLogger(__name__)

Method = Literal["auto", "rounds", "one_by_one"]

#: From this many faces on edges are collapsed one at a time, in exact order of cost.
FEW_FACES = 20_000


class SimplifyResult(NamedTuple):
    vertices: ArrayLike  # [V', 3]
    faces: ArrayLike  # [F', 3]
    vertex_source: ArrayLike  # [V'] int64, the input vertex that each one grew from
    phase: int  # 0: every collapse passed the strict tests; 1: flips up to 90 degrees; 2: topology was changed
    shortfall: str | None = None  # why there are not `target_faces` faces; None if there are


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

    Exactly so many, or one less where the faces that collapses take away (two each, one at an open edge) cannot add up
    to it; never more with `must_reach_target` (the tests are then relaxed in two further phases, see
    `SimplifyResult.phase`). Boundaries are held by planes of weight `boundary_weight`; no collapse of the strict phase
    changes the topology (link condition), turns a face by more than `max_normal_angle` degrees or makes a sliver.
    Scale-free, deterministic, and indifferent to winding. Degenerate faces are dropped. Vertices that did not move keep
    their bits; faces come in another order.

    `method` "rounds" collapses many edges at once that do not touch (CPU threads or CUDA, the same bits), and takes the
    heap only where no such edge passes the tests; "one_by_one" is the heap, which is serial and on the CPU whatever the
    device; "auto" goes in rounds down to `FEW_FACES` faces or the target, and on with the heap. `quirks="published"`
    runs the published procedure instead (`parallel_simplify`), which undershoots and has no topology tests; only then
    `options` (`thresh`, `lambda_edge_length`, `lambda_skinny`) apply.

    Raises ValueError if `target_faces` is not a positive int or another argument is out of range.
    Based on: M. Garland and P. S. Heckbert, Surface Simplification Using Quadric Error Metrics, 1997.
    """
    if isinstance(target_faces, bool) or not isinstance(target_faces, (int, np.integer)) or target_faces < 1:
        raise ValueError(f"target_faces must be a positive int, got {target_faces!r}")
    if not 0 < max_normal_angle <= 90:
        raise ValueError(f"max_normal_angle must lie in (0, 90] degrees, got {max_normal_angle}")
    if not (0 <= boundary_weight < math.inf and 0 <= regularization < math.inf):
        raise ValueError(
            f"boundary_weight and regularization must be >= 0 and finite, got {boundary_weight}, {regularization}"
        )
    if method not in ("auto", "rounds", "one_by_one"):
        raise ValueError(f"method must be 'auto', 'rounds' or 'one_by_one', got {method!r}")
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    unknown = set(options or {}) - {"thresh", "lambda_edge_length", "lambda_skinny"}
    if unknown:
        raise ValueError(f"options must be thresh, lambda_edge_length and lambda_skinny, got {sorted(unknown)}")
    target = int(target_faces)
    if quirks == "published":
        border = enter(vertices, faces)
        v, f, kept = parallel_simplify(border.vertices, border.faces, target, **(options or {}))
        return SimplifyResult(*border.leave(v, f), border.leave_index(kept), 2, _shortfall(len(f), target, 2))
    mesh = enter_tensors(vertices, faces)
    native = resolve_backend(backend) == "native"
    if method == "rounds" and not native:
        raise ValueError("method='rounds' needs the compiled core, but backend='reference' or it was not built")
    box = UnitBox.around(mesh.vertices, mesh.faces)
    positions, corners = box.enter(mesh.vertices), mesh.faces.int()
    limits = (float(boundary_weight), float(regularization), math.cos(math.radians(max_normal_angle)))
    start: Collapsed | None = None
    stop = max(target, FEW_FACES) if method == "auto" else target
    if native and method != "one_by_one" and (method == "rounds" or len(corners) > stop):
        start = _rounds(positions.float(), corners, stop, limits)
    phase = 0
    if start is not None:
        positions = positions.float().double()
    if start is None:
        done, out_faces, source, phase = _one_by_one(positions, corners, target, limits, must_reach_target, native)
    elif len(start.faces) > target:
        done, out_faces, source, phase = _one_by_one(
            start.positions.double(), start.faces, target, limits, must_reach_target, native, start
        )
        source = start.source.long()[source]
    else:
        done, out_faces, source = start.positions.double(), start.faces, start.source.long()
    moved = (done != positions[source]).any(1, keepdim=True)
    new_vertices = torch.where(moved, box.leave(done), mesh.vertices[source].double())
    shortfall = _shortfall(len(out_faces), target, phase)
    if shortfall:
        logger.info("simplify: %s", shortfall)
    return SimplifyResult(*mesh.leave(new_vertices, out_faces), mesh.leave_index(source), phase, shortfall)


Limits = tuple[float, float, float]  # boundary weight, regularization, cosine of the largest turn of a face


def _rounds(positions: Tensor, faces: Tensor, target: int, limits: Limits) -> Collapsed:
    """In rounds on the device of the mesh, or on the CPU where that has no kernels."""
    device = positions.device
    if device.type == "cpu" or (positions.is_cuda and cuda_core("simplify", device) is not None):
        return collapse_rounds(positions, faces, target, *limits)
    result = collapse_rounds(positions.cpu(), faces.cpu(), target, *limits)
    return result.to(device)


def _one_by_one(
    positions: Tensor,  # [V, 3] float64
    faces: Tensor,
    target: int,
    limits: Limits,
    must_reach_target: bool,
    native: bool,
    start: Collapsed | None = None,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """The serial heap on the CPU: positions [V', 3] float64, faces [F', 3] int32, source [V'] int64, phase."""
    device = positions.device
    p, corners = positions.cpu().numpy(), faces.cpu().numpy()
    core = native_module() if native else None
    if core is None:
        v, f, source, phase = simplify_reference(p, corners, target, *limits, must_reach_target)
    else:
        quadrics = None if start is None else start.quadrics.double().cpu().numpy()
        held = None if start is None else start.held.to(torch.uint8).cpu().numpy()
        v, f, source, phase = core.mesh_simplify(p, corners, target, *limits, must_reach_target, quadrics, held)
    arrays = (torch.from_numpy(v), torch.from_numpy(f).int(), torch.from_numpy(source).long())
    return arrays[0].to(device), arrays[1].to(device), arrays[2].to(device), int(phase)


def _shortfall(got: int, target: int, phase: int) -> str | None:
    if got == target or (phase == 0 and got < target - 1):  # had fewer faces to begin with
        return None
    if got == target - 1:
        return f"{got} faces instead of {target}: a collapse takes two faces away, and no open edge could give one"
    if got < target:
        return f"{got} faces instead of {target}: topology had to change, which takes several faces at once"
    return f"{got} faces instead of {target}: no further collapse keeps the topology and the orientation of faces"
