"""Image-based lighting by the split-sum approximation.

Maps are kept as latitude-longitude images, which have no seams to treat; diffuse and rough specular levels are exact
sums over the sphere with exact solid angles and normalised weights, so a constant white surround lights with exactly 1.
Based on: B. Karis, "Real Shading in Unreal Engine 4", 2013.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .fg_table import fg_lookup
from .panorama import directions_to_uv, panorama_directions, reduce_panorama, sample_panorama, solid_angles

__all__ = ["EnvMap", "roughness_to_level"]

_ROUGHNESS = (0.08, 0.185, 0.29, 0.395, 0.5, 1.0)  # of the specular levels
_HEIGHT = 256  # rows of the stored levels
_SUM_HEIGHT = 64  # rows of the source of the exact sums
_TABLE_HEIGHT = 32  # rows of the diffuse map
_TAPS = 64


def roughness_to_level(roughness: Tensor) -> Tensor:
    """Fractional index 0..5 of the specular level for a roughness in [0, 1]."""
    smooth = (roughness.clamp(0.08, 0.5) - 0.08) / 0.42 * 4
    return torch.where(roughness < 0.5, smooth, (roughness.clamp(0.5, 1.0) - 0.5) / 0.5 + 4)


class EnvMap:
    """A surround that lights, from a linear latitude-longitude image `[H, 2H, 3]` (row 0 = zenith, centre = world -Y).

    `rotation` turns the surround about +Z (radians, counter-clockwise seen from above); `intensity` scales it.
    `quirks="published"` mirrors the image left to right as the published renderer does. The filtered maps are made on
    first use, on the image's device, and kept.
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
        level = roughness_to_level(roughness.reshape(-1))
        grid = torch.stack(
            [(uv[:, 0] * width + 1) * (2 / (width + 2)) - 1, 2 * uv[:, 1] - 1, (level + 0.5) * (2 / depth) - 1], dim=-1
        )
        out = F.grid_sample(levels, grid[None, None, None], padding_mode="border", align_corners=False)
        return out[0, :, 0, 0].T.reshape(*direction.shape[:-1], 3) * self.intensity

    def shade_parts(
        self, position: Tensor, normal: Tensor, kd: Tensor, ks: Tensor, view_pos: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reflected radiance of points, split into its diffuse and specular parts, each `[..., 3]`.

        `position`, `normal` (unit), linear albedo `kd`, `ks = (occlusion, roughness, metallic)`: `[..., 3]`; `view_pos`
        broadcasts against them.
        """
        view = view_pos - position
        view = view / (view * view).sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
        occlusion, roughness, metallic = ks[..., 0:1], ks[..., 1], ks[..., 2:3]
        cosine = (view * normal).sum(-1, keepdim=True)
        reflected = 2 * cosine * normal - view
        scale_bias = fg_lookup(cosine[..., 0].clamp(1e-4, 1), roughness)
        f0 = 0.04 * (1 - metallic) + kd * metallic
        open_share = 1 - occlusion
        diffuse = self.diffuse(normal) * (kd * (1 - metallic)) * open_share
        specular = self.specular(reflected, roughness) * (f0 * scale_bias[..., 0:1] + scale_bias[..., 1:2]) * open_share
        return diffuse, specular

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
                levels = [self._level(i, roughness) for i, roughness in enumerate(_ROUGHNESS)]
                wide = [_resize_wrapped(level, _HEIGHT) for level in levels]
                stack = torch.stack(wide).permute(3, 0, 1, 2)[None]  # [L, H, W, 3] -> [1, 3, L, H, W]
                stack = torch.cat([stack[..., -1:], stack, stack[..., :1]], dim=-1).contiguous()
                source = reduce_panorama(self.image, _SUM_HEIGHT)
                self._maps = (_sphere_sum(source, _TABLE_HEIGHT, None), stack)
        return self._maps

    def _level(self, index: int, roughness: float) -> Tensor:
        if index <= 1:  # narrow lobes: fixed low-discrepancy taps
            height = _HEIGHT >> index
            return _tap_lobe(reduce_panorama(self.image, height), roughness)
        return _sphere_sum(
            reduce_panorama(self.image, _SUM_HEIGHT), _SUM_HEIGHT if index == 2 else _TABLE_HEIGHT, roughness
        )


def _sphere_sum(source: Tensor, height: int, roughness: float | None) -> Tensor:
    """Weighted mean over all texels of `source` for every texel of a `[height, 2 * height, 3]` map.

    Weights: cosine (roughness None), or `max(R.L, 0) * D_ggx(R.H)`; times solid angle.
    """
    device = source.device
    lights = panorama_directions(source.shape[0], device).reshape(-1, 3)
    area = solid_angles(source.shape[0], device)[:, None].expand(-1, source.shape[1]).reshape(-1)
    radiance = torch.cat([source.reshape(-1, 3), torch.ones_like(source.reshape(-1, 3)[:, :1])], dim=1)
    radiance = radiance * area[:, None]  # [T, 4], last column sums the weights
    outputs = panorama_directions(height, device).reshape(-1, 3)
    parts = []
    for chunk in outputs.split(512):
        cosine = (chunk @ lights.T).clamp_(min=0, max=1)  # [c, T]
        if roughness is None:
            weight = cosine
        else:
            alpha2 = roughness**4
            half2 = 0.5 + 0.5 * cosine  # (R.H)^2 for N = V = R
            weight = cosine / (half2 * (alpha2 - 1) + 1) ** 2
        total = weight @ radiance
        parts.append(total[:, :3] / total[:, 3:])
    return torch.cat(parts).reshape(height, 2 * height, 3)


def _tap_lobe(source: Tensor, roughness: float) -> Tensor:
    """GGX-filter `source [h, 2h, 3]` at its own size by `_TAPS` directions a texel, N = V = R."""
    height = source.shape[0]
    outputs = panorama_directions(height, source.device)
    helper = torch.zeros_like(outputs)
    helper[..., 2] = (outputs[..., 2].abs() < 0.9).float()
    helper[..., 0] = 1 - helper[..., 2]
    tangent = F.normalize(torch.linalg.cross(helper, outputs), dim=-1)
    bitangent = torch.linalg.cross(outputs, tangent)
    total, weights = torch.zeros_like(outputs), 0.0
    alpha2 = roughness**4
    for i in range(_TAPS):
        xi, phi = (i + 0.5) / _TAPS, 2 * math.pi * (i * 0.6180339887498949 % 1.0)
        cos2 = (1 - xi) / (1 + (alpha2 - 1) * xi)
        nl = 2 * cos2 - 1
        if nl <= 0:
            continue
        sin = math.sqrt(max(0.0, 1 - nl * nl))
        light = outputs * nl + tangent * (sin * math.cos(phi)) + bitangent * (sin * math.sin(phi))
        total += sample_panorama(source, light) * nl
        weights += nl
    return total / weights


def _resize_wrapped(image: Tensor, height: int) -> Tensor:
    """Bilinear resize to `[height, 2 * height, 3]` that is continuous across the left and right border."""
    if image.shape[0] == height:
        return image
    return sample_panorama(image, panorama_directions(height, image.device))
