"""Screen-space ambient occlusion with a fixed pattern: the same picture every time, no flicker along a turntable.

Based on: M. Mittring, "Finding Next Gen: CryEngine 2", 2007 (hemisphere variant).
n surface pixels, k probes of a batch.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["ambient_occlusion"]

_BATCH = 8  # probes worked on at once


@lru_cache(maxsize=8)
def _probes(num_samples: int, device: torch.device) -> Tensor:
    """Points `[num_samples, 3]` of a spiral in the unit ball, denser towards its centre."""
    index = torch.arange(num_samples, dtype=torch.float64)
    height = 1 - (2 * index + 1) / num_samples
    angle = index * math.pi * (3 - math.sqrt(5))
    ring = (1 - height * height).sqrt()
    share = (torch.remainder(index * 0.7548776662466927, 1.0) + 0.5 / num_samples) ** 2
    points = torch.stack([ring * angle.cos(), ring * angle.sin(), height], dim=1) * share[:, None]
    return points.float().to(device)


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
    out = torch.zeros_like(flat)
    if num_samples < 1:
        return out.reshape(depth.shape)
    pixel = torch.nonzero(torch.isfinite(flat))[:, 0]
    if not len(pixel):
        return out.reshape(depth.shape)
    z = flat[pixel]
    p = projection.float()
    # image position in samples: column = x / z * scale_x + centre_x
    scale_x, scale_y = p[0, 0] * (0.5 * size), p[1, 1] * (0.5 * size)
    centre_x, centre_y = (p[0, 2] + 1) * (0.5 * size), (p[1, 2] + 1) * (0.5 * size)
    x = (pixel % size + 0.5 - centre_x) * z / scale_x
    y = (torch.div(pixel, size, rounding_mode="floor") + 0.5 - centre_y) * z / scale_y
    n = normal.reshape(-1, 3)[pixel].T.contiguous()  # [3, n]
    blocked = torch.zeros_like(z)
    for offsets in (_probes(num_samples, depth.device) * radius).split(_BATCH):
        side = torch.where(offsets @ n < 0, -1.0, 1.0)  # [k, n]
        probe_z = torch.addcmul(z, side, offsets[:, 2:]).clamp_min_(1e-5)
        ray = probe_z.reciprocal()
        column = (torch.addcmul(x, side, offsets[:, 0:1]) * ray * scale_x + centre_x).clamp_(0, size - 1).int()
        row = (torch.addcmul(y, side, offsets[:, 1:2]) * ray * scale_y + centre_y).clamp_(0, size - 1).int()
        gap = probe_z - flat.take(row.long() * size + column)
        blocked += ((gap >= bias) & (gap < radius)).sum(0)
    out[pixel] = (blocked * (intensity / num_samples)).clamp(0, 1)
    return out.reshape(depth.shape)
