"""Analytic lighting of asset views: a sky-to-ground ambient term and directional lights, metallic-roughness GGX.

Follows the published distribution of conditioning lights: one to three white lights whose strength is taken out of
a total budget, the rest being a uniform white surround.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .fg_table import fg_table

__all__ = ["DEFAULT_LIGHTING", "DirectionalLight", "Lighting", "dot", "sample_lighting", "shade_points"]

_FG_SIZE = 64


@dataclass(frozen=True)
class DirectionalLight:
    """A far light. A white diffuse surface that faces it reflects radiance `intensity`."""

    direction: tuple[float, float, float]  # unit, from the object towards the light
    intensity: tuple[float, float, float]  # linear RGB
    softness: float = 0.0  # radius / distance of the source, widens highlights


@dataclass(frozen=True)
class Lighting:
    """Radiance of the surround straight up and straight down (linear RGB), and lights."""

    sky: tuple[float, float, float] = (0.7, 0.7, 0.7)
    ground: tuple[float, float, float] = (0.4, 0.4, 0.4)
    lights: tuple[DirectionalLight, ...] = ()


DEFAULT_LIGHTING = Lighting(
    sky=(0.62, 0.65, 0.70),
    ground=(0.30, 0.28, 0.26),
    lights=(DirectionalLight((0.4364, 0.2182, 0.8729), (0.65, 0.62, 0.58), 0.05),),
)


def sample_lighting(rng: np.random.Generator, *, budget: float = 1.5) -> Lighting:
    """Draw the lights of one view: 1 to 3 white lights, then a uniform white surround with what is left of `budget`."""
    lights = []
    for _ in range(int(rng.integers(1, 4))):
        distance = 1.0 / rng.uniform(1 / 100, 1 / 10)
        direction = rng.standard_normal(3) + (0.0, 0.0, 0.6)
        direction /= np.linalg.norm(direction)
        # The published rule turns the light by its cosine to the up axis: lights from above count fully.
        t = float(direction[2])
        share = max(0.5 * t + 0.5, 0.0)
        strength = float(np.sqrt(rng.uniform(0.01, 1.0))) * budget / (0.45 * t + 0.55)
        budget -= share * strength
        radius = rng.uniform(0.1, 0.1 * distance)
        # Point source of 31.4 s D^2 watts: irradiance 31.4 s / (4 pi), reflected radiance that over pi.
        intensity = 31.4 * strength / (4 * np.pi * np.pi)
        x, y, z = (float(c) for c in direction)
        lights.append(DirectionalLight((x, y, z), (intensity,) * 3, radius / distance))
    rest = max(budget, 0.0)
    return Lighting((rest,) * 3, (rest,) * 3, tuple(lights))


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise dot product of two [n, 3] arrays (far faster than a sum over a short axis)."""
    return np.einsum("ij,ij->i", a, b)


@lru_cache(maxsize=1)
def _fg_array() -> np.ndarray:
    return fg_table(_FG_SIZE, 512).numpy().reshape(-1, 2).copy()


def shade_points(
    normal: np.ndarray,  # [n, 3] float32 unit, on the viewer's side
    view: np.ndarray,  # [n, 3] float32 unit, towards the viewer
    base_color: np.ndarray,  # [n, 3] linear
    metallic: np.ndarray,  # [n]
    roughness: np.ndarray,  # [n]
    lighting: Lighting,
) -> np.ndarray:  # [n, 3] float32 linear radiance
    """Metallic-roughness shading: GGX with height-correlated Smith masking for lights, split sum for the surround."""
    f32 = np.float32
    nv = np.clip(dot(normal, view), f32(1e-3), f32(1))
    diffuse = base_color * (1 - metallic)[:, None]
    f0 = f32(0.04) + (base_color - f32(0.04)) * metallic[:, None]
    # Surround: radiance is linear in the height of the direction, so is its cosine-weighted mean (by 2/3).
    sky, ground = np.asarray(lighting.sky, f32), np.asarray(lighting.ground, f32)
    mean, slope = (sky + ground) * f32(0.5), (sky - ground) * f32(0.5)
    reflected_z = 2 * nv * normal[:, 2] - view[:, 2]
    row = np.minimum((roughness * _FG_SIZE).astype(np.int32), _FG_SIZE - 1)
    fg = _fg_array()[row * _FG_SIZE + np.minimum((nv * _FG_SIZE).astype(np.int32), _FG_SIZE - 1)]
    albedo = f0 * fg[:, :1] + fg[:, 1:]
    if slope.any():
        color = diffuse * (mean + slope * (f32(2 / 3) * normal[:, 2:3]))
        color += albedo * (mean + slope * ((1 - f32(0.5) * roughness) * reflected_z)[:, None])
    else:
        color = (diffuse + albedo) * mean
    for light in lighting.lights:
        to_light = np.asarray(light.direction, f32)
        nl = normal @ to_light
        lit = np.flatnonzero(nl > 0)
        if not len(lit):
            continue
        nl, nvl = nl[lit], nv[lit]
        half = view[lit] + to_light
        half /= np.sqrt(dot(half, half))[:, None] + f32(1e-12)
        nh = np.clip(dot(normal[lit], half), 0, 1)
        vh = np.clip(half @ to_light, 0, 1)
        alpha = np.maximum(roughness[lit], f32(0.05)) ** 2
        wide2 = np.minimum(alpha + f32(0.5 * light.softness), f32(1)) ** 2
        lobe = nh * nh * (wide2 - 1) + 1
        # D * V * pi; a softened light keeps the energy of its sharp lobe (normalised by alpha^2 / wide^2)
        spread = wide2 / (lobe * lobe)
        masking = nl * np.sqrt(nvl * nvl * (1 - wide2) + wide2) + nvl * np.sqrt(nl * nl * (1 - wide2) + wide2)
        grazing = 1 - vh
        grazing = (grazing * grazing) ** 2 * grazing
        base = f0[lit]
        fresnel = base + (1 - base) * grazing[:, None]
        gain = fresnel * (spread * f32(0.5) / np.maximum(masking, f32(1e-6)))[:, None] + diffuse[lit]
        color[lit] += gain * (nl[:, None] * np.asarray(light.intensity, f32))
    return color
