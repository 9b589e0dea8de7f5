"""Slow rasteriser in PyTorch, float64: one triangle at a time over all pixels of its bounding box.

Defines what `o_voxel.rasterize.rasterize` computes; shares no code with the native one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["barycentrics_reference", "rasterize_reference"]

_SUBPIXELS = 256
_GUARD_PIXELS = 2**20
_MIN_W = 1e-12

Point = tuple[float, ...]


def _clip(polygon: list[Point], plane: tuple[float, float, float, float, float]) -> list[Point]:
    """Keep the part where plane . (x, y, z, w, 1) >= 0; cuts are computed from the lexicographically smaller end."""

    def distance(p: Point) -> float:
        return sum(a * b for a, b in zip(plane, (*p, 1.0)))

    kept: list[Point] = []
    for i, a in enumerate(polygon):
        b = polygon[(i + 1) % len(polygon)]
        if distance(a) >= 0:
            kept.append(a)
        if (distance(a) >= 0) != (distance(b) >= 0):
            lo, hi = min(a, b), max(a, b)
            t = distance(lo) / (distance(lo) - distance(hi))
            kept.append(tuple(p + t * (q - p) for p, q in zip(lo, hi)))
    return kept


def _visible_polygon(corners: list[Point], height: int, width: int) -> list[Point]:
    gx, gy = 1 + 2 * _GUARD_PIXELS / width, 1 + 2 * _GUARD_PIXELS / height
    planes = (
        (0.0, 0.0, 0.0, 1.0, -_MIN_W),
        (0.0, 0.0, 1.0, 1.0, 0.0),
        (0.0, 0.0, -1.0, 1.0, 0.0),
        (-1.0, 0.0, 0.0, gx, 0.0),
        (1.0, 0.0, 0.0, gx, 0.0),
        (0.0, -1.0, 0.0, gy, 0.0),
        (0.0, 1.0, 0.0, gy, 0.0),
    )
    polygon = corners
    for plane in planes:
        polygon = _clip(polygon, plane)
        if len(polygon) < 3:
            return []
    return polygon


def _covered(points: list[tuple[int, int]], xs: Tensor, ys: Tensor) -> Tensor:
    """Mask [h, w] of the sample positions (in subpixels) inside one snapped triangle, with the shared-edge rule."""
    (x0, y0), (x1, y1), (x2, y2) = points
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if area == 0:
        return torch.zeros(len(ys), len(xs), dtype=torch.bool)
    order = points if area > 0 else [points[0], points[2], points[1]]
    mask = torch.ones(len(ys), len(xs), dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(order, order[1:] + order[:1]):
        dx, dy = bx - ax, by - ay
        edge = dx * (ys[:, None] - ay) - dy * (xs[None, :] - ax)
        mask &= (edge >= 0) if dy < 0 or (dy == 0 and dx > 0) else (edge > 0)
    return mask


def _barycentrics(v: Tensor, nx: Tensor, ny: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(u, v, z/w) at NDC positions, from homogeneous corners v [3, 4] float64."""
    px = v[:, 0, None] - v[:, 3, None] * nx  # [3, P]
    py = v[:, 1, None] - v[:, 3, None] * ny
    a = torch.stack([px[(i + 1) % 3] * py[(i + 2) % 3] - px[(i + 2) % 3] * py[(i + 1) % 3] for i in range(3)])
    return a[0] / a.sum(0), a[1] / a.sum(0), (v[:, 2, None] * a).sum(0) / (v[:, 3, None] * a).sum(0)


def _draw(corners: Tensor, index: int, out: Tensor, depth: Tensor, owner: Tensor, peel: Tensor | None) -> None:
    height, width = depth.shape
    polygon = _visible_polygon([tuple(map(float, row)) for row in corners.tolist()], height, width)
    if not polygon:
        return
    # Corners that missed their clip plane by rounding are brought back.
    ndc = []
    for p in polygon:
        guards = (1 + 2 * _GUARD_PIXELS / width, 1 + 2 * _GUARD_PIXELS / height, 1.0)
        ndc.append([min(g, max(-g, p[k] / max(p[3], _MIN_W))) for k, g in enumerate(guards)])
    snapped = [
        tuple(math.floor((p[k] + 1) * size / 2 * _SUBPIXELS + 0.5) for k, size in ((0, width), (1, height)))
        for p in ndc
    ]
    x0, y0 = (max(0, min(s[k] for s in snapped) // _SUBPIXELS) for k in (0, 1))
    x1 = min(width, max(s[0] for s in snapped) // _SUBPIXELS + 1)
    y1 = min(height, max(s[1] for s in snapped) // _SUBPIXELS + 1)
    if x1 <= x0 or y1 <= y0:
        return
    xs = torch.arange(x0, x1) * _SUBPIXELS + _SUBPIXELS // 2
    ys = torch.arange(y0, y1) * _SUBPIXELS + _SUBPIXELS // 2
    mask = torch.zeros(y1 - y0, x1 - x0, dtype=torch.bool)
    for k in range(2, len(snapped)):
        mask |= _covered([snapped[0], snapped[k - 1], snapped[k]], xs, ys)  # type: ignore[list-item]
    row, column = mask.nonzero(as_tuple=True)
    row, column = row + y0, column + x0
    nx, ny = (2.0 * column + 1).double() / width - 1, (2.0 * row + 1).double() / height - 1
    u, v, z = _barycentrics(corners, nx, ny)
    if not bool(z.isfinite().all()):  # no area before snapping
        return
    low, high = min(p[2] for p in ndc), max(p[2] for p in ndc)
    z = z.float().clamp(torch.tensor(low).float(), torch.tensor(high).float())
    u, v = u.clamp(0, 1), v.clamp(0, 1)
    scale = (u + v).clamp(min=1)
    value = torch.stack([(u / scale).float(), (v / scale).float(), z, torch.full_like(z, index + 1)], -1)
    wins = (z < depth[row, column]) | ((z == depth[row, column]) & (index > owner[row, column]))
    if peel is not None:
        wins &= z > peel[row, column]
    row, column = row[wins], column[wins]
    depth[row, column], owner[row, column], out[row, column] = z[wins], index, value[wins]


def rasterize_reference(
    pos: Tensor,  # [B, V, 4] float32 on CPU
    tri: Tensor,  # [F, 3] int32 on CPU
    resolution: tuple[int, int],
    peel_depth: Tensor | None = None,  # [B, H, W]
) -> Tensor:  # [B, H, W, 4]
    """Same result as `o_voxel.rasterize.rasterize`, ids up to 2^24."""
    height, width = resolution
    out = torch.zeros(pos.shape[0], height, width, 4)
    for b in range(pos.shape[0]):
        depth = torch.full((height, width), torch.inf)
        owner = torch.full((height, width), -1)
        for index, corner in enumerate(tri.long()):
            if int(corner.min()) < 0 or int(corner.max()) >= pos.shape[1]:
                continue
            corners = pos[b, corner].double()
            if bool(corners.isfinite().all()):
                _draw(corners, index, out[b], depth, owner, None if peel_depth is None else peel_depth[b])
    return out


def barycentrics_reference(
    pos: Tensor,  # [B, V, 4] float
    tri: Tensor,  # [F, 3] integer
    face: Tensor,  # [B, H, W] int64, visible triangle, -1 where empty
) -> tuple[Tensor, Tensor]:  # [B, H, W, 3] and [B, H, W, 4], dtype of pos
    """(u, v, z/w) at the pixel centres and (du/dX, du/dY, dv/dX, dv/dY) for pixel coordinates X, Y; 0 where empty.

    Differentiable in `pos`; this is the meaning of the gradients of `o_voxel.rasterize.rasterize`. u and v are bounded
    to [0, 1] and to a sum of at most 1, their derivatives are those of the unbounded functions.
    """
    batch, height, width = face.shape
    b, row, column = (face >= 0).nonzero(as_tuple=True)
    corner = tri.long()[face[b, row, column]]  # [P, 3]
    v = pos[b[:, None], corner].double()  # [P, 3, 4]
    nx, ny = (2 * column + 1).double() / width - 1, (2 * row + 1).double() / height - 1
    line = v[:, :, [0, 1, 3]]  # a_k = cross(line_k+1, line_k+2) . (nx, ny, 1), affine over the screen
    edge = torch.linalg.cross(line[:, [1, 2, 0]], line[:, [2, 0, 1]])  # [P, 3, 3]
    px, py = v[..., 0] - nx[:, None] * v[..., 3], v[..., 1] - ny[:, None] * v[..., 3]  # [P, 3]
    a = px[:, [1, 2, 0]] * py[:, [2, 0, 1]] - px[:, [2, 0, 1]] * py[:, [1, 2, 0]]
    total = a.sum(1)
    depth = (v[..., 2] * a).sum(1) / (v[..., 3] * a).sum(1)
    uv = a[:, :2] / total[:, None]
    bounded = uv.clamp(0, 1)
    bounded = bounded / bounded.sum(1, keepdim=True).clamp(min=1)
    per_pixel = pos.new_tensor([2 / width, 2 / height], dtype=torch.float64)
    slope = (edge[:, :2, :2] - uv[:, :, None] * edge[:, :, :2].sum(1, keepdim=True)) / total[:, None, None] * per_pixel
    at = (b, row, column)
    value = torch.cat([bounded, depth[:, None]], 1).to(pos.dtype)
    return (
        pos.new_zeros(batch, height, width, 3).index_put(at, value),
        pos.new_zeros(batch, height, width, 4).index_put(at, slope.reshape(-1, 4).to(pos.dtype)),
    )
