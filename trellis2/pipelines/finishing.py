"""From a decoded asset to a file: clean-up, simplification, unwrapping, baking, writing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from trellis2.representations import Mesh, MeshWithVoxel
from trellis2.utils.files import write_atomically

from .job_options import FORMATS, PLAIN_FORMATS, ExportOptions
from .placement import make_room
from .progress import Monitor

if TYPE_CHECKING:
    import trimesh

__all__ = ["LARGE_GRID", "Finished", "finish_asset"]

logger = logging.getLogger(__name__)

AnyMesh = TypeVar("AnyMesh", Mesh, MeshWithVoxel)
Result = TypeVar("Result")

#: Above this output grid, voxels a side, the settings for full-size assets apply.
LARGE_GRID = 256
#: Faces and texels a side by the size of the grid, where nothing else is asked for.
_DEFAULTS = {True: (200_000, 2048), False: (20_000, 1024)}
_BOX = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
#: Device memory that finishing takes beside its input (stage peaks in benchmarks/results/to_glb_h200.json
#: and pipeline_caps_later_h200.json).
_BYTES_PER_FACE = 420
_BYTES_PER_FACE_BAKING, _BYTES_PER_TEXEL = 300, 150


@dataclass(frozen=True)
class Finished:
    """A file that was written, and what is in it."""

    path: Path
    files: tuple[Path, ...]  # `path` and whatever belongs to it
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
    *,
    also: Sequence[Path] = (),
    resolution: int | None = None,
) -> Finished:
    """Finish `asset` and write it to `path`, and to the files `also` in the formats that their suffixes name.

    A `Mesh` without voxels becomes a file without material. `resolution` is the grid of such a mesh (default: a large
    one). Files appear complete or not at all. Raises ValueError for a suffix that does not fit, and for a format that
    needs voxels where there are none.
    """
    if path.suffix.lower() != f".{options.format}":
        raise ValueError(f"a file in the format {options.format} must end in .{options.format}, got {path.name!r}")
    targets = [path, *also]
    kinds = [target.suffix.lower()[1:] for target in targets]
    for target, kind in zip(targets, kinds, strict=True):
        if kind not in FORMATS:
            raise ValueError(f"{target.name}: unknown format, choose from: {', '.join(FORMATS)}")
    monitor = Monitor() if monitor is None else monitor
    textured = isinstance(asset, MeshWithVoxel)
    wrong = [kind for kind in kinds if not textured and kind not in PLAIN_FORMATS]
    if wrong:
        raise ValueError(f"format {wrong[0]} needs a material, but the asset is geometry only")
    start = time.perf_counter()
    result, seconds, large = None, {}, True
    if any(kind != "vxz" for kind in kinds):
        clock = _SubStages(monitor)
        if isinstance(asset, MeshWithVoxel):
            large = round(1 / asset.voxel_size) > LARGE_GRID
            texels = options.texture_size or _DEFAULTS[large][1]
            result, report = _with_memory(asset, texels, lambda mesh: _textured(mesh, options, large, clock))
        else:
            large = resolution is None or resolution > LARGE_GRID
            grid = resolution or 2 * LARGE_GRID
            result, report = _with_memory(asset, 0, lambda mesh: _plain(mesh, options, grid, clock)), {}
        seconds = clock.seconds
    files: list[Path] = []
    with monitor.stage("write", len(targets)):
        for done, (target, kind) in enumerate(zip(targets, kinds, strict=True), 1):
            target.parent.mkdir(parents=True, exist_ok=True)
            if kind == "vxz":
                assert isinstance(asset, MeshWithVoxel)
                write_atomically(target, asset.save)
                files.append(target)
            else:
                files += _write(result, target, kind, options, large, textured)
            monitor.report("write", done, len(targets))
    vertices, faces = (0, 0) if result is None else (len(result.vertices), len(result.faces))
    took = time.perf_counter() - start
    return Finished(path, tuple(files), vertices, faces, path.stat().st_size, took, {**report, "seconds": seconds})


class _SubStages:
    """Progress of the finishing stages as steps of one, with the seconds of each."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.seconds: dict[str, float] = {}
        self._current: tuple[str, float] | None = None

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if self._current is not None:
            self.seconds[self._current[0]] = round(now - self._current[1], 3)
        self._current = (name, now) if name else None
        self.monitor.report("finish", done, total)


def _with_memory(asset: AnyMesh, texels: int, finish: Callable[[AnyMesh], Result]) -> Result:
    """`finish(asset)` on the device of the asset if its memory allows, else on the CPU: the same result, later."""
    device = asset.vertices.device
    if device.type == "cpu":
        return finish(asset)
    faces = len(asset.faces)
    need = max(_BYTES_PER_FACE * faces, _BYTES_PER_FACE_BAKING * faces + _BYTES_PER_TEXEL * texels**2)
    if make_room(device, need):
        try:
            return finish(asset)
        except torch.OutOfMemoryError:
            pass  # what failed is let go with the exception
        torch.cuda.empty_cache()
    logger.warning("%s has no room for finishing (about %.1f GB): this runs on the CPU", device, need / 1e9)
    return finish(asset.to("cpu"))


def _profile(options: ExportOptions, large: bool) -> Any:
    """Coarse decoders leave holes that are noise, not openings: what they make is closed unless asked otherwise."""
    return options.profile or ("game" if large else "print")


def _textured(
    mesh: MeshWithVoxel, options: ExportOptions, large: bool, clock: _SubStages
) -> tuple[trimesh.Trimesh, dict[str, Any]]:
    from o_voxel.postprocess import to_glb

    faces, texels = _DEFAULTS[large]
    attrs, coords = mesh.attrs, mesh.coords
    assert attrs is not None
    assert coords is not None
    start = time.perf_counter()
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
        profile=_profile(options, large),
        progress=clock,
        report=True,
    )
    clock.monitor.timings["finish"] = time.perf_counter() - start
    return result, report.to_dict()


def _plain(mesh: Mesh, options: ExportOptions, grid: int, clock: _SubStages) -> trimesh.Trimesh:
    """Geometry alone: cleaned, meshed again and simplified as the profile says; Y up."""
    import trimesh
    from o_voxel.postprocess.prepare import SurfaceGrid, prepare_surface

    with clock.monitor.stage("finish"):
        done = prepare_surface(
            mesh.vertices,
            mesh.faces,
            SurfaceGrid((-0.5,) * 3, (1 / grid,) * 3, (grid,) * 3),
            target_faces=options.faces or _DEFAULTS[grid > LARGE_GRID][0],
            profile=_profile(options, grid > LARGE_GRID),
            remesh=options.remesh,
        )
    v = torch.as_tensor(done.vertices).cpu().numpy()
    points = np.stack([v[:, 0], v[:, 2], -v[:, 1]], axis=1)  # Z up -> Y up
    return trimesh.Trimesh(points, torch.as_tensor(done.faces).cpu().numpy(), process=False)


def _write(asset: Any, path: Path, kind: str, options: ExportOptions, large: bool, textured: bool) -> list[Path]:
    """Write one file and its companions; returns them all."""
    if not textured:
        write_atomically(path, lambda name: asset.export(name, file_type=kind))
        return [path]
    from o_voxel.postprocess import save_asset

    image_format = options.image_format or ("webp" if large else "png")
    if kind in ("obj", "usdz") and image_format == "webp":
        image_format = "jpeg" if kind == "usdz" else "png"  # readers of these formats do not know WebP
    return save_asset(asset, path, kind, image_format=image_format)
