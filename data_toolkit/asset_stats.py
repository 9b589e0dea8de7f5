"""Count faces, vertices and textures of every dumped asset.

python data_toolkit/asset_stats.py --root ROOT
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.runner import Stage, add_common_args, load_tables, run_stage, select
from data_toolkit.steps.dump import DumpStats
from data_toolkit.steps.stats import STATS_COLUMNS
from data_toolkit.tables import is_true

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="asset_stats.py", description=__doc__)
    add_common_args(parser)
    parser.add_argument("--mesh_dump_root", type=Path, help="default: --root")
    parser.add_argument("--pbr_dump_root", type=Path, help="default: --root")
    args = parser.parse_args(argv)
    mesh, pbr = (args.mesh_dump_root or args.root) / "mesh_dumps", (args.pbr_dump_root or args.root) / "pbr_dumps"
    stage = Stage(args.root / "asset_stats", STATS_COLUMNS, "Counting")
    try:
        table = load_tables(args.root, [stage.folder, mesh, pbr])
        if table and not any("mesh_dumped" in r or "pbr_dumped" in r for r in table.values()):
            raise ValueError("no table has mesh_dumped or pbr_dumped; run dump_mesh.py and build_metadata.py first")
        rows = select(
            table, args,
            lambda r: not r.get("num_faces") and (is_true(r.get("mesh_dumped")) or is_true(r.get("pbr_dumped"))),
            stage.failures(args.rank),
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    return run_stage([stage], rows, DumpStats(pbr, mesh), rank=args.rank, max_workers=args.max_workers)


if __name__ == "__main__":
    raise SystemExit(main())
