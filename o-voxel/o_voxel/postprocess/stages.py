"""The geometric stages of an export, on the device of their input.

V vertices, F faces; vertices are float64 and faces int64 tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from o_voxel.mesh import UnwrapResult, repair_non_manifold, unify_face_orientations, unwrap, vertex_normals
from o_voxel.mesh.remesh import remesh_narrow_band_dc
from o_voxel.postprocess.options import ExportOptions
from o_voxel.postprocess.prepare import HOLE_PERIMETER_VOXELS, clean_surface, reduce_surface
from o_voxel.postprocess.source import SourceSurface
from o_voxel.postprocess.volume import AttributeVolume

__all__ = ["Cleaned", "clean", "reduce", "remesh", "unwrap_surface"]


class Cleaned(NamedTuple):
    """The surface that everything after is measured against, and baked from."""

    surface: SourceSurface
    hidden: int  # faces dropped because nothing sees them


def _back(vertices: np.ndarray | Tensor, faces: np.ndarray | Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(vertices, device=device).double(), torch.as_tensor(faces, device=device).long()


def clean(vertices: Tensor, faces: Tensor, volume: AttributeVolume, options: ExportOptions) -> Cleaned:
    """Repair, orient, and with the "game" profile fill and drop, see `clean_surface`."""
    perimeter = options.hole_perimeter
    if perimeter is None:
        perimeter = max(0.03 * volume.extent, HOLE_PERIMETER_VOXELS * volume.voxel)
    result = clean_surface(
        vertices.cpu().numpy(), faces.cpu().numpy(), voxel=volume.voxel, hole_perimeter=perimeter,
        profile=options.profile,
    )  # fmt: skip
    return Cleaned(SourceSurface(*_back(result.vertices, result.faces, vertices.device)), result.hidden)


def remesh(source: SourceSurface, volume: AttributeVolume, options: ExportOptions) -> tuple[Tensor, Tensor]:
    """The level set around the surface at the grid's resolution, in place of the surface."""
    resolution, band = max(volume.grid_size), options.remesh_band
    v, f = remesh_narrow_band_dc(
        source.vertices,
        source.faces,
        center=volume.origin + volume.voxel_size * volume.grid_size / 2,
        scale=(resolution + 3 * band) / resolution * volume.extent,
        resolution=resolution,
        band=band,
        project_back=options.remesh_project,
        bvh=source.bvh,
        shell="outer" if options.profile == "game" else "double",
    )
    v, f = repair_non_manifold(v, f, pair_sheets=True)  # dual contouring joins sheets that touch
    v, f = unify_face_orientations(v, f, cut_conflicts=True)
    if len(f) == 0:
        raise ValueError("remeshing left no face: the surface lies outside aabb")
    return v, f


def reduce(vertices: Tensor, faces: Tensor, target: int, log: Callable[[str], None]) -> tuple[Tensor, Tensor]:
    """At most `target` faces, see `reduce_surface`. Raises ValueError if none is left."""
    v, f = reduce_surface(vertices.cpu().numpy(), faces.cpu().numpy(), target, log)
    if len(f) == 0:
        raise ValueError(f"nothing is left at decimation_target={target}: allow more faces")
    return _back(v, f, vertices.device)


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
    return charts, vertex_normals(vertices, faces)[charts.vmap]
