"""Panoramas filtered by the lobes of image-based lighting.

A lobe about a direction depends on the two latitudes and on the difference in longitude only, so filtering a
latitude-longitude image is a circular convolution along its rows: one small matrix for each Fourier coefficient
instead of a sum over the whole sphere for each texel. Weights are exact sums with exact solid angles, normalised to 1.

H rows and W = 2H columns of a map, M = W / 2 + 1 Fourier coefficients.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .panorama import panorama_directions, reduce_panorama, sample_panorama, solid_angles

__all__ = ["LEVEL_ROUGHNESS", "diffuse_map", "filter_panorama", "specular_levels"]

#: Roughness of each stored specular level; level 0 is the surround itself, a mirror's view.
LEVEL_ROUGHNESS = tuple(i / 10 for i in range(11))
_HEIGHT = 256  # rows of the stored specular levels
_DIFFUSE_HEIGHT = 64
_SHARPEST_BAND = 16  # rows to either side that the narrowest lobe reaches: 11 degrees hold 99 % of it


def _filter_height(roughness: float) -> int:
    """Rows at which a level is filtered: texels stay below half the width of its lobe."""
    return 256 if roughness < 0.15 else 128 if roughness < 0.25 else 64


@lru_cache(maxsize=32)
def _lobe_matrices(height: int, roughness: float | None, device: torch.device) -> Tensor:
    """Fourier coefficients `[M, H, H]` (output row, input row) of a lobe, which is even and so has real ones.

    Cosine lobe for `roughness` None, else `max(R.L, 0) * D(R.H)` of GGX with N = V = R and alpha = roughness^2,
    averaged over 2 x 2 points of each texel.
    """
    width = 2 * height
    narrow = roughness is not None and roughness < 0.15
    rows = torch.arange(height, device=device)
    reach = torch.arange(-_SHARPEST_BAND, _SHARPEST_BAND + 1, device=device) if narrow else rows
    source = (rows[:, None] + reach).clamp(0, height - 1) if narrow else rows[None].expand(height, -1)  # [H, K]
    weight = torch.zeros(height, source.shape[1], width, device=device)
    theta_out = ((rows + 0.5) * (math.pi / height))[:, None]
    alpha2 = 1.0 if roughness is None else roughness**4
    for sub in range(4):
        theta_in = (source + 0.25 + 0.5 * (sub // 2)) * (math.pi / height)
        step = (torch.arange(width, device=device) + (0.25 if sub % 2 else -0.25)) * (math.pi / width)
        # (1 - R.L) / 2 in the form that keeps its precision for equal directions
        away = ((theta_in - theta_out) / 2).sin()[..., None] ** 2
        away = away + (theta_out.sin() * theta_in.sin())[..., None] * step.sin() ** 2
        cosine = (1 - 2 * away).clamp_min_(0)
        weight += cosine if roughness is None else cosine / (away + alpha2 * (1 - away)) ** 2
    if narrow:  # rows beyond the poles do not exist
        weight *= ((rows[:, None] + reach >= 0) & (rows[:, None] + reach < height))[..., None]
    weight *= solid_angles(height, device)[source][..., None]
    weight /= weight.sum((1, 2), keepdim=True)
    coefficients = torch.fft.rfft(weight, dim=2).real  # [H, K, M]
    if not narrow:
        return coefficients.permute(2, 0, 1).contiguous()
    dense = torch.zeros(height, height, coefficients.shape[2], device=device)
    dense.scatter_add_(1, source[..., None].expand_as(coefficients), coefficients)
    return dense.permute(2, 0, 1).contiguous()


def filter_panorama(image: Tensor, height: int, roughness: float | None) -> Tensor:
    """Mean of `image [h, 2h, 3]` over the lobe around each texel of a `[height, 2 * height, 3]` map.

    `roughness` as for the specular levels; None is the cosine lobe: irradiance / pi.
    """
    source = torch.fft.rfft(reduce_panorama(image, height), dim=1).permute(1, 0, 2)  # [M, H, 3]
    parts = torch.view_as_real(source.contiguous()).flatten(2)  # [M, H, 6]
    matrices = _lobe_matrices(height, roughness, image.device)
    reduced = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False  # a sun would leave ripples all around
    try:
        mixed = torch.bmm(matrices, parts)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = reduced
    spectrum = torch.view_as_complex(mixed.unflatten(2, (3, 2)).contiguous()).permute(1, 0, 2)  # [H, M, 3]
    return torch.fft.irfft(spectrum, n=2 * height, dim=1).clamp_min(0)


def diffuse_map(image: Tensor) -> Tensor:
    """Irradiance / pi by normal direction, `[64, 128, 3]`."""
    return filter_panorama(image, _DIFFUSE_HEIGHT, None)


def specular_levels(image: Tensor) -> Tensor:
    """GGX-filtered surrounds `[L, 256, 512, 3]` for the roughness of `LEVEL_ROUGHNESS`."""
    directions = panorama_directions(_HEIGHT, image.device)
    levels = [reduce_panorama(image, _HEIGHT)]
    for roughness in LEVEL_ROUGHNESS[1:]:
        level = filter_panorama(image, _filter_height(roughness), roughness)
        levels.append(level if level.shape[0] == _HEIGHT else sample_panorama(level, directions))
    return torch.stack(levels)
