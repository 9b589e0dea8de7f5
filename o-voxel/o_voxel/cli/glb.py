"""`glb`: voxel files to finished GLB assets: cleaned, simplified, unwrapped, textured."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from o_voxel.asset import load_asset
from o_voxel.cli.batch import add_batch_arguments, run_command
from o_voxel.cli.options import VOXEL_SUFFIXES, add_grid_arguments, box_of, integer_in

__all__ = ["GlbTask", "add_parser"]


@dataclass(frozen=True)
class GlbTask:
    """Voxel file -> GLB."""

    resolution: int | None = None
    aabb: Any = None
    profile: Literal["raw", "game"] = "game"
    faces: int = 200_000
    texture_size: int = 2048
    remesh: bool = False
    image_format: Literal["png", "jpeg", "webp"] = "png"

    def __call__(self, source: Path, target: Path) -> None:
        """Convert one file."""
        from o_voxel.postprocess import save_glb, to_glb

        asset = load_asset(source, self.resolution, self.aabb)
        vertices, faces = asset.to_mesh()
        values, layout = asset.material()
        mesh = to_glb(
            vertices, faces, values, asset.coords, layout, asset.grid.aabb, grid_size=asset.grid.grid_size,
            decimation_target=self.faces, texture_size=self.texture_size, remesh=self.remesh, profile=self.profile,
        )  # fmt: skip
        save_glb(mesh, target, image_format=self.image_format)


def add_parser(commands: Any) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "glb", help="voxels -> textured GLB", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a textured asset: Y up, facing +Z, one material with base colour, metal, roughness, glow.",
        epilog="example: python -m o_voxel glb chair.vxz chair.glb --faces 50000 --texture-size 1024",
    )  # fmt: skip
    add_batch_arguments(parser, None)
    add_grid_arguments(parser)
    parser.add_argument(
        "--profile", choices=("game", "raw"), default="game",
        help="game: holes filled, specks and hidden walls dropped; raw: all geometry kept (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--faces", type=integer_in(4, 1 << 30), default=200_000, help="triangles at most (%(default)s)")
    parser.add_argument("--texture-size", type=integer_in(16, 16384), default=2048, help="texels a side (%(default)s)")
    parser.add_argument("--remesh", action="store_true", help="replace the surface by the level set around it")
    parser.add_argument("--image-format", choices=("png", "jpeg", "webp"), default="png", help="(%(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    task = GlbTask(
        args.resolution, box_of(args.aabb), args.profile, args.faces, args.texture_size, args.remesh, args.image_format
    )
    return run_command(args, task, VOXEL_SUFFIXES, (".glb",))
