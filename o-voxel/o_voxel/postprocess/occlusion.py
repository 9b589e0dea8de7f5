"""Ambient occlusion: how much of the sky a point of the surface sees, baked for the texels of an atlas.

M texels, S samples, D directions. Occlusion varies slowly, so rays start from one texel in every block of the texture
and chart only, and the texels around blend what their neighbours saw.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from o_voxel.postprocess.bake import BakedTexels
from o_voxel.postprocess.source import Hit, SourceSurface

__all__ = ["bake_occlusion", "sky_directions", "visibility"]

DIRECTIONS = 48  # over the sphere; half of them lie above a point
LARGE = 1024  # texels a side from which blocks are at least 4 wide, below 2
BLOCKS = 400  # along a side of the texture, at most
OPEN = 0.95  # share of the sky from which half the directions are enough
MAX_RAYS = 1 << 21  # at a time


def sky_directions(count: int) -> Tensor:
    """`count` unit vectors spread evenly over the sphere [count, 3] float64: a Fibonacci lattice."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - 2 * i / count
    angle = math.pi * (1 + math.sqrt(5)) * i
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], 1)


def visibility(
    source: SourceSurface, points: Tensor, normals: Tensor, reach: float, *, directions: int = DIRECTIONS
) -> Tensor:
    """Cosine-weighted share of `directions` above each point that meet nothing within `reach`: [S] float64 in 0..1.

    Points that see nearly all of every second direction are not looked at further: most of most surfaces.
    `points` [S, 3] should lie a little off the surface along their unit `normals` [S, 3]. The directions are the same
    everywhere, so results repeat exactly.
    """
    sky = sky_directions(directions).to(points.device)
    seen, weight = _look(source, points, normals, sky[::2], reach)
    doubt = (seen < weight * OPEN).nonzero()[:, 0]
    if len(doubt):
        more_seen, more_weight = _look(source, points[doubt], normals[doubt], sky[1::2], reach)
        seen[doubt] += more_seen
        weight[doubt] += more_weight
    return torch.where(weight > 0, seen / weight, 1.0)


def _look(source: SourceSurface, points: Tensor, normals: Tensor, sky: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Sums of cosines over the directions above each point: of those that meet nothing, and of all."""
    seen = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    weight = torch.zeros_like(seen)
    step = max(1, MAX_RAYS // max(1, len(points)))
    for ways in sky.split(step):
        cosine = (normals.double() @ ways.T).clamp(min=0)  # [S, d]
        row, way = cosine.nonzero().unbind(1)
        free = torch.zeros_like(cosine)
        free[row, way] = (~source.occluded(points[row], ways[way], reach)).double()
        seen += (cosine * free).sum(1)
        weight += cosine.sum(1)
    return seen, weight


def bake_occlusion(
    baked: BakedTexels,
    charts: Tensor,  # [F] int64, chart of each face
    source: SourceSurface,
    *,
    reach: float,
    offset: float,
) -> Tensor:  # [M] float32 in 0..1
    """Visibility at the texels' points on the source, `offset` off it; texels without such a point count as open."""
    texels, hit = baked.texels, baked.hit
    if hit is None or len(texels.row) == 0:
        return torch.ones(len(texels.row), device=texels.row.device)
    chart = charts[texels.face]
    block = max(4 if texels.size >= LARGE else 2, -(-texels.size // BLOCKS))
    across = -(-texels.size // block)
    y, x = texels.row // texels.size, texels.row % texels.size
    key = (chart * (across + 2) + y // block + 1) * (across + 2) + x // block + 1
    cells, member = torch.unique(key, return_inverse=True)
    # The texel of a cell that lies nearest its middle stands for it; of equally near ones the first.
    middle = (block - 1) / 2
    away = (((y % block) - middle) ** 2 + ((x % block) - middle) ** 2).double()
    rank = (away * 2).long() * len(key) + torch.arange(len(key), device=key.device)
    first = torch.full_like(cells, torch.iinfo(torch.int64).max).scatter_reduce(0, member, rank, "amin")
    chosen = first % len(key)
    value = torch.ones(len(cells), dtype=torch.float64, device=key.device)
    usable = (hit.face[chosen] >= 0).nonzero()[:, 0]
    at = chosen[usable]
    part = Hit(hit.distance[at], hit.face[at], hit.uvw[at])
    normals = source.normals(part)
    value[usable] = visibility(source, source.positions(part) + offset * normals, normals, reach)
    return _blend(value, cells, member, x, y, x[chosen], y[chosen], across + 2, block)


def _blend(
    value: Tensor, cells: Tensor, member: Tensor, x: Tensor, y: Tensor, at_x: Tensor, at_y: Tensor, pitch: int,
    block: int,
) -> Tensor:  # fmt: skip
    """Values of samples [S] at (at_x, at_y), blended at texels (x, y) [M] over the cells around each, of its chart."""
    total = torch.zeros(len(x), device=value.device)
    weight = torch.zeros(len(x), device=value.device)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            wanted = cells + dy * pitch + dx
            place = torch.searchsorted(cells, wanted).clamp(max=len(cells) - 1)
            near, there = place[member], (cells[place] == wanted)[member]
            reach = 1.5 * block
            wx = (1 - (x - at_x[near]).abs() / reach).clamp(min=0)
            wy = (1 - (y - at_y[near]).abs() / reach).clamp(min=0)
            share = torch.where(there, wx * wy, 0.0).float()
            if dx == 0 and dy == 0:
                share = share + 1e-6  # a texel always has its own cell
            total += share * value.float()[near]
            weight += share
    return total / weight
