"""Making a decoded surface fit for use: clean-up, orientation, holes, face budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from o_voxel.mesh import (
    BVH,
    fill_holes,
    merge_close_vertices,
    remove_degenerate_faces,
    remove_duplicate_faces,
    remove_small_components,
    repair_non_manifold,
    simplify,
    unify_face_orientations,
)
from o_voxel.mesh.cleanup import compact
from o_voxel.mesh.orient import component_views

__all__ = ["Profile", "clean_surface", "reduce_surface"]

Profile = Literal["game", "raw"]

HOLE_PERIMETER_VOXELS = 12.0  # holes up to about four voxels across are decoding gaps, not openings
MIN_RAYS = 200  # per component, to call it hidden
MIN_AREA_VOXELS = 6.0  # the surface of one voxel


@dataclass(frozen=True)
class CleanSurface:
    """A manifold, consistently wound surface; `hidden` faces were dropped because nothing sees them."""

    vertices: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int64
    hidden: int


def clean_surface(
    vertices: np.ndarray, faces: np.ndarray, *, voxel: float, hole_perimeter: float, profile: Profile
) -> CleanSurface:
    """Remove defects, split non-manifold places into sheets, wind every component outward.

    `voxel` is the voxel edge in the unit of the vertices. The "game" profile also fills holes shorter than
    `hole_perimeter`, and drops specks and components that cannot be seen from outside. Raises ValueError if nothing is
    left.
    """
    v, f = merge_close_vertices(vertices, faces)
    v, f = remove_degenerate_faces(v, f)
    v, f = remove_duplicate_faces(v, f)
    v, f = repair_non_manifold(v, f, pair_sheets=True)
    if profile == "game":
        kept = remove_small_components(v, f, MIN_AREA_VOXELS * voxel**2)
        # A model made of specks only keeps its largest one.
        v, f = kept if len(kept[1]) else remove_small_components(v, f, 1.0, relative=True)
    if len(f) == 0:
        raise ValueError("the mesh has no proper face: all faces are degenerate")
    v, f = unify_face_orientations(v, f, cut_conflicts=True)
    if profile == "game":
        v, f = fill_holes(v, f, hole_perimeter)
    view = component_views(v, f, bvh=BVH(v, f))
    flip = (view.score < 0)[view.label]
    f[flip] = f[flip][:, [0, 2, 1]]
    hidden = 0
    if profile == "game":
        seen = view.escape > 0
        if seen.any() and view.num_rays >= MIN_RAYS:  # too few rays would miss openings
            keep = seen[view.label]
            hidden = int((~keep).sum())
            v, f, _ = compact(v, f[keep])
    return CleanSurface(v, f, hidden)


def reduce_surface(
    vertices: np.ndarray, faces: np.ndarray, target: int, log: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Simplify to at most `target` faces and mend what a relaxed simplification may have left."""
    if len(faces) <= target:
        return vertices, faces
    result = simplify(vertices, faces, target)
    if result.phase == 0:
        return result.vertices, result.faces
    log(f"the topology of the surface does not allow {target} faces: it was changed (phase {result.phase})")
    v, f = remove_duplicate_faces(result.vertices, result.faces)
    v, f = repair_non_manifold(v, f, pair_sheets=True)
    return unify_face_orientations(v, f, cut_conflicts=True)
