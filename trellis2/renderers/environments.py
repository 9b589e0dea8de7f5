"""Procedural surroundings, so that lighting needs no files: seeded skies, rooms and a studio.

`open_environment` takes the bundled `assets/hdri/<name>.exr` (written by `data_toolkit.make_hdri`), any other file, or
makes what is missing. `make_environment` returns a linear latitude-longitude image (see `panorama.py`), exposed so that
a white, upward-facing diffuse surface is about 1 bright (0.25 at night).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .panorama import load_environment, panorama_directions, solid_angles

__all__ = ["ENVIRONMENT_NAMES", "make_environment", "open_environment"]

_BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "hdri"


class _Sky(NamedTuple):
    """Colours are linear RGB radiance before exposure; angles in degrees; azimuth 0 = world -Y, 90 = -X."""

    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    ground: tuple[float, float, float]
    sun: tuple[float, float, float]
    sun_azimuth: float
    sun_height: float
    glow: float
    clouds: float
    skyline: float  # height of trees or houses, degrees
    skyline_color: tuple[float, float, float]
    blocky: bool
    level: float = 1.0


_SKIES = {
    "forest": _Sky(
        (0.45, 0.65, 0.9), (0.8, 0.9, 0.85), (0.10, 0.11, 0.05), (90.0, 80.0, 60.0),
        50, 48, 0.6, 0.3, 38, (0.05, 0.10, 0.03), False,
    ),
    "city": _Sky(
        (0.35, 0.55, 0.95), (0.85, 0.9, 1.0), (0.22, 0.21, 0.20), (140.0, 130.0, 110.0),
        -40, 40, 0.5, 0.5, 26, (0.25, 0.23, 0.22), True,
    ),
    "courtyard": _Sky(
        (0.4, 0.6, 1.0), (0.9, 0.9, 0.9), (0.30, 0.26, 0.21), (60.0, 55.0, 48.0),
        130, 60, 0.4, 0.2, 45, (0.34, 0.28, 0.21), True,
    ),
    "sunrise": _Sky(
        (0.22, 0.32, 0.6), (1.2, 0.75, 0.45), (0.10, 0.09, 0.08), (70.0, 38.0, 16.0),
        65, 9, 1.5, 0.5, 4, (0.05, 0.05, 0.06), False,
    ),
    "sunset": _Sky(
        (0.16, 0.18, 0.42), (1.4, 0.55, 0.22), (0.08, 0.06, 0.05), (75.0, 26.0, 7.0),
        -70, 6, 2.0, 0.8, 5, (0.04, 0.03, 0.04), False,
    ),
    "night": _Sky(
        (0.02, 0.03, 0.08), (0.08, 0.07, 0.09), (0.03, 0.03, 0.03), (2.0, 2.4, 3.2),
        25, 55, 0.05, 0.2, 20, (0.02, 0.02, 0.03), True, 0.25,
    ),
}  # fmt: skip

# Panels of a room: azimuth, height, half width, half height (degrees), radiance.
_PANELS = {
    "studio": [
        (45, 40, 26, 22, (14.0, 13.6, 13.0)),
        (-60, 25, 16, 34, (6.0, 6.3, 7.0)),
        (170, 30, 30, 12, (5.0, 5.0, 5.0)),
        (0, 88, 40, 18, (5.0, 5.0, 5.0)),
    ],
    "interior": [
        (70, 18, 20, 26, (12.0, 13.0, 15.0)),
        (110, 18, 12, 26, (10.0, 11.0, 13.0)),
        (-90, 60, 9, 9, (16.0, 12.0, 7.5)),
        (180, 62, 9, 9, (14.0, 10.5, 6.5)),
    ],
}
_ROOMS = {
    "studio": ((0.20, 0.20, 0.21), (0.32, 0.32, 0.32), (0.16, 0.16, 0.16)),  # ceiling, wall, floor
    "interior": ((0.55, 0.50, 0.44), (0.42, 0.36, 0.29), (0.20, 0.13, 0.08)),
}

_LATTICE = 32
ENVIRONMENT_NAMES = ("forest", "city", "courtyard", "interior", "night", "studio", "sunrise", "sunset")


def make_environment(name: str = "forest", height: int = 256, seed: int = 0) -> Tensor:
    """Linear RGB `[height, 2 * height, 3]` float32 on the CPU; the same for the same arguments.

    Raises ValueError on an unknown name or a height below 16.
    """
    if name not in ENVIRONMENT_NAMES:
        raise ValueError(f"unknown environment {name!r}, choose from: {', '.join(ENVIRONMENT_NAMES)}")
    if height < 16:
        raise ValueError(f"height must be at least 16, got {height}")
    directions = panorama_directions(height).double().numpy()
    rng = np.random.default_rng([seed, ENVIRONMENT_NAMES.index(name)])
    image = _outdoors(_SKIES[name], directions, rng) if name in _SKIES else _room(name, directions, rng)
    up = np.clip(directions[..., 2], 0, None) * solid_angles(height).double().numpy()[:, None]
    brightness = (image.mean(-1) * up).sum() / up.sum()
    level = _SKIES[name].level if name in _SKIES else 1.0
    return torch.from_numpy((image * (level / brightness)).astype(np.float32))


def open_environment(source: str | Path) -> Tensor:
    """Linear latitude-longitude image `[H, 2H, 3]` by name (`ENVIRONMENT_NAMES`) or from an `.exr` or `.hdr` file.

    Raises ValueError for a name that is neither, FileNotFoundError for a missing file, see also `load_environment`.
    """
    if str(source) in ENVIRONMENT_NAMES:
        bundled = _BUNDLED / f"{source}.exr"
        return load_environment(bundled) if bundled.is_file() else make_environment(str(source))
    if Path(source).suffix.lower() not in (".exr", ".hdr"):
        names = ", ".join(ENVIRONMENT_NAMES)
        raise ValueError(f"unknown environment {str(source)!r}, choose from: {names}, or give an .exr or .hdr file")
    return load_environment(source)


def _outdoors(sky: _Sky, directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    z = directions[..., 2]
    azimuth = np.arctan2(-directions[..., 0], -directions[..., 1])
    fade = np.clip(z, 0, 1)[..., None] ** 0.45
    image = np.asarray(sky.horizon) * (1 - fade) + np.asarray(sky.zenith) * fade
    clouds = _smoothstep(0.0, 1.2, _noise(directions * [1, 1, 2.5], rng, 3.0)) * _smoothstep(0.02, 0.25, z) * sky.clouds
    image += clouds[..., None] * np.asarray(sky.horizon)
    cosine = directions @ _direction(sky.sun_azimuth, sky.sun_height)
    image += np.asarray(sky.sun) * 0.02 * sky.glow * np.exp((cosine - 1) * 12)[..., None]
    disc = _smoothstep(np.cos(np.radians(3.2)), np.cos(np.radians(2.2)), cosine)
    line = np.radians(sky.skyline) * (0.55 + 0.45 * _profile(azimuth, rng, sky.blocky))
    hidden = _smoothstep(-0.01, 0.01, line - np.arcsin(np.clip(z, -1, 1)))
    if not sky.blocky:  # light comes through the leaves
        hidden *= 1 - 0.6 * _smoothstep(0.2, 1.2, _noise(directions, rng, 14.0)) * _smoothstep(0.0, 0.3, z)
    grain = 1 + 0.35 * _noise(directions, rng, 9.0)
    skyline = np.asarray(sky.skyline_color) * np.clip(grain, 0.2, 2)[..., None]
    if sky.blocky:
        lit = _windows(azimuth, z, rng) * (6.0 if sky.level < 0.5 else 0.6)
        skyline = skyline + lit[..., None] * np.asarray([0.9, 0.7, 0.4]) * 0.3
    image += disc[..., None] * np.asarray(sky.sun)
    image = image * (1 - hidden[..., None]) + skyline * hidden[..., None]
    floor = np.asarray(sky.ground) * np.clip(1 + 0.12 * _noise(directions, rng, 6.0), 0.3, 2)[..., None]
    below = _smoothstep(0.0, 0.04, -z)[..., None]
    return np.clip(image * (1 - below) + floor * below, 0, None)


def _room(name: str, directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ceiling, wall, floor = (np.asarray(c) for c in _ROOMS[name])
    z = directions[..., 2]
    up, down = _smoothstep(0.5, 0.75, z)[..., None], _smoothstep(0.25, 0.5, -z)[..., None]
    image = wall * (1 - up - down) + ceiling * up + floor * down
    image = image * np.clip(1 + 0.12 * _noise(directions, rng, 2.0), 0.5, 1.5)[..., None]
    for azimuth, height, half_width, half_height, radiance in _PANELS[name]:
        centre = _direction(azimuth, height)
        side = np.cross(centre, [0.0, 0.0, 1.0])
        side /= np.linalg.norm(side)
        top = np.cross(side, centre)
        front = directions @ centre
        x = np.abs(directions @ side) / np.maximum(front, 1e-6) / np.tan(np.radians(half_width))
        y = np.abs(directions @ top) / np.maximum(front, 1e-6) / np.tan(np.radians(half_height))
        inside = _smoothstep(1.06, 0.94, np.maximum(x, y)) * (front > 0)
        image = image * (1 - inside[..., None]) + np.asarray(radiance) * inside[..., None]
    return image


def _direction(azimuth: float, height: float) -> np.ndarray:
    a, h = np.radians(azimuth), np.radians(height)
    return np.array([-np.cos(h) * np.sin(a), -np.cos(h) * np.cos(a), np.sin(h)])


def _smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _noise(directions: np.ndarray, rng: np.random.Generator, frequency: float) -> np.ndarray:
    """Smooth noise on the sphere, about zero mean and unit spread: octaves of interpolated random lattices.

    `frequency` is in lattice cells a radian, roughly.
    """
    total = np.zeros(directions.shape[:2])
    for octave in range(5):
        cells = frequency * 2.0**octave
        lattice = rng.standard_normal((_LATTICE,) * 3)
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        at = directions @ turn * cells + rng.uniform(0, _LATTICE, 3)
        base = np.floor(at)
        fade = at - base
        fade = fade * fade * (3 - 2 * fade)
        low = base.astype(np.int64) % _LATTICE
        high = (low + 1) % _LATTICE
        rows = [(low[..., i], high[..., i], fade[..., i]) for i in range(3)]
        value = np.zeros(at.shape[:2])
        for corner in range(8):
            bits = [(corner >> i) & 1 for i in range(3)]
            index = tuple(rows[i][bits[i]] for i in range(3))
            value += lattice[index] * np.prod([rows[i][2] if bits[i] else 1 - rows[i][2] for i in range(3)], axis=0)
        total += value * 0.55**octave
    return total / 0.75


def _profile(azimuth: np.ndarray, rng: np.random.Generator, blocky: bool) -> np.ndarray:
    """Height of the skyline in [0, 1] around the horizon; periodic."""
    if blocky:
        steps = rng.uniform(0, 1, 23)
        return steps[np.floor((azimuth / (2 * np.pi) + 0.5) * 23).astype(int) % 23]
    total = np.zeros_like(azimuth)
    for k in (2, 3, 5, 9, 17, 31):
        total += np.sin(k * azimuth + rng.uniform(0, 2 * np.pi)) / k**0.6
    return np.clip(0.5 + 0.25 * total, 0, 1)


def _windows(azimuth: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of lit windows on the houses, 0 or 1."""
    column = np.floor((azimuth / (2 * np.pi) + 0.5) * 138).astype(int) % 138
    row = np.clip(np.floor(z * 40).astype(int), 0, 39)
    lit = rng.uniform(0, 1, (40, 138)) < 0.35
    gap = ((azimuth / (2 * np.pi) + 0.5) * 138 % 1 < 0.6) & (z * 40 % 1 < 0.6) & (z > 0)
    return (lit[row, column] & gap).astype(np.float64)
