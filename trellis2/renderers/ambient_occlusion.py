"""Screen-space ambient occlusion with a fixed pattern: the same picture every time, no flicker along a turntable.

Based on: M. Mittring, "Finding Next Gen: CryEngine 2", 2007 (hemisphere variant).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["ambient_occlusion"]


def ambient_occlusion(
    depth: Tensor,  # [R, R] camera z, infinite where empty
    normal: Tensor,  # [R, R, 3] viewer-facing unit normals, camera axes
    projection: Tensor,  # [4, 4]
    *,
    radius: float = 0.1,
    num_samples: int = 32,
    intensity: float = 1.5,
    bias: float = 2e-3,
) -> Tensor:  # [R, R]
    """Occluded share of the hemisphere in [0, 1], 0 on empty pixels. Lengths in world units.

    Each pixel probes `num_samples` points of a fixed spiral inside a ball of `radius`, denser towards its centre and
    turned to the normal's side; a probe behind the depth buffer by less than `radius` counts as blocked.
    """
    size = depth.shape[0]
    flat = depth.reshape(-1)
    pixel = torch.nonzero(torch.isfinite(flat))[:, 0]
    out = torch.zeros_like(flat)
    if not len(pixel) or num_samples < 1:
        return out.reshape(depth.shape)
    z = flat[pixel]
    p = projection.float()
    x_ndc = ((pixel % size).float() * 2 + 1) / size - 1
    y_ndc = (torch.div(pixel, size, rounding_mode="floor").float() * 2 + 1) / size - 1
    point = torch.stack([(x_ndc - p[0, 2]) * z / p[0, 0], (y_ndc - p[1, 2]) * z / p[1, 1], z], dim=1)
    n = normal.reshape(-1, 3)[pixel]
    blocked = torch.zeros_like(z)
    for i in range(num_samples):
        height = 1 - (2 * i + 1) / num_samples
        angle = i * math.pi * (3 - math.sqrt(5))
        ring = math.sqrt(1 - height * height)
        share = ((i * 0.7548776662466927) % 1.0 + 0.5 / num_samples) ** 2
        offset = n.new_tensor([ring * math.cos(angle), ring * math.sin(angle), height]) * (radius * share)
        side = torch.where((n @ offset) < 0, -1.0, 1.0)
        probe = point + side[:, None] * offset
        depth_of_probe = probe[:, 2].clamp_min(1e-5)
        column = ((p[0, 0] * probe[:, 0] / depth_of_probe + p[0, 2] + 1) * (0.5 * size)).long().clamp(0, size - 1)
        row = ((p[1, 1] * probe[:, 1] / depth_of_probe + p[1, 2] + 1) * (0.5 * size)).long().clamp(0, size - 1)
        seen = flat[row * size + column]
        gap = probe[:, 2] - seen
        blocked += ((gap >= bias) & (gap < radius)).float()
    out[pixel] = (blocked * (intensity / num_samples)).clamp(0, 1)
    return out.reshape(depth.shape)
