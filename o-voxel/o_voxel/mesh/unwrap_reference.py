"""Chart cutting and packing in plain NumPy: the fallback of `unwrap` where the compiled core is not built."""

from __future__ import annotations

import numpy as np

from o_voxel.mesh.connectivity import connected_components
from o_voxel.mesh.normals import numpy_face_crosses

__all__ = ["box_charts", "shelf_pack"]


def box_charts(v: np.ndarray, f: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected faces that look along one axis of the box become a chart: -> (label [F], axis [K, 3]).

    Cheap and never stuck; unlike the compiled clustering it does not cut projections that overlap themselves.
    """
    n = numpy_face_crosses(v, f)
    along = np.argmax(np.abs(n), axis=1)
    direction = along * 2 + (np.take_along_axis(n, along[:, None], 1)[:, 0] < 0)
    same = direction[pairs[:, 0]] == direction[pairs[:, 1]]
    roots, label = np.unique(connected_components(len(f), pairs[same]), return_inverse=True)
    axis = np.zeros((len(roots), 3))
    axis[np.arange(len(roots)), direction[roots] // 2] = np.where(direction[roots] % 2, -1.0, 1.0)
    return label.reshape(-1), axis


def shelf_pack(size: np.ndarray, resolution: int, padding: int) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of rectangles, tallest first, at the largest scale that bisection finds; contract of `mesh_pack_charts`."""
    rotated = (size[:, 1] > size[:, 0]).astype(np.uint8)  # lay every chart down
    lying = np.where(rotated[:, None] == 1, size[:, ::-1], size)
    order = np.lexsort((np.arange(len(size)), -lying[:, 0], -lying[:, 1]))

    def attempt(scale: float) -> tuple[np.ndarray, np.ndarray] | None:
        texels = (np.ceil(lying * scale) + 1 + 2 * padding).astype(np.int64)
        if texels.max() > resolution or texels.prod(axis=1).sum() > resolution**2:
            return None
        x, y = np.zeros(len(size), np.int64), np.zeros(len(size), np.int64)
        at, row, height = 0, 0, 0
        for i in order.tolist():
            w, h = int(texels[i, 0]), int(texels[i, 1])
            if at + w > resolution:
                at, row, height = 0, row + height, 0
            height = max(height, h)
            if row + height > resolution:
                return None
            x[i], y[i] = at, row
            at += w
        return x, y

    low, best = 0.0, attempt(0.0)
    if best is None:
        raise ValueError("charts do not fit")
    area, longest = float(lying.prod(axis=1).sum()), float(lying.max())
    high = resolution / np.sqrt(area) if area > 0 else resolution / max(longest, 1e-300)
    for _ in range(18):
        middle = (low + high) / 2
        found = attempt(middle)
        low, high, best = (middle, high, found) if found is not None else (low, middle, best)
    return low, best[0], best[1], rotated
