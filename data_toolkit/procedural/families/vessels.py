"""Vessels: handles point to +X, spouts to -X, so that left and right differ; other cues face +Z."""

from __future__ import annotations

import math

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural import textures as tx
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import Geo, arc, ball, box, cylinder, disk, join, lathe, sheet, torus, tube

__all__ = ["FAMILIES"]


def _smooth(points: list[tuple[float, float]], n: int = 5) -> list[tuple[float, float]]:
    """Catmull-Rom curve through profile points."""
    out = []
    for i in range(len(points) - 1):
        p0, p1, p2, p3 = points[max(i - 1, 0)], points[i], points[i + 1], points[min(i + 2, len(points) - 1)]
        for k in range(n):
            t = k / n
            out.append(tuple(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)
                for a, b, c, d in zip(p0, p1, p2, p3)
            ))  # fmt: skip
    out.append(points[-1])
    return [(max(0.0, x), y) for x, y in out]


def _handle(r: float, h: float, reach: float, y: float, thickness: float, squeeze: float = 0.55) -> Geo:
    """An ear of the given height and reach at radius r on the +X side."""
    path = [(r + reach * math.sin(math.pi * i / 12) ** squeeze, y + h * (0.5 - i / 12), 0.0) for i in range(13)]
    path[0] = (r - 0.02, path[0][1], 0.0)
    path[-1] = (r - 0.02, path[-1][1], 0.0)
    return tube(path, thickness, 10)


def vase(r: Rng) -> Asset:
    """A turned vase, open at the top, sometimes with two ears or flowers."""
    a = Asset()
    h, foot, belly, neck, lip = (
        r.uniform(0.6, 1.0),
        r.uniform(0.12, 0.2),
        r.uniform(0.22, 0.36),
        r.uniform(0.08, 0.18),
        r.uniform(0.1, 0.24),
    )
    at = r.uniform(0.3, 0.6)
    outer = _smooth([(foot, 0), (foot * 1.05, 0.03), (belly, at * h), (neck, 0.82 * h), (lip, h)])
    inner = [(max(0.02, x - 0.025), y + 0.01) for x, y in outer[::-1][:-6]]
    skin = mt.patterned(r, 2.0)
    a.add(lathe(outer + inner, 32, cap=True, wrap=2.0), skin)
    if r.chance(0.35):
        ear = _handle(neck + 0.02, h * 0.35, 0.14, h * 0.68, 0.022)
        a.add(join([ear, ear.scale(-1, 1, 1)]), skin)
    if r.chance(0.4):
        stem, petal = mt.plain((0.25, 0.45, 0.18), 0.8), mt.plain(mt.color(r), 0.7)
        for i in range(r.integer(2, 4)):
            t = 2 * math.pi * i / 3 + 0.5
            top = (0.16 * math.sin(t), h + r.uniform(0.18, 0.4), 0.16 * math.cos(t))
            a.add(tube([(0, h * 0.5, 0), (0.03 * math.sin(t), h, 0.03 * math.cos(t)), top], 0.016, 8), stem)
            a.add(ball(0.085, 0.06, 0.085, 14, 8), petal, *top)
    return a


def bottle(r: Rng) -> Asset:
    """A bottle with a label on the front and a cap; glass bottles show what is inside."""
    a = Asset()
    w, neck = r.uniform(0.14, 0.24), r.uniform(0.045, 0.07)
    sh = r.uniform(0.5, 0.68)
    profile = _smooth([(w * 0.9, 0), (w, 0.03), (w, sh), (neck * 1.2, sh + 0.17), (neck, 0.86), (neck, 0.93)])
    clear = r.chance(0.5)
    a.add(lathe(profile, 28), mt.glass(r) if clear else mt.paint(r))
    if clear:
        level = r.uniform(0.4, 0.95) * sh
        a.add(cylinder(w * 0.88, level, 28), mt.plain(mt.color(r), 0.2), y=0.03 + level / 2)
    a.add(cylinder(neck * 1.25, 0.09, 20), mt.metal(r) if r.chance(0.5) else mt.paint(r), y=0.955)
    y0, y1, span = sh * 0.3, sh * r.uniform(0.65, 0.85), r.uniform(1.0, 1.8)
    grid = [
        [
            ((w + 0.008) * math.sin(span * (k / 12 - 0.5)), y, (w + 0.008) * math.cos(span * (k / 12 - 0.5)))
            for k in range(13)
        ]
        for y in (y0, y1)
    ]
    c = mt.color(r)
    image = (
        tx.stripes(mt.light(r), c, r.integer(1, 3), vertical=False)
        if r.chance(0.6)
        else tx.dots(mt.light(r), c, 1, radius=0.32)
    )
    a.add(sheet(grid).fit_uv(), mt.picture(image))
    return a


def mug(r: Rng) -> Asset:
    """A mug: handle to the right, a badge on the front, a drink inside."""
    a = Asset()
    h, w, top = r.uniform(0.7, 1.0), r.uniform(0.3, 0.42), r.uniform(0.9, 1.15)
    skin = mt.patterned(r, 1.5)
    rim = w * top
    prof = [(w * 0.92, 0), (w, 0.04), (rim, h), (rim - 0.05, h), (w - 0.05, 0.08), (0.0, 0.08)]
    a.add(lathe(prof, 32, wrap=2.0), skin)
    hh = r.uniform(0.5, 0.7) * h
    a.add(_handle((w + rim) / 2 - 0.01, hh, r.uniform(0.2, 0.3), h * 0.5, r.uniform(0.04, 0.055)), skin)
    fill = r.uniform(0.7, 0.9)
    a.add(
        disk(w + (rim - w) * fill - 0.045),
        mt.plain(r.choice(((0.25, 0.14, 0.08), (0.62, 0.42, 0.22), (0.75, 0.25, 0.15))), 0.1),
        y=h * fill,
    )
    if r.chance(0.6):
        y, rr = h * 0.5, (w + rim) / 2
        a.add(cylinder(0.14, 0.05, 20).rot("x", 90), mt.paint(r), y=y, z=rr - 0.005)
    return a


def teapot(r: Rng) -> Asset:
    """A round pot: spout to the left, handle to the right, a knob on the lid."""
    a = Asset()
    w, h = r.uniform(0.3, 0.38), r.uniform(0.36, 0.5)
    skin = mt.patterned(r, 2.0) if r.chance(0.7) else mt.metal(r)
    accent = mt.paint(r) if r.chance(0.5) else skin
    a.add(
        lathe(
            _smooth([(w * 0.6, 0), (w * 0.75, 0.03), (w, h * 0.45), (w * 0.75, h * 0.85), (w * 0.45, h)], 6),
            32,
            wrap=2.0,
        ),
        skin,
    )
    a.add(lathe(_smooth([(w * 0.5, 0), (w * 0.42, 0.05), (w * 0.12, 0.09), (0.03, 0.1)]), 28), accent, y=h * 0.98)
    a.add(ball(0.05, seg=14, rings=8), accent, y=h + 0.13)
    reach = r.uniform(0.22, 0.32)
    spout = [
        (-w * 0.8, h * 0.3, 0),
        (-w - 0.08, h * 0.36, 0),
        (-w - reach * 0.65, h * 0.62, 0),
        (-w - reach, h * r.uniform(0.88, 1.05), 0),
    ]
    a.add(tube(spout, [0.085, 0.075, 0.055, 0.04], 14), skin)
    a.add(_handle(w * 0.88, h * 0.62, r.uniform(0.18, 0.26), h * 0.52, 0.036), accent)
    return a


def bowl(r: Rng) -> Asset:
    """A bowl of fruit; a banana lies on the front side."""
    a = Asset()
    w, h = 0.5, r.uniform(0.2, 0.34)
    prof = _smooth([(0.2, 0), (0.22, 0.02), (w * 0.82, h * 0.5), (w, h)]) + _smooth(
        [(w - 0.03, h), (w * 0.75, h * 0.5), (0.15, 0.05), (0.0, 0.05)]
    )
    a.add(lathe(prof, 36, wrap=3.0), mt.patterned(r, 2.0) if r.chance(0.7) else mt.wood(r))
    hues = ((0.02, 0.85, 0.8), (0.08, 0.9, 0.95), (0.25, 0.7, 0.7), (0.97, 0.8, 0.6))
    skins = [mt.plain(mt.hsv(*r.choice(hues)), 0.35) for _ in range(2)]
    n = r.integer(3, 5)
    for i in range(n):
        t = 2 * math.pi * (i + 0.5) / n
        a.add(ball(0.155, 0.15, 0.155, 18, 10), skins[i % 2], 0.23 * math.sin(t), h * 0.75 + 0.03, 0.23 * math.cos(t))
    if r.chance(0.6):
        path = [
            (0.26 * math.cos(math.radians(q)), h + 0.2 - 0.12 * math.sin(math.radians(q)), 0.12)
            for q in range(20, 161, 20)
        ]
        a.add(tube(path, [0.03, 0.055, 0.065, 0.07, 0.07, 0.065, 0.055, 0.03], 10), mt.plain((0.95, 0.82, 0.2), 0.5))
    else:
        a.add(ball(0.16, seg=18, rings=10), mt.plain((0.85, 0.2, 0.15), 0.35), y=h + 0.13)
    return a


def goblet(r: Rng) -> Asset:
    """A stemmed glass (transparent) with a drink, or a metal cup."""
    a = Asset()
    h, w, foot = 1.0, r.uniform(0.2, 0.32), r.uniform(0.2, 0.26)
    stem, bh = r.uniform(0.3, 0.45), r.uniform(0.35, 0.5)
    belly = r.uniform(1.0, 1.2)
    cup = _smooth([(0.035, stem), (w * 0.7, stem + 0.08), (w * belly, stem + bh * 0.5), (w, stem + bh)], 5)
    clear = r.chance(0.65)
    skin = mt.glass(r) if clear else mt.metal(r)
    a.add(lathe([(foot, 0), (foot, 0.02), (0.05, 0.06), (0.03, 0.1), *cup[:1]], 28), skin)
    a.add(lathe(cup + [(x - 0.02, y + 0.002) for x, y in cup[::-1][:-3]], 32, cap=False), skin)
    n = r.integer(9, 15)
    level = cup[:n]
    if clear:
        drink = [(max(0.0, x - 0.025), y + 0.02) for x, y in level]
        a.add(
            lathe([*drink, (0.0, drink[-1][1])], 28),
            mt.plain(r.choice(((0.45, 0.05, 0.1), (0.9, 0.75, 0.3), (0.85, 0.4, 0.15))), 0.05),
        )
    else:
        a.add(ball(0.05, seg=12, rings=8), mt.paint(r), 0, stem + bh * 0.5, w * belly)
        a.add(torus(0.05, 0.03, 20, 8), mt.paint(r), y=stem * 0.55)
    a.add(ball(0.03, seg=8, rings=6), skin, y=h * 0.02)
    return a


def jar(r: Rng) -> Asset:
    """A transparent jar with a lid, filled with sweets or jam, a label on the front."""
    a = Asset()
    w, h = r.uniform(0.2, 0.28), r.uniform(0.55, 0.8)
    a.add(
        lathe(_smooth([(w * 0.92, 0), (w, 0.04), (w, h * 0.82), (w * 0.8, h * 0.93), (w * 0.8, h)], 4), 32, cap=True),
        mt.glass(r, (0.88, 0.95, 0.95), 0.58),
    )
    lid = mt.wood(r) if r.chance(0.5) else mt.paint(r)
    a.add(cylinder(w * 0.88, 0.1, 28), lid, y=h + 0.03)
    if r.chance(0.5):
        a.add(ball(0.07, seg=14, rings=8), lid, y=h + 0.12)
    level = r.uniform(0.35, 0.75) * h
    image = tx.dots(mt.color(r), mt.color(r), 4, radius=0.42) if r.chance(0.6) else tx.solid(mt.color(r))
    a.add(cylinder(w * 0.88, level, 28), mt.Material(image, 0.0, 0.3, repeats=1.2), y=0.03 + level / 2)
    a.add(box(w * 0.9, h * 0.25, 0.03, 0.01), mt.plain(mt.light(r), 0.7), y=h * 0.5, z=w)
    return a


def aquarium(r: Rng) -> Asset:
    """A glass tank with gravel, weeds and fish that swim to the right."""
    a = Asset()
    w, h, d = r.uniform(0.9, 1.1), r.uniform(0.5, 0.75), r.uniform(0.4, 0.6)
    frame = mt.plain((0.12, 0.12, 0.13), 0.5) if r.chance(0.6) else mt.paint(r)
    a.add(box(w + 0.04, 0.07, d + 0.04, 0.01), frame, y=0.035)
    for sx in (-1, 1):
        for sz in (-1, 1):
            a.add(box(0.04, h, 0.04, 0.005), frame, sx * (w / 2), h / 2, sz * (d / 2))
    rim = [box(w, 0.045, 0.045, 0.005).at(0, h, sz * d / 2) for sz in (-1, 1)]
    rim += [box(0.045, 0.045, d, 0.005).at(sx * w / 2, h, 0) for sx in (-1, 1)]
    a.add(join(rim), frame)
    a.add(box(w - 0.02, h * 0.82, d - 0.02, 0), mt.glass(r, (0.6, 0.82, 0.92), 0.58), y=0.07 + h * 0.41)
    a.add(box(w - 0.08, 0.1, d - 0.08, 0.02), mt.stone(r, 3), y=0.12)
    for i in range(r.integer(1, 3)):
        body = mt.plain(mt.hsv(r.choice((0.05, 0.12, 0.6, 0.0)), 0.85, 0.92), 0.3)
        s = r.uniform(0.8, 1.2)
        fish = join([ball(0.12, 0.07, 0.045, 14, 8), box(0.08, 0.11, 0.03, 0.01).rot("z", 45).at(-0.14)]).scale(s)
        a.add(fish, body, (i - 1) * 0.27, 0.22 + r.uniform(0.1, 0.8) * (h - 0.4), r.uniform(-0.1, 0.1))
    weed = mt.plain((0.15, 0.5, 0.22), 0.7)
    for i in range(r.integer(1, 3)):
        x = -w * 0.38 + i * 0.14
        path = [(x + 0.03 * math.sin(6 * k / 5), 0.12 + k * h * 0.11, -0.05) for k in range(6)]
        a.add(tube(path, [0.028, 0.028, 0.026, 0.024, 0.02, 0.014], 7), weed)
    return a


def barrel(r: Rng) -> Asset:
    """Staves and hoops, or a ribbed drum with rust; a tap or bung on the front."""
    a = Asset()
    h = 1.0
    if r.chance(0.6):
        w, bulge = r.uniform(0.3, 0.36), r.uniform(1.12, 1.3)
        prof = [(w * (1 + (bulge - 1) * (1 - (2 * i / 12 - 1) ** 2)), h * i / 12) for i in range(13)]
        rim = [(w - 0.04, h), (w - 0.04, h - 0.05), (0.0, h - 0.05)]
        image = tx.planks(r, *r.choice(mt.WOODS)).transpose(1, 0, 2)
        a.add(lathe(prof + rim, 32, wrap=3.0), mt.Material(image, 0.0, 0.7))
        hoop = mt.metal(r) if r.chance(0.5) else mt.rust(r, mt.METALS[0])
        for y in (0.1, 0.32, 0.68, 0.9):
            rr = w * (1 + (bulge - 1) * (1 - (2 * y - 1) ** 2))
            a.add(lathe([(rr, -0.03), (rr + 0.015, -0.03), (rr + 0.015, 0.03), (rr, 0.03)], 32, cap=False), hoop, y=y)
        a.add(
            join([cylinder(0.035, 0.14, 12).rot("x", 90), cylinder(0.02, 0.1, 10).at(0, 0.05, 0.04)]),
            hoop,
            y=0.2,
            z=w * 1.12 + 0.05,
        )
        return a
    w = r.uniform(0.3, 0.38)
    prof = [
        (w, 0),
        (w, 0.3),
        (w + 0.03, 0.33),
        (w, 0.36),
        (w, 0.64),
        (w + 0.03, 0.67),
        (w, 0.7),
        (w, 1.0),
        (w - 0.03, 1.0),
        (w - 0.03, 0.96),
        (0.0, 0.96),
    ]
    skin = mt.rust(r, mt.color(r)) if r.chance(0.5) else mt.paint(r)
    a.add(lathe(prof, 32, wrap=2.0), skin)
    a.add(cylinder(0.05, 0.05, 14), mt.metal(r), 0, 0.98, w * 0.6)
    a.add(box(0.26, 0.26, 0.03, 0.004).rot("z", 45), mt.plain((0.95, 0.75, 0.1), 0.5), y=0.5, z=w)
    return a


def bucket(r: Rng) -> Asset:
    """An open tapered bucket with a hoop handle leaning to the front."""
    a = Asset()
    w, top, h = r.uniform(0.24, 0.3), r.uniform(0.34, 0.42), r.uniform(0.5, 0.65)
    skin = (
        mt.rust(r, mt.METALS[0], 0.3)
        if r.chance(0.3)
        else (mt.metal(r, brushed=True) if r.chance(0.4) else mt.paint(r))
    )
    a.add(
        lathe(
            [
                (w, 0),
                (top, h),
                (top + 0.03, h),
                (top + 0.03, h + 0.03),
                (top - 0.03, h + 0.03),
                (w - 0.03, 0.03),
                (0.0, 0.03),
            ],
            32,
            wrap=2.0,
        ),
        skin,
    )
    lean = math.radians(r.uniform(25, 80))
    bow = [(x, h + y * math.sin(lean), y * math.cos(lean)) for x, y in arc(top + 0.02, 0, 180, 17)]
    wire = mt.metal(r)
    a.add(tube(bow, 0.02, 8), wire)
    mid = bow[8]
    a.add(cylinder(0.035, 0.2, 12).rot("z", 90), mt.wood(r), *mid)
    if r.chance(0.5):
        a.add(disk(top * 0.88), mt.plain((0.35, 0.6, 0.8), 0.05), y=h * 0.8)
    return a


FAMILIES = (vase, bottle, mug, teapot, bowl, goblet, jar, aquarium, barrel, bucket)
