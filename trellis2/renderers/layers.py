"""Depth layers of a shaded picture, composited front to back.

N = S * S samples in pixel-major order (see `surface.py`), n covered samples of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .cameras import transform_points
from .color import Transfer, decode
from .env_map import EnvMap
from .surface import View, spread

__all__ = ["ATTRIBUTES", "Layers"]

#: Columns of surface attributes.
ATTRIBUTES = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
_OPAQUE = 0.975  # accumulated opacity beyond which nothing behind is drawn; decoded solids come close to 1


class Layers:
    """Accumulated samples `[N, C]` float32."""

    def __init__(self, view: View, environments: Mapping[str, EnvMap], transfer: Transfer) -> None:
        self._view = view
        self._environments = environments
        self._transfer = transfer
        self._count = view.size**2
        device = view.extrinsics.device

        def zeros(channels: int) -> Tensor:
            return torch.zeros((1, channels), device=device).expand(self._count, -1)

        self._empty = True
        self.opacity, self.mask, self._weight = zeros(1), zeros(1), zeros(1)
        self.first_normal, self.normal = zeros(3), zeros(3)
        self.attributes = zeros(6)  # of the first layer
        self.depth = torch.full((1, 1), torch.inf, device=device).expand(self._count, -1)  # of the leading layer
        self.radiance = {name: zeros(6) for name in environments}  # diffuse, specular; times opacity

    def open_samples(self) -> Tensor | None:
        """Samples [N] bool where a further layer would show; None before the first layer, when all are."""
        return None if self._empty else self.opacity[:, 0] < _OPAQUE

    def is_open(self, sample: Tensor) -> bool:
        """Whether a further layer would show behind one of `sample [n]`."""
        return bool((self.opacity[sample] < _OPAQUE).any())

    def add(
        self,
        sample: Tensor,  # [n] int64
        point: Tensor,  # [n, 3] world
        normal: Tensor,  # [n, 3] unit, on the viewer's side
        attrs: Tensor,  # [n, 6] in [0, 1], columns of `ATTRIBUTES`
        emission: Tensor | None = None,  # [n, 3] linear radiance of its own
    ) -> None:
        """Composite one layer behind what is there."""
        rotation = self._view.extrinsics[:3, :3]
        camera_normal = transform_points(normal, rotation)
        z = transform_points(point, rotation[2:], self._view.extrinsics[2:3, 3])
        albedo = decode(attrs[:, 0:3], self._transfer)
        ks = torch.stack([torch.zeros_like(attrs[:, 4]), attrs[:, 4], attrs[:, 3]], dim=1)
        weight = attrs[:, 5:6] if self._empty else (1 - self.opacity[sample]) * attrs[:, 5:6]
        lit = {}
        for name, environment in self._environments.items():
            diffuse, specular = environment.shade_parts(point, normal, albedo, ks, self._view.eye)
            unshadowed = specular if emission is None else specular + emission
            lit[name] = torch.cat([diffuse, unshadowed], dim=1) * weight
        if self._empty:
            self._empty = False
            self.mask = spread(torch.ones_like(z), sample, self._count)
            self.attributes = spread(attrs, sample, self._count)
            self.first_normal = spread(camera_normal, sample, self._count)
            self.normal = self.first_normal
            self.depth = spread(torch.where(weight > 0, z, torch.inf), sample, self._count, torch.inf)
            self.opacity = spread(weight, sample, self._count)
            self._weight = self.opacity
            self.radiance = {name: spread(light, sample, self._count) for name, light in lit.items()}
            return
        leading = weight > self._weight[sample]
        if self.normal is self.first_normal:
            self.normal, self._weight = self.first_normal.clone(), self.opacity.clone()
        self._weight[sample] = torch.maximum(weight, self._weight[sample])
        self.depth[sample] = torch.where(leading, z, self.depth[sample])
        self.normal[sample] = torch.where(leading, camera_normal, self.normal[sample])
        self.opacity[sample] += weight
        for name, light in lit.items():
            self.radiance[name][sample] += light

    def front(self, ssaa: int) -> tuple[Tensor, Tensor]:
        """Depth `[R * R]` (infinite where empty) and camera normal `[R * R, 3]` of the nearest sample of each pixel."""
        cells = self.depth.reshape(-1, ssaa * ssaa)
        depth, chosen = cells.min(dim=1)
        first = torch.arange(len(depth), device=depth.device) * (ssaa * ssaa)
        return depth, self.normal[first + chosen]
