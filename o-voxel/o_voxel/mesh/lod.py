"""Levels of detail: one surface at several face counts, each made from the one before.

The quadric errors are carried from level to level, so that all of them measure the distance to the first surface. With
texture coordinates all levels share the texture of the first one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.mesh._arrays import ArrayLike, TensorBorder, as_tensor, enter_tensors, like
from o_voxel.mesh.grouping import dense_labels, first_equal
from o_voxel.mesh.quadric_surface import (
    Limits,
    Method,
    QuadricSurface,
    UnitBox,
    host_state,
    reduce_to,
    reduced,
)
from o_voxel.mesh.simplify import check_target, shortfall

__all__ = ["Lod", "lod_chain"]

logger = logging.getLogger(__name__)


class Lod(NamedTuple):
    vertices: ArrayLike  # [V', 3]
    faces: ArrayLike  # [F', 3]
    uvs: ArrayLike | None  # [V', 2], if there were some
    vertex_source: ArrayLike  # [V'] int64, the vertex of the input that each one grew from
    shortfall: str | None  # why the level does not have as many faces as asked for; None if it does


def _counts(targets: Sequence[int | float], num_faces: int) -> list[int]:
    counts: list[int] = []
    for target in targets:
        if isinstance(target, float):
            if not 0 < target < 1:
                raise ValueError(f"targets must be ratios in (0, 1) or numbers of faces, got {target}")
            target = max(1, round(target * num_faces))
        counts.append(check_target(target))
        if len(counts) > 1 and counts[-1] >= counts[-2]:
            raise ValueError(f"targets must decrease, got {counts[-2]} and then {counts[-1]} faces")
    return counts


def lod_chain(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    targets: Sequence[int | float],
    uvs: ArrayLike | None = None,  # [V, 2]
    *,
    boundary_weight: float = 100.0,
    regularization: float = 1e-4,
    max_normal_angle: float = 78.0,
    must_reach_target: bool = True,
    method: Method = "auto",
) -> list[Lod]:
    """Simplify to each of `targets` in turn: numbers of faces, or ratios (float in (0, 1)) of the faces that come in.

    Without `uvs` a level is what `simplify` makes of it. With them, vertices at one position count as one vertex of the
    surface and those of its copies that differ in their coordinates as its wedges, as an unwrapped mesh has them along
    the seams of its charts. Joined vertices then stay on the collapsed edge, and their coordinates too; seam vertices
    move along their seam, on both sides at once; nothing moves where seams end or meet, and no triangle may turn over
    in the texture or change the topology: so a level may keep more faces than asked for, and says so. The vertices of
    a level are its wedges: those of a seam are pairwise at one position. This part runs on the CPU, one edge at a time,
    and needs the compiled core.

    Returns one `Lod` for each target, of the kind and device of the input. Raises ValueError if `targets` do not
    decrease, are not positive, or `uvs` have the wrong shape or are not finite; RuntimeError if `uvs` are given without
    the compiled core.
    """
    mesh = enter_tensors(vertices, faces)
    counts = _counts(targets, len(mesh.faces))
    limits = Limits.checked(boundary_weight, regularization, max_normal_angle)
    if uvs is not None:
        return _with_uvs(mesh, as_tensor(uvs, "uvs"), uvs, counts, limits)
    native = native_module() is not None
    box = UnitBox.around(mesh.vertices, mesh.faces)
    surface = QuadricSurface.start(box.enter(mesh.vertices), mesh.faces)
    levels = []
    for count in counts:
        surface, phase = reduce_to(surface, count, limits, method, must_reach_target, native)
        why = shortfall(len(surface.faces), count, len(mesh.faces))
        logger.info("level of %d faces: %s", count, why or f"phase {phase}")
        v, f = mesh.leave(box.leave(surface.positions), surface.faces)
        levels.append(Lod(v, f, None, mesh.leave_index(surface.source), why))
    return levels


def _with_uvs(mesh: TensorBorder, coordinates: Tensor, uvs: ArrayLike, counts: list[int], limits: Limits) -> list[Lod]:
    if coordinates.shape != (len(mesh.vertices), 2) or not coordinates.is_floating_point():
        raise ValueError(
            f"uvs must be floating point of shape [{len(mesh.vertices)}, 2], "
            f"got {coordinates.dtype} {list(coordinates.shape)}"
        )
    if not bool(torch.isfinite(coordinates).all()):
        raise ValueError("uvs must be finite")
    core = native_module()
    if core is None:
        raise RuntimeError("levels of detail with texture coordinates need the compiled core: pip install ./o-voxel")
    box = UnitBox.around(mesh.vertices, mesh.faces)
    corner = mesh.faces.cpu()
    positions, uv = box.enter(mesh.vertices).cpu(), coordinates.double().cpu()
    # Vertices of the surface are distinct positions, wedges are distinct positions with coordinates.
    places = mesh.vertices.cpu().double()
    vertex_of, first_vertex = dense_labels(first_equal(places))
    wedge_of, first_wedge = dense_labels(first_equal(torch.cat([places, uv], dim=1)))
    surface = QuadricSurface(positions[first_vertex], vertex_of[corner].int(), first_vertex)
    wedges, wedge_source, uv = wedge_of[corner].int(), first_wedge, uv[first_wedge]
    levels = []
    for count in counts:
        result, corners, coords, kept = core.mesh_simplify_with_seams(
            surface.positions.numpy(), surface.faces.numpy(), wedges.numpy(), uv.numpy(), count, *limits, 1,
            *host_state(surface),
        )  # fmt: skip
        surface, phase = reduced(surface, result)
        wedges, uv = torch.from_numpy(corners), torch.from_numpy(coords)
        wedge_source = wedge_source[torch.from_numpy(kept).long()]
        why = shortfall(len(wedges), count, len(mesh.faces))
        logger.info("level of %d faces: %s", count, why or f"phase {phase}")
        at = torch.empty(len(uv), dtype=torch.long)
        at[wedges.reshape(-1).long()] = surface.faces.reshape(-1).long()
        device = mesh.vertices.device
        v, f = mesh.leave(box.leave(surface.positions.to(device))[at.to(device)], wedges.to(device))
        out_uvs = like(uv.to(coordinates.dtype), uvs)
        levels.append(Lod(v, f, out_uvs, mesh.leave_index(wedge_source), why))
    return levels
