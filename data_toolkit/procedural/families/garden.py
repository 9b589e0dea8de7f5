"""Plants and outdoor things."""

from __future__ import annotations

import math

import numpy as np

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural import textures as tx
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import Geo, arc, ball, box, cylinder, extrude, lathe, loft, mirror_x, tube

__all__ = ["FAMILIES"]


def _leaf(length: float, width: float, bend: float, up: float) -> Geo:
    """An open leaf along +z that rises and bends down."""
    grid = []
    for k in range(7):
        s = k / 6
        half = width * math.sin(math.pi * (0.12 + 0.88 * s)) ** 0.8 if k < 6 else 0.004
        y, z = up * s - bend * s * s, length * s
        grid.append([(half * q, y + 0.25 * half * abs(q), z) for q in (-1, -0.5, 0, 0.5, 1)])
    return loft(grid, closed=False, sharp_sections=[], sharp_points=[])


def potted_plant(r: Rng) -> Asset:
    """A pot with broad leaves (open sheets), a leafy ball or a cactus."""
    a = Asset()
    w, h = r.uniform(0.2, 0.28), r.uniform(0.26, 0.4)
    pot = mt.patterned(r, 2) if r.chance(0.6) else mt.plain((0.72, 0.38, 0.24), 0.9)
    a.add(
        lathe(
            [
                (w * 0.7, 0),
                (w, h * 0.82),
                (w * 1.1, h * 0.82),
                (w * 1.1, h),
                (w * 0.95, h),
                (w * 0.9, h * 0.88),
                (0, h * 0.88),
            ],
            28,
            wrap=2.0,
        ),
        pot,
    )
    a.add(cylinder(w * 0.93, 0.04, 24), mt.soil(), y=h * 0.9)
    kind = r.integer(0, 2)
    green = mt.foliage(r)
    if kind == 0:
        n, length, bend = r.integer(7, 11), r.uniform(0.4, 0.6), r.uniform(0.25, 0.6)
        for i in range(n):
            q = 360 * i / n + r.uniform(-8, 8)
            up = r.uniform(0.5, 0.75)
            a.add(_leaf(length * (1 if i % 2 else 0.75), 0.085, bend, up).rot("y", q), green, y=h * 0.9)
    elif kind == 1:
        trunk = r.uniform(0.15, 0.4)
        a.add(cylinder(0.035, trunk + 0.1, 10), mt.wood(r, 3), y=h * 0.9 + trunk / 2)
        rad = r.uniform(0.24, 0.32)
        a.add(_bumpy(r, rad, rad * r.uniform(0.9, 1.15), rad), green, y=h * 0.9 + trunk + rad * 0.85)
    else:
        c, ch, cr = mt.plain((0.25, 0.5, 0.25), 0.7), r.uniform(0.45, 0.7), r.uniform(0.1, 0.14)
        a.add(_column(cr, ch), c, y=h * 0.85)
        for s in (1, -1) if r.chance(0.5) else (1,):
            y = h * 0.9 + ch * r.uniform(0.35, 0.5)
            arm = [
                (0, y, 0),
                (s * 0.14, y, 0),
                (s * 0.22, y + 0.04, 0),
                (s * 0.24, y + 0.12, 0),
                (s * 0.24, y + 0.24, 0),
            ]
            a.add(tube(arm, [0.06, 0.07, 0.07, 0.07, 0.05], 12), c)
        a.add(ball(0.06, 0.05, 0.06, 12, 8), mt.plain(mt.color(r), 0.6), y=h * 0.85 + ch)
    return a


def _column(rad: float, h: float) -> Geo:
    return lathe(
        [(rad * 0.9, 0), (rad, h * 0.3), (rad, h * 0.75), (rad * 0.85, h * 0.9), (rad * 0.5, h * 0.98), (0, h)], 20
    )


def _bumpy(r: Rng, rx: float, ry: float, rz: float) -> Geo:
    """A ball with soft lumps."""
    p, q = r.uniform(0, 6.28), r.uniform(0, 6.28)

    def lumps(v: np.ndarray) -> np.ndarray:
        x, y, z = v[:, 0] / rx, v[:, 1] / ry, v[:, 2] / rz
        k = 1 + 0.07 * (np.sin(5 * x + p) * np.sin(5 * y + q) + np.sin(5 * z + q) * np.sin(4 * y + p))
        return v * k[:, None]

    return ball(rx, ry, rz, 24, 16).deform(lumps)


def tree(r: Rng) -> Asset:
    """A conifer of stacked cones or a broadleaf with several crowns."""
    a = Asset()
    bark = mt.Material(tx.noise(r, (0.28, 0.19, 0.12), (0.48, 0.34, 0.22), 64, 8), 0.0, 0.95, repeats=2)
    if r.chance(0.45):
        trunk, n = r.uniform(0.15, 0.28), r.integer(3, 4)
        a.add(cylinder(0.07, trunk + 0.2, 12), bark, y=trunk / 2 + 0.1)
        green = mt.foliage(r, r.uniform(0.3, 0.42))
        y, w, step = trunk, r.uniform(0.32, 0.42), r.uniform(0.24, 0.3)
        for i in range(n):
            k = w * (1 - 0.23 * i)
            a.add(lathe([(k, 0), (k * 0.45, step * 0.75), (0, step * 1.5)], 20), green, y=y + i * step)
        return a
    trunk = r.uniform(0.35, 0.55)
    a.add(tube([(0, 0, 0), (0.02, trunk * 0.5, 0.01), (0, trunk + 0.15, 0)], [0.1, 0.07, 0.06], 12), bark)
    green = mt.foliage(r, r.choice((0.27, 0.3, 0.33, 0.12, 0.05)))
    rad = r.uniform(0.28, 0.34)
    a.add(_bumpy(r, rad, rad * 0.9, rad), green, y=trunk + 0.32)
    n = r.integer(0, 3)
    for x, dy, z in ((0.24, 0.2, 0.05), (-0.22, 0.14, 0.12), (0.02, 0.22, -0.24))[:n]:
        a.add(tube([(0, trunk * 0.75, 0), (x * 0.9, trunk + dy, z * 0.9)], [0.05, 0.03], 8), bark)
        a.add(_bumpy(r, rad * 0.65, rad * 0.6, rad * 0.65), green, x, trunk + dy + 0.03, z)
    if r.chance(0.4):
        fruit = mt.plain((0.85, 0.15, 0.12), 0.3)
        for i in range(6):
            q = 2 * math.pi * i / 6
            a.add(
                ball(0.045, seg=10, rings=6),
                fruit,
                rad * 0.98 * math.sin(q),
                trunk + 0.28 + 0.1 * (i % 2),
                rad * 0.98 * math.cos(q),
            )
    return a


def mushroom(r: Rng) -> Asset:
    """A stalk and a spotted cap; smaller ones stand at the right and left in front."""
    a = Asset()
    cap, stalk = (
        mt.Material(tx.dots(mt.color(r), (0.95, 0.93, 0.88), 2, radius=0.28), 0.0, 0.4, repeats=2.2),
        mt.plain((0.9, 0.86, 0.76), 0.8),
    )
    w, h, dome = r.uniform(0.3, 0.45), r.uniform(0.35, 0.6), r.uniform(0.2, 0.36)

    def one(s: float, x: float, z: float) -> None:
        a.add(
            lathe([(0.13 * s, 0), (0.09 * s, 0.1 * s), (0.075 * s, h * s), (0.05 * s, (h + 0.05) * s)], 20),
            stalk,
            x,
            0,
            z,
        )
        prof = [
            (0.06, 0.03),
            (w * 0.8, -0.02),
            (w, 0.0),
            (w * 0.97, dome * 0.25),
            (w * 0.8, dome * 0.62),
            (w * 0.5, dome * 0.9),
            (0.0, dome),
        ]
        a.add(lathe([(p * s, q * s) for p, q in prof], 28, cap=False, wrap=2.0), cap, x, h * s, z)

    one(1.0, 0, 0)
    if r.chance(0.6):
        one(r.uniform(0.4, 0.55), w * 0.95, 0.18)
    if r.chance(0.3):
        one(0.4, -w * 0.95, 0.22)
    a.add(cylinder(w * r.uniform(0.9, 1.1), 0.05, 24), mt.foliage(r), y=0.0)
    return a


def snowman(r: Rng) -> Asset:
    """Two or three snow balls, carrot nose and coal eyes to the front, hat, scarf, arms."""
    a = Asset()
    snow, coal = mt.plain((0.94, 0.95, 0.97), 0.8), mt.plain((0.08, 0.08, 0.09), 0.8)
    rb = r.uniform(0.3, 0.36)
    radii = [rb, rb * r.uniform(0.68, 0.78), rb * r.uniform(0.5, 0.56)] if r.chance(0.7) else [rb, rb * 0.66]
    y, centres = 0.0, []
    for i, q in enumerate(radii):
        y = y + q * (0.92 if i else 0.96)
        centres.append(y)
        a.add(ball(q, seg=24, rings=14), snow, y=y)
        y += q * 0.78
    hr, hy = radii[-1], centres[-1]
    a.add(lathe([(0.035, 0), (0.0, 0.17)], 12).rot("x", 90), mt.plain((0.95, 0.5, 0.12), 0.6), y=hy, z=hr * 0.95)
    a.add(mirror_x(ball(0.026, seg=10, rings=6).at(hr * 0.38)), coal, y=hy + hr * 0.3, z=hr * 0.88)
    for k in range(3):
        yy = centres[-2] + (k - 1) * 0.1
        zz = math.sqrt(max(0.01, radii[-2] ** 2 - ((k - 1) * 0.1) ** 2))
        a.add(ball(0.028, seg=10, rings=6), coal, y=yy, z=zz)
    neck = hy - hr * 0.8
    scarf = mt.cloth(r, repeats=6)
    a.add(
        lathe([(hr * 0.7, -0.05), (hr * 0.95, -0.03), (hr * 0.95, 0.03), (hr * 0.7, 0.05)], 24, cap=False),
        scarf,
        y=neck,
    )
    a.add(box(0.08, 0.22, 0.045, 0.01), scarf, hr * 0.45, neck - 0.12, radii[-2] * 0.9)
    top = hy + hr * 0.75
    hat = mt.plain(mt.dark(r), 0.7)
    if r.chance(0.6):
        a.add(cylinder(hr * 1.1, 0.035, 24), hat, y=top)
        a.add(cylinder(hr * 0.72, r.uniform(0.16, 0.26), 24), hat, y=top + 0.1)
    else:
        a.add(lathe([(hr * 0.85, -0.03), (hr * 0.75, 0.08), (0.03, 0.26), (0, 0.27)], 20), mt.paint(r), y=top)
        a.add(ball(0.06, seg=12, rings=8), snow, y=top + 0.27)
    arm = [(radii[-2] * 0.85, centres[-2] + 0.03, 0.0), (radii[-2] + 0.28, centres[-2] + r.uniform(0.05, 0.28), 0.05)]
    a.add(mirror_x(tube(arm, [0.022, 0.018], 8)), mt.wood(r))
    return a


def flower(r: Rng) -> Asset:
    """One big flower whose face looks to the front, stem with two leaves."""
    a = Asset()
    h, n, rad = r.uniform(0.7, 0.9), r.integer(5, 9), r.uniform(0.26, 0.34)
    green = mt.plain((0.22, 0.48, 0.2), 0.8)
    a.add(tube([(0, 0, 0), (0.02, h * 0.4, -0.02), (0, h * 0.8, -0.03), (0, h, 0.0)], 0.032, 10), green)
    tilt = r.uniform(0, 30)
    c = mt.plain(mt.color(r), 0.6)
    for i in range(n):
        q = 360 * i / n
        petal = (
            ball(rad * 0.5, 0.035, rad * r.uniform(0.24, 0.26) * (8 / n) ** 0.5, 14, 8)
            .at(rad * 0.62)
            .rot("x", 90)
            .rot("z", q)
        )
        a.add(petal.rot("x", -tilt), c, y=h, z=0.03)
    a.add(
        ball(rad * 0.34, rad * 0.34, 0.08, 18, 10).rot("x", -tilt),
        mt.plain(r.choice(((0.95, 0.75, 0.15), (0.35, 0.2, 0.1))), 0.8),
        y=h,
        z=0.04,
    )
    a.add(_leaf(0.3, 0.08, 0.1, 0.25).rot("y", 90), green, y=h * 0.2)
    a.add(_leaf(0.26, 0.07, 0.1, 0.2).rot("y", -90), green, y=h * 0.35)
    if r.chance(0.5):
        a.add(lathe([(0.13, 0), (0.18, 0.24), (0.16, 0.24), (0, 0.2)], 20), mt.patterned(r, 3), y=-0.02)
    return a


def flag(r: Rng) -> Asset:
    """A waving sheet on a pole: the pole is at -X, the cloth flies to +X."""
    a = Asset()
    h, w, fh, wave = r.uniform(1.0, 1.3), r.uniform(0.6, 0.85), r.uniform(0.4, 0.55), r.uniform(0.02, 0.07)
    p = r.uniform(0, 6.28)
    a.add(cylinder(0.026, h, 10), mt.metal(r) if r.chance(0.5) else mt.wood(r), y=h / 2)
    a.add(ball(0.045, seg=12, rings=8), mt.plain(mt.METALS[1], 0.2, 1.0), y=h + 0.02)
    a.add(lathe([(0.18, 0), (0.18, 0.04), (0.05, 0.08)], 24), mt.stone(r))
    grid = [
        [(0.02 + w * j / 16, h - 0.04 - fh + fh * k / 8, wave * (j / 16) * math.sin(7 * j / 16 + p)) for j in range(17)]
        for k in range(9)
    ]
    c1, c2, c3 = mt.color(r), mt.light(r), mt.color(r)
    kind = r.integer(0, 3)
    if kind == 0:
        image = tx.stripes(c1, c2, 2, vertical=False)
    elif kind == 1:
        image = tx.dots(c1, c2, 1, radius=0.28)
    elif kind == 2:
        image = tx.checks(c1, c2, r.choice((2, 4)))
    else:
        image = tx.stripes(c1, c2, 1, duty=0.34)
        image[:, 43:] = tx.solid(c3, 64)[:, 43:]
    a.add(loft(grid, closed=False, sharp_sections=[], sharp_points=[]).fit_uv(), mt.picture(image, 0.9))
    return a


def mailbox(r: Rng) -> Asset:
    """A rounded box on a post: door to the front, a red flag on the right."""
    a = Asset()
    h, w, d = r.uniform(0.6, 0.85), r.uniform(0.24, 0.3), r.uniform(0.42, 0.55)
    skin = mt.paint(r)
    a.add(box(0.09, h, 0.09), mt.wood(r, 3), y=h / 2)
    shape = [(-w / 2, 0), (w / 2, 0), *arc(w / 2, 0, 180, 11, 0, w * 0.55)]
    a.add(extrude(shape, d), skin, y=h)
    a.add(
        extrude([(x * 0.92, y * 0.95 + 0.01) for x, y in shape], 0.04), mt.plain(mt.light(r), 0.4), y=h, z=d / 2 + 0.01
    )
    a.add(ball(0.026, seg=10, rings=6), mt.metal(r), y=h + w * 0.8, z=d / 2 + 0.04)
    red = mt.plain((0.85, 0.1, 0.1), 0.4)
    up = r.chance(0.6)
    a.add(
        box(0.03, 0.24 if up else 0.04, 0.04 if up else 0.24, 0.005),
        red,
        w / 2 + 0.02,
        h + w * 0.5 + (0.1 if up else 0),
        -0.02,
    )
    a.add(box(0.03, 0.08, 0.12, 0.005), red, w / 2 + 0.02, h + w * 0.5 + (0.2 if up else 0), 0.02 if up else 0.12)
    a.add(cylinder(0.2, 0.05, 20), mt.foliage(r), y=0.02)
    return a


FAMILIES = (potted_plant, tree, mushroom, snowman, flower, flag, mailbox)
