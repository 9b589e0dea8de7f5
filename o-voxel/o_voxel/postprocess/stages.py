"""The geometric stages of an export, on the device of their input.

V vertices, F faces.
"""

from __future__ import annotations

from torch import Tensor

from o_voxel.mesh import UnwrapResult, unwrap, vertex_normals
from o_voxel.postprocess.material import SOLID
from o_voxel.postprocess.options import ExportOptions
from o_voxel.postprocess.prepare import Clock, PreparedSurface, SeeThrough, SurfaceGrid, prepare_surface
from o_voxel.postprocess.volume import AttributeVolume

__all__ = ["prepare", "unwrap_surface"]


def prepare(
    vertices: Tensor, faces: Tensor, volume: AttributeVolume, options: ExportOptions, clock: Clock
) -> PreparedSurface:
    """The surface that `options.profile` promises, and the one to bake from. Raises ValueError if nothing is left."""
    origin, voxel = (tuple(float(x) for x in side) for side in (volume.origin, volume.voxel_size))
    return prepare_surface(
        vertices,
        faces,
        SurfaceGrid(origin, voxel, volume.grid_size),  # type: ignore[arg-type]
        target_faces=options.decimation_target,
        profile=options.profile,
        remesh=options.remesh,
        hole_perimeter=options.hole_perimeter,
        see_through=_see_through(volume),
        smooth=options.smooth,
        clock=clock,
    )


def _see_through(volume: AttributeVolume) -> SeeThrough | None:
    """Tells points on voxels that let light through; None if there are no such voxels."""
    if "alpha" not in volume.layout or bool((volume.feats[:, volume.layout["alpha"]] >= SOLID).all()):
        return None
    return lambda points: volume.sample(points)[:, volume.layout["alpha"]][:, 0] < SOLID


def unwrap_surface(vertices: Tensor, faces: Tensor, options: ExportOptions) -> tuple[UnwrapResult, Tensor]:
    """Charts in a square texture, and unit normals [V', 3] that are continuous across their borders."""
    charts = unwrap(
        vertices,
        faces,
        resolution=options.texture_size,
        padding=options.padding,
        method=options.unwrap_method,
        max_cone_angle=options.chart_angle,
    )
    return charts, vertex_normals(vertices.double(), faces)[charts.vmap.long()]
