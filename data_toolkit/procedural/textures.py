"""Small procedural pictures: uint8 [S, S, 3], square, power of two, tileable unless said otherwise."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from data_toolkit.procedural.rng import Rng

__all__ = [
    "Color", "bricks", "checks", "dots", "facade", "fabric", "fbm", "gradient", "marble", "mix", "noise", "planks",
    "shade", "solid", "stripes", "to_u8", "weave", "wood",
]  # fmt: skip

Color = tuple[float, float, float]  # sRGB-encoded, 0..1


@cache
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Texel centres in [0, 1): columns and rows, each [S, S]; row 0 is the top of the picture."""
    t = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(t, t)
    return x, y


def to_u8(image: np.ndarray) -> np.ndarray:
    """Float [..., C] in 0..1 to uint8."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def shade(color: Color, factor: float) -> Color:
    """A darker (factor < 1) or lighter colour."""
    return (min(1.0, color[0] * factor), min(1.0, color[1] * factor), min(1.0, color[2] * factor))


def mix(a: Color, b: Color, t: np.ndarray) -> np.ndarray:
    """Blend two colours by a mask [S, S] into [S, S, 3]."""
    return np.asarray(a) + (np.asarray(b) - np.asarray(a)) * np.clip(t, 0, 1)[..., None]


def _value_noise(r: Rng, size: int, cells_x: int, cells_y: int) -> np.ndarray:
    """Periodic value noise [S, S] in 0..1."""
    lattice = r.array(cells_y, cells_x)
    x, y = _grid(size)
    gx, gy = x[0] * cells_x, y[:, 0] * cells_y
    ix, iy = gx.astype(int), gy.astype(int)
    fx, fy = gx - ix, gy - iy
    fx, fy = fx * fx * (3 - 2 * fx), (fy * fy * (3 - 2 * fy))[:, None]
    jx, jy = (ix + 1) % cells_x, (iy + 1) % cells_y
    top = lattice[iy][:, ix] * (1 - fx) + lattice[iy][:, jx] * fx
    low = lattice[jy][:, ix] * (1 - fx) + lattice[jy][:, jx] * fx
    return top * (1 - fy) + low * fy


def fbm(r: Rng, size: int, cells: int = 4, octaves: int = 3, stretch: int = 1) -> np.ndarray:
    """Fractal noise [S, S] in 0..1; `stretch` elongates it along y."""
    total, weight, out = 0.0, 1.0, np.zeros((size, size))
    for o in range(octaves):
        n = min(cells << o, size // 2)
        out += weight * _value_noise(r, size, n, max(1, n // stretch))
        total += weight
        weight *= 0.5
    return out / total


def solid(color: Color, size: int = 4) -> np.ndarray:
    """One colour."""
    return to_u8(np.broadcast_to(np.asarray(color), (size, size, 3)))


def noise(r: Rng, a: Color, b: Color, size: int = 64, cells: int = 4) -> np.ndarray:
    """Clouds between two colours."""
    return to_u8(mix(a, b, 1.6 * fbm(r, size, cells) - 0.3))


def wood(r: Rng, a: Color, b: Color, size: int = 64) -> np.ndarray:
    """Grain running along x."""
    x, y = _grid(size)
    warp = fbm(r, size, 3, 2).T
    rings = 0.5 + 0.5 * np.sin(2 * math.pi * (5 * y + 1.2 * warp))
    fine = fbm(r, size, 8, 2, stretch=8).T
    return to_u8(mix(a, b, 0.65 * rings + 0.5 * fine - 0.1))


def planks(r: Rng, a: Color, b: Color, size: int = 64, count: int = 4) -> np.ndarray:
    """Boards along x with dark gaps."""
    x, y = _grid(size)
    row = np.minimum((y * count).astype(int), count - 1)
    tone = r.array(count)[row]
    fine = fbm(r, size, 8, 2, stretch=8).T
    image = mix(a, b, 0.6 * tone + 0.4 * fine)
    gap = (y * count) % 1.0 < 0.1
    image[gap] *= 0.45
    return to_u8(image)


def stripes(
    a: Color, b: Color, count: int = 4, size: int = 64, *, vertical: bool = True, duty: float = 0.5
) -> np.ndarray:
    """Bands of two colours; vertical bands change along u."""
    x, y = _grid(size)
    t = (x if vertical else y) * count % 1.0
    return to_u8(mix(a, b, (t >= duty).astype(float)))


def checks(a: Color, b: Color, count: int = 4, size: int = 64) -> np.ndarray:
    """A chessboard with `count` fields a side (even)."""
    x, y = _grid(size)
    return to_u8(mix(a, b, ((x * count).astype(int) + (y * count).astype(int)) % 2))


def dots(a: Color, b: Color, count: int = 3, size: int = 64, radius: float = 0.3) -> np.ndarray:
    """Dots of colour b on a."""
    x, y = _grid(size)
    dx, dy = x * count % 1 - 0.5, y * count % 1 - 0.5
    return to_u8(mix(a, b, (dx * dx + dy * dy < radius * radius).astype(float)))


def bricks(r: Rng, brick: Color, mortar: Color, size: int = 64, rows: int = 6) -> np.ndarray:
    """Running bond."""
    x, y = _grid(size)
    row = (y * rows).astype(int)
    bx = x * (rows / 2) + 0.5 * (row % 2)
    cells = max(1, rows // 2)
    tone = r.array(rows, cells)[row, bx.astype(int) % cells]
    image = mix(shade(brick, 0.8), shade(brick, 1.15), tone)
    gap = ((y * rows) % 1 < 0.16) | (bx % 1 < 0.09)
    image[gap] = mortar
    return to_u8(image)


def marble(r: Rng, a: Color, b: Color, size: int = 64) -> np.ndarray:
    """Veins."""
    x, y = _grid(size)
    n = fbm(r, size, 3, 3)
    vein = np.abs(np.sin(math.pi * (x + y + 2.0 * n)))
    return to_u8(mix(b, a, vein**0.6))


def weave(r: Rng, a: Color, b: Color, size: int = 64, count: int = 8) -> np.ndarray:
    """Threads over and under."""
    x, y = _grid(size)
    over = ((x * count).astype(int) + (y * count).astype(int)) % 2
    bump = np.abs(np.sin(math.pi * np.where(over == 0, x, y) * count))
    return to_u8(mix(shade(a, 0.75), b, 0.25 + 0.6 * bump))


def fabric(r: Rng, a: Color, b: Color, size: int = 64) -> np.ndarray:
    """Plaid: crossed translucent stripes."""
    x, y = _grid(size)
    n = r.integer(2, 3)
    tx = (x * n % 1 < 0.4).astype(float)
    ty = (y * n % 1 < 0.4).astype(float)
    line = ((x * n % 1 > 0.65) & (x * n % 1 < 0.72)) | ((y * n % 1 > 0.65) & (y * n % 1 < 0.72))
    image = mix(a, b, 0.5 * (tx + ty))
    image[line] = 0.5 * image[line] + 0.45
    return to_u8(image)


def gradient(a: Color, b: Color, size: int = 32) -> np.ndarray:
    """From a at the bottom to b at the top; not tileable."""
    _, y = _grid(size)
    return to_u8(mix(b, a, y))


def facade(r: Rng, wall: Color, window: Color, size: int = 64, columns: int = 2, rows: int = 2) -> np.ndarray:
    """Windows with frames on a wall; one tile holds columns x rows windows."""
    x, y = _grid(size)
    fx, fy = x * columns % 1, y * rows % 1
    frame = (np.abs(fx - 0.5) < 0.3) & (np.abs(fy - 0.5) < 0.34)
    pane = (np.abs(fx - 0.5) < 0.24) & (np.abs(fy - 0.5) < 0.28)
    cross = (np.abs(fx - 0.5) < 0.03) | (np.abs(fy - 0.5) < 0.03)
    image = mix(shade(wall, 0.93), shade(wall, 1.05), fbm(r, size, 6, 2))
    image[frame] = (0.93, 0.92, 0.88)
    image[pane & ~cross] = window
    return to_u8(image)
