"""Charts by xatlas, which stays selectable as the quality reference; packing is ours in any case."""

from __future__ import annotations

import numpy as np

from o_voxel.mesh.normals import numpy_face_crosses, numpy_normalize

__all__ = ["xatlas_charts"]


def xatlas_charts(v: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """-> (label [F], corner [F, 3], vertex [W], flat [W, 2]); faces that xatlas skips become charts of their own."""
    import xatlas

    extent = float(np.ptp(v[f.reshape(-1)], axis=0).max()) or 1.0
    atlas = xatlas.Atlas()
    # Large coordinates: xatlas drops faces below an absolute area.
    atlas.add_mesh(((v - v.min(0)) * (1000.0 / extent)).astype(np.float32), f.astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution = 256  # its packing is not used; a coarse one is quick
    pack.bilinear = False
    pack.rotate_charts = False
    atlas.generate(xatlas.ChartOptions(), pack)
    _, indices, uv = atlas.get_mesh(0)
    _, chart = atlas.get_mesh_vertex_assignment(0)
    indices = indices.astype(np.int64)
    corner_chart = chart.astype(np.int64)[indices]  # [F, 3]
    flat = uv.astype(np.float64)[indices] * [atlas.width, atlas.height]
    label = corner_chart[:, 0].copy()
    crosses = numpy_face_crosses(v, f)
    e, g = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    flat_area = e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]
    lost = (label >= atlas.chart_count) | (corner_chart != label[:, None]).any(axis=1)
    lost |= (flat_area == 0) & (np.linalg.norm(crosses, axis=1) > 0)
    rows = np.flatnonzero(lost)
    label[rows] = atlas.chart_count + np.arange(len(rows))
    normal = numpy_normalize(crosses[rows])
    p = v[f[rows]]
    s = numpy_normalize(p[:, 1] - p[:, 0])
    t = np.cross(normal, s)
    flat[rows] = np.stack([(p * s[:, None]).sum(-1), (p * t[:, None]).sum(-1)], axis=-1)
    label = np.unique(label, return_inverse=True)[1].reshape(-1)
    e, g = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    turned = np.bincount(label, weights=e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]) < 0  # its v axis points the other way
    flat[..., 1] *= np.where(turned[label], -1.0, 1.0)[:, None]
    # Corners of one vertex in one chart share a UV.
    _, first, corner = np.unique(label[:, None] * len(v) + f, return_index=True, return_inverse=True)
    vertex = f.reshape(-1)[first]
    return label.astype(np.int32), corner.reshape(-1, 3).astype(np.int32), vertex, flat.reshape(-1, 2)[first]
