"""Textured triangles -> voxel attributes in NumPy: the meaning of the attribute conversions.

Letters: T triangles, P pairs (voxel, triangle), N voxels, M materials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from o_voxel.reference.surface_voxels import find_crossings, find_overlaps, voxel_rows

__all__ = ["clipped_area", "sample_texture", "textured_triangles_to_attr"]

# levels, filter, wrap along u + 256 * wrap along v, decode table [256]
PackedTexture = tuple[list[np.ndarray], int, int, np.ndarray]

BASE_COLOR, ALPHA, METALLIC, ROUGHNESS, EMISSIVE, NORMAL = range(
    1, 7
)  # columns of `slots`; UV channels are 6 columns further


MAX_POLYGON = 16  # a triangle cut by six planes has at most nine corners; rounding in a plane can add more


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1)


def _normalized(v: np.ndarray) -> np.ndarray:
    length = np.sqrt(_dot(v, v))[..., None]
    return np.divide(v, length, out=np.zeros_like(v), where=length > 0)


def _wrap(i: np.ndarray, n: int, wrap: int) -> np.ndarray:
    """Indices inside [0, n), or -1 where the image is clipped."""
    if wrap == 1:
        return np.clip(i, 0, n - 1)
    if wrap == 3:
        return np.where((i < 0) | (i >= n), -1, i)
    j = i % (2 * n if wrap == 2 else n)
    return np.where(j < n, j, 2 * n - 1 - j)


def _texels(image: np.ndarray, table: np.ndarray, x: np.ndarray, y: np.ndarray, wrap: int) -> np.ndarray:
    x, y = _wrap(x, image.shape[1], wrap & 255), _wrap(y, image.shape[0], wrap >> 8)
    return table[image[y, x]] * ((x >= 0) & (y >= 0))[:, None]


def _bilinear(image: np.ndarray, table: np.ndarray, uv: np.ndarray, wrap: int) -> np.ndarray:
    xy = uv * [image.shape[1], image.shape[0]] - 0.5
    low = np.floor(xy)
    f = xy - low
    i, j = low.astype(np.int64).T
    wx, wy = f[:, :1], f[:, 1:]
    return (
        (1 - wx) * (1 - wy) * _texels(image, table, i, j, wrap)
        + wx * (1 - wy) * _texels(image, table, i + 1, j, wrap)
        + (1 - wx) * wy * _texels(image, table, i, j + 1, wrap)
        + wx * wy * _texels(image, table, i + 1, j + 1, wrap)
    )


def sample_texture(texture: PackedTexture, uv: np.ndarray, footprint: np.ndarray, level_offset: float) -> np.ndarray:
    """Sample at uv [P, 2] (v downward) with the mip level that fits `footprint` [P] (UV units) -> [P, C]."""
    levels, filter_mode, wrap, table = texture
    table = table.astype(np.float64)
    base = levels[0]
    if filter_mode != 1:
        i, j = np.floor(uv * [base.shape[1], base.shape[0]]).astype(np.int64).T
        nearest = _texels(base, table, i, j, wrap)
    if filter_mode == 0:
        return nearest
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log2(footprint * np.sqrt(float(base.shape[0] * base.shape[1]))) + level_offset
    level = np.where(np.isfinite(level), np.clip(level, 0, len(levels) - 1), 0)
    out = np.zeros((len(uv), base.shape[2]))
    for k, image in enumerate(levels):
        weight = np.maximum(1 - np.abs(level - k), 0)
        use = weight > 0
        out[use] += weight[use, None] * _bilinear(image, table, uv[use], wrap)
    if filter_mode == 2:  # nearest where magnified
        out[level <= 0] = nearest[level <= 0]
    return out


def _plane_barycentrics(t: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Barycentrics [P, 3] of the projection of p onto the planes of triangles t [P, 3, 3]; thirds without area."""
    e1, e2, q = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0], p - t[:, 0]
    d11, d12, d22, q1, q2 = _dot(e1, e1), _dot(e1, e2), _dot(e2, e2), _dot(q, e1), _dot(q, e2)
    det = d11 * d22 - d12 * d12
    flat = ~(det > 0)
    det = np.where(flat, 1, det)
    b1, b2 = (d22 * q1 - d12 * q2) / det, (d11 * q2 - d12 * q1) / det
    b = np.stack([1 - b1 - b2, b1, b2], axis=1)
    b[flat] = 1 / 3
    return b


def _closest_barycentrics(t: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Barycentrics [P, 3] of the closest points of triangles t to p."""
    b = _plane_barycentrics(t, p)
    outside = ~(b >= 0).all(1)
    best = np.full(len(b), np.inf)
    for i in range(3):
        j = (i + 1) % 3
        e = t[:, j] - t[:, i]
        length2 = _dot(e, e)
        s = np.clip(np.divide(_dot(p - t[:, i], e), length2, out=np.zeros_like(length2), where=length2 > 0), 0, 1)
        gap = p - (t[:, i] + e * s[:, None])
        better = outside & (_dot(gap, gap) < best)
        best[better] = _dot(gap, gap)[better]
        b[better] = 0
        b[better, i], b[better, j] = 1 - s[better], s[better]
    return b


def clipped_area(t: np.ndarray, lower: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area [P] and centroid [P, 3] of the parts of triangles t [P, 3, 3] in the boxes [lower, lower + size]."""
    num = len(t)
    poly = np.zeros((num, MAX_POLYGON, 3))
    poly[:, :3] = t - lower[:, None]
    n = np.full(num, 3)
    for plane in range(6):
        a, upper = plane >> 1, plane & 1
        inside_distance = size[a] - poly[:, :, a] if upper else poly[:, :, a]
        new, m = np.zeros_like(poly), np.zeros(num, np.int64)
        for i in range(MAX_POLYGON):
            used = np.nonzero(i < n)[0]
            j = (i + 1) % n[used]
            p, q = poly[used, i], poly[used, j]
            dp, dq = inside_distance[used, i], inside_distance[used, j]
            inside = (dp >= 0) & (m[used] < MAX_POLYGON)
            keep = used[inside]
            new[keep, m[keep]] = p[inside]
            m[keep] += 1
            cut = ((dp >= 0) != (dq >= 0)) & (m[used] < MAX_POLYGON)
            f = (dp[cut] / (dp[cut] - dq[cut]))[:, None]
            new[used[cut], m[used[cut]]] = p[cut] + (q[cut] - p[cut]) * f
            m[used[cut]] += 1
        poly, n = new, m
    normal = _normalized(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]))
    area, moment = np.zeros(num), np.zeros((num, 3))
    for i in range(1, MAX_POLYGON - 1):
        in_use = i + 1 < n
        double = np.abs(_dot(np.cross(poly[:, i] - poly[:, 0], poly[:, i + 1] - poly[:, 0]), normal))
        part = np.where(in_use, 0.5 * double, 0)
        area += part
        moment += (poly[:, 0] + poly[:, i] + poly[:, i + 1]) * (part / 3)[:, None]
    return area, lower + moment / np.where(area > 0, area, 1)[:, None]


class _UvFrame(NamedTuple):
    """How one UV channel lies on the triangle of each pair."""

    uv: np.ndarray  # [P, 2], v down
    footprint: np.ndarray  # [P] size of the voxel in UV units
    tangent: np.ndarray  # [P, 3]
    bitangent: np.ndarray  # [P, 3]
    degenerate: np.ndarray  # [P] bool


def _uv_frame(
    e1: np.ndarray, e2: np.ndarray, uvs: np.ndarray, b: np.ndarray, voxel: float, published: bool
) -> _UvFrame:
    """Frame of corner UVs [P, 3, 2] over triangle edges e1, e2 [P, 3] at barycentrics b [P, 3]."""
    uv = (b[:, :, None] * uvs).sum(1)
    uv[:, 1] = 1 - uv[:, 1]
    (du1, dv1), (du2, dv2) = (uvs[:, 1] - uvs[:, 0]).T, (uvs[:, 2] - uvs[:, 0]).T
    det = du1 * dv2 - dv1 * du2
    if published:
        degenerate = np.abs(det) < 1e-6
    else:
        degenerate = ~(np.abs(det) > 1e-7 * (du1**2 + dv1**2 + du2**2 + dv2**2))
    t, bt = e1 * dv2[:, None] - e2 * dv1[:, None], e2 * du1[:, None] - e1 * du2[:, None]
    lengths = np.sqrt(np.sqrt(_dot(t, t)) * np.sqrt(_dot(bt, bt)))
    with np.errstate(divide="ignore", invalid="ignore"):
        footprint = np.where(degenerate, voxel / 1e6, voxel * np.abs(det) / lengths)
    side = np.where((det < 0) & (not published), -1.0, 1.0)[:, None]
    tangent = np.where(degenerate[:, None], [1.0, 0, 0], _normalized(t) * side)
    bitangent = np.where(degenerate[:, None], [0, 1.0, 0], _normalized(bt) * side)
    return _UvFrame(uv, footprint, tangent, bitangent, degenerate)


def _shade(
    corners: np.ndarray,  # [P, 3, 3]
    normals: np.ndarray,  # [P, 3, 3]
    uvs: np.ndarray,  # [P, 3, K, 2]
    colors: np.ndarray | None,  # [P, 3, 4]
    material: np.ndarray,  # [P]
    b: np.ndarray,  # [P, 3]
    factors: np.ndarray,
    slots: np.ndarray,
    textures: Sequence[PackedTexture],
    voxel: float,
    level_offset: float,
    published: bool,
) -> np.ndarray:  # [P, 12]
    """Material of each pair at barycentrics b."""
    normal = (b[:, :, None] * normals).sum(1)
    color = np.ones((len(b), 4)) if colors is None else (b[:, :, None] * colors).sum(1)
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    frames = [_uv_frame(e1, e2, uvs[:, :, k], b, voxel, published) for k in range(uvs.shape[2])]

    def look(slot: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Texels [P, channels] (1 without texture), and where there is one."""
        out = np.ones((len(b), channels))
        texture, channel = slots[material, slot], slots[material, slot + 6]
        for k, j in np.unique(np.stack([texture, channel], 1)[texture >= 0], axis=0):
            use = (texture == k) & (channel == j)
            out[use] = sample_texture(textures[k], frames[j].uv[use], frames[j].footprint[use], level_offset)
        return out, texture >= 0

    f = factors[material]
    mode = slots[material, 0]
    out = np.empty((len(b), 12))
    out[:, 0:3] = f[:, 0:3] * color[:, :3] * look(BASE_COLOR, 3)[0]
    out[:, 3:4] = f[:, 4:5] * look(METALLIC, 1)[0]
    out[:, 4:5] = f[:, 5:6] * look(ROUGHNESS, 1)[0]
    out[:, 5:8] = f[:, 6:9] * look(EMISSIVE, 3)[0]
    alpha = f[:, 3] * color[:, 3] * look(ALPHA, 1)[0][:, 0]
    alpha = np.where(mode == 1, (alpha >= f[:, 9]).astype(np.float64), alpha)
    out[:, 8] = np.where(mode == 0, 1.0, alpha)
    if not published:
        normal = _normalized(normal)
        missing = _dot(normal, normal) == 0
        normal[missing] = _normalized(np.cross(e1, e2))[missing]
    texel, mapped = look(NORMAL, 3)
    x, y, z = np.split(2 * texel - 1, 3, axis=1)
    out[:, 9:12] = normal
    for j, frame in enumerate(frames):
        use = mapped & (slots[material, NORMAL + 6] == j)
        if not published:
            use = use & ~frame.degenerate
        out[use, 9:12] = _normalized(frame.tangent * x + frame.bitangent * y + normal * z)[use]
    return out


def textured_triangles_to_attr(
    triangles: np.ndarray,  # [T, 3, 3] float32 box-relative
    normals: np.ndarray,  # [T, 3, 3] float32
    uvs: np.ndarray,  # [T, 3, K, 2] float32
    colors: np.ndarray,  # [T, 3, 4] or [0, 3, 4] float32
    material_ids: np.ndarray,  # [T] int32
    factors: np.ndarray,  # [M, 10]
    slots: np.ndarray,  # [M, 13]
    textures: Sequence[PackedTexture],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    mip_level_offset: float,
    published: bool,
) -> tuple[np.ndarray, np.ndarray]:  # [N, 3] int32, [N, 12] float32
    """Attributes of the voxels of textured triangles; arrays as `o_voxel.convert.materials.pack_materials` makes them.

    Columns: base colour 3, metallic, roughness, emissive 3, alpha, normal 3.
    """
    size, count = np.asarray(voxel_size, np.float32).astype(np.float64), np.asarray(grid_size, np.int64)
    corners = triangles.astype(np.float64)
    crossings = find_crossings(corners, size, count, published)
    voxels = voxel_rows(crossings, count)
    num_voxels = len(voxels.coords)
    if num_voxels == 0:
        return voxels.coords, np.zeros((0, 12), np.float32)

    pairs = np.stack([np.repeat(crossings.triangle, 4), voxels.around.reshape(-1)], axis=1)
    if not published:
        rows, tri = find_overlaps(corners, voxels, size, count, False)
        pairs = np.concatenate([pairs, np.stack([tri, rows], axis=1)])
    tri, rows = np.unique(pairs, axis=0).T

    t = corners[tri]
    center = (voxels.coords[rows] + 0.5) * size
    if published:
        normal = _normalized(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]))
        weight = 1 - _dot(center - t[:, 0], normal)
        b = _plane_barycentrics(t, center)
    else:
        area, point = clipped_area(t, voxels.coords[rows] * size, size)
        touch = 1e-9 * size.max() ** 2  # weight of a triangle that meets the voxel without area
        weight = np.maximum(area, touch)
        b = _closest_barycentrics(t, np.where((area > touch)[:, None], point, center))
    values = _shade(
        t,
        normals[tri].astype(np.float64),
        uvs[tri].astype(np.float64),
        colors[tri].astype(np.float64) if len(colors) else None,
        material_ids[tri],
        b,
        factors,
        slots,
        textures,
        float(size.max()),
        mip_level_offset,
        published,
    )
    weights = np.repeat(weight[:, None], 12, axis=1)
    if not published:
        weights[:, 0:3] *= values[:, 8:9] + 1e-4  # colour counts by what is visible of it
    sums, totals = np.zeros((num_voxels, 12)), np.zeros((num_voxels, 12))
    np.add.at(sums, rows, weights * values)
    np.add.at(totals, rows, weights)
    out = sums / totals
    if not published:
        out[:, 9:12] = _normalized(out[:, 9:12])
    return voxels.coords, out.astype(np.float32)
