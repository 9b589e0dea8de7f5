"""Chart cutting and packing in plain NumPy: the fallback of `unwrap` where the compiled core is not built."""

from __future__ import annotations

import numpy as np

from o_voxel.mesh.connectivity import build_edges, connected_components
from o_voxel.mesh.normals import numpy_face_crosses, numpy_normalize

__all__ = ["box_charts", "shelf_pack"]


def box_charts(v: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Connected faces that look along one axis of the box become a chart.

    -> (label [F], corner [F, 3], vertex [W], flat [W, 2]). Cheap and never stuck; unlike the compiled clustering it
    does not cut projections that overlap themselves.
    """
    table = build_edges(f.astype(np.int64))
    _, sides = table.manifold_pairs()
    start = f.reshape(-1)[sides]
    pairs = np.ascontiguousarray(sides[start[:, 0] != start[:, 1]] // 3)  # only neighbours with one winding
    n = numpy_face_crosses(v, f)
    along = np.argmax(np.abs(n), axis=1)
    direction = along * 2 + (np.take_along_axis(n, along[:, None], 1)[:, 0] < 0)
    same = direction[pairs[:, 0]] == direction[pairs[:, 1]]
    roots, label = np.unique(connected_components(len(f), pairs[same]), return_inverse=True)
    label = label.reshape(-1)
    axis = np.zeros((len(roots), 3))
    axis[np.arange(len(roots)), direction[roots] // 2] = np.where(direction[roots] % 2, -1.0, 1.0)
    helper = np.where(np.abs(axis[:, :1]) < 0.6, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    s = numpy_normalize(np.cross(helper, axis))
    t = np.cross(axis, s)
    _, first, corner = np.unique(label[:, None] * len(v) + f, return_index=True, return_inverse=True)
    vertex, chart = f.reshape(-1)[first], label[first // 3]
    flat = np.stack([(v[vertex] * s[chart]).sum(1), (v[vertex] * t[chart]).sum(1)], axis=1)
    return label.astype(np.int32), corner.reshape(-1, 3).astype(np.int32), vertex, flat


def shelf_pack(
    flat: np.ndarray, corner: np.ndarray, label: np.ndarray, num_charts: int, resolution: int, padding: int
) -> tuple[float, np.ndarray]:
    """Rows of rectangles, tallest first, at the largest scale that bisection finds; contract of `unwrap_pack`."""
    chart = np.zeros(len(flat), dtype=np.int64)
    chart[corner.reshape(-1)] = np.repeat(label, 3)
    low, high = np.full((num_charts, 2), np.inf), np.full((num_charts, 2), -np.inf)
    np.minimum.at(low, chart, flat)
    np.maximum.at(high, chart, flat)
    size = high - low
    turned = size[:, 1] > size[:, 0]  # lay every chart down: (x, y) -> (height - y, x)
    lying = np.where(turned[:, None], size[:, ::-1], size)
    local = flat - low[chart]
    quarter = np.stack([size[chart, 1] - local[:, 1], local[:, 0]], axis=1)
    local = np.where(turned[chart][:, None], quarter, local)
    order = np.lexsort((np.arange(num_charts), -lying[:, 0], -lying[:, 1]))

    def attempt(scale: float) -> np.ndarray | None:
        texels = (np.floor(lying * scale) + 1 + 2 * padding).astype(np.int64)
        if texels.max() > resolution or texels.prod(axis=1).sum() > resolution**2:
            return None
        place = np.zeros((num_charts, 2), dtype=np.int64)
        at, row, height = 0, 0, 0
        for i in order.tolist():
            w, h = int(texels[i, 0]), int(texels[i, 1])
            if at + w > resolution:
                at, row, height = 0, row + height, 0
            height = max(height, h)
            if row + height > resolution:
                return None
            place[i] = at, row
            at += w
        return place

    area, longest = float(lying.prod(axis=1).sum()), float(lying.max())
    high_scale = resolution / np.sqrt(area) if area > 0 else resolution / max(longest, 1e-300)
    low_scale, best = high_scale * 1e-6, attempt(high_scale * 1e-6)
    if best is None:
        return -1.0, flat
    for _ in range(18):
        middle = (low_scale + high_scale) / 2
        found = attempt(middle)
        low_scale, high_scale, best = (middle, high_scale, found) if found is not None else (low_scale, middle, best)
    return low_scale, local * low_scale + best[chart] + padding
