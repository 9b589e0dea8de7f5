"""Parametric building blocks: triangle meshes with UVs and smoothing information.

Frame: glTF, Y up, the front of an object faces +Z, +X is to the right of somebody looking at the front.
V vertices, F faces, K sections, N points of a section. UVs are in length units of the shape (v up) unless said
otherwise; a material turns lengths into texture repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "Geo", "arc", "ball", "box", "box_sides", "cone", "cylinder", "disk", "extrude", "join", "lathe", "loft",
    "mirror_x", "pixels", "prism", "rounded", "sheet", "superellipse", "torus", "tube",
]  # fmt: skip

Vec3 = tuple[float, float, float]
_CREASE_COS = math.cos(math.radians(38.0))


@dataclass(frozen=True)
class Geo:
    """A triangle mesh; vertices with equal `weld` share one smooth normal."""

    v: np.ndarray  # [V, 3] float64
    f: np.ndarray  # [F, 3] int64
    uv: np.ndarray  # [V, 2] float64
    weld: np.ndarray  # [V] int64

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Geo:
        """Translate."""
        return replace(self, v=self.v + np.array([x, y, z]))

    def scale(self, x: float, y: float | None = None, z: float | None = None) -> Geo:
        """Scale the axes; one value scales all. A mirroring scale keeps the faces pointing outwards."""
        s = np.array([x, x if y is None else y, x if z is None else z])
        flip = s[0] * s[1] * s[2] < 0
        return replace(self, v=self.v * s, f=self.f[:, ::-1] if flip else self.f)

    def rot(self, axis: str, degrees: float) -> Geo:
        """Rotate about the x, y or z axis through the origin (right-handed, degrees)."""
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        i = "xyz".index(axis)
        j, k = (i + 1) % 3, (i + 2) % 3
        v = self.v.copy()
        v[:, j] = c * self.v[:, j] - s * self.v[:, k]
        v[:, k] = s * self.v[:, j] + c * self.v[:, k]
        return replace(self, v=v)

    def deform(self, fn: Callable[[np.ndarray], np.ndarray]) -> Geo:
        """Move the vertices by a function [V, 3] -> [V, 3]."""
        return replace(self, v=fn(self.v))

    def fit_uv(self) -> Geo:
        """Stretch the UVs to fill the unit square once."""
        low, high = self.uv.min(0), self.uv.max(0)
        return replace(self, uv=(self.uv - low) / np.maximum(high - low, 1e-9))

    def planar_uv(self, axis: str = "z") -> Geo:
        """Project the UVs along an axis and fit them to the unit square (front view reads left to right)."""
        u, w = {"z": (0, 1), "y": (0, 2), "x": (2, 1)}[axis]
        uv = self.v[:, [u, w]].copy()
        if axis == "y":
            uv[:, 1] *= -1
        return replace(self, uv=uv).fit_uv()


def join(parts: Iterable[Geo]) -> Geo:
    """Concatenate meshes."""
    parts = list(parts)
    offsets = np.cumsum([0] + [len(p.v) for p in parts[:-1]])
    return Geo(
        np.concatenate([p.v for p in parts]),
        np.concatenate([p.f + o for p, o in zip(parts, offsets)]),
        np.concatenate([p.uv for p in parts]),
        np.concatenate([p.weld + o for p, o in zip(parts, offsets)]),
    )


def mirror_x(geo: Geo) -> Geo:
    """The mesh together with its mirror image in the plane x = 0."""
    return join([geo, geo.scale(-1, 1, 1)])


def _box_uv(v: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Project points [N, 3] along the dominant axis of one normal, not mirrored when seen from outside."""
    axis = int(np.argmax(np.abs(normal)))
    sign = 1.0 if normal[axis] >= 0 else -1.0
    if axis == 0:
        return np.stack([-sign * v[:, 2], v[:, 1]], 1)
    if axis == 1:
        return np.stack([v[:, 0], -sign * v[:, 2]], 1)
    return np.stack([sign * v[:, 0], v[:, 1]], 1)


def _polygons(polys: list[np.ndarray], weld: list[list[int]]) -> Geo:
    """Convex polygons as fans with box-projected UVs; `weld` names the smoothing id of each corner."""
    v, f, uv, ids, base = [], [], [], [], 0
    for poly, names in zip(polys, weld):
        normal = np.cross(poly[1] - poly[0], poly[2] - poly[0])
        v.append(poly)
        uv.append(_box_uv(poly, normal))
        ids += names
        f += [[base, base + i, base + i + 1] for i in range(1, len(poly) - 1)]
        base += len(poly)
    # weld ids have to be vertex positions of this mesh: name -> first vertex that carries it
    first: dict[int, int] = {}
    weld_ids = [first.setdefault(name, i) for i, name in enumerate(ids)]
    return Geo(np.concatenate(v), np.array(f), np.concatenate(uv), np.array(weld_ids))


def _box_template() -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    """Faces of a chamfered box over 24 points, point = corner * 3 + the axis of the side it lies on."""
    corner = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    signs = np.repeat(corner, 3, axis=0)
    inset = np.ones((24, 3))
    inset[np.arange(24), np.arange(24) % 3] = 0.0

    def idx(c: Sequence[int], axis: int) -> int:
        return ((c[0] > 0) * 4 + (c[1] > 0) * 2 + (c[2] > 0)) * 3 + axis

    faces: list[list[int]] = []
    for axis in range(3):
        j, k = (axis + 1) % 3, (axis + 2) % 3
        for s in (-1, 1):
            quad = []
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                c = [0, 0, 0]
                c[axis], c[j], c[k] = s, a, b
                quad.append(idx(c, axis))
            faces.append(quad if s > 0 else quad[::-1])
        for a in (-1, 1):  # the four edges parallel to `axis`
            for b in (-1, 1):
                lo, hi = [0, 0, 0], [0, 0, 0]
                for c, s in ((lo, -1), (hi, 1)):
                    c[axis], c[j], c[k] = s, a, b
                quad = [idx(lo, j), idx(hi, j), idx(hi, k), idx(lo, k)]
                faces.append(quad[::-1] if a * b > 0 else quad)
    for x in (-1, 1):
        for y in (-1, 1):
            for z in (-1, 1):
                tri = [idx((x, y, z), a) for a in range(3)]
                faces.append(tri if x * y * z > 0 else tri[::-1])
    return faces, signs, inset


_BOX = _box_template()


def box(w: float, h: float, d: float, bevel: float | None = None) -> Geo:
    """A box of size (w, h, d) centred at the origin with chamfered, smoothly shaded edges; bevel 0 is sharp."""
    half = np.array([w, h, d]) / 2
    b = 0.08 * float(half.min()) * 2 if bevel is None else min(bevel, 0.98 * float(half.min()))
    faces, signs, inset = _BOX
    points = signs * (half - b * inset)
    if b <= 0:
        polys = [points[q] for q in faces if len(q) == 4 and len({i % 3 for i in q}) == 1]
        return _polygons(polys, [[4 * i + j for j in range(4)] for i in range(len(polys))])
    return _polygons([points[q] for q in faces], faces)


def box_sides(w: float, h: float, d: float, bevel: float) -> tuple[list[Geo], Geo]:
    """The sides of a chamfered box, in the order -x, +x, -y, +y, -z, +z, and its chamfers as one mesh."""
    half = np.array([w, h, d]) / 2
    faces, signs, inset = _BOX
    points = signs * (half - bevel * inset)
    flat = [q for q in faces if len(q) == 4 and len({i % 3 for i in q}) == 1]
    sides = [_polygons([points[q]], [[0, 1, 2, 3]]) for q in flat]
    rest = [q for q in faces if q not in flat]
    return sides, _polygons([points[q] for q in rest], rest)


def loft(
    sections: Any,  # [K, N, 3] array or nested lists
    *,
    closed: bool = True,
    caps: tuple[bool, bool] = (True, True),
    sharp_sections: Iterable[int] | None = None,
    sharp_points: Iterable[int] | None = None,
    wrap: float | None = None,
) -> Geo:
    """Skin a sequence of sections.

    Points run counter-clockwise about the direction of travel, so that faces point outwards. `closed` joins the last
    point to the first. Creases are found from the angles unless given. `wrap` fixes the texture extent around the
    section (in length units) instead of its perimeter.
    """
    sec = np.asarray(sections, float)
    K, N = sec.shape[:2]
    if sharp_sections is None:
        sharp_sections = _sharp_along(sec)
    if sharp_points is None:
        sharp_points = _sharp_around(sec, closed)
    rows, bands = _duplicate(range(K), set(sharp_sections), False)
    cols, strips = _duplicate(range(N), set(sharp_points), closed)
    ring = sec[:, [i % N for i in range(N + 1)]] if closed else sec
    widths = np.linalg.norm(np.diff(ring, axis=1), axis=2)
    widths = widths[int(np.argmax(widths.sum(1)))]
    u = np.concatenate([[0.0], np.cumsum(widths)])
    if wrap is not None and u[-1] > 0:
        u = u * (wrap / u[-1])
    steps = np.linalg.norm(np.diff(sec, axis=0), axis=2).mean(1)
    w = np.concatenate([[0.0], np.cumsum(steps)])
    col_src = np.array([c for c, _ in cols])
    C = len(cols)
    v = sec[[r for r, _ in rows]][:, col_src % N].reshape(-1, 3)
    uv = np.stack(np.meshgrid(u[col_src], w[[r for r, _ in rows]]), -1).reshape(-1, 2)
    weld_col = np.array([i for _, i in cols])
    weld = (np.arange(len(rows))[:, None] * C + weld_col).reshape(-1)
    r = np.array(bands)
    s = np.array(strips)
    a = (r[:, None, 0] * C + s[None, :, 0]).reshape(-1)
    b = (r[:, None, 0] * C + s[None, :, 1]).reshape(-1)
    c = (r[:, None, 1] * C + s[None, :, 1]).reshape(-1)
    d = (r[:, None, 1] * C + s[None, :, 0]).reshape(-1)
    f = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    out = [Geo(v, f, uv, weld)]
    for use, ring_points, flip in ((caps[0], sec[0], True), (caps[1], sec[-1], False)):
        if use and closed and float(np.ptp(ring_points, axis=0).max()) > 1e-6:
            out.append(_cap(ring_points, flip))
    return join(out)


def _duplicate(items: range, sharp: set[int], closed: bool) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Rows (source, weld row) with creased ones doubled, and the pairs of rows that bound each strip."""
    rows: list[tuple[int, int]] = []
    first, last = {}, {}
    n = len(items)
    for k in items:
        first[k] = last[k] = len(rows)
        rows.append((k, len(rows)))
        if k in sharp and 0 < k < (n if closed else n - 1):
            last[k] = len(rows)
            rows.append((k, len(rows)))
    if closed:  # the seam: same place as point 0, own UV
        first[n] = len(rows)
        rows.append((n, len(rows) if 0 in sharp else 0))
    end = n if closed else n - 1
    return rows, [(last[k], first[k + 1]) for k in range(end)]


def _turn_is_sharp(a: np.ndarray, b: np.ndarray) -> bool:
    la, lb = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    return la > 1e-9 and lb > 1e-9 and float((a * b).sum()) < _CREASE_COS * la * lb


def _sharp_along(sec: np.ndarray) -> list[int]:
    out = []
    for k in range(1, len(sec) - 1):
        a, b = sec[k] - sec[k - 1], sec[k + 1] - sec[k]
        i = int(np.argmax((a * a).sum(1) + (b * b).sum(1)))
        if _turn_is_sharp(a[i], b[i]):
            out.append(k)
    return out


def _sharp_around(sec: np.ndarray, closed: bool) -> list[int]:
    k = int(np.argmax(np.abs(np.diff(sec, axis=1)).sum((1, 2))))
    ring, n = sec[k], sec.shape[1]
    span = range(n) if closed else range(1, n - 1)
    return [i for i in span if _turn_is_sharp(ring[i] - ring[i - 1], ring[(i + 1) % n] - ring[i])]


def _cap(ring: np.ndarray, flip: bool) -> Geo:
    n = len(ring)
    v = np.concatenate([ring, ring.mean(0, keepdims=True)])
    nxt = (np.arange(n) + 1) % n
    f = np.stack([np.full(n, n), np.arange(n), nxt], 1)
    if flip:
        f = f[:, ::-1]
    e = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]).sum(0)
    return Geo(v, f, _box_uv(v, e), np.arange(n + 1))


def superellipse(radius_x: float, radius_y: float, power: float, n: int) -> np.ndarray:
    """Points of |x/a|^p + |y/b|^p = 1 [n, 2], counter-clockwise; power 2 is an ellipse, larger is boxier."""
    t = 2 * math.pi * (np.arange(n) + 0.5) / n
    c, s = np.cos(t), np.sin(t)
    return np.stack(
        [radius_x * np.sign(c) * np.abs(c) ** (2 / power), radius_y * np.sign(s) * np.abs(s) ** (2 / power)], 1
    )


def arc(radius: float, start: float, end: float, n: int, cx: float = 0.0, cy: float = 0.0) -> list[tuple[float, float]]:
    """Points of a circular arc, angles in degrees from +x."""
    return [
        (cx + radius * math.cos(math.radians(start + (end - start) * i / (n - 1))),
         cy + radius * math.sin(math.radians(start + (end - start) * i / (n - 1))))
        for i in range(n)
    ]  # fmt: skip


def lathe(profile: Sequence[tuple[float, float]], seg: int = 24, *, cap: bool = True, wrap: float | None = None) -> Geo:
    """Turn a profile of (radius, height) about the y axis; going up outside and down inside gives a vessel."""
    p = np.array(profile, float)
    t = math.pi + 2 * math.pi * np.arange(seg) / seg
    sec = np.stack([p[:, :1] * np.sin(t), np.broadcast_to(p[:, 1:], (len(p), seg)), p[:, :1] * np.cos(t)], 2)
    sharp = [k for k in range(1, len(p) - 1) if _turn_is_sharp(p[k] - p[k - 1], p[k + 1] - p[k])]
    around: list[int] | None = [] if seg > 9 else None
    return loft(sec, caps=(cap, cap), sharp_sections=sharp, sharp_points=around, wrap=wrap)


def cylinder(r: float, h: float, seg: int = 20, bevel: float | None = None, r_top: float | None = None) -> Geo:
    """A cylinder along y centred at the origin, with a small chamfer."""
    top = r if r_top is None else r_top
    b = min(0.12 * min(r, top), 0.2 * h) if bevel is None else bevel
    if b <= 0:
        return lathe([(r, -h / 2), (top, h / 2)], seg)
    return lathe([(r - b, -h / 2), (r, -h / 2 + b), (top, h / 2 - b), (top - b, h / 2)], seg)


def cone(r: float, h: float, seg: int = 20) -> Geo:
    """A cone along y, base at -h/2."""
    return lathe([(r, -h / 2), (0.5 * r, 0.0), (0.0, h / 2)], seg)


def prism(r: float, h: float, sides: int) -> Geo:
    """A regular prism along y with flat sides."""
    return lathe([(r, -h / 2), (r, h / 2)], sides)


def disk(r: float, seg: int = 24) -> Geo:
    """An open flat disk in the plane y = 0, facing up."""
    t = math.pi + 2 * math.pi * np.arange(seg) / seg
    return _cap(np.stack([r * np.sin(t), np.zeros(seg), r * np.cos(t)], 1), False)


def ball(rx: float, ry: float | None = None, rz: float | None = None, seg: int = 20, rings: int = 12) -> Geo:
    """An ellipsoid."""
    a = [-math.pi / 2 + math.pi * i / rings for i in range(rings + 1)]
    geo = lathe(
        [(max(0.0, math.cos(t)) if 0 < i < rings else 0.0, math.sin(t)) for i, t in enumerate(a)], seg, cap=False
    )
    return geo.scale(rx, rx if ry is None else ry, rx if rz is None else rz)


def tube(
    path: Sequence[Vec3] | np.ndarray,
    radius: float | Sequence[float] | np.ndarray,
    seg: int = 10,
    *,
    closed: bool = False,
    flat: float = 1.0,
) -> Geo:
    """Sweep a circle (or, with `flat` != 1, an ellipse) along a path [K, 3] with frames carried along."""
    p = np.asarray(path, float)
    rad = np.broadcast_to(np.asarray(radius, float), (len(p),))
    if closed:
        tangent = np.roll(p, -1, 0) - np.roll(p, 1, 0)
    else:
        tangent = np.gradient(p, axis=0)
    tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    seed = np.array([0.0, 0.0, 1.0]) if abs(tangent[0, 2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    a = np.linspace(0, 2 * math.pi, seg, endpoint=False)
    sections = []
    for point, t, r in zip(p, tangent, rad):
        n = seed - t * float((seed * t).sum())
        n /= np.linalg.norm(n)
        seed = n
        m = np.cross(t, n)
        sections.append(point + r * (np.cos(a)[:, None] * n + flat * np.sin(a)[:, None] * m))
    if closed:
        sections.append(sections[0])
    around: list[int] | None = [] if seg > 7 else None
    return loft(np.array(sections), caps=(not closed, not closed), sharp_sections=[], sharp_points=around)


def torus(R: float, r: float, seg: int = 28, sides: int = 10) -> Geo:
    """A ring about the y axis."""
    t = np.linspace(0, 2 * math.pi, seg, endpoint=False)
    return tube(np.stack([R * np.sin(t), 0 * t, R * np.cos(t)], 1), r, sides, closed=True)


def _ear_clip(poly: np.ndarray) -> list[tuple[int, int, int]]:
    """Triangulate a simple counter-clockwise polygon [N, 2]."""
    idx = list(range(len(poly)))
    out: list[tuple[int, int, int]] = []

    def cross(o: int, a: int, b: int) -> float:
        return float(
            (poly[a][0] - poly[o][0]) * (poly[b][1] - poly[o][1])
            - (poly[a][1] - poly[o][1]) * (poly[b][0] - poly[o][0])
        )

    while len(idx) > 3:
        for i in range(len(idx)):
            a, b, c = idx[i - 1], idx[i], idx[(i + 1) % len(idx)]
            if cross(a, b, c) <= 1e-12:
                continue
            inside = any(
                cross(a, b, q) > 1e-12 and cross(b, c, q) > 1e-12 and cross(c, a, q) > 1e-12
                for q in idx if q not in (a, b, c)
            )  # fmt: skip
            if not inside:
                out.append((a, b, c))
                idx.pop(i)
                break
        else:  # numerically flat remainder
            idx.pop(0)
    out.append((idx[0], idx[1], idx[2]))
    return out


def extrude(polygon: Sequence[tuple[float, float]] | np.ndarray, depth: float) -> Geo:
    """A prism over a simple polygon (counter-clockwise in the xy plane), centred in z."""
    p = np.asarray(polygon, float)
    x, y = p[:, 0], p[:, 1]
    if float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) < 0:
        p = p[::-1]
    sec = np.stack([np.concatenate([p, np.full((len(p), 1), z)], 1) for z in (-depth / 2, depth / 2)])
    side = loft(sec, caps=(False, False))
    tri = np.array(_ear_clip(p))
    ids = np.arange(len(p))
    front = Geo(sec[1], tri, p.copy(), ids)
    back = Geo(sec[0], tri[:, ::-1], p * np.array([-1.0, 1.0]), ids)
    return join([side, front, back])


def rounded(w: float, h: float, r: float, n: int = 4) -> list[tuple[float, float]]:
    """A rectangle with rounded corners, centred, counter-clockwise."""
    r = min(r, 0.49 * w, 0.49 * h)
    x, y = w / 2 - r, h / 2 - r
    return arc(r, 0, 90, n, x, y) + arc(r, 90, 180, n, -x, y) + arc(r, 180, 270, n, -x, -y) + arc(r, 270, 360, n, x, -y)


def sheet(points: Any) -> Geo:
    """An open surface through a grid of points [A, B, 3]; u runs along B, v along A."""
    return loft(np.asarray(points, float), closed=False, caps=(False, False), sharp_sections=[], sharp_points=[])


def pixels(rows: Sequence[str], cell: float, depth: float) -> Geo:
    """Extrude a bitmap ('#' is solid, first row on top), centred at the origin; only outer faces are made."""
    h, w = len(rows), max(len(r) for r in rows)
    on = {(x, h - 1 - y) for y, row in enumerate(rows) for x, c in enumerate(row) if c == "#"}
    x0, y0, z = -w * cell / 2, -h * cell / 2, depth / 2
    polys = []
    for cx, cy in sorted(on):
        xa, xb, ya, yb = x0 + cx * cell, x0 + (cx + 1) * cell, y0 + cy * cell, y0 + (cy + 1) * cell
        polys.append([(xa, ya, z), (xb, ya, z), (xb, yb, z), (xa, yb, z)])
        polys.append([(xa, ya, -z), (xa, yb, -z), (xb, yb, -z), (xb, ya, -z)])
        if (cx + 1, cy) not in on:
            polys.append([(xb, ya, z), (xb, ya, -z), (xb, yb, -z), (xb, yb, z)])
        if (cx - 1, cy) not in on:
            polys.append([(xa, ya, -z), (xa, ya, z), (xa, yb, z), (xa, yb, -z)])
        if (cx, cy + 1) not in on:
            polys.append([(xa, yb, z), (xb, yb, z), (xb, yb, -z), (xa, yb, -z)])
        if (cx, cy - 1) not in on:
            polys.append([(xa, ya, -z), (xb, ya, -z), (xb, ya, z), (xa, ya, z)])
    arrays = [np.array(p) for p in polys]
    return _polygons(arrays, [[4 * i + j for j in range(4)] for i in range(len(arrays))])
