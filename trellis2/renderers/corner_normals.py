"""Shading normals of meshes that come without any.

V vertices, F faces.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["corner_normals"]


def corner_normals(vertices: Tensor, faces: Tensor, crease_angle: float) -> Tensor:
    """Unit shading normals `[F, 3, 3]` float32: around a corner, area-weighted mean of the faces bent by less.

    Vertices at one position count as one, so seams of a texture stay smooth. `crease_angle` in degrees. Works on the
    device of `vertices [V, 3]` in double precision.
    """
    points, index = vertices.double(), faces.long()
    a, b, c = (points[index[:, i]] for i in range(3))
    areas = torch.linalg.cross(b - a, c - a)
    units = areas / areas.norm(dim=1, keepdim=True).clamp_min(1e-20)
    _, place = torch.unique(torch.round(points, decimals=9), dim=0, return_inverse=True)
    corner = place[index].reshape(-1)  # [3 F] position id of each corner
    ordered, order = torch.sort(corner, stable=True)
    start = torch.searchsorted(ordered, corner)
    degree = torch.searchsorted(ordered, corner, right=True) - start
    owner = torch.arange(len(corner), device=points.device) // 3
    neighbour = order // 3
    total = torch.zeros(len(corner), 3, dtype=torch.float64, device=points.device)
    limit = math.cos(math.radians(crease_angle))
    for k in range(int(degree.max()) if len(corner) else 0):  # k-th face around every corner that has one
        rows = torch.nonzero(degree > k)[:, 0]
        other = neighbour[start[rows] + k]
        close = (units[owner[rows]] * units[other]).sum(1, keepdim=True) >= limit
        total[rows] += torch.where(close, areas[other], 0.0)
    length = total.norm(dim=1, keepdim=True)
    normals = torch.where(length > 1e-20, total / length.clamp_min(1e-20), units[owner])
    return normals.reshape(-1, 3, 3).float()
