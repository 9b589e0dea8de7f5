"""`glb`: voxel files to finished assets: cleaned, simplified, unwrapped, textured, in any of the export formats."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from o_voxel.asset import load_asset
from o_voxel.cli.batch import add_batch_arguments, run_command
from o_voxel.cli.options import VOXEL_SUFFIXES, add_grid_arguments, box_of, integer_in, resolve_device

__all__ = ["GlbTask", "add_parser"]

OUTPUTS = (".glb", ".gltf", ".obj", ".ply", ".stl", ".3mf", ".usdz")


@dataclass(frozen=True)
class GlbTask:
    """Voxel file -> asset file."""

    resolution: int | None = None
    aabb: Any = None
    device: str = "cpu"
    export: dict[str, Any] = field(default_factory=dict)  # keywords of `to_glb`
    save: dict[str, Any] = field(default_factory=dict)  # keywords of `save_asset`
    lods: tuple[int | float, ...] = ()
    report: bool = False

    def __call__(self, source: Path, target: Path) -> None:
        """Convert one file."""
        from o_voxel.io.arrays import open_to_write
        from o_voxel.postprocess import make_lods, save_asset, to_glb

        asset = load_asset(source, self.resolution, self.aabb)
        vertices, faces = asset.to_mesh()
        values, layout = asset.material()
        tensors = (tensor.to(self.device) for tensor in (vertices, faces, values, asset.coords))
        result = to_glb(
            *tensors, layout, asset.grid.aabb, grid_size=asset.grid.grid_size, report=self.report, **self.export
        )
        mesh, report = result if isinstance(result, tuple) else (result, None)
        save_asset(mesh, target, lods=make_lods(mesh, self.lods) if self.lods else (), **self.save)
        if report is not None:
            with open_to_write(target.with_name(f"{target.name}.report.json")) as stream:
                stream.write(json.dumps(report.to_dict(), indent=1).encode())
            sys.stdout.write(f"{target}\n{report.to_text()}\n")


def add_parser(commands: Any) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "glb", help="voxels -> textured asset", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a textured asset: Y up, facing +Z, one material with base colour, metal, roughness, glow,\n"
        "normals and occlusion. The suffix of the output chooses the format: " + ", ".join(OUTPUTS) + ".",
        epilog="example: python -m o_voxel glb chair.vxz chair.glb --faces 50000 --texture-size 1024 --report",
    )  # fmt: skip
    add_batch_arguments(parser, ".glb")
    add_grid_arguments(parser)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (%(default)s)")
    parser.add_argument("--report", action="store_true", help="print what came out; also as OUTPUT.report.json")
    shape = parser.add_argument_group("surface")
    shape.add_argument(
        "--profile", choices=("game", "raw", "print"), default="game",
        help="game: holes filled, specks and hidden walls dropped; raw: all geometry kept; print: closed solids "
        "(%(default)s)",
    )  # fmt: skip
    shape.add_argument("--faces", type=integer_in(4, 1 << 30), default=200_000, help="triangles at most (%(default)s)")
    shape.add_argument("--remesh", action="store_true", help="mesh closed parts again, without cracks and inner walls")
    shape.add_argument("--smooth", type=integer_in(0, 1000), help="rounds of smoothing (default: as the library)")
    shape.add_argument(
        "--lods", type=_level, nargs="+", default=[], metavar="FACES",
        help="coarser levels: numbers of faces, or shares such as 0.5 and 0.25",
    )  # fmt: skip
    shape.add_argument(
        "--lod-layout", choices=("files", "msft"), default="files",
        help="levels as files beside the output, or in it by MSFT_lod (%(default)s)",
    )  # fmt: skip
    look = parser.add_argument_group("textures")
    look.add_argument("--texture-size", type=integer_in(16, 16384), default=2048, help="texels a side (%(default)s)")
    look.add_argument(
        "--normal-map", action=argparse.BooleanOptionalAction, help="detail of the full surface (default: for game)"
    )
    look.add_argument(
        "--ambient-occlusion", action=argparse.BooleanOptionalAction, help="its shadows (default: for game)"
    )
    look.add_argument("--alpha-mode", choices=("OPAQUE", "MASK", "BLEND"), help="default: from the alpha values")
    look.add_argument("--double-sided", action=argparse.BooleanOptionalAction, help="default: if the surface is open")
    look.add_argument("--image-format", choices=("png", "jpeg", "webp"), default="png", help="(%(default)s)")
    look.add_argument("--quality", type=integer_in(1, 100), default=92, help="of jpeg and webp (%(default)s)")
    file = parser.add_argument_group("file")
    file.add_argument("--metres", type=float, help="real length of the longest side (default: a world unit is a metre)")
    file.add_argument("--licence", help="text that goes into the file")
    file.add_argument("--draco", action="store_true", help="compressed geometry in glb and gltf (needs DracoPy)")
    parser.set_defaults(run=_run)


def _level(text: str) -> int | float:
    kind: Callable[[str], int | float] = float if "." in text else int
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number of faces or a share, got {text!r}") from None
    if not (value > 0 if isinstance(value, int) else 0 < value < 1):
        raise argparse.ArgumentTypeError(f"must be a number of faces above 0 or a share in (0, 1), got {text}")
    return value


def _run(args: argparse.Namespace) -> int:
    export = {
        "profile": args.profile,
        "decimation_target": args.faces,
        "texture_size": args.texture_size,
        "remesh": args.remesh,
        "normal_map": args.normal_map,
        "ambient_occlusion": args.ambient_occlusion,
        "alpha_mode": args.alpha_mode,
        "double_sided": args.double_sided,
    }
    if args.smooth is not None:
        export["smooth"] = args.smooth
    save = {
        "image_format": args.image_format,
        "quality": args.quality,
        "metres": args.metres,
        "licence": args.licence,
        "compression": "draco" if args.draco else None,
        "lod_layout": args.lod_layout,
    }
    task = GlbTask(
        args.resolution, box_of(args.aabb), resolve_device(args.device), export, save, tuple(args.lods), args.report
    )
    return run_command(args, task, VOXEL_SUFFIXES, OUTPUTS)
