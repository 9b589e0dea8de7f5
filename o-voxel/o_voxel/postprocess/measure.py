"""How far two surfaces are apart, at evenly spread points that are always the same.

P points.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel._native import resolve_backend
from o_voxel.mesh import face_areas
from o_voxel.postprocess.source import SourceSurface, weighted_corners

__all__ = ["SurfaceDistance", "surface_distance", "surface_points"]

POINTS = 100_000  # of each surface
FEW_POINTS = 1000  # without the compiled core
_PLASTIC = 1.324717957244746  # root of x^3 = x + 1: the R2 sequence of M. Roberts


class SurfaceDistance(NamedTuple):
    """Distances between two surfaces, in the unit of the vertices."""

    chamfer: float  # mean of the two mean distances
    hausdorff: float  # largest distance


def surface_points(vertices: Tensor, faces: Tensor, count: int = POINTS) -> Tensor:
    """`count` points spread over a surface by area: float64 [P, 3]. Every call gives the same."""
    total = face_areas(vertices, faces).cpu().double().cumsum(0)  # in one order
    if len(total) == 0 or not float(total[-1]) > 0:
        return vertices.double()[faces.reshape(-1)[:count].long()]
    step = torch.arange(count, dtype=torch.float64)
    face = torch.searchsorted(total, (step + 0.5) / count * total[-1]).clamp(max=len(total) - 1).to(vertices.device)
    u, v = (((step + 1) / _PLASTIC**k) % 1 for k in (1, 2))
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    weights = torch.stack([1 - u - v, u, v], 1).to(vertices.device)
    return weighted_corners(vertices, faces[face].long(), weights)


def surface_distance(
    result: SourceSurface, raw: SourceSurface, kept: SourceSurface, count: int | None = None
) -> SurfaceDistance:
    """From points of `result` to `raw`, and from points of `kept`, the part of it that was to stay, to `result`."""
    if count is None:
        count = POINTS if resolve_backend("auto") == "native" else FEW_POINTS
    there = raw.nearest(surface_points(result.vertices, result.faces, count)).distance
    back = result.nearest(surface_points(kept.vertices, kept.faces, count)).distance
    return SurfaceDistance((float(there.mean()) + float(back.mean())) / 2, max(float(there.max()), float(back.max())))
