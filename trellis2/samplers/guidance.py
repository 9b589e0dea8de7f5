"""Classifier-free guidance and its rescaling.

Sources: Ho and Salimans, Classifier-Free Diffusion Guidance, 2022, Eq. 6 (here `g = 1 + w`);
Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, 2024, Eq. 14-16, applied to `x_0`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .flow_path import FlowPath

__all__ = ["combine", "per_sample_std", "rescale_velocity"]

Latent = Any


def combine(v_cond: Latent, v_uncond: Latent, strength: float) -> Latent:
    """`g v(cond) + (1 - g) v(uncond)`."""
    return strength * v_cond + (1 - strength) * v_uncond


def per_sample_std(x: Latent) -> Tensor:
    """Standard deviation of each batch element.

    Dense [B, ...]: sample standard deviation over all other dimensions, [B, 1, ...].
    Sparse: population standard deviation over the tokens and channels of each element, [B, 1].
    """
    if isinstance(x, Tensor):
        return x.std(dim=list(range(1, x.ndim)), keepdim=True)
    rows = [x.feats[part].std(correction=0) for part in x.layout]
    return torch.stack(rows).reshape(-1, *[1] * (x.feats.ndim - 1))  # [B] -> [B, 1]


def rescale_velocity(
    path: FlowPath,
    x_t: Latent,
    t: float,
    v_cond: Latent,
    v: Latent,  # guided
    amount: float,
) -> Latent:
    """Pull the spread of the guided `x_0` back to that of the conditional one, by `amount` in 0…1.

    An element whose guided `x_0` is constant keeps it.
    """
    x_0 = path.x_0_from_v(x_t, t, v)
    std_cond, std = per_sample_std(path.x_0_from_v(x_t, t, v_cond)), per_sample_std(x_0)
    ratio = torch.where(std > 0, std_cond / std, torch.ones_like(std))
    x_0 = amount * (x_0 * ratio) + (1 - amount) * x_0
    return path.v_from_x_0(x_t, t, x_0)
