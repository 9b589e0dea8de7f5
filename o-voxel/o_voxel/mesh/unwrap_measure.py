"""How good an unwrapping is: texel density, stretch, thin charts.

F faces, W flat vertices, K charts; `corner` [F, 3] are rows of the flat positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh.normals import numpy_face_areas

__all__ = ["ChartQuality", "chart_density", "measure"]

THIN_TEXELS = 3.0


class ChartQuality(NamedTuple):
    thin_charts: float  # share of the charts whose mean width, 2 area / perimeter, is below 3 texels
    thin_area: float  # share of the flat area in such charts
    area: float  # of all faces, in square texels
    stretch: float  # L2 stretch of Sander et al., Texture Mapping Progressive Meshes, 2001, Eq. 3: 1 for an isometry
    density_range: tuple[float, float]  # sqrt(flat / space area) over its mean, 1st and 99th percentile by area


def chart_density(v: np.ndarray, f: np.ndarray, label: np.ndarray, corner: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Factor [W] for each flat vertex that makes the flat area of its chart equal to its area in space."""
    space = np.bincount(label, weights=numpy_face_areas(v, f))
    plane = np.bincount(label, weights=np.abs(_signed_areas(flat, corner)))
    factor = np.sqrt(np.divide(space, plane, out=np.ones(len(space)), where=(plane > 0) & (space > 0)))
    chart = np.zeros(len(flat), dtype=label.dtype)
    chart[corner.reshape(-1)] = np.repeat(label, 3)
    return factor[chart]


def measure(
    v: np.ndarray,  # [V, 3]
    f: np.ndarray,  # [F, 3]
    texel: np.ndarray,  # [W, 2] in texels
    corner: np.ndarray,
    label: np.ndarray,  # [F]
    num_charts: int,
    *,
    backend: Backend = "auto",
) -> ChartQuality:
    """The figures of an unwrapping; the compiled core gives percentiles to 0.2 %."""
    if resolve_backend(backend) == "native":
        native = native_module()
        assert native is not None
        thin, thin_area, texels, stretch, low, high = native.unwrap_measure(
            v, f, texel, corner, label, num_charts, THIN_TEXELS
        )
        return ChartQuality(thin, thin_area, texels, stretch, (low, high))
    flat = np.abs(_signed_areas(texel, corner))
    space = numpy_face_areas(v, f)
    # Borders of charts: edges of flat vertices that one face has.
    ends = np.stack([corner, np.roll(corner, -1, axis=1)], axis=-1).reshape(-1, 2).astype(np.int64)
    key = ends.min(1) * len(texel) + ends.max(1)
    _, first, count = np.unique(key, return_index=True, return_counts=True)
    border = first[count == 1]
    length = np.linalg.norm(texel[ends[border, 0]] - texel[ends[border, 1]], axis=1)
    perimeter = np.bincount(label[border // 3], weights=length, minlength=num_charts)
    area = np.bincount(label, weights=flat, minlength=num_charts)
    thin = 2 * area < THIN_TEXELS * perimeter
    total = float(flat.sum())
    good = (flat > 1e-12 * max(total, 1e-300)) & (space > 0)
    if not good.any():
        return ChartQuality(float(thin.mean()), 1.0, total, 1.0, (1.0, 1.0))
    scale = np.sqrt(flat[good].sum() / space[good].sum())
    density = np.sqrt(flat[good] / space[good]) / scale
    order = np.argsort(density, kind="stable")
    weight = np.cumsum(space[good][order])
    low, high = density[order[np.searchsorted(weight, weight[-1] * np.array([0.01, 0.99])).clip(max=len(order) - 1)]]
    return ChartQuality(
        thin_charts=float(thin.mean()),
        thin_area=float(area[thin].sum() / total) if total > 0 else 1.0,
        area=total,
        stretch=_l2_stretch(v, f[good], texel / scale, corner[good], space[good]),
        density_range=(float(low), float(high)),
    )


def _signed_areas(flat: np.ndarray, corner: np.ndarray) -> np.ndarray:
    p = flat[corner]
    e, g = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    return (e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]) / 2


def _l2_stretch(v: np.ndarray, f: np.ndarray, flat: np.ndarray, corner: np.ndarray, space: np.ndarray) -> float:
    p, q = v[f], flat[corner]
    s, t = q[..., 0], q[..., 1]
    twice = 2 * _signed_areas(flat, corner)[:, None]
    qs = (p * np.stack([t[:, 1] - t[:, 2], t[:, 2] - t[:, 0], t[:, 0] - t[:, 1]], 1)[..., None]).sum(1) / twice
    qt = (p * np.stack([s[:, 2] - s[:, 1], s[:, 0] - s[:, 2], s[:, 1] - s[:, 0]], 1)[..., None]).sum(1) / twice
    squared = ((qs * qs).sum(1) + (qt * qt).sum(1)) / 2
    return float(np.sqrt((np.minimum(squared, 1e4) * space).sum() / space.sum()))
