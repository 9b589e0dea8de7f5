"""From a decoded surface and its voxel attributes to a textured asset."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np
import torch
from PIL import Image

from o_voxel.mesh import BVH, mesh_stats, repair_non_manifold, unify_face_orientations, unwrap
from o_voxel.mesh._arrays import ArrayLike, as_numpy, enter
from o_voxel.mesh.normals import numpy_vertex_normals
from o_voxel.mesh.remesh import remesh_narrow_band_dc
from o_voxel.postprocess.bake import bake
from o_voxel.postprocess.material import AlphaMode, check_alpha_mode, choose_alpha_mode, pbr_textures, to_uint8
from o_voxel.postprocess.prepare import HOLE_PERIMETER_VOXELS, Profile, clean_surface, reduce_surface
from o_voxel.postprocess.report import ExportReport, StageClock
from o_voxel.postprocess.volume import AttributeVolume

if TYPE_CHECKING:
    import trimesh

__all__ = ["to_glb"]

logger = logging.getLogger("o_voxel.postprocess")

MAX_CHART_ANGLE = 50.0  # degrees; more would stretch texels by over 1 / cos(50 deg) = 1.6
PADDING = {256: 1, 1024: 2, 2048: 3}  # texels around a chart by texture size; 4 above


@overload
def to_glb(*args: Any, report: Literal[True], **kwargs: Any) -> tuple[trimesh.Trimesh, ExportReport]: ...
@overload
def to_glb(*args: Any, report: Literal[False] = False, **kwargs: Any) -> trimesh.Trimesh: ...


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
    unwrap_method: Literal["auto", "charts", "xatlas"] = "auto",
    report: bool = False,
) -> trimesh.Trimesh | tuple[trimesh.Trimesh, ExportReport]:
    """Clean, simplify, unwrap and bake a surface into a textured asset; write it with `save_glb` or `.export`.

    The surface is made manifold and consistently wound, outward as seen from outside, simplified to at most
    `decimation_target` faces, cut into charts, and textured with `texture_size`^2 texels sampled from the voxels at
    the nearest point of the surface before simplification.

    Args:
        attr_volume, coords, attr_layout: voxel attributes, their cells, and the columns of `base_color` (3, required),
            `metallic`, `roughness` and `alpha` (1 each; 0, 1 and 1 where absent), `emissive` (3, may be absent; sRGB).
        aabb, voxel_size, grid_size: the box of the grid and one of its voxel edge or number of cells; `voxel_size`
            wins if both are given.
        remesh: replace the surface by the level set around it at the grid's resolution, which closes cracks and open
            sheets; `remesh_band` is its distance in voxels and `remesh_project` the share of it that is taken back.
        mesh_cluster_threshold_cone_half_angle_rad: how far normals of a chart may lean from its axis; never above 50
            degrees. The other `mesh_cluster_*` arguments are accepted and have no effect.
        profile: "game" also fills holes, drops specks, hidden walls and, with `remesh`, inner shells; "raw" keeps all
            geometry.
        alpha_mode: glTF alpha mode; None decides from the alpha values on the surface.
        double_sided: None makes the material double-sided if the surface is open.
        hole_perimeter: length in world units up to which holes are filled; None takes 3 % of the box, at least 12
            voxels.
        report: also return an `ExportReport`.

    Returns a `trimesh.Trimesh`: y up, facing +z, with unit vertex normals, UVs and a `PBRMaterial`.
    Raises ValueError on an empty mesh or volume, vertices that are not finite, indices out of range, and arguments
    out of range; TypeError on other kinds of array.
    """
    _check_options(decimation_target, texture_size, profile, alpha_mode, remesh_band, remesh_project)
    if (mesh_cluster_refine_iterations, mesh_cluster_global_iterations, mesh_cluster_smooth_strength) != (0, 1, 1):
        logger.warning("mesh_cluster_refine/global_iterations and _smooth_strength have no effect on this unwrapper")
    if not 0 < mesh_cluster_threshold_cone_half_angle_rad <= math.pi:
        raise ValueError(
            f"mesh_cluster_threshold_cone_half_angle_rad must lie in (0, pi], "
            f"got {mesh_cluster_threshold_cone_half_angle_rad}"
        )
    mesh = enter(vertices, faces)
    if len(mesh.faces) == 0 or len(mesh.vertices) == 0:
        raise ValueError(f"the mesh must not be empty, got {len(mesh.vertices)} vertices and {len(mesh.faces)} faces")
    volume = make_volume(attr_volume, coords, attr_layout, aabb, voxel_size, grid_size)
    voxel = float(volume.voxel_size.max())
    extent = float((volume.voxel_size * volume.grid_size).max())
    if hole_perimeter is None:
        hole_perimeter = max(0.03 * extent, HOLE_PERIMETER_VOXELS * voxel)
    result = ExportReport(input_faces=len(mesh.faces))
    clock = StageClock(result.seconds, 5 + bool(remesh), verbose=verbose, use_tqdm=use_tqdm)

    with clock.stage("clean"):
        clean = clean_surface(
            mesh.vertices.astype(np.float64), mesh.faces, voxel=voxel, hole_perimeter=hole_perimeter, profile=profile
        )
        result.hidden_faces = clean.hidden
        result.source = mesh_stats(clean.vertices, clean.faces)
        source = BVH(clean.vertices, clean.faces)
        v, f = clean.vertices, clean.faces
    if remesh:
        with clock.stage("remesh"):
            resolution = max(volume.grid_size)
            v, f = remesh_narrow_band_dc(
                v,
                f,
                center=volume.origin + volume.voxel_size * volume.grid_size / 2,
                scale=(resolution + 3 * remesh_band) / resolution * extent,
                resolution=resolution,
                band=remesh_band,
                project_back=remesh_project,
                bvh=source,
                shell="outer" if profile == "game" else "double",
            )
            v, f = repair_non_manifold(v, f, pair_sheets=True)  # dual contouring joins sheets that touch
            v, f = unify_face_orientations(v, f, cut_conflicts=True)
            if len(f) == 0:
                raise ValueError("remeshing left no face: the surface lies outside aabb")
    with clock.stage("simplify") as log:
        v, f = reduce_surface(v, f, int(decimation_target), log)
        if len(f) == 0:
            raise ValueError(f"nothing is left at decimation_target={decimation_target}: allow more faces")
        result.output = mesh_stats(v, f)
    with clock.stage("unwrap"):
        normals = numpy_vertex_normals(v, f)
        padding = next((p for size, p in PADDING.items() if texture_size <= size), 4)
        angle = min(MAX_CHART_ANGLE, math.degrees(mesh_cluster_threshold_cone_half_angle_rad))
        charts = unwrap(v, f, resolution=texture_size, padding=padding, method=unwrap_method, max_cone_angle=angle)
        result.charts, result.texels_per_unit = charts.num_charts, charts.texels_per_unit
        normals = normals[charts.vmap]
    with clock.stage("bake"):
        baked = bake(charts.vertices, charts.faces, charts.uvs, texture_size, volume, source, max_distance=4 * voxel)
        result.texture_use = float(baked.covered.mean())
        result.bake_distance = float(baked.distance.mean()) if len(baked.distance) else 0.0
    with clock.stage("material"):
        maps = volume.pbr_maps(baked.image)
        mode: AlphaMode = alpha_mode or choose_alpha_mode(maps["alpha"][baked.covered])
        result.alpha_mode = mode
        result.double_sided = not result.output.watertight if double_sided is None else bool(double_sided)
        color, metallic_roughness = pbr_textures(**maps, mode=mode)
        textures = {"baseColorTexture": color, "metallicRoughnessTexture": metallic_roughness}
        glow = volume.emissive_map(baked.image)
        if glow is not None:
            textures["emissiveTexture"] = Image.fromarray(to_uint8(glow))
        asset = _to_trimesh(charts.vertices, charts.faces, normals, charts.uvs, textures, result)
    clock.close()
    return (asset, replace(result)) if report else asset


def _to_trimesh(
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    uvs: np.ndarray,
    textures: Mapping[str, Image.Image],  # by names of `PBRMaterial`
    report: ExportReport,
) -> trimesh.Trimesh:
    import trimesh

    material = trimesh.visual.material.PBRMaterial(
        name="material",
        **textures,
        baseColorFactor=np.array([255, 255, 255, 255], dtype=np.uint8),
        emissiveFactor=[1.0, 1.0, 1.0] if "emissiveTexture" in textures else None,
        metallicFactor=1.0,
        roughnessFactor=1.0,
        alphaMode=report.alpha_mode,
        alphaCutoff=0.5 if report.alpha_mode == "MASK" else None,
        doubleSided=report.double_sided,
    )
    uv = np.stack([uvs[:, 0], 1.0 - uvs[:, 1]], axis=1)  # trimesh keeps v up and flips it on export
    return trimesh.Trimesh(
        vertices=_y_up(vertices),
        faces=faces,
        vertex_normals=_y_up(normals),
        visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
        process=False,
    )


def _y_up(vectors: np.ndarray) -> np.ndarray:
    """World (z up, front -y) to glTF (y up, front +z): (x, y, z) -> (x, z, -y)."""
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], axis=1)


def make_volume(
    attr_volume: ArrayLike,
    coords: ArrayLike,
    attr_layout: Mapping[str, slice],
    aabb: ArrayLike | Sequence[Sequence[float]],
    voxel_size: float | Sequence[float] | ArrayLike | None,
    grid_size: int | Sequence[int] | ArrayLike | None,
) -> AttributeVolume:
    """Check the voxel arguments of `to_glb`; raises ValueError or TypeError that names the argument."""
    feats, cells = as_numpy(attr_volume, "attr_volume"), as_numpy(coords, "coords")
    if feats.ndim != 2 or len(feats) == 0:
        raise ValueError(f"attr_volume must have shape [L, C] with L > 0, got {list(feats.shape)}")
    if cells.shape != (len(feats), 3):
        raise ValueError(f"coords must have shape [{len(feats)}, 3], got {list(cells.shape)}")
    if not np.issubdtype(cells.dtype, np.integer):
        raise TypeError(f"coords must be integers, got {cells.dtype}")
    feats = feats.astype(np.float32)
    if not np.isfinite(feats).all():
        raise ValueError("attr_volume must be finite")
    for name, width in (("base_color", 3), ("metallic", 1), ("roughness", 1), ("alpha", 1), ("emissive", 3)):
        if name not in attr_layout:
            if name == "base_color":
                raise ValueError(f"attr_layout must name base_color, got {sorted(attr_layout)}")
            continue
        part = attr_layout[name]
        if not isinstance(part, slice) or len(range(*part.indices(feats.shape[1]))) != width:
            raise ValueError(
                f"attr_layout[{name!r}] must be a slice of {width} of {feats.shape[1]} columns, got {part}"
            )
    box = np.asarray(aabb if not isinstance(aabb, torch.Tensor) else as_numpy(aabb, "aabb"), dtype=np.float64)
    if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[1] > box[0]).all():
        raise ValueError(f"aabb must be [2, 3] with upper above lower corner, got {box.tolist()}")
    if voxel_size is not None:
        size = _triple(voxel_size, "voxel_size")
        cells_per_axis = np.round((box[1] - box[0]) / size)
    elif grid_size is not None:
        cells_per_axis = np.round(_triple(grid_size, "grid_size"))
        size = (box[1] - box[0]) / cells_per_axis
    else:
        raise ValueError("one of voxel_size and grid_size must be given")
    grid = (int(cells_per_axis[0]), int(cells_per_axis[1]), int(cells_per_axis[2]))
    if min(grid) < 1:
        raise ValueError(f"grid_size must be at least 1 on every axis, got {list(grid)}")
    if (cells < 0).any() or (cells >= np.array(grid)).any():
        raise ValueError(
            f"coords must lie in the grid {list(grid)}, got {cells.min(0).tolist()} to {cells.max(0).tolist()}"
        )
    return AttributeVolume(
        torch.from_numpy(np.ascontiguousarray(feats)),
        torch.from_numpy(np.ascontiguousarray(cells, dtype=np.int32)),
        dict(attr_layout),
        box[0],
        size,
        grid,
    )


def _triple(value: Any, name: str) -> np.ndarray:
    array = np.asarray(as_numpy(value, name) if isinstance(value, torch.Tensor) else value, dtype=np.float64)
    array = np.broadcast_to(array, (3,)) if array.size == 1 else array.reshape(-1)
    if array.shape != (3,) or not np.isfinite(array).all() or not (array > 0).all():
        raise ValueError(f"{name} must be one or three positive numbers, got {value}")
    return array.copy()


def _check_options(
    decimation_target: int, texture_size: int, profile: str, alpha_mode: str | None, band: float, project: float
) -> None:
    for name, value, low, high in (
        ("decimation_target", decimation_target, 1, 2**31 - 1),
        ("texture_size", texture_size, 1, 16384),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
            raise ValueError(f"{name} must be an int in [{low}, {high}], got {value!r}")
    if profile not in get_args(Profile):
        raise ValueError(f"profile must be one of {list(get_args(Profile))}, got {profile!r}")
    check_alpha_mode(alpha_mode)
    if not band > 0:
        raise ValueError(f"remesh_band must be > 0, got {band}")
    if not 0 <= project <= 1:
        raise ValueError(f"remesh_project must lie in [0, 1], got {project}")
