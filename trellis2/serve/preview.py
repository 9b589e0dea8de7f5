"""Pictures of a generated asset from all sides, in every light and of every map, for the pages' viewer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trellis2.renderers.env_map import EnvMap
from trellis2.renderers.environments import open_environment
from trellis2.utils.render_utils import iter_frames, yaw_pitch_r_fov_to_extrinsics_intrinsics

from .preview_names import ENVIRONMENTS, MAPS, NUM_VIEWS, picture_name

__all__ = ["render_preview"]

_YAW, _PITCH = math.radians(180 - 16), math.radians(20)  # of the first view, a little beside the front (-Y)
_LAYERS = 4  # of transparency


def render_preview(
    mesh: Any,
    folder: Path,
    resolution: int,
    progress: Callable[[int, int], None],
    made: Callable[[list[str]], None],
) -> None:
    """Write `picture_name(mode, view)` for every mode and view.

    The first environment and the maps come first. `made` gets the names once all views of some modes are there,
    `progress` is called after every view of every pass.
    """
    yaws = [2 * math.pi * k / NUM_VIEWS + _YAW for k in range(NUM_VIEWS)]
    cameras = yaw_pitch_r_fov_to_extrinsics_intrinsics(yaws, _PITCH, 2, 36)
    options = {"resolution": resolution, "peel_layers": _LAYERS, "bg_color": (0.09, 0.094, 0.11)}
    passes = [(ENVIRONMENTS[:1], MAPS), (ENVIRONMENTS[1:], ())]
    for i, (names, maps) in enumerate(passes):
        surrounds = {name: EnvMap(open_environment(name)).to(mesh.device) for name in names}
        buffers = [f"shaded_{name}" for name in names] + list(maps)
        frames = iter_frames(mesh, *cameras, options, buffers, verbose=False, envmap=surrounds)
        files = []
        for view, frame in enumerate(frames):
            for buffer, picture in frame.items():
                mode = buffer.replace("shaded_", "shaded-", 1)
                files.append(picture_name(mode, view))
                _save(picture, folder / files[-1])
            progress(i * NUM_VIEWS + view + 1, len(passes) * NUM_VIEWS)
        made(files)


def _save(picture: np.ndarray, path: Path) -> None:
    partial = path.with_name(f".{path.name}.tmp")
    Image.fromarray(picture).save(partial, format="JPEG", quality=88)
    partial.replace(path)
