"""From a decoded asset to a file: clean-up, simplification, unwrapping, baking, writing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trellis2.representations import Mesh, MeshWithVoxel
from trellis2.utils.files import write_atomically

from .job_options import ExportOptions
from .progress import Monitor

if TYPE_CHECKING:
    import trimesh

__all__ = ["LARGE_GRID", "Finished", "finish_asset"]

#: Above this output grid, voxels a side, the settings for full-size assets apply.
LARGE_GRID = 256
#: Faces and texels a side by the size of the grid, where nothing else is asked for.
_DEFAULTS = {True: (200_000, 2048), False: (20_000, 1024)}
_BOX = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]


@dataclass(frozen=True)
class Finished:
    """A file that was written, and what is in it."""

    path: Path
    vertices: int
    faces: int
    num_bytes: int
    seconds: float
    report: Mapping[str, Any] = field(default_factory=dict)  # JSON values


def finish_asset(
    asset: Mesh | MeshWithVoxel,
    path: Path,
    options: ExportOptions,
    monitor: Monitor | None = None,
    resolution: int | None = None,
) -> Finished:
    """Finish `asset` and write it to `path`, complete or not at all.

    A `Mesh` without voxels becomes a file without material. `resolution` is the grid of such a mesh (default: taken as
    large). Raises ValueError if `path` and the format disagree or the format needs voxels that are not there.
    """
    if path.suffix.lower() != f".{options.format}":
        raise ValueError(f"a file in the format {options.format} must end in .{options.format}, got {path.name!r}")
    monitor = Monitor() if monitor is None else monitor
    start = time.perf_counter()
    if options.format == "vxz":
        if not isinstance(asset, MeshWithVoxel):
            raise ValueError("format vxz holds voxels with materials, but the asset is geometry only")
        with monitor.stage("write"):
            write_atomically(path, asset.save)
        return _finished(path, 0, 0, start, {"voxels": len(asset.position)})
    if isinstance(asset, MeshWithVoxel):
        grid = round(1 / asset.voxel_size)
        result, report = _textured(asset, options, grid > LARGE_GRID, monitor)
        large = grid > LARGE_GRID
    else:
        large = resolution is None or resolution > LARGE_GRID
        with monitor.stage("finish"):
            result, report = _plain(asset, options, resolution or 2 * LARGE_GRID)
    image_format = options.image_format or ("webp" if large else "png")
    with monitor.stage("write"):
        write_atomically(path, lambda name: _write(result, name, path, options.format, image_format))
    return _finished(path, len(result.vertices), len(result.faces), start, report)


def _finished(path: Path, vertices: int, faces: int, start: float, report: Mapping[str, Any]) -> Finished:
    return Finished(path, vertices, faces, path.stat().st_size, time.perf_counter() - start, report)


def _textured(
    mesh: MeshWithVoxel, options: ExportOptions, large: bool, monitor: Monitor
) -> tuple[trimesh.Trimesh, dict[str, Any]]:
    from o_voxel.postprocess import to_glb

    faces, texels = _DEFAULTS[large]
    attrs, coords = mesh.attrs, mesh.coords
    assert attrs is not None and coords is not None
    with monitor.stage("finish"):
        result, report = to_glb(
            vertices=mesh.vertices,
            faces=mesh.faces,
            attr_volume=attrs.clamp(0, 1),
            coords=coords,
            attr_layout=mesh.layout,
            voxel_size=mesh.voxel_size,
            aabb=_BOX,
            decimation_target=options.faces or faces,
            texture_size=options.texture_size or texels,
            remesh=options.remesh,
            remesh_band=1,
            remesh_project=0 if large else 0.9,
            profile=options.profile,
            report=True,
        )
    return result, _plain_values(dataclasses.asdict(report))


def _plain(mesh: Mesh, options: ExportOptions, grid: int) -> tuple[trimesh.Trimesh, dict[str, Any]]:
    """Geometry alone: cleaned and simplified."""
    import trimesh
    from o_voxel.mesh import simplify
    from o_voxel.postprocess.prepare import clean_surface

    vertices, faces = mesh.vertices.double().cpu().numpy(), mesh.faces.long().cpu().numpy()
    cleaned = clean_surface(
        vertices, faces, voxel=1 / grid, hole_perimeter=max(0.03, 12 / grid), profile=options.profile
    )  # fmt: skip
    v, f = cleaned.vertices, cleaned.faces
    target = options.faces or _DEFAULTS[grid > LARGE_GRID][0]
    if len(f) > target:
        v, f = simplify(v, f, target)[:2]
    points = np.stack([v[:, 0], v[:, 2], -v[:, 1]], axis=1)  # Z up -> Y up
    return trimesh.Trimesh(points, f, process=False), {"input_faces": len(faces)}


def _write(asset: trimesh.Trimesh, name: str, path: Path, kind: str, image_format: str) -> None:
    """Write to the temporary file `name` what is to be `path`; companions of OBJ files go beside `path`."""
    from o_voxel.postprocess import save_glb

    textured = getattr(asset.visual, "uv", None) is not None
    if kind == "glb" and textured:
        save_glb(asset, name, image_format=image_format)
    elif kind == "obj" and textured:
        _write_obj(asset, name, path)
    else:
        asset.export(name, file_type=kind)


def _write_obj(asset: trimesh.Trimesh, name: str, path: Path) -> None:
    """OBJ with `NAME.mtl` and its pictures beside `path`, written before the OBJ itself appears."""
    from trimesh.exchange.obj import export_obj

    text, companions = export_obj(asset, return_texture=True, mtl_name=f"{path.stem}.mtl")
    renamed = {old: old if old.endswith(".mtl") else f"{path.stem}_{old}" for old in companions}
    for old, content in companions.items():
        data = content if isinstance(content, bytes) else content.encode()
        if old.endswith(".mtl"):
            for before, after in renamed.items():
                data = data.replace(before.encode(), after.encode())
        write_atomically(path.with_name(renamed[old]), _writer(data))
    Path(name).write_text(text, encoding="utf-8")


def _writer(data: bytes) -> Callable[[str], object]:
    return lambda name: Path(name).write_bytes(data)


def _plain_values(value: Any) -> Any:
    """JSON values of a report."""
    if isinstance(value, Mapping):
        return {str(k): _plain_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_values(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
