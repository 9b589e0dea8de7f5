"""Toys and figures look towards +Z."""

from __future__ import annotations

import math

import numpy as np

from data_toolkit.procedural import materials as mt
from data_toolkit.procedural import textures as tx
from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.families.glyphs import GLYPHS, glyph_texture
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import ball, box, box_sides, cylinder, join, lathe, mirror_x, pixels, torus, tube

__all__ = ["FAMILIES"]


def robot(r: Rng) -> Asset:
    """Box or cylinder body, head with eyes, arms, legs, antenna on its left or right."""
    a = Asset()
    skin = mt.metal(r, brushed=True) if r.chance(0.4) else mt.paint(r)
    accent, joint = mt.paint(r), mt.plain((0.2, 0.2, 0.22), 0.5)
    bw, bh, bd = r.uniform(0.36, 0.5), r.uniform(0.38, 0.5), r.uniform(0.26, 0.34)
    leg = r.uniform(0.2, 0.34)
    y = leg + 0.08
    if r.chance(0.7):
        a.add(box(bw, bh, bd, 0.03), skin, y=y + bh / 2)
    else:
        a.add(cylinder(bw / 2, bh, 24), skin, y=y + bh / 2)
        bd = bw * 0.95
    a.add(box(bw * 0.55, bh * 0.4, 0.05, 0.01), accent, y=y + bh * 0.55, z=bd / 2)
    colors = [mt.plain(c, 0.2) for c in ((0.9, 0.15, 0.1), (0.95, 0.8, 0.1), (0.1, 0.7, 0.3))]
    for i, m in enumerate(colors):
        a.add(cylinder(0.03, 0.05, 12).rot("x", 90), m, (i - 1) * bw * 0.17, y + bh * 0.6, bd / 2 + 0.03)
    hw, hh = bw * r.uniform(0.6, 0.85), r.uniform(0.22, 0.3)
    hy = y + bh + 0.05 + hh / 2
    a.add(cylinder(0.07, 0.1, 14), joint, y=y + bh + 0.03)
    if r.chance(0.6):
        a.add(box(hw, hh, bd * 0.9, 0.03), skin, y=hy)
        face = bd * 0.45
    else:
        a.add(ball(hw / 2, hh * 0.6, hw / 2, 22, 12), skin, y=hy)
        face = hw / 2 * 0.9
    eye = mt.plain(r.choice(((0.2, 0.85, 0.95), (0.98, 0.85, 0.2), (0.95, 0.2, 0.15))), 0.1)
    a.add(mirror_x(ball(0.048, 0.048, 0.035, 14, 8).at(hw * 0.24)), eye, y=hy + hh * 0.12, z=face)
    a.add(box(hw * 0.5, 0.035, 0.05, 0.006), joint, y=hy - hh * 0.25, z=face)
    side = r.choice((-1, 1))
    a.add(cylinder(0.018, 0.16, 8), joint, side * hw * 0.28, hy + hh / 2 + 0.07)
    a.add(ball(0.04, seg=12, rings=8), accent, side * hw * 0.28, hy + hh / 2 + 0.16)
    lift = r.uniform(-10, 50)
    limb = join(
        [cylinder(0.05, bh * 0.75, 14).at(0, -bh * 0.37, 0), ball(0.07, seg=14, rings=8).at(0, -bh * 0.78, 0)]
    ).rot("x", -lift)
    a.add(mirror_x(limb.at(bw / 2 + 0.07)), accent, y=y + bh * 0.88)
    a.add(mirror_x(ball(0.08, seg=14, rings=8).at(bw / 2 + 0.05)), joint, y=y + bh * 0.88)
    a.add(mirror_x(cylinder(0.065, leg, 14).at(bw * 0.26)), joint, y=leg / 2 + 0.06)
    a.add(mirror_x(box(bw * 0.38, 0.09, bd * 0.95, 0.025).at(bw * 0.26)), accent, y=0.045, z=0.04)
    return a


def letter_block(r: Rng) -> Asset:
    """A toy cube with a letter on the front and other letters around."""
    a = Asset()
    c = mt.color(r)
    sides, edges = box_sides(1.0, 1.0, 1.0, r.uniform(0.03, 0.1))
    wood = mt.wood(r, 1.0) if r.chance(0.6) else mt.plain(mt.light(r), 0.5)
    a.add(edges, wood)
    paper = mt.light(r)
    for k in (5, 1, 4, 0):  # front, right, back, left
        ink = mt.color(r) if r.chance(0.5) else c
        a.add(sides[k].fit_uv(), mt.picture(glyph_texture(r.choice(GLYPHS), paper, ink, c), 0.5))
    a.add(sides[3], mt.plain(c, 0.4))
    a.add(sides[2], wood)
    return a


def letter(r: Rng) -> Asset:
    """A solid letter or digit, readable from the front, on a base or free."""
    a = Asset()
    depth = r.uniform(0.12, 0.3)
    skin = mt.patterned(r, 1.5) if r.chance(0.6) else mt.metal(r)
    rows = r.choice(GLYPHS)
    a.add(pixels(rows, 0.14, depth), skin, y=0.49)
    if r.chance(0.5):
        a.add(box(0.9, 0.08, depth + 0.2, 0.02), mt.wood(r), y=-0.03)
    return a


def teddy(r: Rng) -> Asset:
    """A sitting bear: snout, eyes, ears, legs stretched to the front."""
    a = Asset()
    c = r.choice(((0.55, 0.36, 0.2), (0.75, 0.56, 0.35), (0.35, 0.24, 0.17), (0.85, 0.8, 0.72), (0.45, 0.45, 0.5)))
    fur = mt.Material(tx.noise(r, tx.shade(c, 0.85), c, 64, 16), 0.0, 1.0, repeats=3)
    pale, black = mt.plain(tx.shade(c, 1.3), 1.0), mt.plain((0.06, 0.05, 0.05), 0.2)
    fat, hr = r.uniform(0.27, 0.34), r.uniform(0.23, 0.28)
    a.add(ball(fat, 0.32, fat * 0.92, 24, 14), fur, y=0.32)
    a.add(ball(fat * 0.65, 0.2, 0.1, 18, 10), pale, y=0.3, z=fat * 0.78)
    hy = 0.6 + hr * 0.72
    a.add(ball(hr * 1.05, hr * 0.95, hr * 0.95, 24, 14), fur, y=hy)
    a.add(ball(hr * 0.45, hr * 0.36, hr * 0.4, 18, 10), pale, y=hy - hr * 0.22, z=hr * 0.82)
    a.add(ball(0.05, 0.035, 0.035, 12, 8), black, y=hy - hr * 0.08, z=hr * 1.18)
    a.add(mirror_x(ball(0.033, seg=12, rings=8).at(hr * 0.4)), black, y=hy + hr * 0.2, z=hr * 0.8)
    ear = r.uniform(0.35, 0.48)
    a.add(mirror_x(ball(hr * ear, hr * ear, hr * 0.22, 16, 10).at(hr * 0.75)), fur, y=hy + hr * 0.75)
    a.add(
        mirror_x(ball(hr * ear * 0.6, hr * ear * 0.6, hr * 0.12, 14, 8).at(hr * 0.75)),
        pale,
        y=hy + hr * 0.75,
        z=hr * 0.18,
    )
    lift = r.uniform(-20, 35)
    arm = ball(0.095, 0.2, 0.095, 16, 10).at(0, -0.14, 0).rot("x", -lift).rot("z", 28).at(fat * 0.88, 0.54, 0.05)
    a.add(mirror_x(arm), fur)
    spread = r.uniform(10, 28)
    leg = join([ball(0.115, 0.115, 0.22, 16, 10).at(0, 0, 0.16)]).rot("y", spread).at(fat * 0.55, 0.12, 0.12)
    a.add(mirror_x(leg), fur)
    sole = ball(0.09, 0.1, 0.035, 14, 8).at(0, 0.01, 0.37).rot("y", spread).at(fat * 0.55, 0.12, 0.12)
    a.add(mirror_x(sole), pale)
    if r.chance(0.5):
        bow = mt.paint(r)
        a.add(mirror_x(ball(0.09, 0.055, 0.04, 12, 8).at(0.085)), bow, y=0.56, z=fat * 0.72)
        a.add(ball(0.04, seg=10, rings=6), bow, y=0.56, z=fat * 0.76)
    return a


def duck(r: Rng) -> Asset:
    """A bath duck: beak and eyes to the front, tail up behind."""
    a = Asset()
    skin = mt.plain((0.97, 0.82, 0.15) if r.chance(0.6) else mt.color(r), 0.25)
    beak, black = mt.plain((0.95, 0.45, 0.1), 0.3), mt.plain((0.05, 0.05, 0.06), 0.1)
    w, L = r.uniform(0.3, 0.36), r.uniform(0.42, 0.5)
    tail = r.uniform(0.15, 0.3)

    def body(v: np.ndarray) -> np.ndarray:
        out = v.copy()
        back = np.clip(-v[:, 2] / L, 0, 1)
        out[:, 1] += tail * back**3
        out[:, 0] *= 1 - 0.55 * back**2
        return out

    a.add(ball(w, 0.26, L, 26, 16).deform(body), skin, y=0.26)
    hr, hz = r.uniform(0.2, 0.25), r.uniform(0.16, 0.26)
    hy = 0.42 + hr * r.uniform(0.8, 1.0)
    a.add(ball(hr, seg=24, rings=14), skin, y=hy, z=hz)
    a.add(ball(hr * 0.5, 0.045, 0.15, 16, 8), beak, y=hy - 0.05, z=hz + hr)
    a.add(ball(hr * 0.4, 0.035, 0.11, 16, 8), beak, y=hy - 0.1, z=hz + hr * 0.95)
    a.add(mirror_x(ball(0.04, seg=12, rings=8).at(hr * 0.55)), black, y=hy + hr * 0.32, z=hz + hr * 0.72)
    a.add(mirror_x(ball(0.06, 0.13, 0.24, 16, 10).rot("x", 12).at(w * 0.9)), skin, y=0.32, z=-0.08)
    extra = r.integer(0, 2)
    if extra == 1:
        a.add(
            lathe([(hr * 0.8, 0), (hr * 0.85, 0.03), (hr * 0.55, 0.03), (hr * 0.5, 0.2), (0, 0.22)], 20),
            mt.paint(r),
            y=hy + hr * 0.72,
            z=hz,
        )
    elif extra == 2:
        a.add(torus(hr * 0.75, 0.045, 22, 8), mt.paint(r), y=hy - hr * 0.75, z=hz - 0.02)
    return a


def chess_piece(r: Rng) -> Asset:
    """Pawn, rook, bishop, queen or king, turned; notches and the cross face front."""
    a = Asset()
    c = r.choice(((0.93, 0.87, 0.74), (0.14, 0.11, 0.1), (0.5, 0.16, 0.12)))
    skin = mt.Material(tx.marble(r, c, tx.shade(c, 0.8)), 0.0, 0.2, repeats=1.5) if r.chance(0.5) else mt.plain(c, 0.25)
    kind, w = r.integer(0, 4), r.uniform(0.22, 0.27)
    h = (0.45, 0.5, 0.62, 0.75, 0.8)[kind] * r.uniform(0.95, 1.08)
    foot = [
        (w, 0),
        (w, 0.05),
        (w * 0.85, 0.1),
        (w * 0.85, 0.14),
        (w * 0.5, 0.22),
        (w * 0.38, h * 0.75),
        (w * 0.62, h * 0.85),
        (w * 0.62, h * 0.9),
        (w * 0.4, h * 0.93),
    ]
    if kind == 0:
        a.add(lathe([*foot, (0.0, h * 0.95)], 28), skin)
        a.add(ball(w * 0.58, seg=22, rings=14), skin, y=h + w * 0.4)
    elif kind == 1:
        a.add(
            lathe(
                [
                    *foot[:6],
                    (w * 0.6, h * 0.9),
                    (w * 0.72, h),
                    (w * 0.72, h + 0.1),
                    (w * 0.5, h + 0.1),
                    (w * 0.5, h),
                    (0, h),
                ],
                28,
            ),
            skin,
        )
        a.add(
            join([box(0.09, 0.09, 0.075, 0.01).at(0, 0, w * 0.64).rot("y", 90 * i) for i in range(4)]), skin, y=h + 0.12
        )
    elif kind == 2:
        a.add(lathe([*foot, (w * 0.6, h + 0.05), (w * 0.55, h + 0.12), (w * 0.25, h + 0.24), (0, h + 0.27)], 28), skin)
        a.add(ball(0.045, seg=14, rings=8), skin, y=h + 0.29)
        a.add(box(w * 1.1, 0.04, 0.05, 0.005).rot("z", 35), mt.plain((0.9, 0.7, 0.2), 0.3), y=h + 0.13, z=w * 0.5)
    else:
        a.add(
            lathe(
                [*foot, (w * 0.5, h), (w * 0.72, h + 0.14), (w * 0.5, h + 0.14), (w * 0.4, h + 0.18), (0, h + 0.22)], 28
            ),
            skin,
        )
        if kind == 3:
            a.add(
                join(
                    [
                        ball(0.045, seg=10, rings=6).at(w * 0.66 * math.sin(q), h + 0.15, w * 0.66 * math.cos(q))
                        for q in [2 * math.pi * i / 8 for i in range(8)]
                    ]
                ),
                skin,
            )
            a.add(ball(0.055, seg=12, rings=8), skin, y=h + 0.24)
        else:
            a.add(join([box(0.05, 0.2, 0.045, 0.008), box(0.15, 0.05, 0.045, 0.008).at(0, 0.03, 0)]), skin, y=h + 0.29)
    a.add(cylinder(w * 0.98, 0.03, 24), mt.plain((0.1, 0.35, 0.2), 1.0), y=-0.01)
    return a


def gift(r: Rng) -> Asset:
    """A wrapped box with a ribbon cross and a bow; a tag hangs in front."""
    a = Asset()
    w, h, d = r.uniform(0.6, 1.0), r.uniform(0.4, 0.9), r.uniform(0.6, 0.9)
    paper, ribbon = mt.patterned(r, 2.0, gloss=False), mt.plain(mt.color(r), 0.3)
    lid = r.uniform(0.18, 0.25) * h if r.chance(0.5) else 0.0
    e = 0.03 if lid else 0.0
    a.add(box(w, h - lid, d, 0.01), paper, y=(h - lid) / 2)
    if lid:
        a.add(box(w + 2 * e, lid, d + 2 * e, 0.01), mt.paint(r), y=h - lid / 2)
    t, bw = 0.03, r.uniform(0.09, 0.14)
    strips = []
    for q, reach in ((0, d / 2), (180, d / 2), (90, w / 2), (270, w / 2)):
        strips.append(box(bw, h - lid, t, 0.004).at(0, (h - lid) / 2, reach + t / 2).rot("y", q))
        strips.append(box(bw, lid + t, t, 0.004).at(0, h + (t - lid) / 2, reach + e + t / 2).rot("y", q))
    strips += [box(w + 2 * e, t, bw, 0.004).at(0, h + t / 2, 0), box(bw, t, d + 2 * e, 0.004).at(0, h + t / 2, 0)]
    a.add(join(strips), ribbon)
    top, s = h + t, r.uniform(0.8, 1.2)
    loop = [(0.0, 0.0, 0.0), (0.12, 0.12, 0), (0.24, 0.16, 0), (0.28, 0.09, 0), (0.2, 0.03, 0), (0.03, 0.01, 0)]
    a.add(mirror_x(tube([(x * s, y * s, z) for x, y, z in loop], 0.028, 8, flat=2.0)), ribbon, y=top)
    a.add(ball(0.06, 0.05, 0.06, 14, 8), ribbon, y=top + 0.03)
    tag = box(0.16, 0.22, 0.03, 0.005).rot("z", 12)
    a.add(tag, mt.plain((0.96, 0.94, 0.88), 0.8), x=w * 0.25, y=(h - lid) * 0.6, z=d / 2 + t / 2)
    return a


def dice(r: Rng) -> Asset:
    """A die with pips (one in front), or a domino standing up."""
    a = Asset()
    c = mt.color(r) if r.chance(0.6) else (0.95, 0.94, 0.9)
    pip = mt.plain((0.96, 0.95, 0.92) if sum(c) < 2.2 else (0.08, 0.08, 0.09), 0.3)
    spots = {1: [(0, 0)], 2: [(-1, 1), (1, -1)], 3: [(-1, 1), (0, 0), (1, -1)], 4: [(-1, -1), (-1, 1), (1, -1), (1, 1)]}
    spots[5] = spots[4] + [(0, 0)]
    spots[6] = spots[4] + [(-1, 0), (1, 0)]
    s = ball(r.uniform(0.075, 0.095), seg=16, rings=8).scale(1, 1, 0.35)
    if r.chance(0.7):
        a.add(box(1, 1, 1, r.uniform(0.05, 0.14)), mt.plain(c, 0.2))
        for value, (axis, q) in zip(
            (1, 6, 2, 5, 3, 4), (("y", 0), ("y", 180), ("y", 90), ("y", -90), ("x", -90), ("x", 90))
        ):
            a.add(join([s.at(x * 0.26, y * 0.26, 0.5) for x, y in spots[value]]).rot(axis, q), pip)
        return a
    a.add(box(0.9, 1.8, 0.3, 0.06), mt.plain(c, 0.25))
    a.add(box(0.7, 0.04, 0.32, 0.005), pip)
    for y in (-0.45, 0.45):
        a.add(join([s.at(u * 0.24, v * 0.24 + y, 0.15) for u, v in spots[r.integer(1, 6)]]), pip)
    return a


def crate(r: Rng) -> Asset:
    """A wooden box with frame boards and a diagonal brace on the front, sometimes open with cargo."""
    a = Asset()
    w, h, d = r.uniform(0.7, 1.1), r.uniform(0.55, 0.8), r.uniform(0.55, 0.75)
    b = r.uniform(0.09, 0.13)
    wood, board = mt.wood(r, 1.5, boards=True), mt.wood(r, 2)
    if r.chance(0.4):
        cargo, s = mt.plain(mt.color(r), 0.4), 0.15
        a.add(box(w, h * 0.8, d, 0.004), wood, y=h * 0.4)
        heap = [
            ball(s, seg=16, rings=10).at((i - 1) * w * 0.29, h * 0.86, (k - 0.5) * d * 0.42)
            for i in range(3)
            for k in (0, 1)
        ]
        a.add(join(heap), cargo)
    else:
        a.add(box(w, h, d, 0.004), wood, y=h / 2)
    for q, fw, reach in ((0, w, d / 2), (180, w, d / 2), (90, d, w / 2), (270, d, w / 2)):
        parts = [box(fw + 0.05, b, 0.04, 0.006).at(0, s * (h - b) / 2, 0) for s in (-1, 1)]
        parts += [box(b, h - 2 * b, 0.04, 0.006).at(s * (fw - b) / 2, 0, 0) for s in (-1, 1)]
        if q == 0:
            angle = math.degrees(math.atan2(h - 2 * b, fw - 2 * b))
            parts.append(box(math.hypot(h - 2 * b, fw - 2 * b) * 0.96, b * 0.8, 0.035, 0.006).rot("z", angle))
        a.add(join(parts).at(0, h / 2, reach + 0.02).rot("y", q), board)
    return a


FAMILIES = (robot, letter_block, letter, teddy, duck, chess_piece, gift, dice, crate)
