"""Instruments and devices: screens, dials, lenses and strings face +Z."""

from __future__ import annotations

import math

import numpy as np

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural import textures as tx
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import ball, box, cylinder, extrude, join, lathe, mirror_x, rounded, torus, tube

__all__ = ["FAMILIES"]


def guitar(r: Rng) -> Asset:
    """An acoustic or electric guitar standing upright, strings to the front."""
    a = Asset()
    electric = r.chance(0.4)
    low, waist, up = r.uniform(0.3, 0.36), r.uniform(0.18, 0.23), r.uniform(0.22, 0.28)
    depth = 0.07 if electric else r.uniform(0.14, 0.19)
    right: list[tuple[float, float]] = []
    for i in range(25):
        s = i / 24
        y = 0.86 * s
        if s < 0.45:
            half = waist + (low - waist) * math.sin(math.pi * min(1.0, s / 0.45 * 0.93 + 0.07)) ** 0.7
            half *= min(1.0, (0.02 + s * 6)) ** 0.5
        else:
            q = (s - 0.45) / 0.55
            half = waist + (up - waist) * math.sin(math.pi * q) ** 0.8
            half *= max(0.0, 1 - q) ** 0.5 if q > 0.85 else 1.0 if q < 0.6 else (1 - (q - 0.6) * 0.5)
            half = max(half, 0.05)
        right.append((half, y))
    if electric:  # horns: the right one is cut away
        left = [(-x * (1.0 if y < 0.6 else 1.05), y + (0.1 if y > 0.7 else 0.0)) for x, y in right[::-1]]
    else:
        left = [(-x, y) for x, y in right[::-1]]
    body = mt.paint(r) if electric or r.chance(0.3) else mt.wood(r, 1.5)
    dark = mt.plain((0.16, 0.1, 0.07), 0.5)
    a.add(extrude(right + left, depth), body)
    front = depth / 2
    if electric:
        a.add(join([box(0.2, 0.05, 0.03, 0.006).at(0, y, front) for y in (0.35, 0.5)]), dark)
        a.add(
            join([cylinder(0.026, 0.05, 12).rot("x", 90).at(0.16 + 0.03 * k, 0.3 - 0.09 * k, front) for k in range(2)]),
            mt.metal(r),
        )
    else:
        a.add(cylinder(0.1, 0.02, 24, 0).rot("x", 90), mt.plain((0.05, 0.04, 0.03), 0.9), y=0.52, z=front)
        a.add(torus(0.105, 0.016, 28, 6).rot("x", 90), dark, y=0.52, z=front + 0.005)
    a.add(box(0.24, 0.045, 0.04, 0.008), dark, y=0.24, z=front + 0.01)
    neck = r.uniform(0.6, 0.75)
    a.add(box(0.075, neck + 0.2, 0.05, 0.008), dark, y=0.76 + neck / 2, z=front)
    a.add(box(0.05, neck + 0.6, 0.02, 0.0), mt.metal(r), y=0.26 + (neck + 0.6) / 2, z=front + 0.03)
    top = 0.86 + neck
    a.add(extrude([(-0.05, 0), (0.05, 0), (0.075, 0.22), (-0.075, 0.22)], 0.05).rot("x", -6), body, y=top, z=front)
    pegs = join([ball(0.026, seg=8, rings=6).at(0.085, y, 0) for y in (0.05, 0.11, 0.17)])
    a.add(mirror_x(pegs), mt.metal(r), y=top, z=front - 0.01)
    return a


def laptop(r: Rng) -> Asset:
    """An open laptop: keys and screen face the front."""
    a = Asset()
    w, d, t = r.uniform(0.9, 1.05), r.uniform(0.6, 0.7), r.uniform(0.035, 0.05)
    case = mt.metal(r, brushed=r.chance(0.5)) if r.chance(0.6) else mt.plain(mt.dark(r), 0.4)
    a.add(box(w, t, d, 0.01), case, y=t / 2)
    keys = mt.Material(tx.checks((0.12, 0.12, 0.13), (0.3, 0.3, 0.32), 12), 0.0, 0.6)
    a.add(box(w * 0.88, 0.02, d * 0.46, 0).planar_uv("y"), keys, y=t + 0.004, z=-d * 0.14)
    a.add(box(w * 0.3, 0.02, d * 0.24, 0.004), mt.plain((0.5, 0.5, 0.52), 0.3), y=t + 0.002, z=d * 0.3)
    tilt = r.uniform(5, 35)
    image = tx.gradient(mt.color(r), mt.light(r), 64) if r.chance(0.5) else tx.noise(r, mt.color(r), mt.color(r))
    image = image.copy()
    image[-6:] = (30, 32, 40)
    image[-5:-1, 3:30:7] = 220
    lid = box(w, d * 0.95, 0.035, 0.01).at(0, d * 0.475, 0)
    a.add(lid.rot("x", -tilt), case, y=t * 0.7, z=-d / 2)
    screen = box(w * 0.9, d * 0.82, 0.02, 0).planar_uv("z").at(0, d * 0.49, 0.014)
    a.add(screen.rot("x", -tilt), mt.picture(image, 0.1), y=t * 0.7, z=-d / 2)
    return a


def camera(r: Rng) -> Asset:
    """A still camera: lens to the front, shutter on its right-hand side (-X), flash on top."""
    a = Asset()
    w, h, d = r.uniform(0.85, 1.0), r.uniform(0.5, 0.6), r.uniform(0.26, 0.34)
    skin = mt.plain(mt.dark(r), 0.7) if r.chance(0.5) else mt.cloth(r, repeats=5)
    metal, glass = mt.metal(r), mt.plain((0.12, 0.14, 0.3), 0.02)
    a.add(extrude(rounded(w, d, 0.1), h * 0.72).rot("x", -90), skin, y=h * 0.36)
    a.add(extrude(rounded(w, d, 0.1), h * 0.16).rot("x", -90), metal, y=h * 0.78)
    a.add(extrude([(-0.2, 0), (0.2, 0), (0.12, 0.15), (-0.12, 0.15)], d * 0.8), metal, y=h * 0.85)
    a.add(cylinder(0.05, 0.06, 16), mt.paint(r), -w * 0.33, h * 0.89)
    a.add(cylinder(0.085, 0.07, 20), metal, w * 0.32, h * 0.89)
    R, L = r.uniform(0.2, 0.25), r.uniform(0.12, 0.34)
    x = r.choice((0.0, 0.0, 0.1))
    barrel = lathe(
        [(R, 0), (R, L * 0.4), (R * 0.92, L * 0.42), (R * 0.92, L), (R * 0.78, L), (R * 0.75, L - 0.06), (0, L - 0.06)],
        30,
    )
    a.add(barrel.rot("x", 90), mt.plain((0.1, 0.1, 0.11), 0.5), x, h * 0.4, d / 2)
    a.add(
        lathe([(R * 0.95, -0.02), (R + 0.016, 0), (R * 0.95, 0.02)], 30, cap=False).rot("x", 90),
        mt.paint(r),
        x,
        h * 0.4,
        d / 2 + L * 0.3,
    )
    a.add(ball(R * 0.74, R * 0.74, 0.05, 22, 8), glass, x, h * 0.4, d / 2 + L - 0.06)
    a.add(box(0.14, 0.08, 0.03, 0.005), mt.plain((0.95, 0.95, 0.9), 0.1), y=h * 0.94, z=d * 0.4)
    return a


def clock(r: Rng) -> Asset:
    """An alarm clock with two bells, or a square mantel clock; the hands show a time."""
    a = Asset()
    R = 0.4
    case, face = mt.paint(r) if r.chance(0.6) else mt.metal(r), mt.plain(mt.light(r), 0.5)
    black = mt.plain((0.08, 0.08, 0.1), 0.4)
    y = R + 0.1
    if r.chance(0.65):
        d = r.uniform(0.2, 0.3)
        a.add(cylinder(R, d, 36).rot("x", 90), case, y=y)
        a.add(mirror_x(ball(0.15, 0.12, 0.15, 18, 10).rot("z", -35).at(0.24)), mt.metal(r), y=y + R + 0.02)
        a.add(tube([(-0.07, y + R - 0.02, 0), (0, y + R + 0.17, 0), (0.07, y + R - 0.02, 0)], 0.022, 8), mt.metal(r))
        a.add(mirror_x(tube([(0.22, y - R * 0.75, 0), (0.32, 0.02, 0)], [0.035, 0.045], 10)), mt.metal(r))
        z = d / 2
    else:
        d = r.uniform(0.24, 0.34)
        case = mt.wood(r, 1.5)
        a.add(box(1.0, 0.98, d, 0.03), case, y=y)
        a.add(box(1.14, 0.07, d + 0.1, 0.02), case, y=0.03)
        a.add(extrude([(-0.5, 0), (0.5, 0), (0, 0.2)], d), case, y=y + 0.48)
        z = d / 2
    a.add(cylinder(R * 0.9, 0.04, 36, 0.0).rot("x", 90), face, y=y, z=z)
    a.add(torus(R * 0.92, 0.035, 36, 8).rot("x", 90), mt.metal(r), y=y, z=z)
    a.add(
        join([box(0.03, 0.08, 0.02, 0).at(0, R * 0.74, 0).rot("z", 30 * i) for i in range(12)]), black, y=y, z=z + 0.025
    )
    hour, minute = r.uniform(0, 360), 30.0 * r.integer(0, 11)
    a.add(box(0.045, R * 0.5, 0.03, 0.006).at(0, R * 0.23, 0).rot("z", -hour), black, y=y, z=z + 0.035)
    a.add(
        box(0.032, R * 0.75, 0.03, 0.006).at(0, R * 0.35, 0).rot("z", -minute),
        mt.plain((0.8, 0.1, 0.1), 0.3),
        y=y,
        z=z + 0.045,
    )
    return a


def television(r: Rng) -> Asset:
    """A tube set on legs with knobs to the right of the screen, or a flat screen on a foot."""
    a = Asset()
    image = (
        tx.noise(r, mt.color(r), mt.light(r))
        if r.chance(0.4)
        else tx.stripes(mt.color(r), mt.color(r), r.integer(2, 4))
    )
    if r.chance(0.55):
        w, h, d = r.uniform(0.9, 1.1), r.uniform(0.65, 0.8), r.uniform(0.4, 0.55)
        case = mt.wood(r, 1.5) if r.chance(0.6) else mt.paint(r)
        leg = r.uniform(0.15, 0.35)
        y = leg + h / 2
        a.add(box(w, h, d, 0.05), case, y=y)
        sw = w * 0.68
        screen = ball(sw / 2, h * 0.4, 0.1, 24, 12).deform(_squarish).planar_uv("z")
        a.add(screen, mt.picture(image, 0.08), -w * 0.12, y, d / 2 - 0.02)
        a.add(
            join(
                [cylinder(0.055, 0.06, 16).rot("x", 90).at(w * 0.38, y + h * 0.25 - 0.17 * k, d / 2) for k in range(2)]
            ),
            mt.metal(r),
        )
        a.add(
            join([box(0.13, 0.025, 0.04, 0.004).at(w * 0.38, y - h * 0.18 - 0.06 * k, d / 2) for k in range(3)]),
            mt.plain((0.1, 0.1, 0.1), 0.5),
        )
        a.add(
            join(
                [
                    tube(
                        [(sx * w * 0.36, leg + 0.03, sz * d * 0.3), (sx * w * 0.44, 0, sz * d * 0.4)], [0.04, 0.025], 8
                    )
                    for sx in (-1, 1)
                    for sz in (-1, 1)
                ]
            ),
            mt.wood(r),
        )
        if r.chance(0.6):
            a.add(mirror_x(tube([(0.03, y + h / 2, 0), (0.28, y + h / 2 + 0.35, 0)], 0.017, 8)), mt.metal(r))
        return a
    w, h = r.uniform(1.2, 1.5), r.uniform(0.68, 0.82)
    case = mt.plain(mt.dark(r), 0.35)
    a.add(box(w, h, 0.07, 0.015), case, y=h / 2 + 0.14)
    a.add(box(w * 0.94, h * 0.88, 0.03, 0).planar_uv("z"), mt.picture(image, 0.08), y=h / 2 + 0.15, z=0.03)
    a.add(box(0.12, 0.2, 0.06, 0.01), case, y=0.1, z=-0.03)
    a.add(box(w * r.uniform(0.3, 0.5), 0.035, 0.3, 0.01), case, y=0.018)
    a.add(box(w * 0.5, h * 0.4, 0.06, 0.02), case, y=h * 0.45, z=-0.05)
    return a


def _squarish(v: np.ndarray) -> np.ndarray:
    out = v.copy()
    half = np.abs(v).max(0)
    x, y = v[:, 0] / half[0], v[:, 1] / half[1]
    k = np.sqrt(x * x + y * y)
    m = np.maximum(np.maximum(np.abs(x), np.abs(y)), 1e-6)
    stretch = 0.6 * (k / m) + 0.4
    out[:, 0] *= stretch
    out[:, 1] *= stretch
    return out


def book(r: Rng) -> Asset:
    """A standing book: cover to the front with a title panel, spine at -X, pages visible."""
    a = Asset()
    n = r.integer(1, 3)
    z = 0.0
    for _ in range(n):
        w, h, t = r.uniform(0.6, 0.72), r.uniform(0.85, 1.0), r.uniform(0.12, 0.2)
        c = mt.color(r)
        cover = mt.plain(c, 0.5)
        zc = z - t / 2
        a.add(
            join(
                [box(w, h, 0.03, 0.004).at(0, h / 2, zc + s * (t - 0.03) / 2) for s in (-1, 1)]
                + [box(0.035, h, t, 0.01).at(-w / 2, h / 2, zc)]
            ),
            cover,
        )
        a.add(
            box(w - 0.04, h - 0.06, t - 0.06, 0.0),
            mt.Material(tx.stripes((0.95, 0.93, 0.86), (0.8, 0.77, 0.68), 8, vertical=False), 0.0, 0.95, repeats=3),
            -0.005,
            h / 2,
            zc,
        )
        z -= t
    gold = mt.plain(mt.METALS[1], 0.3, 1.0) if r.chance(0.5) else mt.plain(mt.light(r), 0.6)
    a.add(box(w * 0.6 if n == 1 else 0.38, 0.14, 0.03, 0.005), gold, y=0.62, z=0.005)
    if r.chance(0.6):
        a.add(cylinder(0.11, 0.035, 24).rot("x", 90), mt.paint(r), y=0.32, z=0.003)
    if r.chance(0.5):
        end = z - 0.03
        a.add(box(0.5, 0.55, 0.035, 0.004), mt.metal(r), y=0.275, z=end)
        a.add(box(0.5, 0.03, 0.3, 0.004), mt.metal(r), y=0.0, z=end - 0.14)
    return a


def drum(r: Rng) -> Asset:
    """A side drum on a stand or free, with two sticks on top pointing to the front."""
    a = Asset()
    R, h = r.uniform(0.4, 0.5), r.uniform(0.3, 0.55)
    shell, rim = mt.patterned(r, 1.5), mt.metal(r)
    legs = r.uniform(0.2, 0.4) if r.chance(0.5) else 0.0
    a.add(cylinder(R, h, 36, 0.0), shell, y=legs + h / 2)
    for y in (0.02, h - 0.02):
        a.add(lathe([(R, -0.035), (R + 0.03, -0.035), (R + 0.03, 0.035), (R, 0.035)], 36, cap=False), rim, y=legs + y)
    a.add(cylinder(R * 0.97, 0.02, 36, 0.0), mt.plain((0.94, 0.92, 0.86), 0.7), y=legs + h + 0.01)
    n = r.integer(5, 8)
    a.add(
        join([box(0.035, h * 0.7, 0.035, 0.006).at(0, legs + h / 2, R + 0.02).rot("y", 360 * i / n) for i in range(n)]),
        rim,
    )
    spread = r.uniform(6, 20)
    stick = join([cylinder(0.024, 0.8, 10).rot("x", 90), ball(0.042, 0.036, 0.05, 12, 8).at(0, 0, -0.42)])
    a.add(mirror_x(stick.rot("y", spread).at(0.12)), mt.wood(r, 3), y=legs + h + 0.05, z=0.22)
    if legs:
        a.add(
            join(
                [tube([(0, legs + 0.05, R * 0.8), (0, 0, R * 1.15)], 0.024, 8).rot("y", 60 + 120 * i) for i in range(3)]
            ),
            rim,
        )
    return a


FAMILIES = (guitar, laptop, camera, clock, television, book, drum)
