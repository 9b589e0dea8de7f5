"""Screen-space ambient occlusion with a fixed pattern: the same picture every time, no flicker along a turntable.

Neighbouring pixels turn the pattern by different angles, 16 in a tile of 4 x 4, and share their results with those at
a similar depth, so that few probes leave no bands.
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
_TILE = 4
_TURNS = (0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5)  # ordered dither: neighbours differ most


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
    turned to the normal's side; a probe behind the depth buffer by `bias` to `radius` counts as blocked.
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
    tile = (torch.div(pixel, size, rounding_mode="floor") % _TILE) * _TILE + pixel % _TILE
    cosine, sine = _turns(depth.device)[:, tile]
    # The pattern turned about the view axis is the scene turned the other way.
    turned = torch.stack([n[0] * cosine + n[1] * sine, n[1] * cosine - n[0] * sine, n[2]])
    # On a slanted face the depth of the nearest pixel is off by up to half a pixel times the slope.
    slope = (1 - n[2] * n[2]).clamp_min(0).sqrt() / n[2].abs().clamp_min(0.05)
    least = bias + z / scale_x * slope
    blocked = torch.zeros_like(z)
    for offsets in (_probes(num_samples, depth.device) * radius).split(_BATCH):
        side = torch.where(offsets @ turned < 0, -1.0, 1.0)  # [k, n]
        along_x = offsets[:, 0:1] * cosine - offsets[:, 1:2] * sine
        along_y = offsets[:, 0:1] * sine + offsets[:, 1:2] * cosine
        probe_z = torch.addcmul(z, side, offsets[:, 2:]).clamp_min_(1e-5)
        ray = probe_z.reciprocal()
        column = (torch.addcmul(x, side, along_x) * ray * scale_x + centre_x).clamp_(0, size - 1).int()
        row = (torch.addcmul(y, side, along_y) * ray * scale_y + centre_y).clamp_(0, size - 1).int()
        gap = probe_z - flat.take(row.long() * size + column)
        blocked += ((gap >= least) & (gap < radius)).sum(0)
    out[pixel] = blocked * (intensity / num_samples)
    return _smooth(out.reshape(depth.shape), depth, 0.2 * radius).clamp_(0, 1)


@lru_cache(maxsize=8)
def _turns(device: torch.device) -> Tensor:
    """Cosine and sine `[2, 16]` of the angle of each pixel of a tile."""
    angle = torch.tensor(_TURNS, dtype=torch.float64) * (2 * math.pi / len(_TURNS))
    return torch.stack([angle.cos(), angle.sin()]).float().to(device)


def _smooth(image: Tensor, depth: Tensor, reach: float) -> Tensor:
    """Mean over a tile's width of pixels whose depth differs by less than `reach`, first along rows, then columns."""
    for dim in (1, 0):
        total, count = image.clone(), torch.ones_like(image)
        for step in range(1 - _TILE // 2, _TILE // 2 + 1):
            if step:
                near = ((depth.roll(step, dim) - depth).abs() < reach).to(image.dtype)
                total.addcmul_(image.roll(step, dim), near)
                count += near
        image = total / count
    return image
