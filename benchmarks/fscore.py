"""Point-set distances: surface samples, Chamfer distance and F-score."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["SurfaceDistance", "sample_surface", "surface_distance"]


class SurfaceDistance(NamedTuple):
    """Two-way comparison of point sets in the unit box."""

    precision: float  # share of predicted points within the threshold of the truth
    recall: float  # share of true points within the threshold of the prediction
    fscore: float  # harmonic mean of the two
    chamfer: float  # mean of the two one-way mean distances


def sample_surface(vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Area-weighted uniform samples of a triangle mesh.

    vertices [V, 3] float, faces [F, 3] int → [count, 3] float32 on the CPU. Raises ValueError on a mesh without area.
    """
    triangles = vertices.detach().cpu().double()[faces.detach().cpu().long()]  # [F, 3, 3]
    area = torch.linalg.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]).norm(dim=1)
    if len(triangles) == 0 or not bool(area.sum() > 0):
        raise ValueError(
            f"the mesh must have a positive area, got {len(triangles)} faces of total area {float(area.sum()) / 2}"
        )
    edges = area.cumsum(0) / area.sum()
    face = torch.searchsorted(edges, torch.rand(count, generator=generator, dtype=torch.float64)).clamp_(
        max=len(edges) - 1
    )
    u, v = torch.rand(2, count, 1, generator=generator, dtype=torch.float64)
    root = u.sqrt()
    a, b, c = triangles[face].unbind(1)
    return ((1 - root) * a + root * (1 - v) * b + root * v * c).float()


def _nearest(source: Tensor, target: Tensor, chunk: int = 1024) -> Tensor:
    """Distance of every source point [N, 3] to its nearest target point [M, 3] → [N]."""
    return torch.cat([torch.cdist(part, target).amin(dim=1) for part in source.split(chunk)])


def surface_distance(predicted: Tensor, truth: Tensor, threshold: float = 0.05) -> SurfaceDistance:
    """Precision, recall, F-score at `threshold` (box units) and Chamfer distance of two point sets [N, 3], [M, 3]."""
    to_truth, to_predicted = _nearest(predicted, truth), _nearest(truth, predicted)
    precision = float((to_truth < threshold).float().mean())
    recall = float((to_predicted < threshold).float().mean())
    total = precision + recall
    fscore = 2 * precision * recall / total if total > 0 else 0.0
    return SurfaceDistance(precision, recall, fscore, float(to_truth.mean() + to_predicted.mean()) / 2)
