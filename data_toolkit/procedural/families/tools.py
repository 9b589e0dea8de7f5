"""Hand tools stand upright: the working end is up (+Y), asymmetric heads point to +X."""

from __future__ import annotations

import math

import numpy as np

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import arc, ball, box, cylinder, disk, extrude, join, lathe, loft, tube

__all__ = ["FAMILIES"]


def hammer(r: Rng) -> Asset:
    """A claw hammer or mallet: face to the right, claw to the left."""
    a = Asset()
    h, t = r.uniform(0.8, 1.0), r.uniform(0.035, 0.05)
    a.add(
        lathe([(t * 1.2, 0), (t * 1.25, 0.1), (t * 0.9, h * 0.45), (t * 0.8, h)], 16),
        mt.wood(r, 3) if r.chance(0.6) else mt.paint(r),
    )
    if r.chance(0.6):
        head = mt.metal(r)
        L = r.uniform(0.17, 0.23)
        a.add(box(0.13, 0.12, 0.12, 0.02), head, y=h)
        a.add(cylinder(0.055, L, 18).rot("z", 90), head, x=L / 2 + 0.03, y=h)
        a.add(cylinder(0.075, 0.06, 20).rot("z", 90), head, x=L + 0.05, y=h)
        for s in (-1, 1):
            claw = [
                (-0.05, h + 0.03, s * 0.025),
                (-0.16, h + 0.03, s * 0.035),
                (-0.26, h - 0.03, s * 0.045),
                (-0.32, h - 0.1, s * 0.05),
            ]
            a.add(tube(claw, [0.045, 0.04, 0.03, 0.02], 8), head)
    else:
        L, rad = r.uniform(0.4, 0.55), r.uniform(0.11, 0.15)
        a.add(cylinder(rad, L, 24).rot("z", 90), mt.wood(r) if r.chance(0.5) else mt.rubber(), y=h)
        a.add(cylinder(rad * 1.03, 0.05, 24).rot("z", 90), mt.metal(r), x=L * 0.36, y=h)
    if r.chance(0.6):
        a.add(cylinder(t * 1.4, 0.3, 16), mt.paint(r), y=0.16)
    return a


def axe(r: Rng) -> Asset:
    """A bearded axe: the blade points to the right, double blades on some."""
    a = Asset()
    h, t = r.uniform(0.9, 1.1), r.uniform(0.03, 0.04)
    path = [(0.02 * math.sin(5 * k / 6), h * k / 6, 0.0) for k in range(7)]
    a.add(tube(path, [t * 1.4, t, t, t, t, t, t], 12), mt.wood(r, 3))
    w, flare, y = r.uniform(0.25, 0.36), r.uniform(0.14, 0.24), h - 0.13
    blade = [(0.0, -0.07), (0.1, -0.07), *arc(flare, -60, 60, 9, w - flare * 0.6, -0.02), (0.1, 0.07), (0.0, 0.07)]
    steel = mt.metal(r) if r.chance(0.6) else mt.rust(r, mt.METALS[0])
    geo = extrude(blade, 0.07)
    geo = geo.deform(lambda v: v * _taper(v, w))
    a.add(geo, steel, y=y)
    if r.chance(0.35):
        a.add(geo.scale(-1, 1, 1), steel, y=y)
    else:
        a.add(box(0.12, 0.12, 0.09, 0.02), steel, x=-0.04, y=y)
    if r.chance(0.5):
        a.add(cylinder(t * 1.5, 0.24, 12), mt.paint(r), y=0.14)
    return a


def _taper(v: np.ndarray, w: float) -> np.ndarray:
    """Scale factors that sharpen a blade towards +x."""
    k = 1 - 0.75 * np.clip(v[:, 0] / w, 0, 1)
    return np.stack([np.ones_like(k), np.ones_like(k), k], 1)


def wrench(r: Rng) -> Asset:
    """An open-end wrench with a ring at the lower end; the jaw leans to the right."""
    a = Asset()
    L, w, t = 1.0, r.uniform(0.09, 0.13), r.uniform(0.06, 0.09)
    skin = mt.metal(r, brushed=r.chance(0.5)) if r.chance(0.75) else mt.paint(r)
    a.add(box(w, L * 0.66, t, 0.02), skin, y=L * 0.47)
    R, gap = r.uniform(0.13, 0.17), r.uniform(28, 42)
    jaw = (
        arc(R, 90 + gap, 450 - gap, 21)
        + arc(R * 0.5, 450 - gap * 1.3, 360 + 40, 3)
        + [(0.0, -R * 0.25)]
        + arc(R * 0.5, 140, 90 + gap * 1.3, 3)
    )
    a.add(extrude(jaw, t * 1.25).rot("z", -r.uniform(10, 25)), skin, y=L * 0.82 + 0.02)
    ring = [(0.095 * math.cos(q), 0.1 + 0.095 * math.sin(q), 0.0) for q in [2 * math.pi * i / 20 for i in range(20)]]
    a.add(tube(ring, 0.045, 8, closed=True), skin)
    if r.chance(0.5):
        a.add(box(w * 1.12, L * 0.3, t * 1.15, 0.02), mt.paint(r), y=L * 0.4)
    return a


def screwdriver(r: Rng) -> Asset:
    """A fluted handle below, a shaft and a flat tip above."""
    a = Asset()
    hh, hr, L = r.uniform(0.32, 0.42), r.uniform(0.08, 0.11), r.uniform(0.45, 0.6)
    grip, metal = mt.paint(r), mt.metal(r)
    a.add(
        lathe(
            [(hr * 0.5, 0), (hr * 0.95, 0.03), (hr, hh * 0.3), (hr * 0.85, hh * 0.7), (hr, hh * 0.85), (hr * 0.5, hh)],
            20,
        ),
        grip,
    )
    ribs = r.integer(5, 8)
    a.add(
        join(
            [
                cylinder(0.022, hh * 0.55, 8).at(hr * 0.9 * math.sin(q), hh * 0.42, hr * 0.9 * math.cos(q))
                for q in [2 * math.pi * i / ribs for i in range(ribs)]
            ]
        ),
        mt.plain((0.12, 0.12, 0.12), 0.8),
    )
    a.add(cylinder(0.032, L, 14), metal, y=hh + L / 2)
    tip = [
        [(0.032, 0, 0.03), (0.032, 0, -0.03), (-0.032, 0, -0.03), (-0.032, 0, 0.03)],
        [(0.065, 0.1, 0.022), (0.065, 0.1, -0.022), (-0.065, 0.1, -0.022), (-0.065, 0.1, 0.022)],
        [(0.05, 0.17, 0.01), (0.05, 0.17, -0.01), (-0.05, 0.17, -0.01), (-0.05, 0.17, 0.01)],
    ]
    a.add(loft(tip), metal, y=hh + L - 0.02)
    return a


def sword(r: Rng) -> Asset:
    """Pommel, grip, cross guard and blade; sabres curve to the right."""
    a = Asset()
    w, L, curve = r.uniform(0.06, 0.1), r.uniform(0.75, 0.95), r.choice((0.0, 0.0, 0.18))
    steel = mt.metal(r)
    rows = []
    for i in range(11):
        s = i / 10
        half = w * (1.0 if s < 0.8 else max(0.02, (1 - s) / 0.2))
        x, y = curve * s * s, 0.3 + L * s
        rows.append([(x + half, y, 0), (x, y, -0.02), (x - half, y, 0), (x, y, 0.02)])
    a.add(loft(rows, sharp_points=[0, 2]), steel)
    gold = mt.plain(mt.METALS[1], 0.25, 1.0) if r.chance(0.6) else steel
    g = r.uniform(0.16, 0.24)
    droop = r.uniform(-0.05, 0.06)
    guard = [(g * k, 0.29 + droop * k * k, 0.0) for k in (-1, -0.5, 0, 0.5, 1)]
    a.add(tube(guard, [0.035, 0.03, 0.034, 0.03, 0.035], 10), gold)
    a.add(cylinder(0.036, 0.24, 14), mt.cloth(r, mt.dark(r), 8), y=0.16)
    a.add(ball(0.055, seg=16, rings=10), gold, y=0.035)
    if r.chance(0.6):
        a.add(ball(0.035, seg=10, rings=6), mt.plain(mt.color(r), 0.05), y=0.29, z=0.03)
    return a


def shovel(r: Rng) -> Asset:
    """A spade standing on its blade: D-handle or plain stick; the hollow side of the blade faces +Z."""
    a = Asset()
    L, bw, bh = r.uniform(0.6, 0.8), r.uniform(0.24, 0.32), r.uniform(0.34, 0.42)
    grid = []
    for i in range(9):
        s = i / 8
        half = bw / 2 * (1.0 if s > 0.4 else math.sin(math.pi / 2 * (0.15 + 0.85 * s / 0.4)))
        grid.append([(half * (2 * j / 8 - 1), bh * s, 0.05 * (2 * j / 8 - 1) ** 2 - 0.03) for j in range(9)])
    front = [[(x, y, z) for x, y, z in row] + [(x, y, z - 0.035) for x, y, z in row[::-1]] for row in grid]
    a.add(loft(front, sharp_points=[0, 8, 9, 17]), mt.metal(r) if r.chance(0.6) else mt.rust(r, mt.METALS[3]))
    stick = mt.wood(r, 3)
    a.add(cylinder(0.032, L, 12), stick, y=bh + L / 2 - 0.06, z=-0.035)
    top = bh + L - 0.06
    if r.chance(0.6):
        loop = [
            (0.0, top - 0.02, -0.035),
            (0.09, top + 0.05, -0.035),
            (0.09, top + 0.13, -0.035),
            (-0.09, top + 0.13, -0.035),
            (-0.09, top + 0.05, -0.035),
        ]
        for p, q in zip(loop, loop[1:] + loop[:1]):
            a.add(tube([p, q], 0.025, 8), stick)
    else:
        a.add(ball(0.045, seg=12, rings=8), stick, y=top, z=-0.035)
    return a


def umbrella(r: Rng) -> Asset:
    """An open canopy (thin sheet) with coloured gores and a hooked handle pointing to the right."""
    a = Asset()
    n, rad, h, sag = r.integer(6, 10), r.uniform(0.45, 0.55), r.uniform(0.75, 0.95), r.uniform(0.2, 0.32)
    c1, c2 = mt.plain(mt.color(r), 0.8), mt.plain(mt.light(r), 0.8)
    two = r.chance(0.6)
    for i in range(n):
        grid = []
        for k in range(6):
            s = k / 5
            ring = []
            for j in range(5):
                q = 2 * math.pi * (i + j / 4) / n
                scallop = 1 - 0.08 * s * math.sin(math.pi * j / 4)
                ring.append((rad * s * scallop * math.sin(q), h - sag * s**1.8, rad * s * scallop * math.cos(q)))
            grid.append(ring)
        a.add(loft(grid, closed=False, sharp_sections=[], sharp_points=[]), c2 if two and i % 2 else c1)
    metal = mt.metal(r)
    a.add(cylinder(0.018, h, 8), metal, y=h / 2 + 0.03)
    hook = [
        (0.0, 0.12, 0),
        *((0.07 - 0.07 * math.cos(q), 0.03 - 0.07 * math.sin(q), 0) for q in [math.pi * i / 8 for i in range(9)]),
    ]
    a.add(tube(hook, 0.026, 8), mt.wood(r) if r.chance(0.6) else mt.paint(r))
    return a


def magnifier(r: Rng) -> Asset:
    """A magnifying glass: handle below, a transparent lens in a ring above."""
    a = Asset()
    R, L = r.uniform(0.26, 0.34), r.uniform(0.4, 0.6)
    frame = mt.metal(r) if r.chance(0.7) else mt.paint(r)
    a.add(
        lathe([(0.045, 0), (0.05, 0.03), (0.036, L * 0.4), (0.046, L * 0.8), (0.03, L)], 16),
        mt.wood(r, 3) if r.chance(0.6) else mt.paint(r),
    )
    a.add(cylinder(0.035, 0.1, 14), frame, y=L + 0.02)
    y = L + 0.04 + R
    ring = [(R * math.sin(q), y + R * math.cos(q), 0) for q in [2 * math.pi * i / 36 for i in range(36)]]
    a.add(tube(ring, 0.036, 10, closed=True), frame)
    a.add(disk(R).rot("x", 90), mt.glass(r, (0.75, 0.9, 0.95), 0.3), y=y)
    return a


FAMILIES = (hammer, axe, wrench, screwdriver, sword, shovel, umbrella, magnifier)
