"""Winding: consistent inside a component, and outward as seen from outside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.components import colourable_components, parity_components
from o_voxel.mesh.connectivity import build_edges
from o_voxel.mesh.grouping import dense_labels, exact_sums
from o_voxel.mesh.normals import areas, dot, face_crosses, normalize
from o_voxel.mesh.split import split_non_manifold
from o_voxel.mesh.views import ComponentView, component_views

__all__ = ["ComponentView", "component_views", "orient_outward", "unify_face_orientations", "wind_faces"]

FLAT_PATCH_COS = 0.97  # edges within about 14 degrees keep their faces in one patch
MIN_PIECE = 64  # faces of a piece that may be wound otherwise than its surroundings
CLEAR_SCORE = 0.05  # share of the possible votes from which on a patch has a preferred side


def unify_face_orientations(
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    cut_conflicts: bool = False,
    votes: ArrayLike | None = None,
    bvh: BVH | None = None,
) -> tuple[ArrayLike, ArrayLike]:
    """Give all faces of a component (over manifold edges) one winding: that of its first face.

    Exchanging the 2nd and 3rd corner flips a face; the order of faces stays. Relations are honoured from the flattest
    edge to the sharpest, so on non-orientable pieces the contradictions end up on few sharp edges.

    With `cut_conflicts`, contradictions are opened by splitting vertices, and in components that have any, relations
    between flat patches that agree with what their sides see come first: the cuts go where a seen surface meets one
    that is wound the other way. Vertex order is kept without cuts. `bvh` over the same surface saves building one.

    `votes` [F] (> 0: the winding of this face is right, < 0: wrong, 0: unknown) say more than rays do: where there are
    contradictions, relations that agree with them come first, and every component takes the winding that its votes,
    weighted by area, prefer; pieces of a component that all vote against the rest are cut off it. Raises ValueError
    if their number is not that of the faces.
    """
    mesh = enter_tensors(vertices, faces)
    known = None if votes is None else as_tensor(votes, "votes").to(mesh.faces.device).double().sign()
    if known is not None and known.shape != (len(mesh.faces),):
        raise ValueError(f"votes must have shape [{len(mesh.faces)}], got {list(known.shape)}")
    return mesh.leave(*wind_faces(mesh.vertices, mesh.faces, cut_conflicts, known, bvh)[:2])


def wind_faces(
    v: Tensor, f: Tensor, cut_conflicts: bool = False, known: Tensor | None = None, bvh: BVH | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """`unify_face_orientations` of a checked mesh, with the signs of its votes: -> (vertices, faces, turned [F])."""
    relations = _relations(f)
    label, parity, twisted = colourable_components(len(f), relations.pair, relations.differ)
    conflict = None
    if known is not None:
        known = _ask_neighbours(known, relations)
        twisted = twisted | _divided(label, torch.where(parity, -known, known))
    if bool(twisted.any()):
        # The other components are done: their colouring is the only one. Here the order of the relations matters.
        relations = relations.select(twisted[relations.pair[:, 0]])
        cosine = _cosines(v, f, relations)
        # From flat to sharp in a million steps: whole numbers are quicker to sort, and ties go by index.
        order = ((1 - cosine.clamp(-1, 1)) * 2**20).int().sort(stable=True).indices
        if known is None and cut_conflicts:
            order = _agreeing_first(_seen_sides(v, f, relations, cosine, order, bvh), relations, order)
        elif known is not None:
            order = _agreeing_first(known, relations, order)
        relations = relations.select(order)
        if known is None:
            _, again, conflict = parity_components(len(f), relations.pair, relations.differ)
        else:
            again, conflict = _colour_by_votes(v, f, relations, known)
        parity = torch.where(twisted, again, parity)
    if known is not None:
        parity = parity ^ _outvoted(v, f, label, torch.where(parity, -known, known))
    f = _turned(f, parity)
    if cut_conflicts and conflict is not None and bool(conflict.any()):
        weld = torch.ones(relations.num_edges, dtype=torch.bool, device=f.device)
        weld[relations.edge[conflict]] = False
        v, f, _ = split_non_manifold(v, f, weld)
    return v, f, parity


def _colour_by_votes(v: Tensor, f: Tensor, relations: _Relations, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Parity of faces [F] and conflicts [M], where pieces that agree with their votes are as their votes say.

    A node beside the faces stands for the right winding; pieces of some faces are tied to it before the relations that
    do not agree with votes are honoured, so contradictions lie between pieces that are both right.
    """
    agree = _agreement(votes, relations) > 0
    piece, parity, _ = parity_components(len(f), relations.pair[agree], relations.differ[agree])
    area, favour = areas(v, f), torch.where(parity, -votes, votes)
    right, wrong = (exact_sums(torch.where(favour == s, area, 0.0), piece, len(f)) for s in (1, -1))
    size = torch.bincount(piece, minlength=len(f))
    tied = ((size >= MIN_PIECE) & (right != wrong)).nonzero()[:, 0]
    node = torch.stack([tied, torch.full_like(tied, len(f))], 1)
    pairs = torch.cat([relations.pair[agree], node, relations.pair[~agree]])
    differ = torch.cat([relations.differ[agree], (wrong > right)[tied], relations.differ[~agree]])
    label, parity, clash = parity_components(len(f) + 1, pairs, differ)
    conflict = torch.empty_like(agree)
    conflict[agree], conflict[~agree] = clash[: int(agree.sum())], clash[len(clash) - int((~agree).sum()) :]
    return parity[:-1] ^ (parity[-1] & (label[:-1] == label[-1])), conflict


def _ask_neighbours(votes: Tensor, relations: _Relations) -> Tensor:
    """Votes [F], where faces without one take that of the majority beside them, in two rounds."""
    a, b = relations.pair.unbind(1)
    sign = torch.where(relations.differ, -1, 1)
    for _ in range(2):
        whole = votes.long()
        heard = torch.zeros_like(whole).index_add_(0, a, sign * whole[b]).index_add_(0, b, sign * whole[a])
        votes = torch.where(whole == 0, heard.sign(), whole).double()
    return votes


def _divided(label: Tensor, votes: Tensor) -> Tensor:
    """[F] bool: many faces of this component vote for its winding, and many against it."""
    favour, against = (torch.bincount(label[votes == s], minlength=len(label)) for s in (1, -1))
    return (torch.minimum(favour, against) >= MIN_PIECE)[label]


def _outvoted(v: Tensor, f: Tensor, label: Tensor, votes: Tensor) -> Tensor:
    """[F] bool: most of the area that votes in this component is against its winding."""
    area = areas(v, f)
    against, favour = (exact_sums(torch.where(votes == s, area, 0.0), label, len(f)) for s in (-1, 1))
    return (against > favour)[label]


def _turned(f: Tensor, flip: Tensor) -> Tensor:
    """Faces with the 2nd and 3rd corner exchanged where `flip` [F] is true."""
    a, b, c = f.unbind(1)
    return torch.stack([a, torch.where(flip, c, b), torch.where(flip, b, c)], dim=1)


class _Relations(NamedTuple):
    pair: Tensor  # [M, 2] faces on both sides of each manifold edge
    differ: Tensor  # [M] bool, both run along the edge in one direction: one of them has to flip
    edge: Tensor  # [M] edge id
    num_edges: int

    def select(self, rows: Tensor) -> _Relations:
        at = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        pair, differ, edge = (column.index_select(0, at) for column in (self.pair, self.differ, self.edge))
        return _Relations(pair, differ, edge, self.num_edges)


def _relations(f: Tensor) -> _Relations:
    table = build_edges(f)
    ids, sides = table.manifold_pairs()
    start = f.reshape(-1)[sides]
    return _Relations(sides // 3, start[:, 0] == start[:, 1], ids, len(table.edges))


def _cosines(v: Tensor, f: Tensor, relations: _Relations) -> Tensor:
    """[M] cosine of the angle between the normals of each pair, once one winding is shared."""
    normal = normalize(face_crosses(v, f))
    a, b = relations.pair.unbind(1)
    return dot(normal.index_select(0, a), normal.index_select(0, b)) * torch.where(relations.differ, -1.0, 1.0)


def _agreeing_first(side: Tensor, relations: _Relations, order: Tensor) -> Tensor:
    """Relations that agree with the sides of the faces they join, then undecided ones, then the others; inside each
    group in the given order. side [F]: 1 the given winding is right, -1 wrong, 0 unknown."""
    agreement = _agreement(side, relations)[order]
    return torch.cat([order[group] for group in (agreement > 0, agreement == 0, agreement < 0)])


def _agreement(side: Tensor, relations: _Relations) -> Tensor:
    """1 where a relation agrees with the sides of both faces, -1 where it contradicts them, 0 unknown: [M]."""
    a, b = side[relations.pair].unbind(1)
    return a * b * torch.where(relations.differ, -1.0, 1.0)


def _seen_sides(v: Tensor, f: Tensor, relations: _Relations, cosine: Tensor, order: Tensor, bvh: BVH | None) -> Tensor:
    """Whether the given winding of each face has its front where its flat patch sees the outside: 1, -1, or 0: [F]."""
    flat = order[cosine[order] >= FLAT_PATCH_COS]
    label, parity, _ = parity_components(len(f), relations.pair[flat], relations.differ[flat])
    patch, roots = dense_labels(label)
    # Faces of other components are patches of their own, which need no rays.
    involved = torch.zeros(len(f), dtype=torch.bool, device=f.device)
    involved[label[relations.pair.reshape(-1)]] = True
    number = involved[roots].cumsum(0) - 1
    rows = involved[label].nonzero()[:, 0]
    wound = _turned(f, parity)
    bvh = BVH(v, f) if bvh is None else bvh
    view = component_views(
        v, wound.index_select(0, rows), bvh=bvh, label=number[patch[rows]], samples=4, directions=8, free_only=True
    )
    side = torch.where(view.score.abs() >= CLEAR_SCORE, view.score.sign(), 0.0)
    of_face = torch.zeros(len(f), dtype=torch.float64, device=f.device)
    of_face[rows] = side[view.label]
    return torch.where(parity, -of_face, of_face)  # against the given winding


def orient_outward(vertices: ArrayLike, faces: ArrayLike, *, bvh: BVH | None = None, seed: int = 0) -> ArrayLike:
    """Flip whole components so that the side seen from outside is the front: -> faces.

    Expects one winding per component (`unify_face_orientations`). Walls of enclosed voids face into the void.
    """
    mesh = enter_tensors(vertices, faces)
    f = mesh.faces
    view = component_views(mesh.vertices, f, bvh=bvh, seed=seed)
    flip = (view.score < 0)[view.label]
    return mesh.leave_faces(_turned(f, flip))
