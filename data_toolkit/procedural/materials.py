"""Materials of the generator: base colour always a texture, metallic and roughness as factors or a texture.

The base colour factor stays white: texture numbers are sRGB-encoded and factors are linear, so mixing the two in one
training set would make equal colours look different to a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_toolkit.procedural import textures as tx
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.textures import Color

__all__ = [
    "METALS", "WOODS", "Material", "brick", "cloth", "color", "dark", "foliage", "glass", "hsv", "light", "metal",
    "paint", "patterned", "picture", "plain", "roof", "rubber", "rust", "soil", "stone", "wood",
]  # fmt: skip

WOODS: tuple[tuple[Color, Color], ...] = (
    ((0.45, 0.28, 0.15), (0.62, 0.41, 0.24)),
    ((0.66, 0.49, 0.30), (0.80, 0.64, 0.43)),
    ((0.30, 0.17, 0.10), (0.44, 0.27, 0.16)),
    ((0.72, 0.60, 0.44), (0.87, 0.77, 0.61)),
)
METALS: tuple[Color, ...] = ((0.77, 0.78, 0.80), (0.93, 0.77, 0.36), (0.88, 0.58, 0.44), (0.50, 0.52, 0.56))


@dataclass(frozen=True, eq=False)
class Material:
    """A metallic-roughness material."""

    base: np.ndarray  # [S, S, 3 or 4] uint8, sRGB-encoded
    metallic: float = 0.0  # factor when `mr` is None
    roughness: float = 0.6
    mr: np.ndarray | None = None  # [S, S, 2] uint8, (metallic, roughness)
    repeats: float = 1.0  # texture repeats per length unit
    alpha_mode: str = "OPAQUE"  # OPAQUE, MASK or BLEND
    nearest: bool = False


def hsv(h: float, s: float, v: float) -> Color:
    """Hue (turns), saturation, value to RGB."""
    h = (h % 1.0) * 6
    i = int(h)
    f = h - i
    p, q, t = v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))
    return ((v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q))[i % 6]


def color(r: Rng) -> Color:
    """A clear, saturated colour."""
    return hsv(r.random(), r.uniform(0.5, 0.9), r.uniform(0.55, 0.95))


def light(r: Rng) -> Color:
    """A pale colour."""
    return hsv(r.random(), r.uniform(0.03, 0.25), r.uniform(0.82, 0.97))


def dark(r: Rng) -> Color:
    """A dark colour."""
    return hsv(r.random(), r.uniform(0.1, 0.6), r.uniform(0.12, 0.28))


def plain(c: Color, roughness: float = 0.6, metallic: float = 0.0) -> Material:
    """One colour."""
    return Material(tx.solid(c), metallic, roughness)


def paint(r: Rng, c: Color | None = None) -> Material:
    """Glossy lacquer."""
    return plain(color(r) if c is None else c, r.uniform(0.15, 0.45))


def wood(r: Rng, repeats: float = 1.5, *, boards: bool = False) -> Material:
    """Grained or planked wood."""
    a, b = r.choice(WOODS)
    image = tx.planks(r, a, b) if boards else tx.wood(r, a, b)
    return Material(image, 0.0, r.uniform(0.45, 0.75), repeats=repeats)


def metal(r: Rng, *, brushed: bool = False) -> Material:
    """Bare metal; brushed metal has a roughness texture."""
    c = r.choice(METALS)
    if not brushed:
        return plain(c, r.uniform(0.12, 0.4), 1.0)
    streaks = tx.fbm(r, 64, 8, 2, stretch=8)
    mr = np.stack([np.full((64, 64), 1.0), 0.2 + 0.4 * streaks], -1)
    base = tx.mix(tx.shade(c, 0.85), c, streaks)
    return Material(tx.to_u8(base), mr=tx.to_u8(mr), repeats=1.5)


def rust(r: Rng, c: Color, amount: float = 0.45) -> Material:
    """Bare metal under rough rust patches: sharp borders in metallic and roughness."""
    patch = tx.fbm(r, 64, 4, 3) < 0.3 + 0.4 * amount
    base = np.where(patch[..., None], np.array([0.42, 0.22, 0.12]), np.array(c))
    mr = np.stack([np.where(patch, 0.0, 1.0), np.where(patch, 0.9, 0.25)], -1)
    return Material(tx.to_u8(base), mr=tx.to_u8(mr), repeats=1.0)


def cloth(r: Rng, c: Color | None = None, repeats: float = 2.0) -> Material:
    """Woven, plaid, striped or plain fabric."""
    a = color(r) if c is None else c
    b = tx.shade(a, 1.25)
    kind = r.integer(0, 3)
    if kind == 0:
        image = tx.weave(r, a, b)
    elif kind == 1:
        image = tx.fabric(r, a, light(r))
    elif kind == 2:
        image = tx.stripes(a, light(r), 4)
    else:
        image = tx.noise(r, tx.shade(a, 0.9), a, 64, 16)
    return Material(image, 0.0, r.uniform(0.8, 1.0), repeats=repeats)


def patterned(r: Rng, repeats: float = 1.5, *, gloss: bool = True) -> Material:
    """Decorated ceramic or lacquer: stripes, checks, dots, marble or one colour."""
    a, b = color(r), light(r)
    kind = r.integer(0, 5)
    if kind == 0:
        image = tx.stripes(a, b, 4, vertical=r.chance(0.5))
    elif kind == 1:
        image = tx.checks(a, b, 4)
    elif kind == 2:
        image = tx.dots(a, b, 3)
    elif kind == 3:
        image = tx.marble(r, b, a)
    else:
        image = tx.solid(a if kind == 4 else b)
    return Material(image, 0.0, r.uniform(0.1, 0.3) if gloss else r.uniform(0.5, 0.9), repeats=repeats)


def stone(r: Rng, repeats: float = 1.5) -> Material:
    """Rough grey or sandy rock."""
    c = r.choice(((0.55, 0.54, 0.52), (0.68, 0.60, 0.47), (0.42, 0.43, 0.46)))
    return Material(tx.noise(r, tx.shade(c, 0.75), tx.shade(c, 1.2), 64, 6), 0.0, r.uniform(0.8, 1.0), repeats=repeats)


def brick(r: Rng, repeats: float = 1.5) -> Material:
    """Brickwork."""
    c = r.choice(((0.62, 0.28, 0.20), (0.72, 0.45, 0.30), (0.55, 0.55, 0.53), (0.78, 0.70, 0.55)))
    return Material(tx.bricks(r, c, (0.82, 0.80, 0.76)), 0.0, 0.9, repeats=repeats)


def roof(r: Rng, repeats: float = 2.0) -> Material:
    """Tiled roof."""
    c = r.choice(((0.58, 0.20, 0.14), (0.28, 0.30, 0.36), (0.32, 0.42, 0.28), (0.45, 0.30, 0.20)))
    return Material(tx.bricks(r, c, tx.shade(c, 0.5), rows=8), 0.0, 0.8, repeats=repeats)


def foliage(r: Rng, hue: float | None = None) -> Material:
    """Leaves seen from afar."""
    h = r.uniform(0.2, 0.38) if hue is None else hue
    return Material(tx.noise(r, hsv(h, 0.7, 0.28), hsv(h, 0.65, 0.62), 64, 8), 0.0, 0.85, repeats=1.5)


def soil() -> Material:
    """Dark earth."""
    return plain((0.22, 0.15, 0.10), 1.0)


def rubber() -> Material:
    """Tyres."""
    return plain((0.09, 0.09, 0.10), 0.9)


def glass(r: Rng, c: Color | None = None, alpha: float | None = None) -> Material:
    """A transparent shell (BLEND); front and back together hide more than 80 %, so that crops by alpha keep it."""
    c = hsv(r.random(), r.uniform(0.05, 0.5), 0.9) if c is None else c
    a = r.uniform(0.58, 0.7) if alpha is None else alpha
    base = np.empty((4, 4, 4), np.uint8)
    base[..., :3] = tx.solid(c)
    base[..., 3] = int(a * 255)
    return Material(base, 0.0, r.uniform(0.02, 0.12), alpha_mode="BLEND")


def picture(image: np.ndarray, roughness: float = 0.5, *, nearest: bool = False) -> Material:
    """A texture shown once: to be used with UVs that fill the unit square."""
    return Material(image, 0.0, roughness, nearest=nearest)
