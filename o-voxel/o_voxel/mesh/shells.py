"""Which faces of a surface can be seen from outside, which way they face, and removal of the others.

A face is seen if a grid edge that crosses it ends at an outside node with nothing in between (see `solid`). Where that
is so only without the closing of holes, rays decide: what looks out of a hole in many directions is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from o_voxel._native import Backend
from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.connectivity import build_edges, face_components
from o_voxel.mesh.solid import Solid, label_nodes
from o_voxel.mesh.views import component_views

__all__ = ["FaceView", "Shells", "face_views", "find_shells", "remove_hidden_faces"]

UNKNOWN, HIDDEN, SOLID, THIN, OPEN = 0, 1, 2, 3, 4
CLEAR_VIEW = 0.03  # share of rays, from both sides, that get out
SPREAD_ROUNDS = 8  # faces between one without a crossing and the next with one


class FaceView(NamedTuple):
    """How faces lie to the outside."""

    seen: Tensor  # [F] bool
    votes: Tensor  # [F] int32, > 0: the front faces outside, < 0: the back does, 0: both or unknown
    open: Tensor  # [F] bool, outside on both sides: part of an open sheet
    thin: Tensor  # [F] bool, one of two walls with less than a voxel between them


class Shells(NamedTuple):
    """`FaceView` of all faces, and the labels it comes from."""

    view: FaceView
    solid: Solid


def find_shells(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    voxel_size: float | Sequence[float],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    gap: float = 4.0,
    see_through: ArrayLike | None = None,  # [F] bool
    box: Sequence[Sequence[float]] | None = None,  # [2, 3]
    backend: Backend = "auto",
) -> Shells:
    """Label the space around a mesh and look at all faces from outside.

    Holes up to `gap` voxels across are taken for closed. Faces that are `see_through` hide nothing, those outside `box`
    are all seen. Raises ValueError on bad meshes, sizes or lengths, and if there are too many voxels (2^33 or more).
    """
    mesh = enter_tensors(vertices, faces)
    size = np.broadcast_to(np.asarray(voxel_size, dtype=np.float64), 3)
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"voxel_size must be > 0, got {voxel_size}")
    walls = None
    if see_through is not None:
        clear = as_tensor(see_through, "see_through")
        if clear.dtype != torch.bool or clear.shape != (len(mesh.faces),):
            raise ValueError(
                f"see_through must be bool of shape [{len(mesh.faces)}], got {clear.dtype} {list(clear.shape)}"
            )
        walls = ~clear.to(mesh.faces.device)
        if not bool(walls.any()):
            walls = None
    start = torch.from_numpy(np.asarray(origin, dtype=np.float64).copy())
    limits = None if box is None else torch.tensor(np.asarray(box, dtype=np.float64))
    solid = label_nodes(
        mesh.vertices, mesh.faces, torch.from_numpy(size.copy()), start, gap=gap, walls=walls, box=limits,
        backend=backend,
    )  # fmt: skip
    view = face_views(solid)
    if solid.leaks:
        view = _second_opinion(solid, view)
    if walls is not None:
        view = _with_clear_faces(solid, view, mesh.vertices, mesh.faces, walls)
    return Shells(view, solid)


def remove_hidden_faces(
    vertices: ArrayLike,
    faces: ArrayLike,
    voxel_size: float | Sequence[float],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    gap: float = 4.0,
    see_through: ArrayLike | None = None,
    backend: Backend = "auto",
) -> tuple[ArrayLike, ArrayLike]:
    """Drop inner shells, enclosed walls and everything else behind the outermost surface; see `find_shells`."""
    mesh = enter_tensors(vertices, faces)
    view = find_shells(vertices, faces, voxel_size, origin, gap=gap, see_through=see_through, backend=backend).view
    kept = mesh.faces[view.seen]
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=kept.device)
    used[kept.reshape(-1)] = True
    return mesh.leave(mesh.vertices[used], (torch.cumsum(used, 0) - 1)[kept])


def face_views(solid: Solid, outside: Tensor | None = None) -> FaceView:
    """Look at the faces of the labelled mesh; those that no grid edge crosses take after their neighbours.

    `outside` may be another label than that of the solid.
    """
    crossings, front, back, both, thin = solid.face_sides(outside).unbind(1)
    # Of the outside crossings of a face, those of open sheets count twice: once for each side.
    walls = front + back - 2 * both - thin
    kind = torch.where(both + thin > walls, torch.where(both >= thin, OPEN, THIN), SOLID)
    kind = torch.where(front + back > 0, kind, HIDDEN)
    kind = _ask_neighbours(solid, torch.where(crossings > 0, kind, UNKNOWN).byte())
    lost = torch.nonzero(kind == UNKNOWN).reshape(-1)
    centre = solid.vertices[solid.faces[lost].long()].mean(1)
    kind[lost] = torch.where(_beside_outside(solid, centre, outside), SOLID, HIDDEN).byte()
    votes = torch.where(kind == OPEN, 0, front - back)  # what is left of an open sheet's votes is noise
    return FaceView(kind > HIDDEN, votes, kind == OPEN, kind == THIN)


def _second_opinion(solid: Solid, view: FaceView) -> FaceView:
    """Pieces that are hidden only because holes were closed are seen if a good share of rays from them gets out."""
    other = face_views(solid, solid.reachable)
    doubtful = other.seen & ~view.seen
    if not bool(doubtful.any()):
        return view
    faces = solid.faces.long()
    label = face_components(faces[doubtful])
    rays = component_views(
        solid.vertices, faces[doubtful], bvh=BVH(solid.vertices, faces), label=label, free_only=True
    )  # fmt: skip
    visible = torch.zeros_like(view.seen)
    visible[doubtful] = (rays.escape >= CLEAR_VIEW)[label]
    votes = torch.where(visible, other.votes, view.votes)
    return FaceView(view.seen | visible, votes, view.open, view.thin)


def _ask_neighbours(solid: Solid, kind: Tensor) -> Tensor:
    """Give faces [F] of unknown kind (uint8) the highest one of the faces they share a two-face edge with, in rounds.

    The halves of a quad follow each other in most meshes: first the faces before and after are asked.
    """
    asked = torch.empty_like(kind)
    solid.grid.call("ask_rows", solid.faces, kind, asked)
    kind, faces = asked, solid.faces
    for _ in range(SPREAD_ROUNDS):
        lost = kind == UNKNOWN
        if not bool(lost.any()):
            break
        touched = torch.zeros(int(faces.max()) + 1, dtype=torch.bool, device=faces.device)
        touched[faces[lost].reshape(-1)] = True
        near = torch.nonzero(touched[faces].any(1)).reshape(-1)
        _, sides = build_edges(faces[near]).manifold_pairs()
        a, b = near[sides // 3].unbind(1)
        a, b = torch.cat([a, b]), torch.cat([b, a])
        asks = (kind[a] == UNKNOWN) & (kind[b] != UNKNOWN)
        if not bool(asks.any()):
            break
        kind = kind.scatter_reduce(0, a[asks], kind[b[asks]], "amax")
    return kind


def _beside_outside(solid: Solid, points: Tensor, outside: Tensor | None = None) -> Tensor:
    """Whether a corner of the cell around each point [N, 3] is outside: [N] bool."""
    outside = solid.outside if outside is None else outside
    x, y, z = points.floor().long().unbind(1)
    column = (solid.grid.size[2] + 63) // 64
    result = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for corner in range(8):
        i, j, k = x + (corner >> 2), y + (corner >> 1 & 1), z + (corner & 1)
        ok = (i >= 0) & (j >= 0) & (k >= 0)
        ok &= (i < solid.grid.size[0]) & (j < solid.grid.size[1]) & (k < solid.grid.size[2])
        word = torch.where(ok, (i * solid.grid.size[1] + j) * column + (k >> 6), 0)
        bit = (outside[word] >> (k & 63)) & 1
        result |= torch.where(ok, bit == 1, True)
    return result


def _with_clear_faces(solid: Solid, view: FaceView, vertices: Tensor, faces: Tensor, walls: Tensor) -> FaceView:
    """The view of all faces, where that of `walls` is known: the others are seen where the outside reaches them."""
    seen = torch.zeros(len(faces), dtype=torch.bool, device=faces.device)
    votes = torch.zeros(len(faces), dtype=view.votes.dtype, device=faces.device)
    is_open = torch.ones_like(seen)
    thin = torch.zeros_like(seen)
    seen[walls], votes[walls], is_open[walls], thin[walls] = view.seen, view.votes, view.open, view.thin
    clear = torch.nonzero(~walls).reshape(-1)
    centre = vertices[faces[clear]].double().mean(1)
    seen[clear] = _beside_outside(solid, (centre - solid.origin) / solid.voxel_size)
    return FaceView(seen, votes, is_open, thin)
