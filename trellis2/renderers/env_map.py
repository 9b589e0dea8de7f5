"""Image-based lighting by the split-sum approximation.

Maps are kept as latitude-longitude images, which have no seams to treat; they are exact sums over the sphere with
exact solid angles and normalised weights (`prefilter.py`), so a constant white surround lights with exactly 1.
Based on: B. Karis, "Real Shading in Unreal Engine 4", 2013; light scattered several times between microfacets, and what
a coating leaves to the diffuse base, after C. Fdez-Agüera, "A Multiple-Scattering Microfacet Model for Real-Time
Image-Based Lighting", 2019.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .fg_table import fg_lookup
from .panorama import directions_to_uv, sample_panorama
from .prefilter import LEVEL_ROUGHNESS, diffuse_map, specular_levels

__all__ = ["EnvMap"]


class EnvMap:
    """A surround that lights, from a linear latitude-longitude image `[H, 2H, 3]` (row 0 = zenith, centre = world -Y).

    `rotation` turns the surround about +Z (radians, counter-clockwise seen from above); `intensity` scales it.
    `quirks="published"` mirrors the image left to right and adds the whole diffuse term to a single-scattering lobe, as
    the published renderer does. The filtered maps are made on first use, on the image's device, and kept.
    """

    def __init__(
        self,
        image: Tensor,
        *,
        rotation: float = 0.0,
        intensity: float = 1.0,
        quirks: Literal["published"] | None = None,
    ) -> None:
        if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[2] != 3 or not image.is_floating_point():
            raise ValueError("image must be a float tensor [H, 2H, 3] of linear RGB")
        if image.shape[1] != 2 * image.shape[0]:
            raise ValueError(f"image must be twice as wide as high, got {image.shape[1]} x {image.shape[0]}")
        if not torch.isfinite(image).all() or (image < 0).any():
            raise ValueError("image must hold finite values that are not negative")
        if quirks not in (None, "published"):
            raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
        self.image = image.float()
        self.rotation = float(rotation)
        self.intensity = float(intensity)
        self.quirks: Literal["published"] | None = quirks
        self._maps: tuple[Tensor, Tensor] | None = None
        self._copies: dict[torch.device, EnvMap] = {}

    @property
    def device(self) -> torch.device:
        return self.image.device

    def to(self, device: torch.device | str) -> EnvMap:
        """The same surround on another device; the copy is kept, so its filtered maps are made once."""
        device = torch.device(device)
        if self.image.device == device:
            return self
        if device in self._copies:
            return self._copies[device]
        moved = EnvMap(self.image.to(device), rotation=self.rotation, intensity=self.intensity, quirks=self.quirks)
        if self._maps is not None:
            moved._maps = (self._maps[0].to(device), self._maps[1].to(device))
        self._copies[device] = moved
        return moved

    def sample(self, directions: Tensor) -> Tensor:
        """Unfiltered radiance `[..., 3]` in world `directions [..., 3]` (any length)."""
        return sample_panorama(self.image, self._local(directions), self.quirks) * self.intensity

    def diffuse(self, normal: Tensor) -> Tensor:
        """Cosine-weighted mean radiance `[..., 3]` around `normal [..., 3]`: irradiance / pi."""
        return sample_panorama(self._filtered()[0], self._local(normal), self.quirks) * self.intensity

    def specular(self, direction: Tensor, roughness: Tensor) -> Tensor:
        """GGX-filtered radiance `[..., 3]` around `direction [..., 3]` for `roughness [...]`."""
        levels = self._filtered()[1]  # [1, 3, L, H, W + 2]
        depth, width = levels.shape[2], levels.shape[4] - 2
        uv = directions_to_uv(self._local(direction).reshape(-1, 3), self.quirks)
        level = roughness.reshape(-1).clamp(0, 1) * (len(LEVEL_ROUGHNESS) - 1)
        grid = torch.stack(
            [(uv[:, 0] * width + 1) * (2 / (width + 2)) - 1, 2 * uv[:, 1] - 1, (level + 0.5) * (2 / depth) - 1], dim=-1
        )
        out = F.grid_sample(levels, grid[None, None, None], padding_mode="border", align_corners=False)
        return out[0, :, 0, 0].T.reshape(*direction.shape[:-1], 3) * self.intensity

    def shade_parts(
        self, position: Tensor, normal: Tensor, kd: Tensor, ks: Tensor, view_pos: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reflected radiance of points, split into the diffuse base and the specular reflection, each `[..., 3]`.

        `position`, `normal` (unit), linear albedo `kd`, `ks = (occlusion, roughness, metallic)`: `[..., 3]`; `view_pos`
        broadcasts against them.
        """
        view = view_pos - position
        view = view / (view * view).sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
        occlusion, roughness, metallic = ks[..., 0:1], ks[..., 1], ks[..., 2:3]
        cosine = (view * normal).sum(-1, keepdim=True)
        reflected = 2 * cosine * normal - view
        scale, bias = fg_lookup(cosine[..., 0].clamp(1e-4, 1), roughness).split(1, dim=-1)
        single = (0.04 * (1 - metallic) + kd * metallic) * scale + bias
        base = kd * (1 - metallic)
        glossy = self.specular(reflected, roughness) * single
        light = self.diffuse(normal)
        if self.quirks != "published":
            coat, metal = _multiple_scattering(scale, bias, 0.04), _multiple_scattering(scale, bias, kd)
            base = base * (1 - (0.04 * scale + bias) - coat)
            glossy = glossy + (coat + (metal - coat) * metallic) * light
        return light * base * (1 - occlusion), glossy * (1 - occlusion)

    def shade(
        self, gb_pos: Tensor, gb_normal: Tensor, kd: Tensor, ks: Tensor, view_pos: Tensor, specular: bool = True
    ) -> Tensor:
        """Linear radiance `[..., 3]` towards the viewer, see `shade_parts`; without `specular`, `kd` times light."""
        if not specular:
            return self.diffuse(gb_normal) * kd * (1 - ks[..., 0:1])
        diffuse, glossy = self.shade_parts(gb_pos, gb_normal, kd, ks, view_pos)
        return diffuse + glossy

    def _local(self, directions: Tensor) -> Tensor:
        """World directions to those of the unrotated image."""
        if not self.rotation:
            return directions
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        x, y, z = directions.unbind(-1)
        return torch.stack([c * x + s * y, c * y - s * x, z], dim=-1)

    def _filtered(self) -> tuple[Tensor, Tensor]:
        """Diffuse map `[h, 2h, 3]` and specular levels `[1, 3, L, H, 2H + 2]` (one wrapped column at both sides)."""
        if self._maps is None:
            with torch.no_grad():
                stack = specular_levels(self.image).permute(3, 0, 1, 2)[None]  # [L, H, W, 3] -> [1, 3, L, H, W]
                stack = torch.cat([stack[..., -1:], stack, stack[..., :1]], dim=-1).contiguous()
                self._maps = (diffuse_map(self.image), stack)
        return self._maps


def _multiple_scattering(scale: Tensor, bias: Tensor, f0: Tensor | float) -> Tensor:
    """Share of light that leaves after several reflections between microfacets of normal reflectance `f0`."""
    lost = 1 - scale - bias  # by single scattering
    mean_fresnel = f0 + (1 - f0) / 21
    return lost * (f0 * scale + bias) * mean_fresnel / (1 - lost * mean_fresnel)
