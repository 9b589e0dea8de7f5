"""Sample material dumps into the voxels of the surface.

python data_toolkit/voxelize_pbr.py SUBSET --root ROOT --resolution 256,512,1024 [--quirks published]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.adaptors import parse_with_adaptor
from data_toolkit.runner import Stage, add_common_args, run_stage
from data_toolkit.steps.voxelise import VoxelisePbr
from data_toolkit.voxel_stage import add_codec_arg, parse_resolutions, stage_rows

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="voxelize_pbr.py", description=__doc__)
    add_common_args(parser)
    parser.add_argument("--resolution", type=parse_resolutions, required=True, help="comma-separated grid sizes")
    parser.add_argument("--pbr_dump_root", type=Path, help="default: --root")
    parser.add_argument("--pbr_voxel_root", type=Path, help="default: --root")
    parser.add_argument(
        "--quirks", choices=("published",),
        help="published: multiply sRGB-encoded texels by linear factors, as the published checkpoints expect",
    )  # fmt: skip
    add_codec_arg(parser)
    adaptor, args = parse_with_adaptor(parser, argv)
    dumps = (args.pbr_dump_root or args.root) / "pbr_dumps"
    order = sorted(args.resolution, reverse=True)
    folders = {r: (args.pbr_voxel_root or args.root) / f"pbr_voxels_{r}" for r in order}
    stages = [Stage(f, ("pbr_voxelized", "num_pbr_voxels"), "Voxelizing") for f in folders.values()]
    try:
        rows = stage_rows(args, dumps, "pbr_dumped", stages, "pbr_voxelized")
    except ValueError as error:
        parser.error(str(error))
    step = VoxelisePbr(dumps, folders, args.codec, args.quirks)
    return run_stage(stages, rows, step, rank=args.rank, max_workers=args.max_workers, adaptor=adaptor)


if __name__ == "__main__":
    raise SystemExit(main())
