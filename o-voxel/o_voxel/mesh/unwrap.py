"""UV unwrapping in bounded time: cut into few charts, lay them flat, pack them at the real texture resolution.

K charts. UVs follow the texture: u to the right along columns, v down along rows, (0, 0) the corner of texel (0, 0).
"""

from __future__ import annotations

import logging
import time
from typing import Literal, NamedTuple

import numpy as np

from o_voxel._native import native_module, resolve_backend
from o_voxel.mesh import unwrap_reference
from o_voxel.mesh._arrays import ArrayLike, Border, enter, to_float64, to_int32
from o_voxel.mesh.normals import numpy_face_areas
from o_voxel.mesh.unwrap_measure import chart_density, measure
from o_voxel.mesh.unwrap_xatlas import xatlas_charts

__all__ = ["UnwrapResult", "texture_padding", "unwrap"]

logger = logging.getLogger("o_voxel.mesh")

Method = Literal["auto", "charts", "xatlas"]
Level = Literal["full", "fast", "faces", "xatlas", "reference"]

XATLAS_FACE_BUDGET = 8000  # of "auto" without the compiled core: phases of xatlas are quadratic in the worst case
MOST_BITMAP_CHARTS = 20000  # more are packed as rectangles
LEAST_USE = 0.1  # of the texture: where padding leaves less to the charts, it is halved
ROUNDNESS = 1.0  # weight of the outline of charts against the spread of their normals
PROJECT_COS = 0.87  # charts whose normals all lie within 30 degrees of the mean are projected, others relaxed
MAX_STRETCH = 1.15  # L2 stretch of one chart, above which it is cut
ROUNDS = 10  # of the as-rigid-as-possible map


class UnwrapResult(NamedTuple):
    vertices: ArrayLike  # [V', 3], vertices on chart borders repeated
    faces: ArrayLike  # [F, 3], rows as in the input
    uvs: ArrayLike  # [V', 2] in [0, 1]
    vmap: ArrayLike  # [V'] int64, input vertex of each output vertex
    chart: ArrayLike  # [F] int64, chart of each face
    num_charts: int
    texels_per_unit: float  # texel density, equal on all charts
    thin_chart_share: float  # of the charts: mean width 2 area / perimeter below 3 texels
    thin_area_share: float  # of the surface that lies in them
    use: float  # share of the texture's area that charts cover
    stretch: float  # L2 stretch over all faces: 1 is an isometry
    density_range: tuple[float, float]  # texel density of faces relative to the mean: 1st and 99th percentile by area
    padding: int  # texels kept around each chart, at most what was asked for
    level: Level  # how it was made


def texture_padding(resolution: int) -> int:
    """Texels around a chart that keep the mip level of 256^2 texels free of seams: 2^level = resolution / 256.

    A sample on the border of a chart at mip level l reads texels of level 0 up to 2^l away with any weight that shows
    (6 % beyond that), so each chart needs 2^l texels of its own colour around it: level 3 at 2048^2, 2 at 1024^2.
    """
    return min(16, max(1, resolution // 256))


def unwrap(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    *,
    resolution: int = 1024,
    padding: int = 2,
    method: Method = "auto",
    max_cone_angle: float = 65.0,
    time_budget: float = 60.0,
) -> UnwrapResult:
    """Give every face a place of its own in a square texture of `resolution` texels.

    "charts" clusters faces into charts whose normals spread no more than those of a cone of half angle
    `max_cone_angle` (degrees), lays each flat (projection, else an as-rigid-as-possible map; cut where it would cover
    itself), and packs the charts as bitmaps: no overlap, no mirrored face. "xatlas" leaves segmentation and
    parametrisation to xatlas, in time that nothing bounds. "auto" is "charts", which gave fewer and fuller charts on
    the meshes measured (benchmarks/bench_unwrap.py); without the compiled core it is xatlas up to 8000 faces.

    All charts get one texel density by area and keep `padding` texels around them, so that 2 * padding lie between
    two. Where that leaves less than a tenth of the texture to the charts, padding is halved until it does not, and
    with more charts than texels charts share texels; the result says which padding was kept. Runs on CPU
    threads; the result is of the kind and on the device of the input.

    Seconds beyond `time_budget` are spent on cheaper means only; `level` of the result says how far it came: "full";
    "fast" (charts packed as rectangles); "faces" (every face a chart of its own); "xatlas"; "reference" (without the
    compiled core). The result depends on the input alone unless the budget runs out.

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
    if not time_budget > 0:
        raise ValueError(f"time_budget must be > 0 seconds, got {time_budget}")
    mesh = enter(vertices, faces)
    if len(mesh.faces) == 0:
        raise ValueError("faces must not be empty: there is nothing to unwrap")
    deadline = time.monotonic() + time_budget
    v, f = to_float64(mesh.vertices), to_int32(mesh.faces)
    if method == "auto":
        native = resolve_backend("auto") == "native"
        method = "charts" if native or len(f) > XATLAS_FACE_BUDGET else "xatlas"
    if method == "xatlas":
        level: Level = "xatlas"
        label, corner, vertex, flat = xatlas_charts(v, f)
        flat = flat * chart_density(v, f, label, corner, flat)[:, None]
    elif resolve_backend("auto") == "native":
        level = "full"
        label, corner, vertex, flat, effort = _native_charts(v, f, resolution, max_cone_angle, deadline)
        level = ("full", "fast", "faces")[effort]
    else:
        level = "reference"
        label, corner, vertex, flat = unwrap_reference.box_charts(v, f)
        flat = flat * chart_density(v, f, label, corner, flat)[:, None]
    return _assemble(mesh, v, f, label, corner, vertex, flat, resolution, padding, level, deadline)


def _native_charts(
    v: np.ndarray, f: np.ndarray, resolution: int, max_cone_angle: float, deadline: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Literal[0, 1, 2]]:
    native = native_module()
    assert native is not None
    texel = float(np.sqrt(numpy_face_areas(v, f).sum() / (0.7 * resolution**2)))
    spread = (1 - np.cos(np.deg2rad(max_cone_angle))) / 2  # of a spherical cap
    seconds = 0.7 * max(deadline - time.monotonic(), 0.0)  # the rest is for packing
    return native.unwrap_charts(v, f, float(spread), ROUNDNESS, texel, PROJECT_COS, MAX_STRETCH, ROUNDS, seconds)


def _assemble(
    mesh: Border,
    v: np.ndarray,
    f: np.ndarray,
    label: np.ndarray,  # [F]
    corner: np.ndarray,  # [F, 3] rows of vertex and flat
    vertex: np.ndarray,  # [V'] input vertices
    flat: np.ndarray,  # [V', 2] in units of length
    resolution: int,
    padding: int,
    level: Level,
    deadline: float,
) -> UnwrapResult:
    """Pack charts of one density and put the result together."""
    num_charts = int(label.max()) + 1
    fast = num_charts > MOST_BITMAP_CHARTS
    seconds = max(deadline - time.monotonic(), 0.0)
    scale, texel, side, kept, fast = _pack(flat, corner, label, num_charts, resolution, padding, fast, seconds)
    if level == "full" and fast:
        level = "fast"
    uvs = np.clip(texel / side, 0.0, 1.0)
    quality = measure(v, f, uvs * resolution, corner, label, num_charts)
    return UnwrapResult(
        vertices=mesh.leave_vertices(mesh.vertices[vertex]),
        faces=mesh.leave_faces(corner),
        uvs=mesh.leave_vertices(uvs),
        vmap=mesh.leave_index(vertex.astype(np.int64)),
        chart=mesh.leave_index(label.astype(np.int64)),
        num_charts=num_charts,
        texels_per_unit=float(scale * resolution / side),
        thin_chart_share=quality.thin_charts,
        thin_area_share=quality.thin_area,
        use=quality.area / resolution**2,
        stretch=quality.stretch,
        density_range=quality.density_range,
        padding=kept,
        level=level,
    )


def _pack(
    flat: np.ndarray,  # [V', 2] in units of length, of the area in space
    corner: np.ndarray,
    label: np.ndarray,
    num_charts: int,
    resolution: int,
    padding: int,
    fast: bool,
    seconds: float,
) -> tuple[float, np.ndarray, int, int, bool]:
    """-> (texels per unit, positions in texels [V', 2], side in texels, padding kept, packed as rectangles)."""
    native = native_module() if resolve_backend("auto") == "native" else None
    side, pad = resolution, min(padding, resolution)
    e, g = flat[corner[:, 1]] - flat[corner[:, 0]], flat[corner[:, 2]] - flat[corner[:, 0]]
    area = float(np.abs(e[:, 0] * g[:, 1] - e[:, 1] * g[:, 0]).sum()) / 2
    while True:
        if native is not None:
            scale, texel, bitmaps = native.unwrap_pack(
                to_float64(flat), corner, label, num_charts, side, pad, fast, seconds
            )
            fast = not bitmaps
        else:
            scale, texel = unwrap_reference.shelf_pack(flat, corner, label, num_charts, side, pad)
            fast = True
        if scale > 0 and (pad == 0 or area * scale**2 >= LEAST_USE * side**2):
            return scale, texel, side, pad, fast
        # Padding takes nearly all texels: less of it. More charts than texels: a finer virtual grid.
        side, pad = (side, pad // 2) if pad > 0 else (side * 2, 0)
