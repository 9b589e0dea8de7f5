"""Furniture. Sitting furniture faces +Z, i.e. the back rest is at -Z."""

from __future__ import annotations

import math

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.materials import Material
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import Geo, ball, box, cylinder, disk, join, lathe, mirror_x, tube

__all__ = ["FAMILIES"]


def _frame_material(r: Rng) -> Material:
    kind = r.integer(0, 3)
    if kind == 0:
        return mt.metal(r)
    return mt.paint(r) if kind == 1 else mt.wood(r)


def _legs(r: Rng, w: float, d: float, h: float, t: float) -> Geo:
    """Four legs under a top of size (w, d), feet on the ground."""
    style = r.integer(0, 2)
    if style == 0:
        leg = box(t, h, t)
    elif style == 1:
        leg = cylinder(t * 0.4, h, 12, r_top=t * 0.6)
    else:
        leg = cylinder(t * 0.55, h, 12)
    x, z = w / 2 - t * 0.7, d / 2 - t * 0.7
    return join([leg.at(sx * x, h / 2, sz * z) for sx in (-1, 1) for sz in (-1, 1)])


def chair(r: Rng) -> Asset:
    """Four legs, a seat, a back with panel, slats or rungs, sometimes arms."""
    a = Asset()
    w, d, h = r.uniform(0.42, 0.55), r.uniform(0.42, 0.52), r.uniform(0.4, 0.52)
    back, t, s = r.uniform(0.4, 0.65), r.uniform(0.04, 0.06), r.uniform(0.04, 0.08)
    frame = _frame_material(r)
    seat = mt.cloth(r, repeats=4) if r.chance(0.5) else frame
    a.add(_legs(r, w, d, h, t), frame)
    a.add(box(w, s, d, 0.02), seat, y=h + s / 2)
    lean = r.uniform(0, 10)
    y0, parts, style = h + s, [], r.integer(0, 3)
    parts += [box(t, back, t).at(sx * (w / 2 - t / 2), back / 2, 0) for sx in (-1, 1)]
    parts.append(box(w, 0.09, t).at(0, back - 0.045, 0))
    if style == 1:
        n = r.integer(2, 4)
        parts += [box(0.035, back, 0.03).at((i + 1) * w / (n + 1) - w / 2, back / 2, 0) for i in range(n)]
    elif style == 2:
        parts += [box(w, 0.06, 0.03).at(0, back * k, 0) for k in (0.3, 0.58)]
    a.add(join(parts).rot("x", -lean), frame, y=y0 - 0.01, z=-d / 2 + t / 2)
    if style in (0, 3):
        panel = box(w - 2 * t, back * 0.8, 0.045).at(0, back * 0.52, 0.012).rot("x", -lean)
        a.add(panel, seat, y=y0 - 0.01, z=-d / 2 + t / 2)
    if r.chance(0.35):
        arm = join(
            [box(0.05, 0.035, d * 0.8).at(w / 2 + 0.01, 0.22, 0.0), box(0.04, 0.24, 0.04).at(w / 2, 0.1, d * 0.3)]
        )
        a.add(mirror_x(arm), frame, y=y0, z=-d * 0.08)
    return a


def table(r: Rng) -> Asset:
    """A rectangular or round top on legs or a pedestal; a drawer marks the front."""
    a = Asset()
    w, d, h, t = r.uniform(0.9, 1.5), r.uniform(0.55, 0.85), r.uniform(0.45, 0.8), r.uniform(0.04, 0.07)
    top = mt.wood(r, 1.0, boards=r.chance(0.4))
    frame = top if r.chance(0.5) else _frame_material(r)
    if r.chance(0.3):
        radius = d * 0.8
        a.add(cylinder(radius, t, 36), top, y=h)
        a.add(lathe([(radius * 0.55, 0), (radius * 0.5, 0.05), (0.07, 0.1), (0.06, h * 0.6), (0.1, h)], 20), frame)
        return a
    a.add(box(w, t, d, 0.012), top, y=h)
    a.add(_legs(r, w, d, h, r.uniform(0.06, 0.1)), frame)
    if r.chance(0.6):
        a.add(box(w * 0.86, 0.1, d * 0.84), frame, y=h - 0.07)
        n = r.integer(1, 2)
        for i in range(n):
            x = (i - (n - 1) / 2) * w * 0.4
            a.add(box(w * 0.3, 0.075, 0.04), top, x, h - 0.07, d * 0.42)
            a.add(ball(0.025, seg=10, rings=6), mt.metal(r), x, h - 0.07, d * 0.42 + 0.035)
    elif r.chance(0.5):
        a.add(box(w * 0.8, 0.04, d * 0.75), frame, y=h * 0.25)
    return a


def stool(r: Rng) -> Asset:
    """A round seat on three or four splayed legs, or a bar stool with a foot ring."""
    a = Asset()
    radius, h = r.uniform(0.16, 0.24), r.uniform(0.35, 0.75)
    frame = _frame_material(r)
    seat = mt.cloth(r, repeats=4) if r.chance(0.5) else mt.patterned(r, 3, gloss=False)
    a.add(lathe([(radius * 0.9, 0), (radius, 0.02), (radius, 0.05), (radius * 0.8, 0.075), (0, 0.08)], 28), seat, y=h)
    if r.chance(0.4):
        a.add(lathe([(radius * 1.05, 0), (radius, 0.03), (0.03, 0.06), (0.03, h)], 20), frame)
        ring = [(radius * 0.7 * math.sin(t), h * 0.35, radius * 0.7 * math.cos(t)) for t in _turn(20)]
        a.add(tube(ring, 0.016, 8, closed=True), frame)
        a.add(box(radius * 1.4, 0.03, 0.03), frame, y=h * 0.35)
        return a
    n, splay = r.integer(3, 4), r.uniform(1.0, 1.5)
    for t in _turn(n, 0.5 if n == 4 else 0.0):
        x, z = math.sin(t), math.cos(t)
        leg = [(radius * splay * x, 0.0, radius * splay * z), (radius * 0.7 * x, h + 0.01, radius * 0.7 * z)]
        a.add(tube(leg, [0.02, 0.028], 10), frame)
    k = r.uniform(0.3, 0.45)
    ring_r = radius * (splay + (0.7 - splay) * k)
    a.add(tube([(ring_r * math.sin(t), h * k, ring_r * math.cos(t)) for t in _turn(20)], 0.016, 8, closed=True), frame)
    return a


def _turn(n: int, offset: float = 0.0) -> list[float]:
    return [2 * math.pi * (i + offset) / n for i in range(n)]


def bench(r: Rng) -> Asset:
    """A park bench: slatted seat and back between two side frames."""
    a = Asset()
    w, d, h, back = r.uniform(1.0, 1.5), r.uniform(0.36, 0.45), r.uniform(0.38, 0.46), r.uniform(0.3, 0.42)
    slat, frame = mt.wood(r, 2.0), mt.paint(r) if r.chance(0.5) else mt.metal(r)
    n = r.integer(3, 4)
    step = d / n
    for i in range(n):
        a.add(box(w, 0.035, step * 0.72), slat, y=h, z=-d / 2 + (i + 0.5) * step)
    for i in range(2):
        a.add(box(w, back * 0.33, 0.035).rot("x", -8), slat, y=h + 0.12 + i * back * 0.5, z=-d / 2 - 0.03 - 0.03 * i)
    for sx in (-1, 1):
        x = sx * (w / 2 - r.uniform(0.08, 0.1))
        side = [box(0.05, h, 0.05).at(0, h / 2, z) for z in (-d / 2 + 0.02, d / 2 - 0.04)]
        side += [
            box(0.05, 0.04, d).at(0, h - 0.035, 0),
            box(0.05, back + 0.1, 0.04).rot("x", -8).at(0, h + back / 2, -d / 2 - 0.07),
        ]
        a.add(join(side), frame, x)
        a.add(join([box(0.05, 0.035, d), box(0.045, 0.2, 0.04).at(0, -0.1, d * 0.4)]), frame, x, h + 0.2)
    return a


def bed(r: Rng) -> Asset:
    """Mattress, blanket, pillows at the head end (-Z), head and foot boards."""
    a = Asset()
    w, d, h = r.uniform(0.9, 1.7), r.uniform(1.9, 2.1), r.uniform(0.28, 0.42)
    wood = mt.wood(r, 1.0) if r.chance(0.7) else mt.paint(r)
    head, foot = r.uniform(0.7, 1.1), r.uniform(0.4, 0.6)
    a.add(box(w + 0.08, 0.14, d), wood, y=h - 0.08)
    a.add(box(w + 0.1, head, 0.08, 0.03), wood, y=head / 2, z=-d / 2)
    a.add(box(w + 0.1, foot, 0.07, 0.02), wood, y=foot / 2, z=d / 2)
    a.add(box(w, 0.2, d - 0.1, 0.06), mt.plain((0.92, 0.91, 0.88), 0.9), y=h + 0.08)
    cover = r.uniform(0.55, 0.72) * d
    a.add(box(w + 0.05, 0.2, cover, 0.06), mt.cloth(r, repeats=1.5), y=h + 0.11, z=(d - 0.1 - cover) / 2)
    n = 2 if w > 1.2 else 1
    pillow = mt.plain(mt.light(r), 0.9) if r.chance(0.6) else mt.cloth(r)
    for i in range(n):
        a.add(ball(w * 0.42 / n, 0.09, 0.2, 20, 10), pillow, (i - (n - 1) / 2) * w * 0.47, h + 0.22, -d / 2 + 0.3)
    return a


def sofa(r: Rng) -> Asset:
    """Arm rests, seat cushions and a back, on short feet; sometimes an armchair or a chaise on one side."""
    a = Asset()
    seats = r.integer(1, 3)
    sw, d = r.uniform(0.55, 0.68), r.uniform(0.75, 0.9)
    arm, h, back = r.uniform(0.14, 0.22), r.uniform(0.36, 0.44), r.uniform(0.72, 0.9)
    w = seats * sw + 2 * arm
    body = mt.cloth(r, repeats=2.0)
    cushion = mt.cloth(r, repeats=2.0) if r.chance(0.5) else body
    foot = mt.wood(r) if r.chance(0.5) else mt.metal(r)
    a.add(box(w, 0.2, d, 0.04), body, y=0.2)
    a.add(box(w, back - 0.12, 0.2, 0.07), body, y=(back + 0.12) / 2, z=-d / 2 + 0.1)
    arm_h = r.uniform(0.52, 0.64)
    if r.chance(0.5):
        side = join([box(arm, arm_h - 0.12, d, 0.05).at(0, (arm_h + 0.12) / 2, 0)])
    else:
        side = join([
            box(arm * 0.8, arm_h - 0.12, d, 0.03).at(0, arm_h / 2, 0),
            cylinder(arm * 0.6, d, 18).rot("x", 90).at(0, arm_h, 0),
        ])  # fmt: skip
    a.add(mirror_x(side.at(w / 2 - arm / 2)), body)
    for i in range(seats):
        x = (i - (seats - 1) / 2) * sw
        a.add(box(sw * 0.97, 0.16, d - 0.2, 0.05), cushion, x, h - 0.02, 0.1)
        a.add(
            box(sw * 0.94, back - h - 0.02, 0.16, 0.06).rot("x", -8), cushion, x, (back + h) / 2 + 0.02, -d / 2 + 0.27
        )
    if seats > 1 and r.chance(0.35):
        sx = r.choice((-1, 1))
        a.add(box(sw * 0.97, 0.16, 0.6, 0.05), cushion, sx * (seats - 1) / 2 * sw, h - 0.02, d / 2 + 0.28)
        a.add(box(sw * 0.97, 0.2, 0.6, 0.04), body, sx * (seats - 1) / 2 * sw, 0.2, d / 2 + 0.28)
    a.add(
        join(
            [
                cylinder(0.035, 0.12, 12).at(sx * (w / 2 - 0.1), 0.06, sz * (d / 2 - 0.1))
                for sx in (-1, 1)
                for sz in (-1, 1)
            ]
        ),
        foot,
    )
    return a


def bookshelf(r: Rng) -> Asset:
    """Boards with rows of coloured books; open at the front."""
    a = Asset()
    w, h, d = r.uniform(0.6, 1.1), r.uniform(1.0, 1.8), r.uniform(0.28, 0.36)
    n, t = r.integer(2, 4), 0.045
    wood = mt.wood(r, 1.0) if r.chance(0.8) else mt.paint(r)
    a.add(mirror_x(box(t, h, d, 0.006).at(w / 2 - t / 2)), wood, y=h / 2)
    a.add(box(w - 0.01, h, 0.035, 0.004), wood, y=h / 2, z=-d / 2 + 0.018)
    gap = (h - t) / n
    covers = [mt.plain(mt.color(r), 0.6) for _ in range(r.integer(3, 4))]
    for i in range(n + 1):
        a.add(box(w, t, d, 0.006), wood, y=t / 2 + i * gap)
    for i in range(n):
        x, end = -w / 2 + t + 0.01, w / 2 - t - (r.uniform(0.0, 0.5) * w if r.chance(0.5) else 0.02)
        while x < end - 0.1:
            bw, bh = r.uniform(0.06, 0.1), gap * r.uniform(0.55, 0.82)
            a.add(box(bw * 0.94, bh, d * 0.7, 0.005), r.choice(covers), x + bw / 2, t + i * gap + bh / 2, -0.01)
            x += bw
    return a


def lamp(r: Rng) -> Asset:
    """A table or floor lamp with an open shade; desk lamps bend towards the front."""
    a = Asset()
    metal = mt.metal(r) if r.chance(0.5) else mt.paint(r)
    if r.chance(0.35):  # desk lamp
        a.add(cylinder(0.16, 0.04, 28), metal, y=0.02)
        h, reach = r.uniform(0.35, 0.5), r.uniform(0.22, 0.35)
        elbow = (0.0, h, -r.uniform(0.1, 0.18))
        a.add(tube([(0, 0.03, 0), elbow], 0.02, 10), metal)
        a.add(tube([elbow, (0, h + 0.12, reach)], 0.02, 10), metal)
        a.add(ball(0.032, seg=12, rings=8), metal, *elbow)
        shade = lathe([(0.13, -0.1), (0.12, -0.06), (0.05, 0.06), (0.0, 0.07)], 24, cap=False).rot(
            "x", -r.uniform(15, 40)
        )
        a.add(shade, mt.paint(r), 0, h + 0.08, reach + 0.03)
        a.add(ball(0.05, seg=14, rings=8), mt.plain((0.98, 0.95, 0.8), 0.3), 0, h + 0.03, reach + 0.05)
        return a
    h = r.uniform(0.4, 1.2)
    rb, rt, sh = r.uniform(0.16, 0.22), r.uniform(0.1, 0.16), r.uniform(0.18, 0.26)
    if h > 0.8 or r.chance(0.4):
        a.add(lathe([(rb * 0.8, 0), (rb * 0.75, 0.03), (0.03, 0.06), (0.022, h)], 24), metal)
    else:
        body = [
            (0.08, 0),
            (0.12, 0.08),
            (r.uniform(0.1, 0.16), 0.4 * h),
            (0.05, 0.75 * h),
            (0.025, 0.85 * h),
            (0.022, h),
        ]
        a.add(lathe(body, 24), mt.patterned(r, 3))
    a.add(lathe([(rb, 0), (rt, sh)], 28, cap=False), mt.cloth(r, mt.light(r), 4), y=h - sh * 0.4)
    a.add(ball(0.05, 0.06, 0.05, 14, 8), mt.plain((0.98, 0.95, 0.8), 0.3), y=h + 0.04)
    return a


def cabinet(r: Rng) -> Asset:
    """A chest of drawers or cupboard: handles on the front only."""
    a = Asset()
    w, h, d = r.uniform(0.6, 1.1), r.uniform(0.6, 1.1), r.uniform(0.4, 0.5)
    body = mt.wood(r, 1.0) if r.chance(0.7) else mt.paint(r)
    face = mt.paint(r) if r.chance(0.4) else body
    knob = mt.metal(r)
    a.add(box(w, h, d, 0.015), body, y=h / 2 + 0.08)
    a.add(box(w + 0.06, 0.04, d + 0.05, 0.01), body, y=h + 0.1)
    a.add(_legs(r, w, d, 0.1, 0.07), body)
    if r.chance(0.5):
        n = r.integer(2, 4)
        for i in range(n):
            y = 0.08 + (i + 0.5) * h / n
            a.add(box(w * 0.9, h / n * 0.84, 0.05, 0.012), face, y=y, z=d / 2)
            a.add(mirror_x(ball(0.026, seg=10, rings=6).at(w * 0.22)), knob, y=y, z=d / 2 + 0.045)
    else:
        a.add(mirror_x(box(w * 0.46, h * 0.9, 0.05, 0.012).at(w * 0.24)), face, y=0.08 + h / 2, z=d / 2)
        a.add(mirror_x(box(0.03, 0.14, 0.04, 0.01).at(0.05)), knob, y=0.08 + h * 0.55, z=d / 2 + 0.04)
    if r.chance(0.3):
        a.add(disk(w * 0.2), mt.cloth(r), y=h + 0.125)
    return a


FAMILIES = (chair, table, stool, bench, bed, sofa, bookshelf, lamp, cabinet)
