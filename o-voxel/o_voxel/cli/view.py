"""`view`: pictures and turntables of voxel and mesh files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from o_voxel.asset import load_asset, mesh_to_asset
from o_voxel.cli.batch import add_batch_arguments, run_command
from o_voxel.cli.options import VOXEL_SUFFIXES, add_grid_arguments, box_of, integer_in, is_voxel_file
from o_voxel.convert.mesh_input import MESH_SUFFIXES
from o_voxel.io.arrays import open_to_write
from o_voxel.view import Channel, contact_sheet, render_asset

__all__ = ["ViewTask", "add_parser"]

IMAGES, ANIMATIONS = (".png", ".jpg", ".webp"), (".gif", ".mp4")
CHANNELS = ("shaded", "base_color", "normal", "metallic", "roughness", "emissive", "alpha")
_MESH_RESOLUTION = 256
_FRAMES_PER_SECOND = 24


def _save_animation(path: Path, frames: list[np.ndarray]) -> None:
    if path.suffix.lower() == ".gif":
        images = [Image.fromarray(frame) for frame in frames]
        with open_to_write(path) as stream:
            images[0].save(
                stream, "GIF", save_all=True, append_images=images[1:], duration=1000 // _FRAMES_PER_SECOND, loop=0
            )
        return
    import cv2

    temporary = path.with_name(f".{path.stem}.tmp.mp4")
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), _FRAMES_PER_SECOND, (width, height))
    if not writer.isOpened():
        raise ValueError("this OpenCV cannot write .mp4; use .gif")
    try:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
        writer.release()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class ViewTask:
    """Voxel or mesh file -> picture."""

    resolution: int | None = None
    aabb: Any = None
    views: int = 4
    size: int = 384
    channel: Channel = "shaded"

    def __call__(self, source: Path, target: Path) -> None:
        """Draw one file."""
        if is_voxel_file(source):
            asset = load_asset(source, self.resolution, self.aabb)
        else:
            asset = mesh_to_asset(source, self.resolution or _MESH_RESOLUTION, aabb=self.aabb)
        animated = target.suffix.lower() in ANIMATIONS
        frames = render_asset(asset, 48 if animated and self.views == 4 else self.views, self.size, self.channel)
        if animated:
            _save_animation(target, frames)
            return
        image = Image.fromarray(contact_sheet(frames))
        kind = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[target.suffix.lower()]
        with open_to_write(target) as stream:
            image.save(stream, kind)


def add_parser(commands: Any) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "view", help="a picture of voxels or meshes", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Draw files as voxels seen from around: a contact sheet (.png, .jpg, .webp) or a turntable (.gif, "
        ".mp4).\nMeshes are converted first.",
        epilog="example: python -m o_voxel view chair.vxz chair.png --views 8",
    )  # fmt: skip
    add_batch_arguments(parser, ".png")
    add_grid_arguments(parser)
    parser.add_argument("--views", type=integer_in(1, 720), default=4, help="views around the object (%(default)s)")
    parser.add_argument("--size", type=integer_in(16, 4096), default=384, help="pixels a side of a view (%(default)s)")
    parser.add_argument("--channel", choices=CHANNELS, default="shaded", help="what to show (%(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    task = ViewTask(args.resolution, box_of(args.aabb), args.views, args.size, args.channel)
    inputs = tuple(dict.fromkeys((*VOXEL_SUFFIXES, *MESH_SUFFIXES)))
    return run_command(args, task, inputs, (*IMAGES, *ANIMATIONS))
