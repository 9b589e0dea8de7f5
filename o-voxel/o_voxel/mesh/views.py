"""Which side of each component of a surface lies outside, found by rays."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel.mesh._arrays import ArrayLike, as_tensor, like
from o_voxel.mesh.bvh import BVH
from o_voxel.mesh.connectivity import face_components
from o_voxel.mesh.grouping import exact_sums, to_integers
from o_voxel.mesh.normals import areas, cross, dot, normalize

__all__ = ["ComponentView", "component_views", "hashed_uniform"]

RAY_BUDGET = 400_000  # rays per call, about
LEAST_RAYS = 16  # for a component that gets any
MANY_COMPONENTS = 100  # from here on only rays that hit nothing are asked for: the search ends at the first hit
FREE_VOTE = 8  # weight of a ray that hits nothing, against one that hits an even number of faces
NUM_DIRECTIONS = 4096  # rays are drawn from
OFFSET = 1e-5  # of the diagonal of the mesh: how far from the surface rays begin


class ComponentView(NamedTuple):
    """What rays from both sides of each of K face components see."""

    label: ArrayLike  # [F] component of each face
    score: ArrayLike  # [K] in -1..1; > 0: the side that normals point to is the outer one
    escape: ArrayLike  # [K] share of rays, from either side, that leave without hitting anything
    num_rays: int  # per component


def hashed_uniform(count: int, columns: int, seed: int, device: torch.device) -> Tensor:
    """Numbers in [0, 1) from the integers 0, 1, ..: float64 [count, columns], the same bits on every device.

    Mixed as in SplitMix64 (G. Steele, D. Lea and C. Flood, Fast Splittable Pseudorandom Number Generators, 2014).
    """
    start = (seed * 1442695040888963407 + (1 << 63)) % (1 << 64) - (1 << 63)  # wrapped to 64 bits
    x = torch.arange(count * columns, device=device) * -7046029254386353131 + start
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        x = (x ^ (x >> shift & (1 << (64 - shift)) - 1)) * factor
    x = x ^ (x >> 31 & (1 << 33) - 1)
    return ((x >> 11 & (1 << 53) - 1).double() * 2.0**-53).view(count, columns)


def component_views(
    vertices: ArrayLike,
    faces: ArrayLike,
    *,
    bvh: BVH | None = None,
    label: ArrayLike | None = None,
    samples: int = 24,
    directions: int = 12,
    free_only: bool = False,
    seed: int = 0,
) -> ComponentView:
    """Shoot rays from area-weighted sample points of every component (or group `label` [F]), from both sides.

    A ray that hits nothing is strong evidence that its side is outside; else an even number of hits is weak evidence
    (not asked for with `free_only`, which is quicker). The number of rays is bounded: many components get fewer each,
    and beyond that only the largest ones get any (the others: score and escape 0).
    After K. Takayama et al., A Simple Method for Correcting Facet Orientations in Polygon Meshes Based on Ray Casting,
    2014.
    """
    v, f = as_tensor(vertices, "vertices"), as_tensor(faces, "faces").long()
    group = face_components(f) if label is None else as_tensor(label, "label")
    device = f.device
    num = int(group.amax()) + 1 if len(group) else 0
    score, escape = (torch.zeros(num, dtype=torch.float64, device=device) for _ in range(2))
    if num == 0:
        return ComponentView(like(group, faces), like(score, faces), like(escape, faces), 0)
    area = areas(v, f)
    chosen = torch.arange(num, device=device)
    if num > RAY_BUDGET // LEAST_RAYS:
        largest = exact_sums(area, group, num).sort(descending=True, stable=True).indices
        chosen = largest[: RAY_BUDGET // LEAST_RAYS].sort().values
    samples = min(max(RAY_BUDGET // (2 * directions * len(chosen)), 2), samples)
    directions = min(max(RAY_BUDGET // (2 * samples * len(chosen)), 4), directions)
    free_only = free_only or num > MANY_COMPONENTS
    random = hashed_uniform(len(chosen) * samples, 3 + directions, seed, device)
    picked = _pick_faces(area, group, num, chosen, random[:, 0].view(-1, samples)).view(-1)  # [K * samples]
    a, b, c = (v[f[picked, k]].double() for k in range(3))
    normal = normalize(cross(b - a, c - a))
    s, t = random[:, 1:2], random[:, 2:3]
    over = s + t > 1
    s, t = torch.where(over, 1 - s, s), torch.where(over, 1 - t, t)
    point = a + (b - a) * s + (c - a) * t
    low, high = torch.aminmax(v[f.reshape(-1)] if len(v) > 3 * len(f) else v, dim=0)
    step = OFFSET * math.dist(low.tolist(), high.tolist())
    ray = _even_directions(device)[(random[:, 3:] * NUM_DIRECTIONS).long()]  # [K * samples, directions, 3]
    front = normal[:, None]
    ray = ray * torch.where(dot(ray, front) < 0, -1.0, 1.0)[..., None]  # into the front half space
    ray = normalize(ray + 0.2 * front)
    bvh = BVH(v, f) if bvh is None else bvh
    proper = (normal != 0).any(dim=1)[:, None]
    votes, frees = (torch.zeros(len(chosen), dtype=torch.int64, device=device) for _ in range(2))
    for sign in (1, -1):
        origin = (point + sign * step * normal)[:, None].expand_as(ray).reshape(-1, 3)
        hits = bvh.count_hits(origin, sign * ray.reshape(-1, 3), max_hits=1 if free_only else 1 << 62)
        hits = hits.view(len(picked), directions)
        free = (hits == 0) & proper
        even = (hits % 2 == 0) & proper & (not free_only)
        vote = torch.where(free, FREE_VOTE, even.long())
        votes += sign * vote.view(len(chosen), -1).sum(1)
        frees += free.view(len(chosen), -1).sum(1)
    rays = samples * directions
    # Times the reciprocal, as a GPU divides by a number: the same bits everywhere.
    score[chosen] = votes.double() * (1 / (FREE_VOTE * rays))
    escape[chosen] = frees.double() * (1 / (2 * rays))
    return ComponentView(like(group, faces), like(score, faces), like(escape, faces), 2 * rays)


def _even_directions(device: torch.device) -> Tensor:
    """[NUM_DIRECTIONS, 3]; sums of twelve uniform numbers are nearly normal, and the same bits on every device."""
    columns = hashed_uniform(3 * NUM_DIRECTIONS, 12, -1, device).unbind(1)
    return normalize((sum(columns[1:], columns[0]) - 6).view(-1, 3))


def _pick_faces(area: Tensor, group: Tensor, num: int, chosen: Tensor, at: Tensor) -> Tensor:
    """Faces of the chosen groups at shares `at` [K, S] of their area: [K, S]."""
    order = torch.arange(len(group), device=group.device)
    if bool((group[1:] < group[:-1]).any()):
        group, order = group.sort(stable=True)
    running = to_integers(area[order])[0].cumsum(0)  # integers: the same sums everywhere
    last = torch.bincount(group, minlength=num).cumsum(0) - 1
    upper = running[last]
    lower = torch.cat([upper.new_zeros(1), upper[:-1]])
    upper, lower, last = upper[chosen, None], lower[chosen, None], last[chosen, None]
    target = lower + (at * (upper - lower).double()).long()
    return order[torch.minimum(torch.searchsorted(running, target, right=True), last)]
