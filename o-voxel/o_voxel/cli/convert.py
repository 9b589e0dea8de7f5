"""`convert`: meshes to voxel files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from o_voxel.asset import UpAxis, mesh_to_asset, save_asset
from o_voxel.cli.batch import add_batch_arguments, run_command
from o_voxel.cli.options import VOXEL_SUFFIXES, box_of, check_resolution, resolve_device
from o_voxel.convert.mesh_input import MESH_SUFFIXES
from o_voxel.io.codecs import CODECS
from o_voxel.io.filters import FILTERS

__all__ = ["ConvertTask", "add_parser"]


@dataclass(frozen=True)
class ConvertTask:
    """Mesh file -> voxel file."""

    resolution: int
    up: UpAxis | None = None
    normalize: bool = True
    aabb: Any = None
    attributes: bool = True
    boundary_weight: float = 0.2
    device: str = "cpu"
    vxz_options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, source: Path, target: Path) -> None:
        """Convert one file."""
        asset = mesh_to_asset(
            source, self.resolution, up=self.up, normalize=self.normalize, aabb=self.aabb,
            attributes=self.attributes, boundary_weight=self.boundary_weight, device=self.device,
        )  # fmt: skip
        save_asset(target, asset, **(self.vxz_options if target.suffix.lower() == ".vxz" else {}))


def add_parser(commands: Any) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "convert", help="mesh -> voxels", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Convert textured meshes to voxels with surface points, edge flags and material.",
        epilog="example: python -m o_voxel convert chair.glb chair.vxz --resolution 512",
    )  # fmt: skip
    add_batch_arguments(parser, ".vxz")
    parser.add_argument("--resolution", type=check_resolution, default=512, help="cells along each axis (%(default)s)")
    parser.add_argument(
        "--up", choices=("y", "z"), help="axis that points up in the file (default: y for glTF and OBJ, else z)"
    )
    parser.add_argument(
        "--keep-units", action="store_true", help="do not centre and scale the mesh into the box; needs --aabb mostly"
    )
    parser.add_argument(
        "--aabb", type=float, nargs=6, metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"),
        help="box of the grid, Z up (default: the unit cube around the origin)",
    )  # fmt: skip
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one (%(default)s)"
    )
    parser.add_argument("--shape-only", action="store_true", help="no material, only surface points and edge flags")
    parser.add_argument("--boundary-weight", type=float, default=0.2, help="pull towards open edges (%(default)s)")
    files = parser.add_argument_group(".vxz files")
    files.add_argument("--codec", choices=CODECS, default="zstd", help="compression of streams (%(default)s)")
    files.add_argument("--level", type=int, help="compression level (default: the codec's)")
    files.add_argument("--filter", choices=(*FILTERS, "auto"), default="none",
                       help="prediction of attributes; auto: one for each (%(default)s)")  # fmt: skip
    files.add_argument("--chunk-size", type=int, default=256, help="side of a chunk in voxels (%(default)s)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    options = {
        "compression": args.codec, "compression_level": args.level, "filter": args.filter,
        "chunk_size": args.chunk_size, "checksum": True,
    }  # fmt: skip
    task = ConvertTask(
        resolution=args.resolution, up=args.up, normalize=not args.keep_units, aabb=box_of(args.aabb),
        attributes=not args.shape_only, boundary_weight=args.boundary_weight,
        device=resolve_device(args.device), vxz_options=options,
    )  # fmt: skip
    return run_command(args, task, MESH_SUFFIXES, VOXEL_SUFFIXES)
