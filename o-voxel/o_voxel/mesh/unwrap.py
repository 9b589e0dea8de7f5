"""UV unwrapping in bounded time: cut into charts, flatten, pack at the real texture resolution.

K charts. UVs follow the texture: u to the right along columns, v down along rows, (0, 0) the corner of texel (0, 0).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from o_voxel._native import native_module, resolve_backend
from o_voxel.mesh import unwrap_reference
from o_voxel.mesh._arrays import ArrayLike, enter, to_float64, to_int32
from o_voxel.mesh.connectivity import build_edges
from o_voxel.mesh.normals import numpy_face_areas, numpy_face_crosses, numpy_normalize

__all__ = ["UnwrapResult", "unwrap"]

XATLAS_FACE_BUDGET = 8000  # above it the phases of xatlas that are quadratic in the worst case are not entered
NUM_ANGLES = 30  # orientations tried for the smallest bounding rectangle


class UnwrapResult(NamedTuple):
    vertices: ArrayLike  # [V', 3], vertices on chart borders repeated
    faces: ArrayLike  # [F, 3], rows as in the input
    uvs: ArrayLike  # [V', 2] in [0, 1]
    vmap: ArrayLike  # [V'] int64, input vertex of each output vertex
    chart: ArrayLike  # [F] int64, chart of each face
    num_charts: int
    texels_per_unit: float  # texel density, equal on all charts


def unwrap(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    *,
    resolution: int = 1024,
    padding: int = 2,
    method: Literal["auto", "charts", "xatlas"] = "auto",
    max_cone_angle: float = 50.0,
) -> UnwrapResult:
    """Give every face a place of its own in a square texture of `resolution` texels, `padding` texels apart.

    "charts" clusters faces into charts whose normals lie within `max_cone_angle` degrees of an axis, projects each
    along its axis, and cuts projections that overlap: O(F log F) on any input. "xatlas" leaves segmentation and
    parametrisation (conformal where projection stretches) to xatlas. "auto" takes xatlas up to 8000 faces. All charts
    get one texel density by area. Where the charts cannot fit with this padding, padding is given up first.

    Raises ValueError on an empty mesh or arguments out of range.
    """
    if not isinstance(resolution, int) or not 1 <= resolution <= 32768:
        raise ValueError(f"resolution must be an int in [1, 32768], got {resolution!r}")
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"padding must be an int >= 0, got {padding!r}")
    if method not in ("auto", "charts", "xatlas"):
        raise ValueError(f"method must be 'auto', 'charts' or 'xatlas', got {method!r}")
    if not 0 < max_cone_angle < 85:
        raise ValueError(f"max_cone_angle must lie in (0, 85) degrees, got {max_cone_angle}")
    mesh = enter(vertices, faces)
    if len(mesh.faces) == 0:
        raise ValueError("faces must not be empty: there is nothing to unwrap")
    v, f = to_float64(mesh.vertices), mesh.faces
    if method == "auto":
        method = "xatlas" if len(f) <= XATLAS_FACE_BUDGET else "charts"
    label, flat = _xatlas_charts(v, f) if method == "xatlas" else _planar_charts(v, f, resolution, max_cone_angle)
    return _assemble(mesh, v, f, label, flat, resolution, padding)


def _planar_charts(
    v: np.ndarray, f: np.ndarray, resolution: int, max_cone_angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Charts by clustering: -> (label [F], flat corner positions [F, 3, 2] in units of length)."""
    table = build_edges(f)
    ids, sides = table.manifold_pairs()
    start = f.reshape(-1)[sides]
    opposite = start[:, 0] != start[:, 1]  # only neighbours with one winding belong together
    edge = table.edges[ids[opposite]]
    pairs = np.ascontiguousarray(sides[opposite] // 3)
    lengths = np.linalg.norm(v[edge[:, 0]] - v[edge[:, 1]], axis=1)
    area = numpy_face_areas(v, f).sum()
    if resolve_backend("auto") == "native":
        native = native_module()
        assert native is not None
        small = 40.0 * area / resolution**2  # about 25 texels at the usual 60 % of use
        label, axis = native.mesh_cluster_charts(
            v, to_int32(f), pairs, lengths, np.deg2rad(max_cone_angle), np.deg2rad(75.0), 0.02, 0.5, float(small)
        )
        label = label.astype(np.int64)
    else:
        label, axis = unwrap_reference.box_charts(v, f, pairs)
    helper = np.where(np.abs(axis[:, :1]) < 0.6, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    s = numpy_normalize(np.cross(helper, axis))
    t = np.cross(axis, s)
    p = v[f]  # [F, 3, 3]
    flat = np.stack([(p * s[label][:, None]).sum(-1), (p * t[label][:, None]).sum(-1)], axis=-1)
    return label, flat


def _xatlas_charts(v: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Charts by xatlas, unpacked: -> (label [F], flat corner positions [F, 3, 2]); faces it skips become own charts."""
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
    return np.unique(label, return_inverse=True)[1].reshape(-1), flat


def _assemble(
    mesh: object, v: np.ndarray, f: np.ndarray, label: np.ndarray, flat: np.ndarray, resolution: int, padding: int
) -> UnwrapResult:
    """Weld corners inside charts, scale charts to one density, turn them to their smallest rectangle, pack."""
    num_charts = int(label.max()) + 1
    # Corners of one vertex in one chart share a UV; sorted by chart, so that charts are runs of rows.
    key = label[:, None] * len(v) + f  # [F, 3]
    unique, first, inverse = np.unique(key.reshape(-1), return_index=True, return_inverse=True)
    chart, vmap = unique // len(v), unique % len(v)
    uv = flat.reshape(-1, 2)[first]
    new_faces = inverse.reshape(-1, 3)
    starts = np.flatnonzero(np.concatenate([[True], chart[1:] != chart[:-1]]))

    e, g = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    flat_area = np.bincount(label, weights=np.abs(e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]) / 2, minlength=num_charts)
    area = np.bincount(label, weights=numpy_face_areas(v, f), minlength=num_charts)
    density = np.sqrt(np.divide(area, flat_area, out=np.ones(num_charts), where=flat_area > 0))
    uv = uv * density[chart][:, None]

    best = np.full(num_charts, np.inf)
    angle = np.zeros(num_charts)
    for a in np.arange(NUM_ANGLES) * (np.pi / 2 / NUM_ANGLES):
        size = _extent(_rotate(uv, a), starts)[1]
        cost = size[:, 0] * size[:, 1]
        better = cost < best * (1 - 1e-9)
        best[better], angle[better] = cost[better], a
    uv = _rotate(uv, angle[chart])
    low, size = _extent(uv, starts)
    uv = uv - low[chart]

    scale, corner, rotated, side, pad = _pack(size, resolution, padding)
    uv = np.where(rotated[chart][:, None], uv[:, ::-1] * [1.0, 1.0], uv)
    # Exchanging the axes mirrors; undo it, so that all charts keep their handedness.
    turned = rotated.astype(bool)
    if turned.any():
        height = size[:, 0] * scale  # extent along v after the exchange
        mirrored = turned[chart]
        uv[mirrored, 1] = height[chart[mirrored]] / scale - uv[mirrored, 1]
    texel = uv * scale + corner[chart] + pad + 0.5
    uvs = np.clip(texel / side, 0.0, 1.0)
    return UnwrapResult(
        vertices=mesh.leave_vertices(mesh.vertices[vmap]),  # type: ignore[attr-defined]
        faces=mesh.leave_faces(new_faces),  # type: ignore[attr-defined]
        uvs=mesh.leave_vertices(uvs),  # type: ignore[attr-defined]
        vmap=mesh.leave_index(vmap),  # type: ignore[attr-defined]
        chart=mesh.leave_index(label),  # type: ignore[attr-defined]
        num_charts=num_charts,
        texels_per_unit=float(scale * resolution / side),
    )


def _rotate(uv: np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * uv[:, 0] - s * uv[:, 1], s * uv[:, 0] + c * uv[:, 1]], axis=1)


def _extent(uv: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower corner and size of each run of rows."""
    low = np.minimum.reduceat(uv, starts, axis=0)
    return low, np.maximum.reduceat(uv, starts, axis=0) - low


def _pack(size: np.ndarray, resolution: int, padding: int) -> tuple[float, np.ndarray, np.ndarray, int, int]:
    """-> (scale, corner [K, 2], rotated [K], side in packed texels, padding used)."""
    size = to_float64(size)
    if resolve_backend("auto") == "native":
        native = native_module()
        assert native is not None
        pack = native.mesh_pack_charts
    else:
        pack = unwrap_reference.shelf_pack
    side, pad = resolution, padding
    while True:
        try:
            scale, x, y, rotated = pack(size, side, pad)
        except ValueError:  # more charts than texels: less padding, then a finer virtual grid
            side, pad = (side, pad - 1) if pad > 0 else (side * 2, 0)
            continue
        if scale > 0:
            return scale, np.stack([x, y], axis=1).astype(np.float64), rotated.astype(bool), side, pad
        side, pad = (side, pad - 1) if pad > 0 else (side * 2, 0)
