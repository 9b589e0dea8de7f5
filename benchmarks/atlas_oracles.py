"""Measures of texture atlases: charts, thin ones, overlap, use; NumPy only.

A chart is a set of faces joined by shared vertex numbers (a glTF file splits vertices along seams). A chart is thin if
its narrowest extent, over 12 directions, is below 4 texels or a tenth of its longest; a sliver if below 4 texels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mesh_oracles import face_components

__all__ = ["atlas_figures", "chart_labels", "texel_counts"]

THIN_TEXELS, THIN_RATIO = 4.0, 0.1


def chart_labels(faces: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of charts and the chart of each face [F]."""
    return face_components(faces, by="vertex")


def texel_counts(uv: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """How many faces cover each texel centre strictly [size, size] int32; v runs down the rows."""
    corner = uv[faces].astype(np.float64) * size - 0.5  # texel centres at integers
    low = np.clip(np.ceil(corner.min(1)), 0, size - 1).astype(np.int64)
    high = np.clip(np.floor(corner.max(1)), 0, size - 1).astype(np.int64)
    span = np.maximum(high - low + 1, 0)
    number = span[:, 0] * span[:, 1]
    counts = np.zeros(size * size, dtype=np.int32)
    order = np.flatnonzero(number > 0)
    at = 0
    while at < len(order):
        stop = at + max(1, int(np.searchsorted(np.cumsum(number[order[at:]]), 4_000_000)))
        rows = order[at:stop]
        face = rows.repeat(number[rows])
        local = np.arange(len(face)) - np.repeat(np.cumsum(number[rows]) - number[rows], number[rows])
        x, y = low[face, 0] + local % span[face, 0], low[face, 1] + local // span[face, 0]
        c = corner[face]
        d = [
            (c[:, (k + 1) % 3, 0] - c[:, k, 0]) * (y - c[:, k, 1])
            - (c[:, (k + 1) % 3, 1] - c[:, k, 1]) * (x - c[:, k, 0])
            for k in range(3)
        ]
        eps = 1e-6
        hit = ((d[0] > eps) & (d[1] > eps) & (d[2] > eps)) | ((d[0] < -eps) & (d[1] < -eps) & (d[2] < -eps))
        np.add.at(counts, (y * size + x)[hit], 1)
        at = stop
    return counts.reshape(size, size)


def atlas_figures(uv: np.ndarray, faces: np.ndarray, size: int) -> dict[str, Any]:
    """Charts, share of thin charts (by number and by area), use and overlap of the atlas, faces without UV area.

    uv: [V, 2]; v direction does not matter. `outside_uv` counts vertices beyond the unit square.
    """
    count, label = chart_labels(faces)
    corner = uv[faces].astype(np.float64) * size
    e1, e2 = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = np.abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]) / 2
    chart_area = np.bincount(label, weights=area, minlength=count)
    extents = []
    for k in range(12):
        turn = np.pi * k / 12
        along = corner @ np.array([np.cos(turn), np.sin(turn)])
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(low, label, along.min(1))
        np.maximum.at(high, label, along.max(1))
        extents.append(high - low)
    extent = np.array(extents)
    thin = (extent.min(0) < THIN_TEXELS) | (extent.min(0) < THIN_RATIO * extent.max(0))
    counts = texel_counts(uv, faces, size)
    covered = int((counts > 0).sum())
    return {
        "charts": count,
        "thin_charts": float(thin.mean()),
        "sliver_charts": float((extent.min(0) < THIN_TEXELS).mean()),
        "thin_area": float(chart_area[thin].sum() / max(chart_area.sum(), 1e-300)),
        "largest_chart_area": float(chart_area.max() / max(chart_area.sum(), 1e-300)),
        "atlas_use": float(area.sum() / size**2),
        "overlap": float((counts > 1).sum() / max(covered, 1)),
        "faces_without_texels": float((area < 1e-3).mean()),
        "outside_uv": int(((uv < -1e-6) | (uv > 1 + 1e-6)).any(1).sum()),
    }
