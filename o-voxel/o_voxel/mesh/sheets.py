"""Which faces to keep joined where more than two meet in one edge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike, as_tensor, like
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.connectivity import EdgeTable
from o_voxel.mesh.normals import cross, dot, normalize, square_root

__all__ = ["sheet_pairs"]

NUM_RAYS = 12  # per wedge, at most
RAY_BUDGET = 3_000_000  # per call: with very many crowded edges, fewer rays each, or none


def sheet_pairs(vertices: ArrayLike, faces: ArrayLike, table: EdgeTable, *, bvh: BVH | None = None) -> ArrayLike:
    """Face sides to keep joined at edges with three or four faces: [M, 2].

    The faces around an edge bound three or four wedges of space. Joined are the two faces that bound the wedge that
    sees most of the outside, and with four faces also the other two: where closed surfaces pass through each other,
    their outer parts become one sheet all along the crossing, and their inner parts another. Unseen four-face edges
    join across their narrower wedges, three-face edges along the flattest pair. What a wedge sees is found by rays,
    whose number is bounded, through `bvh` if one over the same surface is there already.
    """
    v, f = as_tensor(vertices, "vertices"), as_tensor(faces, "faces").long()
    counts, all_sides, offsets, edges = (
        as_tensor(t, "table") for t in (table.counts, table.sides, table.offsets, table.edges)
    )
    chosen = {count: (counts == count).nonzero()[:, 0] for count in (3, 4)}
    wedges = sum(count * len(ids) for count, ids in chosen.items())
    rays = min(NUM_RAYS, RAY_BUDGET // max(wedges, 1))
    if bvh is None and wedges and rays:
        bvh = BVH(v, f)
    out = [torch.zeros((0, 2), dtype=torch.int64, device=f.device)]
    for count, ids in chosen.items():
        if len(ids) == 0:
            continue
        sides = all_sides[offsets[ids][:, None] + torch.arange(count, device=f.device)]  # [M, count]
        ends = v[edges[ids]].double()  # [M, 2, 3]
        sides, gap, bisector = _wedges(v, f, sides, ends)
        seen = torch.zeros_like(gap) if bvh is None or rays == 0 else _openness(bvh, ends, bisector, rays)
        if count == 4:
            score = torch.stack([seen[:, 0] + seen[:, 2], seen[:, 1] + seen[:, 3]], dim=1)
            score += 1e-3 * torch.stack([gap[:, 1] + gap[:, 3], gap[:, 0] + gap[:, 2]], dim=1)
            sides = torch.where((score[:, 1] > score[:, 0])[:, None], sides.roll(-1, dims=1), sides)
            out += [sides[:, :2], sides[:, 2:]]
        else:
            best = (seen - 1e-3 * (gap - 2).abs()).argmax(1, keepdim=True)
            out.append(torch.cat([sides.gather(1, best), sides.gather(1, (best + 1) % 3)], dim=1))
    return like(torch.cat(out), faces)


def _wedges(v: Tensor, f: Tensor, sides: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sides [M, W] in their order around the edge, and of the wedge between side k and k + 1 its opening [M, W], on a
    scale where a half turn is 2, and the direction of its middle [M, W, 3]."""
    axis = normalize(ends[:, 1] - ends[:, 0])[:, None]  # [M, 1, 3]
    opposite = f.reshape(-1)[sides // 3 * 3 + (sides + 2) % 3]
    tip = v[opposite].double() - ends[:, :1]  # [M, W, 3]
    tip = normalize(tip - dot(tip, axis)[..., None] * axis)
    u = tip[:, :1]
    x, y = dot(tip, u), dot(tip, cross(axis, u).expand_as(tip))
    turn = torch.where(y >= 0, 1 - x, 3 + x)  # grows with the angle: 0 to 4
    turn[:, 0] = 0
    turn, order = turn.sort(dim=1, stable=True)
    sides, tip = sides.gather(1, order), tip.gather(1, order[..., None].expand_as(tip))
    gap = torch.cat([turn.diff(dim=1), turn[:, :1] + 4 - turn[:, -1:]], dim=1)
    middle = tip + tip.roll(-1, dims=1)
    across = cross(axis.expand_as(tip), tip)  # a quarter turn on
    middle = torch.where((gap > 2)[..., None], -middle, middle)
    straight = dot(middle, middle) < 1e-12  # no sum to speak of: the wedge is a half space, or a slit
    middle = torch.where(straight[..., None], torch.where((gap > 1)[..., None], across, tip), middle)
    return sides, gap, normalize(middle)


def _openness(bvh: BVH, ends: Tensor, bisector: Tensor, num_rays: int) -> Tensor:
    """Share of rays that leave the mesh from a point just inside each wedge: ends [M, 2, 3] -> [M, W]."""
    extent = ends[:, 1] - ends[:, 0]
    length = square_root(dot(extent, extent))[:, None, None]
    origin = ((ends[:, 0] + ends[:, 1]) / 2)[:, None] + 0.05 * length * bisector  # [M, W, 3]
    spread = torch.from_numpy(np.random.default_rng(0).normal(size=(NUM_RAYS, 3)))[:num_rays].to(bisector.device)
    rays = normalize(normalize(spread) + 0.8 * bisector[..., None, :])  # [M, W, R, 3]
    hits = bvh.count_hits(
        origin[..., None, :].expand_as(rays).reshape(-1, 3).contiguous(), rays.reshape(-1, 3), max_hits=1
    )
    return (hits == 0).reshape(rays.shape[:-1]).sum(-1).double() * (1 / num_rays)
