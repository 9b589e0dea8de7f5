"""From a decoded surface and its voxel attributes to a textured asset."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from o_voxel import __version__
from o_voxel.mesh import UnwrapResult
from o_voxel.mesh._arrays import ArrayLike, enter_tensors
from o_voxel.postprocess import stages
from o_voxel.postprocess.bake import bake
from o_voxel.postprocess.detail import bake_normals
from o_voxel.postprocess.material import AlphaMode, TextureSet, make_textures, translucent_faces
from o_voxel.postprocess.measure import surface_distance
from o_voxel.postprocess.occlusion import bake_occlusion
from o_voxel.postprocess.options import ExportOptions, UnwrapMethod
from o_voxel.postprocess.prepare import SMOOTH_ROUNDS, PreparedSurface, Profile
from o_voxel.postprocess.report import ExportReport, Progress, StageClock
from o_voxel.postprocess.source import SourceSurface
from o_voxel.postprocess.tangents import vertex_tangents
from o_voxel.postprocess.volume import AttributeVolume
from o_voxel.postprocess.volume_input import as_tensor, make_volume

if TYPE_CHECKING:
    import trimesh

__all__ = ["to_glb"]

logger = logging.getLogger("o_voxel.postprocess")

BAKE_REACH = 4.0  # voxels from the simplified to the full-resolution surface
MOST_BOXES = 4.0  # between the voxels and a vertex
OCCLUSION_REACH = 0.25  # of the box: what is farther away does not darken


@overload
def to_glb(*args: Any, report: Literal[True], **kwargs: Any) -> tuple[trimesh.Trimesh, ExportReport]: ...
@overload
def to_glb(*args: Any, report: Literal[False] = False, **kwargs: Any) -> trimesh.Trimesh: ...
@overload
def to_glb(*args: Any, report: bool, **kwargs: Any) -> trimesh.Trimesh | tuple[trimesh.Trimesh, ExportReport]: ...


def to_glb(  # type: ignore[misc]
    vertices: ArrayLike,  # [V, 3] float, world, z up
    faces: ArrayLike,  # [F, 3] int
    attr_volume: ArrayLike,  # [L, C] float in 0..1
    coords: ArrayLike,  # [L, 3] int
    attr_layout: Mapping[str, slice],
    aabb: ArrayLike | Sequence[Sequence[float]],  # [2, 3]
    voxel_size: float | Sequence[float] | ArrayLike | None = None,
    grid_size: int | Sequence[int] | ArrayLike | None = None,
    decimation_target: int = 1000000,
    texture_size: int = 2048,
    remesh: bool = False,
    remesh_band: float = 1,
    remesh_project: float = 0.9,
    mesh_cluster_threshold_cone_half_angle_rad: float = math.radians(90.0),
    mesh_cluster_refine_iterations: int = 0,
    mesh_cluster_global_iterations: int = 1,
    mesh_cluster_smooth_strength: float = 1,
    verbose: bool = False,
    use_tqdm: bool = False,
    *,
    profile: Profile = "game",
    alpha_mode: AlphaMode | None = None,
    double_sided: bool | None = None,
    hole_perimeter: float | None = None,
    unwrap_method: UnwrapMethod = "auto",
    smooth: int = SMOOTH_ROUNDS,
    normal_map: bool | None = None,
    ambient_occlusion: bool | None = None,
    progress: Progress | None = None,
    report: bool = False,
) -> trimesh.Trimesh | tuple[trimesh.Trimesh, ExportReport]:
    """Clean, simplify, unwrap and bake a surface into a textured asset; write it with `save_glb` or `.export`.

    The surface becomes what `profile` promises, with at most `decimation_target` faces, is cut into charts, and
    textured with `texture_size`^2 texels sampled from the voxels at the nearest point of the surface before
    simplification. All runs on the device of `vertices` (NumPy arrays: CPU).

    Args:
        attr_volume, coords, attr_layout: voxel attributes, their cells, and the columns of `base_color` (3, required),
            `metallic`, `roughness` and `alpha` (1 each; 0, 1 and 1 where absent), `emissive` (3, may be absent; sRGB).
        aabb, voxel_size, grid_size: the box of the grid and one of its voxel edge or number of cells; `voxel_size`
            wins if both are given.
        remesh: mesh what encloses a volume again at the grid's resolution, without cracks and inner walls ("game";
            always done for "print"). The new surface lies on the old one, so `remesh_band` and `remesh_project`,
            accepted for compatibility, have no effect.
        mesh_cluster_threshold_cone_half_angle_rad: how far normals of a chart may lean from its axis; never above 65
            degrees. The other `mesh_cluster_*` arguments are accepted and have no effect.
        profile: "raw" repairs and keeps all geometry, open or hidden; "game" drops specks and what cannot be seen, and
            fills holes; "print" makes closed solids. See `o_voxel.postprocess.verify.Verdict` for the promises.
        alpha_mode: glTF alpha mode; None decides from the alpha values on the surface.
        double_sided: None makes the material double-sided if the surface is open.
        hole_perimeter: length in world units up to which holes are filled; None takes 3 % of the box, at least 12
            voxels.
        smooth: rounds of smoothing that take out noise of less than half a voxel; edges stay sharp. Not with "raw".
        normal_map, ambient_occlusion: bake the normals and the openness of the surface before simplification; None
            does so with the "game" profile.
        progress: called with (stage, stages done, number of stages) as each stage begins, and once at the end with
            ("", n, n); what it raises ends the export.
        report: also return an `ExportReport`.

    Returns a `trimesh.Trimesh`: y up, facing +z, with unit vertex normals, UVs and a `PBRMaterial`.
    Raises ValueError on an empty mesh or volume, vertices that are not finite, indices out of range, and arguments
    out of range; TypeError on other kinds of array.
    """
    options = ExportOptions(
        decimation_target=decimation_target,
        texture_size=texture_size,
        remesh=bool(remesh),
        remesh_band=remesh_band,
        remesh_project=remesh_project,
        chart_half_angle=mesh_cluster_threshold_cone_half_angle_rad,
        profile=profile,
        alpha_mode=alpha_mode,
        double_sided=double_sided,
        hole_perimeter=hole_perimeter,
        unwrap_method=unwrap_method,
        smooth=smooth,
        normal_map=normal_map,
        ambient_occlusion=ambient_occlusion,
    )
    if (mesh_cluster_refine_iterations, mesh_cluster_global_iterations, mesh_cluster_smooth_strength) != (0, 1, 1):
        logger.warning("mesh_cluster_refine/global_iterations and _smooth_strength have no effect on this unwrapper")
    device = vertices.device if isinstance(vertices, Tensor) else torch.device("cpu")
    v, f = as_tensor(vertices, "vertices", device), as_tensor(faces, "faces", device)
    v = v.float() if v.dtype in (torch.float16, torch.bfloat16) else v
    enter_tensors(v, f)
    if len(f) == 0 or len(v) == 0:
        raise ValueError(f"the mesh must not be empty, got {len(v)} vertices and {len(f)} faces")
    volume = make_volume(attr_volume, coords, attr_layout, aabb, voxel_size, grid_size, device)
    _check_place(v, volume)
    result = ExportReport(profile, len(f), options.decimation_target)
    clock = StageClock(
        result.seconds,
        options.num_stages + bool(report),
        verbose=verbose,
        use_tqdm=use_tqdm,
        device=device,
        progress=progress,
    )
    with torch.no_grad(), clock:
        asset, prepared = _finish(v, f, volume, options, result, clock)
        if report:
            with clock.stage("measure"):
                distance = surface_distance(
                    SourceSurface(prepared.vertices, prepared.faces),
                    raw=SourceSurface(v, f),
                    kept=SourceSurface(prepared.source_vertices, prepared.source_faces),
                )
                result.chamfer_voxels = distance.chamfer / volume.voxel
                result.hausdorff_voxels = distance.hausdorff / volume.voxel
    return (asset, result) if report else asset


def _check_place(vertices: Tensor, volume: AttributeVolume) -> None:
    """Raise ValueError for vertices so far from the voxels that they cannot belong together."""
    low, high = vertices.amin(0).cpu().numpy(), vertices.amax(0).cpu().numpy()
    reach = MOST_BOXES * volume.extent
    if (low < volume.origin - reach).any() or (high > volume.origin + volume.extent + reach).any():
        raise ValueError(
            f"vertices must lie within {MOST_BOXES:g} boxes of aabb, got {low.tolist()} to {high.tolist()} for a box "
            f"of {volume.extent:g} at {volume.origin.tolist()}"
        )


def _finish(
    v: Tensor, f: Tensor, volume: AttributeVolume, options: ExportOptions, result: ExportReport, clock: StageClock
) -> tuple[trimesh.Trimesh, PreparedSurface]:
    """All stages, one after the other; fills in `result`."""
    prepared = stages.prepare(v, f, volume, options, clock)
    result.add_surface(prepared)
    source = SourceSurface(prepared.fine_vertices, prepared.fine_faces)
    v, f = prepared.vertices, prepared.faces
    with clock.stage("unwrap"):
        charts, normals = stages.unwrap_surface(v, f, options)
        result.add_charts(charts)
    with clock.stage("bake"):
        reach = BAKE_REACH * volume.voxel
        baked = bake(
            charts.vertices, charts.faces, charts.uvs, options.texture_size, volume, source, max_distance=reach
        )
        result.add_bake(baked)
    detail: dict[str, Tensor] = {}
    tangents = None
    if options.bakes_normals:
        with clock.stage("normals"):
            tangents = vertex_tangents(charts.vertices, charts.faces.long(), charts.uvs, normals)
            detail["normals"] = bake_normals(baked, charts.faces.long(), normals, tangents, source)
    if options.bakes_occlusion:
        with clock.stage("occlusion"):
            detail["occlusion"] = bake_occlusion(
                baked, charts.chart, source, reach=OCCLUSION_REACH * volume.extent, offset=0.5 * volume.voxel
            )
    with clock.stage("material"):
        textures = make_textures(baked, volume, options.alpha_mode, rim=options.padding, **detail)
        result.alpha_mode = textures.alpha_mode
        sided = options.double_sided
        result.double_sided = prepared.two_sided if sided is None else bool(sided)
        asset = _to_trimesh(charts, normals, tangents, textures, options, result)
        if textures.alpha_mode == "BLEND" and options.alpha_mode is None:
            asset.face_attributes["translucent"] = translucent_faces(baked, volume, len(charts.faces)).cpu().numpy()
        return asset, prepared


def _to_trimesh(
    charts: UnwrapResult,
    normals: Tensor,
    tangents: Tensor | None,
    textures: TextureSet,
    options: ExportOptions,
    result: ExportReport,
) -> trimesh.Trimesh:
    import trimesh

    uv = charts.uvs.cpu().numpy()
    uv = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1)  # trimesh keeps v up and flips it on export
    material = textures.material(double_sided=result.double_sided)
    extra: dict[str, Any] = {}
    if tangents is not None:
        rows = tangents.cpu().numpy()
        extra["TANGENT"] = np.concatenate([_y_up(rows[:, :3]), rows[:, 3:]], axis=1).astype(np.float32)
    return trimesh.Trimesh(
        vertices=_y_up(charts.vertices.cpu().numpy()),
        faces=charts.faces.cpu().numpy(),
        vertex_normals=_y_up(normals.cpu().numpy()),
        visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
        vertex_attributes=extra,
        metadata={"asset_extras": {"version": __version__, "settings": options.to_dict(), "unit": "metre"}},
        process=False,
    )


def _y_up(vectors: np.ndarray) -> np.ndarray:
    """World (z up, front -y) to glTF (y up, front +z): (x, y, z) -> (x, z, -y)."""
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)
