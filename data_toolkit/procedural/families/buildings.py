"""Buildings: the door is on the +Z side."""

from __future__ import annotations

import math

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural import textures as tx
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import (
    Geo,
    arc,
    ball,
    box,
    cone,
    cylinder,
    extrude,
    join,
    lathe,
    loft,
    mirror_x,
    prism,
    tube,
)

__all__ = ["FAMILIES"]

_WINDOW = (0.25, 0.38, 0.5)


def _wall(r: Rng) -> mt.Material:
    kind = r.integer(0, 2)
    if kind == 0:
        return mt.brick(r, 1.5)
    return mt.stone(r) if kind == 1 else mt.plain(mt.light(r), 0.85)


def house(r: Rng) -> Asset:
    """Walls, gabled roof with a ridge along x, door and windows in front, a chimney on one side."""
    a = Asset()
    w, d, h = r.uniform(1.0, 1.4), r.uniform(0.75, 1.0), r.uniform(0.5, 0.85)
    rise, over = r.uniform(0.3, 0.55), 0.1
    wall, top = _wall(r), mt.roof(r, 1.5)
    a.add(box(w, h, d, 0.01), wall, y=h / 2)
    gable = extrude([(-d / 2, 0), (d / 2, 0), (0, rise)], w * 0.98).rot("y", 90)
    a.add(gable, wall, y=h)
    t, run = 0.06, d / 2 + over
    slope = rise / (d / 2)
    drop = h - over * slope
    ridge = h + rise
    for sz in (-1, 1):
        sec = [(-t * 0.2, ridge + t), (run, drop + t), (run, drop), (0, ridge)]
        slab = extrude([(z, y) for z, y in sec], w + 2 * over).rot("y", -90)
        a.add(slab if sz > 0 else slab.rot("y", 180), top)
    door_x = r.choice((-0.25, 0.0, 0.25)) * w
    door = mt.paint(r) if r.chance(0.6) else mt.wood(r, 3)
    a.add(box(0.2, 0.36, 0.06, 0.01), door, door_x, 0.18, d / 2)
    a.add(box(0.26, 0.05, 0.12, 0.01), mt.stone(r), door_x, 0.025, d / 2 + 0.06)
    pane, frame = mt.plain(_WINDOW, 0.05), mt.plain((0.93, 0.92, 0.88), 0.6)
    spots = [x * w for x in (-0.3, 0.0, 0.3) if abs(x * w - door_x) > 0.2]
    for x in spots:
        a.add(box(0.2, 0.2, 0.05, 0.008), frame, x, h * 0.55, d / 2)
        a.add(box(0.15, 0.15, 0.065, 0.004), pane, x, h * 0.55, d / 2)
    a.add(mirror_x(box(0.05, 0.2, 0.22, 0.008).at(w / 2)), frame, y=h * 0.55)
    a.add(mirror_x(box(0.065, 0.15, 0.17, 0.004).at(w / 2)), pane, y=h * 0.55)
    if r.chance(0.75):
        sx = r.choice((-1, 1))
        a.add(box(0.15, rise + 0.25, 0.15, 0.01), mt.brick(r, 3), sx * w * 0.3, h + rise * 0.5 + 0.16, -d * 0.18)
    return a


def castle(r: Rng) -> Asset:
    """Corner towers, crenellated walls, a gate in front, a keep inside."""
    a = Asset()
    w, d, h, rad = r.uniform(1.0, 1.2), r.uniform(0.85, 1.1), r.uniform(0.38, 0.55), r.uniform(0.14, 0.2)
    wall, top = mt.brick(r, 1.5) if r.chance(0.5) else mt.stone(r), mt.roof(r, 2)
    th = h * r.uniform(1.3, 1.7)
    pointed = r.chance(0.6)
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, z = sx * w / 2, sz * d / 2
            a.add(
                lathe(
                    [
                        (rad, 0),
                        (rad, th),
                        (rad * 1.15, th + 0.03),
                        (rad * 1.15, th + 0.1),
                        (rad * 0.9, th + 0.1),
                        (0, th + 0.08),
                    ],
                    20,
                    wrap=1.3,
                ),
                wall,
                x,
                0,
                z,
            )
            if pointed:
                a.add(cone(rad * 1.2, rad * 2.2, 20), top, x, th + 0.1 + rad * 1.1, z)
            else:
                a.add(
                    join([box(0.07, 0.1, 0.07, 0.006).at(0, 0, rad).rot("y", 60 * i) for i in range(6)]),
                    wall,
                    x,
                    th + 0.14,
                    z,
                )
    for axis, length in (("x", w), ("z", d)):
        for s in (-1, 1):
            n = int(length / 0.16)
            size = (length, h, 0.1) if axis == "x" else (0.1, h, length)
            pos = (0, h / 2, s * d / 2) if axis == "x" else (s * w / 2, h / 2, 0)
            a.add(box(*size, 0.006), wall, *pos)
            teeth = [((i + 0.5) / n - 0.5) * length for i in range(n)]
            a.add(
                join([box(0.085, 0.08, 0.1, 0.004).at(*((q, 0, 0) if axis == "x" else (0, 0, q))) for q in teeth]),
                wall,
                pos[0],
                h + 0.035,
                pos[2],
            )
    gate = arc(0.13, 0, 180, 9, 0, 0.2) + [(-0.13, 0), (0.13, 0)]
    a.add(extrude(gate, 0.08), mt.wood(r, 4, boards=True), z=d / 2 + 0.03)
    kh = th * r.uniform(1.0, 1.35)
    a.add(box(w * 0.36, kh, d * 0.34, 0.01), wall, y=kh / 2, z=-d * 0.08)
    a.add(prism(w * 0.28, 0.02, 4).rot("y", 45), top, y=kh)
    a.add(loft_pyramid(w * 0.2, d * 0.19, kh, 0.3), top, z=-d * 0.08)
    return a


def loft_pyramid(hx: float, hz: float, y: float, rise: float) -> Geo:
    """A four-sided roof with half sizes (hx, hz) at height y."""
    ring = [(hx, y, hz), (hx, y, -hz), (-hx, y, -hz), (-hx, y, hz)]
    tip = [(x * 0.02, y + rise, z * 0.02) for x, _, z in ring]
    return loft([ring, tip])


def windmill(r: Rng) -> Asset:
    """A tapered tower, a cap, four sails facing +Z."""
    a = Asset()
    h, w, top = r.uniform(0.9, 1.2), r.uniform(0.3, 0.38), r.uniform(0.18, 0.24)
    wall = _wall(r)
    sides = r.choice((8, 24))
    a.add(lathe([(w, 0), (top, h)], sides, wrap=2.0), wall)
    roof = mt.roof(r, 2) if r.chance(0.6) else mt.paint(r)
    a.add(lathe([(top * 1.25, 0), (top * 1.1, 0.1), (top * 0.6, 0.24), (0, 0.3)], 20), roof, y=h)
    z = top * 1.25 + 0.03
    hub_y = h + 0.06
    a.add(cylinder(0.05, 0.34, 12).rot("x", 90), mt.wood(r), y=hub_y, z=z - 0.1)
    turn, length = r.uniform(0, 90), r.uniform(0.5, 0.68)
    spar, cloth = mt.wood(r), mt.plain(mt.light(r), 0.9) if r.chance(0.6) else mt.paint(r)
    for i in range(4):
        q = turn + 90 * i
        a.add(box(0.045, length, 0.035, 0.008).at(0, length / 2, 0).rot("z", q), spar, y=hub_y, z=z + 0.05)
        a.add(box(0.15, length * 0.7, 0.025, 0.004).at(0.09, length * 0.6, 0).rot("z", q), cloth, y=hub_y, z=z + 0.05)
    a.add(box(0.18, 0.3, 0.1, 0.01), mt.wood(r, 3, boards=True), y=0.15, z=w - 0.03)
    pane = mt.plain(_WINDOW, 0.05)
    a.add(box(0.1, 0.12, 0.08, 0.01), pane, y=h * 0.6, z=w + (top - w) * 0.6 - 0.01)
    return a


def lighthouse(r: Rng) -> Asset:
    """A striped tower with a gallery, a glass lantern and a small house at its right side."""
    a = Asset()
    h, w, top = r.uniform(1.0, 1.3), r.uniform(0.22, 0.28), r.uniform(0.14, 0.17)
    c = mt.color(r)
    n = r.integer(2, 4)
    bands = mt.Material(tx.stripes((0.94, 0.93, 0.9), c, n, vertical=False), 0.0, 0.6)
    a.add(lathe([(w + (top - w) * i / 8, h * i / 8) for i in range(9)], 28).fit_uv(), bands)
    a.add(cylinder(w * 1.3, 0.08, 24), mt.stone(r), y=0.04)
    a.add(cylinder(top * 1.5, 0.05, 24), mt.plain((0.15, 0.15, 0.16), 0.5), y=h)
    ring = [
        (top * 1.42 * math.sin(2 * math.pi * i / 20), h + 0.12, top * 1.42 * math.cos(2 * math.pi * i / 20))
        for i in range(20)
    ]
    rail = mt.metal(r)
    a.add(tube(ring, 0.016, 6, closed=True), rail)
    a.add(cylinder(top * 0.85, 0.2, 20, 0.0), mt.glass(r, (0.8, 0.9, 0.95), 0.35), y=h + 0.125)
    a.add(ball(0.07, seg=14, rings=8), mt.plain((1.0, 0.92, 0.5), 0.1), y=h + 0.13)
    a.add(lathe([(top * 1.1, 0), (top * 0.7, 0.1), (0.02, 0.16), (0, 0.2)], 20), mt.plain(c, 0.4), y=h + 0.225)
    a.add(box(0.13, 0.24, 0.08, 0.01), mt.wood(r, 4), y=0.2, z=w - 0.01)
    for k in (0.45, 0.7):
        a.add(box(0.07, 0.09, 0.06, 0.01), mt.plain(_WINDOW, 0.05), y=h * k, z=w + (top - w) * k)
    if r.chance(0.6):
        hw = r.uniform(0.34, 0.44)
        a.add(box(hw, 0.3, 0.36, 0.01), mt.plain((0.93, 0.92, 0.88), 0.8), x=w + hw / 2 - 0.03, y=0.15)
        a.add(extrude([(-0.22, 0), (0.22, 0), (0, 0.18)], hw).rot("y", 90), mt.roof(r), x=w + hw / 2 - 0.03, y=0.3)
        a.add(box(0.1, 0.1, 0.04, 0.01), mt.plain(_WINDOW, 0.05), x=w + hw / 2, y=0.17, z=0.18)
    return a


def tent(r: Rng) -> Asset:
    """Open thin sheets on poles: a ridge tent whose flaps open to +Z, or a round pavilion."""
    a = Asset()
    cloth = (
        mt.cloth(r, repeats=2.0)
        if r.chance(0.6)
        else mt.Material(tx.stripes(mt.color(r), mt.light(r), 4), 0.0, 0.9, repeats=1.0)
    )
    pole = mt.wood(r)
    if r.chance(0.6):
        w, d, h = r.uniform(0.8, 1.1), r.uniform(1.0, 1.4), r.uniform(0.6, 0.85)
        for s in (-1, 1):
            edge = [(s * w / 2 * (1 - k / 6) + s * 0.03 * math.sin(math.pi * k / 6), h * k / 6) for k in range(7)]
            grid = [[(x, y, -d / 2 + d * j / 8) for j in range(9)] for x, y in edge]
            a.add(loft(grid, closed=False, sharp_sections=[], sharp_points=[]), cloth)
        back = [[(-w / 2 * (1 - k / 6) * (1 - 2 * j / 6), h * k / 6, -d / 2) for j in range(7)] for k in range(7)]
        a.add(loft(back, closed=False, sharp_sections=[], sharp_points=[]), cloth)
        opening = r.uniform(0.25, 0.75)
        for s in (-1, 1):
            flap = [
                [
                    (
                        s * w / 2 * (1 - k / 6) * (1 - (1 - opening) * j / 4),
                        h * k / 6,
                        d / 2 + 0.1 * j / 4 * (1 - k / 6),
                    )
                    for j in range(5)
                ]
                for k in range(7)
            ]
            a.add(loft(flap, closed=False, sharp_sections=[], sharp_points=[]), cloth)
        a.add(join([cylinder(0.025, h + 0.08, 8).at(0, h / 2 + 0.02, z) for z in (-d / 2 + 0.03, d / 2 - 0.03)]), pole)
        a.add(box(w, 0.03, d, 0.005), mt.cloth(r), y=0.015)
        return a
    rad, h, rise = r.uniform(0.5, 0.6), r.uniform(0.4, 0.6), r.uniform(0.35, 0.55)
    roof = [
        (rad * 1.1, h - 0.08),
        (rad * 1.08, h),
        (rad * 0.55, h + rise * 0.4),
        (rad * 0.2, h + rise * 0.75),
        (0.0, h + rise),
    ]
    a.add(lathe(roof, 24, cap=False, wrap=4.0), cloth)
    gap = r.uniform(0.5, 1.0)
    wall = [
        [(rad * math.sin(t), y, rad * math.cos(t)) for t in [gap / 2 + (2 * math.pi - gap) * j / 24 for j in range(25)]]
        for y in (0.0, h / 2, h)
    ]
    a.add(
        loft(wall, closed=False, sharp_sections=[], sharp_points=[]),
        mt.Material(cloth.base, 0.0, 0.9, repeats=cloth.repeats),
    )
    a.add(cylinder(0.03, h + rise + 0.2, 10), pole, y=(h + rise + 0.2) / 2)
    flag = [[(0.03 + 0.2 * j / 4, h + rise + 0.06 + 0.05 * k, 0.02 * math.sin(j)) for j in range(5)] for k in range(3)]
    a.add(loft(flag, closed=False, sharp_sections=[], sharp_points=[]), mt.paint(r))
    return a


def well(r: Rng) -> Asset:
    """A stone ring, two posts, a roof with the ridge along x, a bucket hanging in front."""
    a = Asset()
    rad, h = r.uniform(0.34, 0.42), r.uniform(0.3, 0.4)
    a.add(
        lathe([(rad, 0), (rad, h), (rad - 0.1, h), (rad - 0.1, 0.05), (0, 0.05)], 28, wrap=3.0),
        mt.brick(r) if r.chance(0.5) else mt.stone(r),
    )
    wood, post = mt.wood(r, 2), r.uniform(0.85, 1.1)
    a.add(mirror_x(box(0.07, post, 0.07).at(rad - 0.04)), wood, y=post / 2)
    a.add(cylinder(0.045, 2 * rad, 12).rot("z", 90), wood, y=post * 0.75)
    a.add(
        join([box(0.04, 0.16, 0.035).at(0, -0.06, 0), cylinder(0.018, 0.1, 8).rot("z", 90).at(0.06, -0.13, 0)]),
        mt.metal(r),
        rad + 0.06,
        post * 0.75,
    )
    d, rise = r.uniform(0.35, 0.45), r.uniform(0.2, 0.34)
    for q in (0, 180):
        a.add(
            extrude([(0, rise), (d, 0), (d, 0.05), (-0.01, rise + 0.06)], 2 * rad + 0.25).rot("y", -90 + q),
            mt.roof(r),
            y=post - 0.03,
        )
    a.add(cylinder(0.016, post * 0.75 - h, 8), mt.plain((0.75, 0.65, 0.45), 0.9), y=(post * 0.75 + h) / 2, z=0.03)
    a.add(lathe([(0.075, 0), (0.1, 0.14), (0.08, 0.14), (0.06, 0.02)], 16), wood, y=h - 0.04, z=0.04)
    return a


def tower(r: Rng) -> Asset:
    """An office block with rows of windows, set-backs and an entrance in front."""
    a = Asset()
    w, d = r.uniform(0.4, 0.6), r.uniform(0.4, 0.6)
    c = mt.light(r) if r.chance(0.6) else mt.hsv(r.random(), 0.3, 0.5)
    image = tx.facade(r, c, r.choice((_WINDOW, (0.5, 0.65, 0.75), (0.85, 0.75, 0.45))), 128, 3, 3)
    wall = mt.Material(image, 0.0, 0.5, repeats=r.choice((2.0, 2.5)))
    trim = mt.plain(tx.shade(c, 0.7), 0.7)
    y, sx, sz = 0.0, w, d
    for i in range(r.integer(1, 3)):
        h = r.uniform(0.4, 0.8) if i else r.uniform(0.7, 1.0)
        a.add(box(sx, h, sz, 0), wall, y=y + h / 2)
        a.add(box(sx + 0.03, 0.04, sz + 0.03, 0.006), trim, y=y + h)
        y += h
        sx, sz = sx * r.uniform(0.6, 0.85), sz * r.uniform(0.6, 0.85)
    a.add(box(w * 0.4, 0.16, 0.1, 0.01), mt.plain((0.15, 0.16, 0.18), 0.1), y=0.08, z=d / 2)
    a.add(box(w * 0.55, 0.035, 0.2, 0.006), trim, y=0.18, z=d / 2 + 0.06)
    a.add(box(w + 0.12, 0.03, d + 0.16, 0.004), mt.stone(r), y=0.0)
    if r.chance(0.5):
        a.add(cylinder(0.022, 0.34, 8), mt.metal(r), y=y + 0.17)
    else:
        a.add(box(sx * 0.4, 0.1, sz * 0.5, 0.01), trim, sx * 0.2, y + 0.05)
    return a


FAMILIES = (house, castle, windmill, lighthouse, tent, well, tower)
