"""Convert mesh dumps to flexible dual grids.

python data_toolkit/dual_grid.py SUBSET --root ROOT --resolution 256,512,1024
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.adaptors import parse_with_adaptor
from data_toolkit.runner import Stage, add_common_args, run_stage
from data_toolkit.steps.voxelise import ConvertDualGrid
from data_toolkit.voxel_stage import add_codec_arg, parse_resolutions, stage_rows

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="dual_grid.py", description=__doc__)
    add_common_args(parser)
    parser.add_argument("--resolution", type=parse_resolutions, required=True, help="comma-separated grid sizes")
    parser.add_argument("--mesh_dump_root", type=Path, help="default: --root")
    parser.add_argument("--dual_grid_root", type=Path, help="default: --root")
    add_codec_arg(parser)
    adaptor, args = parse_with_adaptor(parser, argv)
    dumps = (args.mesh_dump_root or args.root) / "mesh_dumps"
    folders = {r: (args.dual_grid_root or args.root) / f"dual_grid_{r}" for r in args.resolution}
    stages = [Stage(f, ("dual_grid_converted", "dual_grid_size"), "Dual griding") for f in folders.values()]
    try:
        rows = stage_rows(args, dumps, "mesh_dumped", stages, "dual_grid_converted")
    except ValueError as error:
        parser.error(str(error))
    step = ConvertDualGrid(dumps, folders, args.codec)
    return run_stage(stages, rows, step, rank=args.rank, max_workers=args.max_workers, adaptor=adaptor)


if __name__ == "__main__":
    raise SystemExit(main())
