"""The environment BRDF table of split-sum lighting, computed, not shipped.

Directional albedo of the GGX lobe with Schlick's Fresnel is `F0 * A + B`; the table holds (A, B) by roughness and N.V.
Based on: B. Karis, "Real Shading in Unreal Engine 4", 2013 (split sum), with height-correlated Smith masking
(E. Heitz, "Understanding the Masking-Shadowing Function in Microfacet-Based BRDFs", 2014) and alpha = roughness^2.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["fg_lookup", "fg_table"]

_LOOKUP_SIZE = 128


@lru_cache(maxsize=4)
def fg_table(size: int = 256, num_samples: int = 512) -> Tensor:
    """Table `[size, size, 2]` float32 on the CPU: row = roughness, column = N.V, both at (i + 0.5) / size.

    Half vectors follow the GGX distribution on a fixed low-discrepancy set, so the result is always the same.
    """
    centres = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    index = torch.arange(num_samples, dtype=torch.float64) + 0.5
    xi = (index / num_samples).float()
    phi = (2 * math.pi * torch.remainder(index * 0.6180339887498949, 1.0)).float()
    table = torch.empty((size, size, 2))
    nv = centres[:, None]  # [N.V, sample]
    view_x = (1 - nv * nv).sqrt()
    for row, roughness in enumerate(centres.tolist()):
        alpha2 = roughness**4
        nh = ((1 - xi) / (1 + (alpha2 - 1) * xi)).sqrt()
        half_x = (1 - nh * nh).clamp_min(0).sqrt() * phi.cos()
        vh = (view_x * half_x + nv * nh).clamp_min(0)
        nl = 2 * vh * nh - nv
        lit = nl > 0
        nl = nl.clamp_min(1e-8)
        smith = (
            2
            * nl
            * nv
            / (nv * (alpha2 + (1 - alpha2) * nl * nl).sqrt() + nl * (alpha2 + (1 - alpha2) * nv * nv).sqrt())
        )
        visible = torch.where(lit, smith * vh / (nh * nv), 0.0)
        fresnel = (1 - vh) ** 5
        table[row, :, 0] = ((1 - fresnel) * visible).mean(1)
        table[row, :, 1] = (fresnel * visible).mean(1)
    return table


def fg_lookup(nv: Tensor, roughness: Tensor, table: Tensor | None = None) -> Tensor:
    """Bilinear, clamped look-up: `nv` and `roughness` of one shape -> (A, B) in a new last axis."""
    image = _device_table(nv.device) if table is None else _as_image(table, nv.device)
    at = torch.stack([nv.clamp_min(1e-4), roughness.clamp(0, 1)], dim=-1).reshape(1, 1, -1, 2).float() * 2 - 1
    out = F.grid_sample(image, at, padding_mode="border", align_corners=False)  # [1, 2, 1, n]
    return out[0, :, 0].T.reshape(*nv.shape, 2)


def _as_image(table: Tensor, device: torch.device) -> Tensor:
    return table.permute(2, 0, 1)[None].contiguous().to(device)


@lru_cache(maxsize=8)
def _device_table(device: torch.device) -> Tensor:
    return _as_image(fg_table(_LOOKUP_SIZE), device)
