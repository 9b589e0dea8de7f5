"""Vehicles: the nose points to +Z, so the front view shows the lights."""

from __future__ import annotations

import math

import numpy as np

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural import textures as tx
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import (
    Geo,
    ball,
    box,
    cylinder,
    extrude,
    join,
    lathe,
    loft,
    mirror_x,
    superellipse,
    torus,
    tube,
)

__all__ = ["FAMILIES"]

_GLASS = (0.12, 0.17, 0.22)


def _wheels(a: Asset, r: Rng, x: float, zs: list[float], radius: float, width: float) -> None:
    tyre = join([cylinder(radius, width, 24).rot("z", 90).at(s * x, radius, z) for s in (-1, 1) for z in zs])
    hub = join(
        [cylinder(radius * 0.55, width * 1.12, 14).rot("z", 90).at(s * x, radius, z) for s in (-1, 1) for z in zs]
    )
    a.add(tyre, mt.rubber())
    a.add(hub, mt.metal(r))


def _lights(a: Asset, x: float, y: float, front: float, back: float, size: float) -> None:
    a.add(mirror_x(cylinder(size, 0.05, 14).rot("x", 90).at(x, y, front)), mt.plain((0.98, 0.95, 0.78), 0.1))
    a.add(mirror_x(box(size * 1.8, size * 1.3, 0.05, 0.01).at(x, y, back)), mt.plain((0.75, 0.06, 0.05), 0.2))


def car(r: Rng) -> Asset:
    """A saloon, hatchback or sports car from a side profile; two colours possible."""
    a = Asset()
    L, w, wheel = r.uniform(1.9, 2.2), r.uniform(0.82, 0.95), r.uniform(0.17, 0.21)
    body_h, cab_h = r.uniform(0.27, 0.36), r.uniform(0.24, 0.34)
    base = wheel * 0.85
    skin = mt.plain(mt.color(r) if r.chance(0.8) else mt.light(r), 0.2, r.choice((0.0, 0.0, 0.6)))
    hood, deck = r.uniform(0.24, 0.34), r.uniform(0.04, 0.24)
    # side profile in (z, y), front to the right
    z0, z1, y0, y1 = -L / 2, L / 2, base, base + body_h
    poly = [
        (z0, y0 + 0.03),
        (z0 + 0.05, y0),
        (z1 - 0.05, y0),
        (z1, y0 + 0.05),
        (z1 - 0.03, y1 - 0.08),
        (z1 - hood * L, y1),
        (z0 + 0.04, y1),
        (z0, y1 - 0.06),
    ]
    a.add(_side(poly, w), skin)
    c0, c1 = z0 + deck * L + 0.02, z1 - hood * L
    slope_f, slope_b = r.uniform(0.2, 0.34), r.uniform(0.06, 0.28)
    top = y1 + cab_h
    cab = [(c0, y1 - 0.02), (c1, y1 - 0.02), (c1 - slope_f, top), (c0 + slope_b, top)]
    a.add(_side(cab, w * 0.86, w * 0.7), mt.plain(_GLASS, 0.05))
    a.add(
        box(w * 0.72, 0.05, (c1 - slope_f) - (c0 + slope_b) + 0.06, 0.02),
        skin,
        y=top,
        z=((c1 - slope_f) + (c0 + slope_b)) / 2,
    )
    mid = (c0 + slope_b * 0.6 + c1 - slope_f * 0.6) / 2
    a.add(mirror_x(box(0.05, cab_h + 0.02, 0.07, 0.01).rot("z", 14).at(w * 0.4)), skin, y=y1 + cab_h / 2, z=mid)
    _wheels(a, r, w / 2 - 0.03, [-L * 0.31, L * 0.31], wheel, 0.16)
    _lights(a, w * 0.33, y0 + body_h * 0.55, z1 - 0.01, z0 + 0.01, 0.065)
    a.add(box(w * 0.4, body_h * 0.22, 0.05, 0.01), mt.plain((0.1, 0.1, 0.1), 0.4), y=y0 + body_h * 0.4, z=z1)
    a.add(box(w * 1.0, 0.07, 0.07, 0.02), mt.metal(r), y=y0 + 0.06, z=z1)
    a.add(box(w * 1.0, 0.07, 0.07, 0.02), mt.metal(r), y=y0 + 0.06, z=z0)
    if r.chance(0.3):
        a.add(box(w * 0.9, 0.04, 0.16, 0.01), skin, y=y1 + 0.14, z=z0 + 0.1)
        a.add(mirror_x(box(0.05, 0.15, 0.08, 0.01).at(w * 0.3)), skin, y=y1 + 0.06, z=z0 + 0.1)
    return a


def _side(poly: list[tuple[float, float]], width: float, top_width: float | None = None) -> Geo:
    """Extrude a (z, y) side profile across x; the top may be narrower."""
    geo = extrude(poly, width).rot("y", -90)  # polygon x -> world z
    if top_width is not None:
        y = geo.v[:, 1]
        k = (y - y.min()) / (y.max() - y.min())
        return geo.deform(
            lambda v: v * np.stack([1 + (top_width / width - 1) * k, np.ones_like(k), np.ones_like(k)], 1)
        )
    return geo


def truck(r: Rng) -> Asset:
    """A cab with a box, tank or flat bed behind."""
    a = Asset()
    L, w, wheel = r.uniform(2.0, 2.6), r.uniform(0.75, 0.9), r.uniform(0.17, 0.21)
    cab_l, cab_h = r.uniform(0.5, 0.65), r.uniform(0.7, 0.9)
    skin, load = mt.paint(r), mt.paint(r) if r.chance(0.5) else mt.plain(mt.light(r), 0.4)
    z1 = L / 2
    a.add(box(w * 0.7, 0.12, L, 0.02), mt.plain((0.15, 0.15, 0.16), 0.6), y=wheel + 0.08)
    cab = [(z1 - cab_l, 0), (z1, 0), (z1, cab_h * 0.5), (z1 - 0.14, cab_h), (z1 - cab_l, cab_h)]
    y0 = wheel + 0.08
    a.add(_side(cab, w), skin, y=y0)
    dark = mt.plain(_GLASS, 0.05)
    a.add(box(w * 0.84, cab_h * 0.34, 0.04, 0.01).rot("x", -15), dark, y=y0 + cab_h * 0.72, z=z1 - 0.065)
    a.add(box(w + 0.03, cab_h * 0.3, cab_l * 0.45, 0.01), dark, y=y0 + cab_h * 0.68, z=z1 - cab_l * 0.6)
    bl = L - cab_l - 0.06
    kind = r.integer(0, 2)
    zc = -L / 2 + bl / 2
    if kind == 0:
        bh = r.uniform(0.8, 1.1)
        a.add(
            box(w * 1.04, bh, bl, 0.02),
            mt.Material(tx.stripes(mt.light(r), mt.color(r), 2, vertical=False), 0.0, 0.5, repeats=1.0)
            if r.chance(0.4)
            else load,
            y=y0 + 0.08 + bh / 2,
            z=zc,
        )
    elif kind == 1:
        rad = r.uniform(0.34, 0.42)
        a.add(
            cylinder(rad, bl, 28, 0.06).rot("x", 90),
            mt.metal(r, brushed=True) if r.chance(0.5) else load,
            y=y0 + 0.08 + rad,
            z=zc,
        )
        a.add(cylinder(0.1, 0.1, 16), skin, y=y0 + 0.12 + 2 * rad, z=zc)
    else:
        bh = r.uniform(0.25, 0.35)
        bed = [
            box(w, 0.06, bl, 0.01),
            *(box(0.05, bh, bl, 0.01).at(s * w * 0.5, bh / 2, 0) for s in (-1, 1)),
            *(box(w, bh, 0.05, 0.01).at(0, bh / 2, s * (bl / 2 - 0.025)) for s in (-1, 1)),
        ]
        a.add(join(bed), load, y=y0 + 0.1, z=zc)
        for i in range(r.integer(0, 3)):
            s = r.uniform(0.28, 0.36)
            a.add(
                box(s, s, s, 0.02),
                mt.wood(r, 2, boards=True),
                0.12 * (i % 2) - 0.06,
                y0 + 0.13 + s / 2,
                zc + (i - 1) * 0.42,
            )
    _wheels(
        a, r, w / 2 - 0.04, [-L * 0.36, -L * 0.18, L * 0.36] if r.chance(0.5) else [-L * 0.3, L * 0.36], wheel, 0.15
    )
    _lights(a, w * 0.36, y0 + 0.14, z1 + 0.01, -L / 2 - 0.01, 0.06)
    a.add(box(w, 0.1, 0.07, 0.02), mt.metal(r), y=y0 + 0.02, z=z1 + 0.02)
    return a


def plane(r: Rng) -> Asset:
    """Fuselage, wings, tail; propeller or jets."""
    a = Asset()
    L, fat = 2.0, r.uniform(0.14, 0.19)
    skin, accent = mt.plain(mt.light(r), 0.3), mt.paint(r)
    prof = [(0.0, -1.0), (0.25, -0.93), (0.55, -0.6), (0.95, 0.0), (1.0, 0.45), (0.85, 0.75), (0.5, 0.94), (0.0, 1.0)]
    sec = [
        [
            (fat * max(k, 0.02) * c, fat * max(k, 0.02) * s + (1 - k) * fat * (0.35 if z < 0 else -0.2), z * L / 2)
            for c, s in superellipse(1, 1, 2, 20)
        ]
        for k, z in prof
    ]
    a.add(loft(np.array(sec), sharp_sections=[], sharp_points=[]), skin)
    span, chord, sweep = r.uniform(0.85, 1.15), r.uniform(0.34, 0.46), r.uniform(0.0, 0.4)
    wing_y = r.choice((-0.4, 0.0, 0.75)) * fat
    wing = _blade([(0, 0.1, chord), (span, 0.1 - sweep, chord * r.uniform(0.4, 0.75))], 0.075)
    a.add(mirror_x(wing), skin if r.chance(0.5) else accent, y=wing_y)
    a.add(mirror_x(_blade([(0, 0, 0.28), (0.36, -0.1, 0.17)], 0.05)), accent, y=fat * 0.35, z=-L / 2 + 0.16)
    a.add(_blade([(0, 0, 0.34), (0.36, -0.14, 0.19)], 0.05).rot("z", 90), accent, y=fat * 0.3, z=-L / 2 + 0.18)
    a.add(ball(fat * 0.6, fat * 0.55, 0.2, 16, 8), mt.plain(_GLASS, 0.05), y=fat * 0.72, z=L * 0.24)
    if r.chance(0.5):
        a.add(lathe([(0.07, 0), (0.05, 0.08), (0.0, 0.12)], 14).rot("x", 90), accent, z=L / 2 - 0.04)
        n, blade = r.integer(2, 4), r.uniform(0.28, 0.36)
        a.add(
            join([box(0.07, blade, 0.035, 0.01).at(0, blade / 2, 0).rot("z", 360 * i / n) for i in range(n)]),
            mt.metal(r),
            z=L / 2 + 0.02,
        )
        for x, z in ((-0.2, 0.25), (0.2, 0.25), (0, -0.6)):
            a.add(cylinder(0.07, 0.06, 14).rot("z", 90), mt.rubber(), x, -fat - 0.14, z)
            a.add(tube([(x, -fat - 0.12, z), (x * 0.5, -fat * 0.6, z)], 0.02, 8), mt.metal(r))
    else:
        for x in (0.38, 0.68) if r.chance(0.4) else (0.42,):
            pod = lathe([(0.05, -0.16), (0.085, -0.05), (0.09, 0.12), (0.075, 0.16), (0.05, 0.12), (0.0, 0.1)], 18).rot(
                "x", 90
            )
            a.add(mirror_x(pod.at(x)), mt.metal(r), y=wing_y - 0.11, z=0.22 - sweep * x)
    return a


def _blade(stations: list[tuple[float, float, float]], thick: float) -> Geo:
    """A wing along +x: stations are (x, z of the centre, chord)."""
    sec = []
    for x, z, chord in stations:
        ring = [
            (chord * 0.5, 0.0),
            (chord * 0.25, thick * 0.5),
            (-chord * 0.2, thick * 0.4),
            (-chord * 0.5, 0.012),
            (-chord * 0.5, -0.012),
            (-chord * 0.2, -thick * 0.4),
            (chord * 0.25, -thick * 0.5),
        ]
        sec.append([(x, y, z + q) for q, y in ring][::-1])
    return loft(np.array(sec)[:, ::-1][:, ::-1], sharp_points=[0, 3, 4])


def boat(r: Rng) -> Asset:
    """A hull with a cabin or a mast with two sails (open sheets)."""
    a = Asset()
    L, w, h = 2.0, r.uniform(0.55, 0.8), r.uniform(0.3, 0.42)
    hull, deck = mt.paint(r), mt.wood(r, 1.5, boards=True)
    sec = []
    for i in range(13):
        t = i / 12
        half = w / 2 * (0.72 + 0.28 * math.sin(math.pi * min(1.0, t * 1.3))) * (1 - max(0.0, t - 0.5) ** 2 * 3.9)
        half = max(half, 0.012)
        keel = h * (0.0 + 0.55 * max(0.0, t - 0.6) ** 1.5 * 3.2 * 0.6)
        top = h + 0.16 * max(0.0, t - 0.4) ** 2
        z = (t - 0.5) * L
        sec.append(
            [
                (half, top, z),
                (half * 0.9, top, z) if False else (half * 0.86, top, z),
                (-half * 0.86, top, z),
                (-half, top, z),
                (-half * 0.8, keel + (top - keel) * 0.35, z),
                (-half * 0.3, keel, z),
                (half * 0.3, keel, z),
                (half * 0.8, keel + (top - keel) * 0.35, z),
            ]
        )
    a.add(loft(np.array(sec), sharp_points=[0, 3]), hull)
    flat = [(q[1][0] * 0.98, q[1][1] + 0.012, q[1][2]) for q in sec]
    a.add(
        loft(
            np.array([[(x, y, z), (-x, y, z)] for x, y, z in flat])[:, ::-1],
            closed=False,
            sharp_sections=[],
            sharp_points=[],
        ),
        deck,
    )
    if r.chance(0.5):
        mast, sail = (
            r.uniform(1.3, 1.7),
            mt.plain(mt.light(r), 0.9)
            if r.chance(0.5)
            else mt.Material(tx.stripes(mt.light(r), mt.color(r), 3, vertical=False), 0.0, 0.9),
        )
        a.add(cylinder(0.035, mast, 10, r_top=0.025), mt.wood(r), y=h + mast / 2, z=0.1)
        a.add(tube([(0, h + 0.2, 0.1), (0, h + 0.2, -0.75)], 0.025, 8), mt.wood(r))
        a.add(_sail((0, h + 0.24, 0.06), (0, h + 0.24, -0.72), (0, h + mast - 0.06, 0.06), 0.14), sail)
        a.add(_sail((0, h + 0.24, 0.16), (0, h + 0.24, 0.85), (0, h + mast - 0.2, 0.14), 0.1), sail)
    else:
        ch = r.uniform(0.26, 0.4)
        a.add(box(w * 0.55, ch, 0.6, 0.03), mt.plain(mt.light(r), 0.4), y=h + ch / 2, z=-0.1)
        a.add(box(w * 0.57, ch * 0.4, 0.5, 0.01), mt.plain(_GLASS, 0.05), y=h + ch * 0.6, z=-0.1)
        a.add(box(w * 0.48, ch * 0.4, 0.05, 0.01), mt.plain(_GLASS, 0.05), y=h + ch * 0.6, z=0.2)
        a.add(box(w * 0.62, 0.05, 0.7, 0.02), hull, y=h + ch, z=-0.1)
        for i in range(r.integer(1, 2)):
            a.add(cylinder(0.08, 0.34, 18), mt.paint(r), y=h + ch + 0.17, z=-0.05 - 0.25 * i)
    a.add(
        mirror_x(torus(0.09, 0.03, 20, 8).rot("z", 90).at(w * 0.5, h * 0.75, -0.25)), mt.plain((0.95, 0.35, 0.1), 0.6)
    )
    return a


def _sail(
    a: tuple[float, float, float], b: tuple[float, float, float], top: tuple[float, float, float], belly: float
) -> Geo:
    """A triangular open sheet bulging to +x."""
    pa, pb, pt = np.array(a), np.array(b), np.array(top)
    grid = []
    for i in range(9):
        s = i / 8
        row = []
        for k in range(9):
            t = k / 8
            p = (pa + (pb - pa) * t) * (1 - s) + pt * s
            row.append(p + np.array([belly * math.sin(math.pi * t) * (1 - s) * 1.0, 0, 0]))
        grid.append(row)
    return loft(np.array(grid), closed=False, sharp_sections=[], sharp_points=[])


def rocket(r: Rng) -> Asset:
    """Nose, body with bands, a round window on the front, three or four fins, a nozzle."""
    a = Asset()
    w, h, nose = r.uniform(0.2, 0.3), r.uniform(0.9, 1.3), r.uniform(0.35, 0.55)
    body, accent = mt.plain(mt.light(r), 0.35), mt.paint(r)
    belly = r.uniform(1.0, 1.25)
    side = [(w * (1 + (belly - 1) * math.sin(math.pi * i / 8)), 0.15 + h * i / 8) for i in range(9)]
    a.add(lathe([(w * 0.8, 0.12), *side], 30), body)
    a.add(
        lathe(
            [(w * math.cos(math.pi / 2 * i / 7) ** 0.8 if i < 7 else 0.0, 0.15 + h + nose * i / 7) for i in range(8)],
            30,
        ),
        accent,
    )
    a.add(lathe([(w * 0.7, 0.0), (w * 0.5, 0.14)], 20), mt.metal(r))
    n = r.integer(3, 4)
    fin_h, fin_w = r.uniform(0.35, 0.5), r.uniform(0.22, 0.32)
    fin = extrude(
        [(w * 0.8, 0.15 + fin_h), (w * 0.8, 0.2), (w + fin_w * 0.7, 0.0), (w + fin_w, 0.0), (w + fin_w * 0.9, 0.2)],
        0.06,
    )
    a.add(join([fin.rot("y", 360 * (i + (0.5 if n == 4 else 0.25)) / n) for i in range(n)]), accent)
    y = 0.15 + h * 0.68
    rad = w * (1 + (belly - 1) * math.sin(math.pi * 0.68))
    a.add(torus(0.095, 0.028, 24, 8).rot("x", 90), mt.metal(r), y=y, z=rad - 0.02)
    a.add(cylinder(0.09, 0.05, 20).rot("x", 90), mt.plain((0.2, 0.45, 0.75), 0.05), y=y, z=rad - 0.03)
    if r.chance(0.6):
        q = 0.15 + h * 0.3
        rr = w * (1 + (belly - 1) * math.sin(math.pi * 0.3)) + 0.01
        a.add(lathe([(rr, -0.05), (rr + 0.01, 0.0), (rr, 0.05)], 30, cap=False), accent, y=q)
    return a


def cart(r: Rng) -> Asset:
    """A wooden two-wheeled hand cart: shafts towards +Z."""
    a = Asset()
    w, L, h, wheel = r.uniform(0.6, 0.75), r.uniform(0.9, 1.15), r.uniform(0.26, 0.36), r.uniform(0.28, 0.38)
    wood, dark = mt.wood(r, 1.5, boards=True), mt.wood(r)
    y0 = wheel + 0.05
    a.add(box(w, 0.05, L, 0.01), wood, y=y0)
    a.add(mirror_x(box(0.05, h, L, 0.01).at(w / 2)), wood, y=y0 + h / 2)
    a.add(box(w, h, 0.05, 0.01), wood, y=y0 + h / 2, z=-L / 2)
    a.add(box(w, h * 0.6, 0.05, 0.01), wood, y=y0 + h * 0.3, z=L / 2)
    shaft = [(0, y0 - 0.03, L * 0.3), (0, y0 - 0.03, L * 0.6), (0, y0 - 0.12, L * 0.95)]
    a.add(mirror_x(tube(shaft, 0.032, 8).at(w * 0.38)), dark)
    a.add(cylinder(0.03, w * 0.8, 10).rot("z", 90), dark, y=y0 - 0.12, z=L * 0.94)
    spokes = r.integer(3, 4)
    rim = torus(wheel - 0.04, 0.04, 28, 8)
    parts = [rim, cylinder(0.07, 0.1, 14)] + [
        box(0.045, 0.04, 2 * wheel - 0.08, 0.01).rot("y", 180 * i / spokes) for i in range(spokes)
    ]
    a.add(mirror_x(join(parts).rot("z", 90).at(w / 2 + 0.1, wheel, -0.05)), dark if r.chance(0.5) else mt.paint(r))
    a.add(cylinder(0.03, w + 0.3, 10).rot("z", 90), mt.metal(r), y=wheel, z=-0.05)
    if r.chance(0.6):
        hay = mt.Material(tx.noise(r, (0.6, 0.48, 0.2), (0.88, 0.76, 0.4), 64, 16), 0.0, 1.0, repeats=2)
        a.add(ball(w * 0.46, h * 0.8, L * 0.46, 22, 10), hay, y=y0 + h * 0.7)
    return a


def train(r: Rng) -> Asset:
    """A steam locomotive: boiler and chimney at the front, cab behind."""
    a = Asset()
    L, rad = r.uniform(1.5, 1.9), r.uniform(0.24, 0.3)
    skin, accent, black = mt.paint(r), mt.paint(r), mt.plain((0.12, 0.12, 0.13), 0.5)
    w, y0 = rad * 2.3, 0.22
    a.add(box(w, 0.1, L, 0.02), black, y=y0)
    cab_l, cab_h = r.uniform(0.42, 0.55), r.uniform(0.75, 0.9)
    a.add(cylinder(rad, L - cab_l, 28, 0.02).rot("x", 90), skin, y=y0 + 0.05 + rad, z=cab_l / 2)
    a.add(cylinder(rad * 0.82, 0.06, 24).rot("x", 90), black, y=y0 + 0.05 + rad, z=L / 2 + 0.01)
    a.add(
        cylinder(0.06, 0.07, 16).rot("x", 90), mt.plain((0.98, 0.93, 0.7), 0.1), y=y0 + 0.08 + 2 * rad, z=L / 2 - 0.06
    )
    a.add(box(w, cab_h, cab_l, 0.02), accent, y=y0 + 0.05 + cab_h / 2, z=-L / 2 + cab_l / 2)
    a.add(
        box(w + 0.03, cab_h * 0.35, cab_l * 0.55, 0.01),
        mt.plain(_GLASS, 0.1),
        y=y0 + cab_h * 0.75,
        z=-L / 2 + cab_l / 2,
    )
    a.add(box(w + 0.14, 0.06, cab_l + 0.12, 0.02), black, y=y0 + 0.06 + cab_h, z=-L / 2 + cab_l / 2)
    ch = r.uniform(0.25, 0.4)
    top = y0 + 2 * rad
    a.add(
        lathe([(0.075, 0), (0.075, ch * 0.6), (r.uniform(0.08, 0.14), ch), (0.05, ch)], 18),
        black,
        y=top,
        z=L / 2 - 0.22,
    )
    a.add(ball(0.12, 0.16, 0.12, 16, 8), mt.metal(r), y=top + 0.04, z=L / 2 - 0.22 - (L - cab_l) * 0.45)
    n = r.integer(2, 3)
    zs = [-L * 0.34 + i * (L * 0.66) / (n - 1) for i in range(n)]
    _wheels(a, r, w / 2 + 0.02, zs, 0.2, 0.08)
    a.add(mirror_x(box(0.05, 0.05, zs[-1] - zs[0], 0.01).at(w / 2 + 0.1)), mt.metal(r), y=0.2, z=(zs[0] + zs[-1]) / 2)
    a.add(extrude([(-w / 2, 0.04), (w / 2, 0.04), (w * 0.36, 0.22), (-w * 0.36, 0.22)], 0.12), accent, z=L / 2 + 0.06)
    return a


def helicopter(r: Rng) -> Asset:
    """A cockpit bubble in front, a tail boom, main and tail rotor, skids."""
    a = Asset()
    skin = mt.paint(r)
    w = r.uniform(0.24, 0.3)
    a.add(ball(w, w * 0.95, 0.45, 24, 14), skin, y=0.42)
    a.add(ball(w * 0.9, w * 0.82, 0.3, 20, 12), mt.plain(_GLASS, 0.05), y=0.45, z=0.2)
    tail = r.uniform(0.85, 1.1)
    a.add(tube([(0, 0.5, -0.3), (0, 0.55, -tail)], [0.11, 0.045], 12), skin)
    a.add(
        extrude([(0, 0), (0.2, 0), (0.12, 0.26), (0.0, 0.26)], 0.045).rot("y", 90), mt.paint(r), y=0.53, z=-tail + 0.12
    )
    rotor = r.uniform(0.75, 0.95)
    n = r.integer(2, 4)
    spin = r.uniform(0, 90)
    black = mt.plain((0.14, 0.14, 0.15), 0.5)
    a.add(cylinder(0.04, 0.16, 10), black, y=0.42 + w)
    a.add(
        join([box(0.085, 0.03, rotor, 0.005).at(0, 0, rotor / 2).rot("y", spin + 360 * i / n) for i in range(n)]),
        black,
        y=0.5 + w,
    )
    a.add(join([box(0.03, 0.3, 0.06, 0.005).rot("x", q) for q in (20, 110)]), black, 0.07, 0.58, -tail + 0.02)
    skid = tube([(w, 0.03, -0.35), (w, 0.03, 0.35), (w, 0.1, 0.47)], 0.026, 8)
    struts = [tube([(w, 0.04, z), (w * 0.55, 0.3, z)], 0.022, 8) for z in (-0.15, 0.2)]
    a.add(mirror_x(join([skid, *struts])), mt.metal(r))
    return a


FAMILIES = (car, truck, plane, boat, rocket, cart, train, helicopter)
