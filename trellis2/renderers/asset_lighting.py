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
    """Dot product of vectors kept as three rows, [3, n] or [3] each."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@lru_cache(maxsize=1)
def _fg_array() -> np.ndarray:
    """Scale and bias of the environment BRDF, [2, size * size]."""
    return np.ascontiguousarray(fg_table(_FG_SIZE, 512).numpy().reshape(-1, 2).T)


def shade_points(
    normal: np.ndarray,  # [3, n] float32 unit, on the viewer's side
    view: np.ndarray,  # [3, n] float32 unit, towards the viewer
    base_color: np.ndarray,  # [3, n] linear
    metallic: np.ndarray,  # [n]
    roughness: np.ndarray,  # [n]
    lighting: Lighting,
) -> np.ndarray:  # [3, n] float32 linear radiance
    """Metallic-roughness shading: GGX with height-correlated Smith masking for lights, split sum for the surround.

    Arrays are kept by component, which is what makes NumPy fast here.
    """
    f32 = np.float32
    nv = np.clip(dot(normal, view), f32(1e-3), f32(1))
    diffuse = base_color * (1 - metallic)
    f0 = f32(0.04) + (base_color - f32(0.04)) * metallic
    # Surround: radiance is linear in the height of the direction, so is its cosine-weighted mean (by 2/3).
    sky, ground = np.asarray(lighting.sky, f32)[:, None], np.asarray(lighting.ground, f32)[:, None]
    mean, slope = (sky + ground) * f32(0.5), (sky - ground) * f32(0.5)
    row = np.minimum((roughness * _FG_SIZE).astype(np.int32), _FG_SIZE - 1)
    cell = row * _FG_SIZE + np.minimum((nv * _FG_SIZE).astype(np.int32), _FG_SIZE - 1)
    scale, bias = (channel.take(cell) for channel in _fg_array())
    albedo = f0 * scale + bias
    if slope.any():
        reflected_z = (2 * nv * normal[2] - view[2]) * (1 - f32(0.5) * roughness)
        color = diffuse * (mean + slope * (f32(2 / 3) * normal[2])) + albedo * (mean + slope * reflected_z)
    else:
        color = (diffuse + albedo) * mean
    for light in lighting.lights:
        to_light = np.asarray(light.direction, f32)
        all_nl = dot(normal, to_light)
        lit = np.flatnonzero(all_nl > 0)
        if len(lit):
            part = (normal.take(lit, 1), view.take(lit, 1), diffuse.take(lit, 1), f0.take(lit, 1))
            gain = _direct(*part, nv.take(lit), all_nl.take(lit), roughness.take(lit), to_light, light.softness)
            for channel in range(3):
                color[channel, lit] += gain[channel] * f32(light.intensity[channel])
    return color


def _direct(
    normal: np.ndarray,
    view: np.ndarray,
    diffuse: np.ndarray,
    f0: np.ndarray,
    nv: np.ndarray,
    nl: np.ndarray,
    roughness: np.ndarray,
    to_light: np.ndarray,
    softness: float,
) -> np.ndarray:
    """Radiance `[3, n]` that points facing a light reflect, in units of its intensity."""
    f32 = np.float32
    half = view + to_light[:, None]
    length = np.sqrt(dot(half, half)) + f32(1e-12)
    nh = np.minimum((nl + nv) / length, 1)
    vh = np.minimum(dot(half, to_light) / length, 1)
    alpha = np.maximum(roughness, f32(0.05)) ** 2
    wide2 = np.minimum(alpha + f32(0.5 * softness), f32(1)) ** 2  # a soft light widens the lobe
    lobe = nh * nh * (wide2 - 1) + 1
    masking = nl * np.sqrt(nv * nv * (1 - wide2) + wide2) + nv * np.sqrt(nl * nl * (1 - wide2) + wide2)
    spread = f32(0.5) * wide2 / (lobe * lobe * np.maximum(masking, f32(1e-6)))  # pi * D * V
    grazing = 1 - vh
    squared = grazing * grazing
    fresnel = f0 + (1 - f0) * (squared * squared * grazing)
    return (fresnel * spread + diffuse) * nl
