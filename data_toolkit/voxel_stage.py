"""The part that `dual_grid.py` and `voxelize_pbr.py` share."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_toolkit.runner import Stage, load_tables, select
from data_toolkit.tables import Row, Table, is_true, read_table

__all__ = ["add_codec_arg", "parse_resolutions", "stage_rows"]


def parse_resolutions(text: str) -> list[int]:
    """A comma-separated list of grid sizes, e.g. "256,512,1024"."""
    try:
        values = [int(t) for t in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a comma-separated list of integers, got {text!r}") from None
    if not values or min(values) < 2 or max(values) > 2048:
        raise argparse.ArgumentTypeError(f"grid sizes must lie in 2 ... 2048, got {text!r}")
    return values


def add_codec_arg(parser: argparse.ArgumentParser) -> None:
    """`--codec`: what the .vxz files are compressed with."""
    parser.add_argument(
        "--codec", choices=("zstd", "lzma", "deflate", "none"), default="zstd",
        help="zstd is fast; lzma is the published default and a little smaller",
    )  # fmt: skip


def stage_rows(
    args: argparse.Namespace, dump_folder: Path, dumped: str, stages: list[Stage], flag: str
) -> list[Row]:  # fmt: skip
    """Dumped assets for which at least one resolution is missing. Raises ValueError on missing tables."""
    maker = "dump_mesh.py" if dumped == "mesh_dumped" else "dump_pbr.py"
    table = load_tables(args.root, [dump_folder], {dumped: maker})
    done: list[Table] = [
        read_table(s.folder / "metadata.csv") if (s.folder / "metadata.csv").is_file() else {} for s in stages
    ]

    def wanted(row: Row) -> bool:
        finished = all(is_true(t.get(row["sha256"], {}).get(flag)) for t in done)
        return is_true(row.get(dumped)) and not finished

    return select(table, args, wanted, stages[0].failures(args.rank))
