"""Making a decoded surface fit for use: clean-up, shells, orientation, holes, remeshing, face budget, final check.

Tensors on one device: vertices [V, 3] float64, faces [F, 3] int64.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from o_voxel.mesh import (
    BVH,
    fill_holes,
    merge_close_vertices,
    remove_degenerate_faces,
    remove_duplicate_faces,
    repair_non_manifold,
    simplify,
)
from o_voxel.mesh._arrays import ArrayLike, enter_tensors
from o_voxel.mesh.cleanup import compact
from o_voxel.mesh.connectivity import face_components
from o_voxel.mesh.grouping import exact_sums
from o_voxel.mesh.normals import areas
from o_voxel.mesh.orient import wind_faces
from o_voxel.mesh.remesh_surface import contour, round_plates
from o_voxel.mesh.shells import FaceView, find_shells
from o_voxel.mesh.smooth import smooth_surface
from o_voxel.mesh.views import component_views
from o_voxel.postprocess.mend import drop_copies, give_area, open_conflicts
from o_voxel.postprocess.verify import Profile, Verdict, verify

__all__ = ["PreparedSurface", "Profile", "SurfaceGrid", "prepare_surface"]

logger = logging.getLogger("o_voxel.postprocess")

BUDGET_TRIES = 4  # of simplifying again for the few faces that mending dropped
HOLE_PERIMETER_VOXELS = 12.0  # holes up to about four voxels across are decoding gaps, not openings
MAX_GAP_VOXELS = 12.0  # wider holes are not closed when looking for the inside
MIN_RAYS = 200  # per component, to call it hidden
MIN_AREA_VOXELS = 6.0  # the surface of one voxel
PLATE_VOXELS = 0.45  # thickness of what open sheets become for printing
SMOOTH_ROUNDS = 4

SeeThrough = Callable[[Tensor], Tensor]  # points [N, 3] -> [N] bool


class Clock(Protocol):
    """Times stages; what it yields takes log lines."""

    def stage(self, name: str) -> AbstractContextManager[Callable[[str], None]]: ...


class _NoClock:
    def stage(self, name: str) -> AbstractContextManager[Callable[[str], None]]:
        return nullcontext(logger.debug)


@dataclass(frozen=True)
class SurfaceGrid:
    """The voxel grid that a surface was decoded from, in world units."""

    origin: tuple[float, float, float]
    voxel_size: tuple[float, float, float]
    size: tuple[int, int, int]  # cells

    @property
    def voxel(self) -> float:
        """The longest edge of a voxel."""
        return max(self.voxel_size)

    @property
    def box(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Lowest and highest corner of the grid with a margin: decoded vertices may leave their voxel."""
        sides = list(zip(self.origin, self.voxel_size, self.size, strict=True))
        return tuple(o - h for o, h, _ in sides), tuple(o + h * (n + 1) for o, h, n in sides)

    @property
    def extent(self) -> float:
        """The longest side of the grid."""
        return max(h * n for h, n in zip(self.voxel_size, self.size, strict=True))


@dataclass(frozen=True)
class PreparedSurface:
    """A surface that keeps what its profile promises, or says what not, and the one that textures are baked from."""

    vertices: ArrayLike  # [V, 3]
    faces: ArrayLike  # [F, 3]
    source_vertices: ArrayLike  # [V', 3] clean, full resolution
    source_faces: ArrayLike  # [F', 3]
    fine_vertices: ArrayLike  # [V", 3] what was simplified: remeshed and smooth
    fine_faces: ArrayLike  # [F", 3]
    hidden_faces: int  # dropped because nothing sees them
    verdict: Verdict
    simplify_phase: int  # of `SimplifyResult`; 0 if the surface was small enough

    @property
    def two_sided(self) -> bool:
        """Open sheets are left: both sides can be seen."""
        return self.verdict.stats.boundary_edges > 0


def prepare_surface(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    grid: SurfaceGrid,
    *,
    target_faces: int | None = None,
    profile: Profile = "game",
    remesh: bool = False,
    hole_perimeter: float | None = None,
    see_through: SeeThrough | None = None,
    smooth: int = SMOOTH_ROUNDS,
    clock: Clock | None = None,
) -> PreparedSurface:
    """Turn a decoded surface into one with the promises of `profile` (see `Verdict`).

    "raw" removes defects and orients, and keeps all geometry, open or hidden. "game" also drops specks and all that
    nothing sees from outside, and closes holes shorter than `hole_perimeter` (world units; None: 3 % of the grid, at
    least 12 voxels); with `remesh`, what encloses a volume is meshed again without cracks, and open sheets stay as they
    are. "print" always meshes again and gives open sheets a thickness. Both then take `smooth` rounds of noise out, of
    less than half a voxel. `see_through` tells points on glass, which hides
    nothing. Then at most `target_faces` faces are kept.

    Raises ValueError on bad meshes or if nothing is left, TypeError on other kinds of array.
    """
    clock = _NoClock() if clock is None else clock
    mesh = enter_tensors(vertices, faces)
    v, f = mesh.vertices.double(), mesh.faces
    mesh = mesh.without_mesh()
    perimeter = (
        max(0.03 * grid.extent, HOLE_PERIMETER_VOXELS * grid.voxel) if hole_perimeter is None else hole_perimeter
    )
    with clock.stage("clean"):
        v, f = _remove_defects(v, f)
    view, hidden = None, 0
    gap = min(perimeter / (math.pi * grid.voxel), MAX_GAP_VOXELS)
    if profile != "raw":
        with clock.stage("shells"):
            clear = None if see_through is None else see_through(v[f].mean(1))
            shells = find_shells(v, f, grid.voxel_size, grid.origin, gap=gap, see_through=clear, box=grid.box)
            view = shells.view
            del shells  # the labels take as much memory as the mesh
            hidden = int((~view.seen).sum())
    with clock.stage("orient"):
        surface = [v, f]
        del v, f
        source = _make_sheets(surface, view, grid, perimeter)
        hidden += source.unseen
    v, f = source.vertices, source.faces
    if profile == "print" or (remesh and profile == "game"):
        with clock.stage("remesh"):
            v, f = _remesh(source, grid, gap, profile)
    if profile != "raw" and smooth:
        with clock.stage("smooth"):
            v = smooth_surface(v, f, voxel=grid.voxel, rounds=smooth)
    fine_v, fine_f, phase = v, f, 0
    with clock.stage("simplify") as log:
        if target_faces is not None and len(f) > target_faces:
            v, f, phase = _reduce(v, f, target_faces, log)
        if len(f) == 0:
            raise ValueError(f"nothing is left at target_faces={target_faces}: allow more faces")
    with clock.stage("check") as log:
        v, f = _mend(v, f, profile)
        if target_faces is not None and len(f) < target_faces < len(fine_f):
            v, f, phase = _use_budget((v, f, phase), fine_v, fine_f, target_faces, profile, log)
        verdict = verify(v, f, profile, target_faces)
        for problem in verdict.problems:
            log(f"profile {profile}: {problem}")
    final, full, fine = mesh.leave(v, f), mesh.leave(source.vertices, source.faces), mesh.leave(fine_v, fine_f)
    return PreparedSurface(*final, *full, *fine, hidden, verdict, phase)


def _remove_defects(v: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """Weld, and drop faces without area and copies. Raises ValueError if nothing is left."""
    v, f = merge_close_vertices(v, f)
    v, f = remove_degenerate_faces(v, f)
    v, f = remove_duplicate_faces(v, f)
    if len(f) == 0:
        raise ValueError("the mesh has no proper face: all faces are degenerate")
    return v, f


class _Sheets(NamedTuple):
    """Manifold, consistently wound pieces that face outward."""

    vertices: Tensor
    faces: Tensor
    unseen: int  # faces of pieces that were dropped because no ray reaches them


def _make_sheets(surface: list[Tensor], view: FaceView | None, grid: SurfaceGrid, perimeter: float) -> _Sheets:
    """Split, wind and turn a surface; with a `view` drop what is not seen and specks, and fill holes.

    `surface`: vertices and faces. The list is emptied, so that they are let go as soon as they are done with.
    """
    f, v = surface.pop(), surface.pop()
    votes = torch.zeros(0, dtype=torch.int64, device=v.device)
    if view is not None:
        votes, seen = view.votes.long(), view.seen
        if bool(seen.any()):
            votes = votes[seen]
            v, f, _ = compact(v, f[seen])
    v, f = repair_non_manifold(v, f, pair_sheets=True)  # divided faces keep their place, their other parts come last
    if view is None:
        v, f, _ = wind_faces(v, f, cut_conflicts=True)
    else:
        votes = torch.nn.functional.pad(votes, (0, len(f) - len(votes)))
        v, f, turned = wind_faces(v, f, True, votes.double().sign())
        votes = torch.where(turned, -votes, votes)
        keep = _large_components(v, f, face_components(f), grid.voxel)
        votes = votes[keep]
        v, f, _ = compact(v, f[keep])
        v, f = fill_holes(v, f, perimeter)  # new faces come last
    f, keep = _outward(v, f, votes)
    if view is None or bool(keep.all()):
        return _Sheets(v, f, 0)
    v, f, _ = compact(v, f[keep])
    return _Sheets(v, f, int((~keep).sum()))


def _large_components(v: Tensor, f: Tensor, label: Tensor, voxel: float) -> Tensor:
    """[F] bool: faces of components with the surface of a voxel or more; a model of specks keeps its largest one."""
    total = exact_sums(areas(v, f), label, int(label.max()) + 1)
    large = total >= MIN_AREA_VOXELS * voxel**2
    if not bool(large.any()):
        large = total == total.max()
    return large[label]


def _small_patches(v: Tensor, f: Tensor, mask: Tensor, voxel: float) -> Tensor:
    """[F] bool: connected faces of `mask` [F] with less surface than that of a voxel."""
    result = torch.zeros_like(mask)
    if bool(mask.any()):
        faces = f[mask]
        label = face_components(faces)
        area = exact_sums(areas(v, faces), label, int(label.max()) + 1)
        result[mask] = (area < MIN_AREA_VOXELS * voxel**2)[label]
    return result


def _outward(v: Tensor, f: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Faces with the front outside, by votes of the first faces where there are any, else by rays; those seen [F]."""
    label = face_components(f)
    choice = torch.zeros(int(label.max()) + 1, dtype=torch.int64, device=v.device)
    choice = choice.index_add_(0, label[: len(votes)], votes).double()
    unsure = (choice == 0)[label]
    seen = torch.ones_like(unsure)
    if bool(unsure.any()):
        number = torch.cumsum(choice == 0, 0) - 1
        view = component_views(v, f[unsure], bvh=BVH(v, f), label=number[label[unsure]])
        choice[choice == 0] = view.score
        if view.num_rays >= MIN_RAYS:  # too few rays would miss openings
            seen[unsure] = (view.escape > 0)[view.label]
    f = torch.where((choice < 0)[label][:, None], f[:, [0, 2, 1]], f)
    return f, seen if bool(seen.any()) else torch.ones_like(seen)


def _remesh(source: _Sheets, grid: SurfaceGrid, gap: float, profile: Profile) -> tuple[Tensor, Tensor]:
    """The outer surface of the volume, and what is open: as plates for printing, else as it was."""
    shells = find_shells(source.vertices, source.faces, grid.voxel_size, grid.origin, gap=gap, box=grid.box)
    is_open, thin = shells.view.open, shells.view.thin
    if profile == "print":
        ignored = _small_patches(source.vertices, source.faces, is_open | thin, grid.voxel)
        is_open = is_open & ~ignored
    else:
        ignored = _small_patches(source.vertices, source.faces, thin, grid.voxel)
        is_open = is_open | ignored
    points, faces, kinds = contour(shells.solid, "thicken" if profile == "print" else "pairs", PLATE_VOXELS, ignored)
    v, f = shells.solid.to_world(points), faces.long()
    del shells, points, faces  # the labels of the grid take as much memory as the mesh
    if bool(is_open.any()):
        open_v, open_f, _ = compact(source.vertices, source.faces[is_open])
        if profile == "print":
            v = round_plates(v, kinds, open_v, open_f, PLATE_VOXELS / 2 * grid.voxel)
        else:
            v, f = torch.cat([v, open_v]), torch.cat([f, open_f + len(v)])
            v, f = repair_non_manifold(v, f, pair_sheets=True)  # corners where open pieces only touch
    if len(f) == 0:
        return source.vertices, source.faces
    v, f, _ = compact(v, f[_large_components(v, f, face_components(f), grid.voxel)])
    return v, f


def _reduce(v: Tensor, f: Tensor, target: int, log: Callable[[str], None]) -> tuple[Tensor, Tensor, int]:
    """Simplify to at most `target` faces and mend what a relaxed simplification may have left."""
    result = simplify(v, f, target)
    if result.phase == 0:
        return result.vertices, result.faces, 0
    log(f"the topology of the surface does not allow {target} faces: it was changed (phase {result.phase})")
    v, f = remove_duplicate_faces(result.vertices, result.faces)
    v, f = repair_non_manifold(v, f, pair_sheets=True)
    v, f, _ = wind_faces(v, f, cut_conflicts=True)
    return v, f, result.phase


def _use_budget(
    made: tuple[Tensor, Tensor, int],
    fine_v: Tensor,
    fine_f: Tensor,
    target: int,
    profile: Profile,
    log: Callable[[str], None],
) -> tuple[Tensor, Tensor, int]:
    """Mending drops a few copies: simplify to as many faces more, so that what is left is what was asked for."""
    asked = target
    for _ in range(BUDGET_TRIES):
        asked += target - len(made[1])
        if asked <= target or asked >= len(fine_f):
            break
        v, f, phase = _reduce(fine_v, fine_f, asked, log)
        v, f = _mend(v, f, profile)
        if not len(made[1]) < len(f) <= target:
            break
        made = (v, f, phase)
    return made


def _mend(v: Tensor, f: Tensor, profile: Profile) -> tuple[Tensor, Tensor]:
    """Repair what the check would complain about, where that is possible."""
    if profile == "raw":
        return v, f
    if profile == "game":
        v, f = drop_copies(v, f)
        v = open_conflicts(v, f)
    return give_area(v, f), f
