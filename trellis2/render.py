"""Pictures and turntables of any asset.

    python -m trellis2.render asset.glb turntable.mp4
    python -m trellis2.render asset.glb still.png --yaw 30 --env sunset
    python -m trellis2.render asset.glb sheet.png --views 6 --mode normal
    python -m trellis2.render asset.glb frames/ --frames 60 --mode grid

The asset is a .glb, .gltf, .obj, .ply, .stl or .off file. It is centred and scaled to a box of side 1, Z up; yaw 0
looks at its front (-Y, which is +Z of glTF), a growing yaw moves the camera to the right. The output's suffix decides:
.mp4 video, .webp animation, .png or .jpg a still (or a sheet of --views), no suffix a folder of .png files.
"""

from __future__ import annotations

import argparse
import logging
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ImageColor
from torch import Tensor
from tqdm import tqdm

from trellis2.renderers import EnvMap, PbrMeshRenderer, open_environment
from trellis2.renderers.asset import load_asset
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, orbit_eye
from trellis2.representations import MeshWithPbrMaterial
from trellis2.utils.image_utils import make_grid
from trellis2.utils.pictures import open_pictures
from trellis2.utils.render_utils import pbr_sheet, to_bytes

__all__ = ["MODES", "main", "render_asset"]

MODES = ("shaded", "clay", "normal", "base_color", "metallic", "roughness", "alpha", "grid")
_GRID_BUFFERS = ("shaded", "normal", "base_color", "metallic", "roughness", "alpha")
_ANIMATED = (".mp4", ".webp")
_OPAQUE_FORMATS = (".mp4", ".jpg", ".jpeg")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trellis2.render", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("asset", type=Path, help=".glb, .gltf, .obj, .ply, .stl or .off file")
    parser.add_argument("output", type=Path, help=".mp4, .webp, .png, .jpg or a folder")
    what = parser.add_argument_group("what")
    what.add_argument("--mode", choices=MODES, default="shaded", help="pass to show, grid: six (default shaded)")
    what.add_argument("--frames", type=int, help="pictures of a full turn (default 120 for videos and folders, else 1)")
    what.add_argument("--views", type=int, help="instead: this many yaws side by side in one picture")
    what.add_argument("--fps", type=float, default=24.0, help="frames a second of videos (default 24)")
    what.add_argument("--resolution", type=int, help="pixels a side (default 1024 on a GPU, 512 on a CPU)")
    what.add_argument("--ssaa", type=int, default=2, help="samples a pixel side, the antialiasing (default 2)")
    camera = parser.add_argument_group("camera")
    camera.add_argument("--yaw", type=float, default=25.0, help="degrees, of the first picture (default 25)")
    camera.add_argument("--pitch", type=float, default=20.0, help="degrees above the horizon (default 20)")
    camera.add_argument("--fov", type=float, default=35.0, help="degrees (default 35)")
    camera.add_argument("--distance", type=float, help="to the centre, in longest sides (default: it fits)")
    light = parser.add_argument_group("light")
    light.add_argument("--env", default="forest", help="name of a surround, or an .exr or .hdr file (default forest)")
    light.add_argument("--env-rotation", type=float, default=0.0, help="degrees about the vertical (default 0)")
    light.add_argument("--exposure", type=float, default=0.0, help="stops, +1 doubles the light (default 0)")
    light.add_argument(
        "--background", help="a colour, transparent or env (default transparent where the format has it, else white)"
    )
    other = parser.add_argument_group("other")
    other.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda if there is one)")
    other.add_argument("--up", choices=("auto", "y", "z"), default="auto", help="up axis of the file (default auto)")
    other.add_argument("--max-texture-size", type=int, default=2048, help="larger textures are reduced (default 2048)")
    other.add_argument("--quiet", action="store_true", help="no progress bar")
    other.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    suffix = args.output.suffix.lower()
    for name in ("frames", "views", "resolution", "ssaa", "max_texture_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be positive, got {value}")
    if not 1.0 <= args.fov <= 150.0:
        raise ValueError(f"--fov must be in 1..150 degrees, got {args.fov}")
    if not -90.0 <= args.pitch <= 90.0:
        raise ValueError(f"--pitch must be in -90..90 degrees, got {args.pitch}")
    if args.distance is not None and not args.distance > 0:
        raise ValueError(f"--distance must be positive, got {args.distance}")
    if args.views is not None and args.frames is not None:
        raise ValueError("give --frames (one picture after the other) or --views (side by side), not both")
    if args.background == "transparent" and suffix in _OPAQUE_FORMATS:
        raise ValueError(f"{suffix} has no transparency; write .webp or .png, or give another --background")
    if args.background == "env" and args.mode not in ("shaded", "grid"):
        raise ValueError(f"--background env needs --mode shaded or grid, got {args.mode}")


def _background(args: argparse.Namespace) -> str | tuple[float, float, float]:
    """ "env", "transparent" or a display colour in [0, 1]."""
    given = args.background
    if given is None:
        opaque = args.output.suffix.lower() in _OPAQUE_FORMATS or args.mode == "grid"
        given = "white" if opaque else "transparent"
    if given in ("env", "transparent"):
        return given
    try:
        r, g, b = ImageColor.getrgb(f"#{given}" if re.fullmatch(r"[0-9a-fA-F]{6}", given) else given)[:3]
    except ValueError:
        raise ValueError(
            f"--background must be a colour (#rrggbb or a name), transparent or env, got {given!r}"
        ) from None
    return (r / 255, g / 255, b / 255)


def render_asset(args: argparse.Namespace) -> int:
    """Render what the arguments say; returns the number of pictures. Raises ValueError or OSError with a reason."""
    _check(args)
    background = _background(args)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    mesh = load_asset(args.asset, up=args.up, max_texture_size=args.max_texture_size).to_mesh().to(device)
    image = open_environment(args.env)
    # A surround turned counter-clockwise as seen from above.
    envmap = EnvMap(image.to(device), rotation=math.radians(args.env_rotation), intensity=2.0**args.exposure)
    frames = args.views or args.frames or (120 if args.output.suffix.lower() in (*_ANIMATED, "") else 1)
    pictures = _pictures(mesh, envmap, args, background, frames)
    bar = tqdm(pictures, desc="Rendering", total=frames, disable=args.quiet)
    with open_pictures(args.output, args.fps) as writer:
        if args.views is not None:
            writer.append(make_grid(list(bar)))
            return 1
        for picture in bar:
            writer.append(picture)
    return frames


def _pictures(
    mesh: MeshWithPbrMaterial,
    envmap: EnvMap,
    args: argparse.Namespace,
    background: str | tuple[float, float, float],
    count: int,
) -> Iterator[np.ndarray]:
    """Pictures uint8 of yaws once around, evenly spaced."""
    radius = max(float(mesh.vertices.norm(dim=1).max()), 1e-3)
    distance = args.distance or 1.05 * radius / math.sin(math.radians(args.fov) / 2)
    near = max(distance - 1.01 * radius, 1e-3 * distance)
    resolution = args.resolution or (1024 if mesh.device.type == "cuda" else 512)
    colour = background if isinstance(background, tuple) else (0.0, 0.0, 0.0)
    options = {"resolution": resolution, "near": near, "far": distance + 1.01 * radius, "ssaa": args.ssaa}
    renderer = PbrMeshRenderer({**options, "bg_color": colour})
    intrinsics = intrinsics_from_fov(math.radians(args.fov))
    up, centre = torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3)
    if args.mode == "grid":
        buffers = list(_GRID_BUFFERS)
    else:
        straight = args.mode == "shaded" and background == "transparent"
        buffers = ["rgba"] if straight else [args.mode] if args.mode == "shaded" else [args.mode, "mask"]
    for i in range(count):
        yaw = math.pi - math.radians(args.yaw) - 2 * math.pi * i / count  # yaw 0 of the command line is the front
        extrinsics = extrinsics_look_at(orbit_eye(yaw, math.radians(args.pitch), distance), centre, up)
        drawn = renderer.render(mesh, extrinsics, intrinsics, envmap, background == "env", buffers=buffers)
        if args.mode == "grid":
            yield pbr_sheet({name: to_bytes(picture) for name, picture in drawn.items()}, resolution)
        elif args.mode == "shaded":
            yield to_bytes(drawn[buffers[0]], 4 if buffers == ["rgba"] else 3)
        else:
            picture = _over(drawn[args.mode], drawn["mask"], args.mode == "normal", background)
            yield to_bytes(picture, picture.shape[0])


def _over(buffer: Tensor, mask: Tensor, is_normal: bool, background: str | tuple[float, float, float]) -> Tensor:
    """A pass `[R, R]` or `[3, R, R]` before a background; `[4, R, R]` where that is transparent."""
    colour = buffer if buffer.ndim == 3 else buffer[None].expand(3, -1, -1)
    if is_normal:  # 0.5 outside instead of 0
        colour = colour - 0.5 * (1 - mask)
    if isinstance(background, tuple):
        return colour + (1 - mask) * colour.new_tensor(background)[:, None, None]
    return torch.cat([colour / mask.clamp_min(1e-6), mask[None]])


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status. An error is one line on stderr."""
    args = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        count = render_asset(args)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except Exception as error:
        if args.debug:
            raise
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{args.output}: {count} picture{'s' if count != 1 else ''}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
