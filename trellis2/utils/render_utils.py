"""Pictures of assets along camera paths.

Cameras: yaw 0 on +Y, yaw pi/2 on +X, up +Z; see `trellis2.renderers.cameras`. R = resolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, orbit_eye
from trellis2.renderers.env_map import EnvMap
from trellis2.renderers.environments import open_environment
from trellis2.renderers.mesh_renderer import MeshRenderer
from trellis2.renderers.pbr_mesh_renderer import PbrMeshRenderer
from trellis2.renderers.voxel_renderer import VoxelRenderer
from trellis2.representations import Mesh, MeshWithPbrMaterial, MeshWithVoxel, Voxel

from .random_utils import sphere_hammersley_sequence
from .video import open_video

__all__ = [
    "default_envmap",
    "get_renderer",
    "iter_frames",
    "make_pbr_vis_frames",
    "pbr_sheet",
    "render_frames",
    "render_multiview",
    "render_snapshot",
    "render_turntable",
    "render_video",
    "to_bytes",
    "turntable_cameras",
    "yaw_pitch_r_fov_to_extrinsics_intrinsics",
]

_SMOOTHED_FACES = 200_000  # coarser meshes get smooth shading; in finer ones a face is smaller than a pixel


def yaw_pitch_r_fov_to_extrinsics_intrinsics(
    yaws: float | Sequence[float],
    pitchs: float | Sequence[float],
    rs: float | Sequence[float],
    fovs: float | Sequence[float],
) -> tuple[Any, Any]:
    """Extrinsics `[4, 4]` and normalised intrinsics `[3, 3]` of cameras that look at the origin.

    Angles in radians, `fovs` in degrees (the same in both directions). With a list of yaws all results are lists;
    the other arguments may then still be single numbers. Tensors are on the CPU; renderers move them.
    """
    single = not isinstance(yaws, (list, tuple, np.ndarray, Tensor))
    yaw_list = np.asarray(yaws, dtype=np.float64).reshape(-1).tolist()

    def spread(name: str, values: float | Sequence[float]) -> list[float]:
        if not isinstance(values, (list, tuple, np.ndarray, Tensor)):
            return [float(values)] * len(yaw_list)  # type: ignore[arg-type]
        if len(values) != len(yaw_list):
            raise ValueError(f"{name} must have {len(yaw_list)} entries like yaws, got {len(values)}")
        return [float(v) for v in values]

    target, up = torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])
    extrinsics, intrinsics = [], []
    for yaw, pitch, r, fov in zip(yaw_list, spread("pitchs", pitchs), spread("rs", rs), spread("fovs", fovs)):
        extrinsics.append(extrinsics_look_at(orbit_eye(yaw, pitch, r), target, up))
        intrinsics.append(intrinsics_from_fov(math.radians(fov)))
    return (extrinsics[0], intrinsics[0]) if single else (extrinsics, intrinsics)


def get_renderer(sample: Mesh | Voxel, **options: Any) -> MeshRenderer | PbrMeshRenderer | VoxelRenderer:
    """The renderer for a sample, with the usual options overlaid by those given.

    Coarse meshes with voxels or materials are shaded smoothly (`crease_angle` 40 degrees).

    Raises ValueError for a kind of sample that cannot be rendered.
    """
    defaults: dict[str, Any]
    if isinstance(sample, (MeshWithPbrMaterial, MeshWithVoxel)):
        crease_angle = 40.0 if sample.faces.shape[0] <= _SMOOTHED_FACES else 0.0
        defaults = {
            "resolution": 512,
            "near": 1,
            "far": 100,
            "ssaa": 2,
            "peel_layers": 8,
            "crease_angle": crease_angle,
        }
        return PbrMeshRenderer({**defaults, **options})
    if isinstance(sample, Mesh):
        defaults = {"resolution": 512, "near": 1, "far": 100, "ssaa": 2, "chunk_size": None}
        return MeshRenderer({**defaults, **options})
    if isinstance(sample, Voxel):
        defaults = {"resolution": 512, "near": 0.1, "far": 10.0, "ssaa": 2}
        return VoxelRenderer({**defaults, **options})
    raise ValueError(f"sample must be a Mesh, MeshWithVoxel, MeshWithPbrMaterial or Voxel, got {type(sample).__name__}")


def default_envmap(name: str = "forest", device: torch.device | str = "cpu") -> EnvMap:
    """A bundled environment as lighting."""
    return EnvMap(open_environment(name).to(device))


def iter_frames(
    sample: Mesh | Voxel,
    extrinsics: Iterable[Tensor],
    intrinsics: Iterable[Tensor],
    options: Mapping[str, Any] | None = None,
    buffers: Sequence[str] | None = None,
    verbose: bool = True,
    **kwargs: Any,
) -> Iterator[dict[str, np.ndarray]]:
    """Render one frame after the other: buffer name -> uint8 [R, R, 3], one-channel buffers repeated.

    `buffers` picks some by name. `kwargs` go to the renderer's `render`; a PBR sample without `envmap` gets the default
    one. Option `bg_color` is used by the PBR renderer and ignored by the others.
    """
    options = dict(options or {})
    pbr = isinstance(sample, (MeshWithPbrMaterial, MeshWithVoxel))
    if not pbr:
        options.pop("bg_color", None)
    elif kwargs.get("envmap") is None:
        kwargs["envmap"] = default_envmap(device=sample.device)
        if buffers is not None:
            kwargs["buffers"] = list(buffers)
    renderer = get_renderer(sample, **options)
    cameras = list(zip(extrinsics, intrinsics))
    for extrinsic, intrinsic in tqdm(cameras, desc="Rendering", disable=not verbose):
        drawn = renderer.render(sample, extrinsic, intrinsic, **kwargs)  # type: ignore[arg-type]
        names = list(drawn) if buffers is None else list(buffers)
        missing = [name for name in names if name not in drawn]
        if missing:
            raise ValueError(f"no buffers {missing}, choose from: {', '.join(drawn)}")
        yield {name: to_bytes(drawn[name]) for name in names}


def render_frames(
    sample: Mesh | Voxel,
    extrinsics: Sequence[Tensor],
    intrinsics: Sequence[Tensor],
    options: Mapping[str, Any] | None = None,
    verbose: bool = True,
    **kwargs: Any,
) -> dict[str, list[np.ndarray]]:
    """All frames of `iter_frames` at once: buffer name -> list of uint8 [R, R, 3]."""
    result: dict[str, list[np.ndarray]] = {}
    for frame in iter_frames(sample, extrinsics, intrinsics, options, verbose=verbose, **kwargs):
        for name, picture in frame.items():
            result.setdefault(name, []).append(picture)
    return result


def turntable_cameras(num_frames: int = 120, r: float = 2, fov: float = 40) -> tuple[list[Tensor], list[Tensor]]:
    """Cameras once around the object, bobbing up and down; the end meets the start without a repeated frame."""
    if num_frames < 1:
        raise ValueError(f"num_frames must be positive, got {num_frames}")
    turn = [2 * math.pi * i / num_frames for i in range(num_frames)]
    yaws = [math.pi / 2 - t for t in turn]
    pitchs = [0.25 + 0.5 * math.sin(t) for t in turn]
    return yaw_pitch_r_fov_to_extrinsics_intrinsics(yaws, pitchs, r, fov)


def render_video(
    sample: Mesh | Voxel,
    resolution: int = 1024,
    bg_color: Sequence[float] = (0, 0, 0),
    num_frames: int = 120,
    r: float = 2,
    fov: float = 40,
    **kwargs: Any,
) -> dict[str, list[np.ndarray]]:
    """Frames of a turntable: buffer name -> list of uint8 [R, R, 3]."""
    extrinsics, intrinsics = turntable_cameras(num_frames, r, fov)
    options = {"resolution": resolution, "bg_color": tuple(bg_color), **kwargs.pop("options", {})}
    return render_frames(sample, extrinsics, intrinsics, options, **kwargs)


def render_turntable(
    sample: Mesh | Voxel,
    path: str | Path,
    resolution: int = 512,
    num_frames: int = 120,
    fps: float = 15,
    bg_color: Sequence[float] = (0, 0, 0),
    layout: str = "shaded",
    verbose: bool = True,
    **kwargs: Any,
) -> None:
    """Render a turntable straight into an MP4, one frame in memory at a time.

    `layout` is the name of a buffer, or "pbr" for the sheet of `make_pbr_vis_frames`. `kwargs` go to the renderer.
    """
    extrinsics, intrinsics = turntable_cameras(num_frames)
    options = {"resolution": resolution, "bg_color": tuple(bg_color), **kwargs.pop("options", {})}
    wanted = None if layout == "pbr" else [layout]
    with open_video(path, fps) as writer:
        for frame in iter_frames(sample, extrinsics, intrinsics, options, wanted, verbose, **kwargs):
            writer.append(pbr_sheet(frame, resolution) if layout == "pbr" else frame[layout])


def render_multiview(
    sample: Mesh | Voxel, resolution: int = 512, nviews: int = 30, buffer: str | None = None, **kwargs: Any
) -> tuple[list[np.ndarray], list[Tensor], list[Tensor]]:
    """Pictures from directions spread over the sphere (r 2, fov 40): (frames, extrinsics, intrinsics).

    `buffer` defaults to the first of color, shaded, base_color, attr, normal that the sample has.
    """
    views = [sphere_hammersley_sequence(i, nviews) for i in range(nviews)]
    extrinsics, intrinsics = yaw_pitch_r_fov_to_extrinsics_intrinsics(
        [v[0] for v in views], [v[1] for v in views], 2, 40
    )
    frames = render_frames(sample, extrinsics, intrinsics, {"resolution": resolution}, **kwargs)
    if buffer is None:
        buffer = next((name for name in ("color", "shaded", "base_color", "attr", "normal") if name in frames), "depth")
    if buffer not in frames:
        raise ValueError(f"no buffer {buffer!r}, choose from: {', '.join(frames)}")
    return frames[buffer], extrinsics, intrinsics


def render_snapshot(
    samples: Mesh | Voxel,
    resolution: int = 512,
    bg_color: Sequence[float] = (0, 0, 0),
    offset: Sequence[float] = (-16 / 180 * math.pi, 20 / 180 * math.pi),
    r: float = 10,
    fov: float = 8,
    nviews: int = 4,
    **kwargs: Any,
) -> dict[str, list[np.ndarray]]:
    """Frames from `nviews` yaws a full turn apart plus `offset[0]`, at pitch `offset[1]` (radians)."""
    yaws = [2 * math.pi * k / nviews + offset[0] for k in range(nviews)]
    extrinsics, intrinsics = yaw_pitch_r_fov_to_extrinsics_intrinsics(yaws, offset[1], r, fov)
    options = {"resolution": resolution, "bg_color": tuple(bg_color), **kwargs.pop("options", {})}
    return render_frames(samples, extrinsics, intrinsics, options, **kwargs)


def make_pbr_vis_frames(result: Mapping[str, Sequence[np.ndarray]], resolution: int = 1024) -> list[np.ndarray]:
    """Sheets `[1.5 R, 2 R, 3]` uint8: shaded and normal above base colour, metallic, roughness and alpha."""
    if "shaded" not in result:
        raise ValueError("result needs the buffer 'shaded': render with one environment, not a mapping of them")
    return [
        pbr_sheet({name: frames[i] for name, frames in result.items()}, resolution)
        for i in range(len(result["shaded"]))
    ]


def pbr_sheet(frame: Mapping[str, np.ndarray], resolution: int) -> np.ndarray:
    """One sheet of `make_pbr_vis_frames` from buffers `[R, R, 3]` uint8."""
    half = resolution // 2

    def tile(name: str, size: int) -> np.ndarray:
        picture = frame[name]
        if picture.shape[0] == size:
            return picture
        return np.asarray(Image.fromarray(picture).resize((size, size)))

    top = np.concatenate([tile(name, 2 * half) for name in ("shaded", "normal")], axis=1)
    bottom = np.concatenate([tile(name, half) for name in ("base_color", "metallic", "roughness", "alpha")], axis=1)
    return np.concatenate([top, bottom], axis=0)


def to_bytes(buffer: Tensor, channels: int = 3) -> np.ndarray:
    """[R, R] or [C, R, R] float in [0, 1] to uint8 [R, R, channels]: too few become the first, more are dropped."""
    if buffer.ndim == 2:
        buffer = buffer[None]
    if buffer.shape[0] < channels:
        buffer = buffer[:1].expand(channels, -1, -1)
    picture = (buffer[:channels].detach().permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8)
    return picture.cpu().numpy()
