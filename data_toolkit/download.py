"""Fetch (or generate) the raw assets of a dataset.

python data_toolkit/download.py SUBSET --root ROOT [adaptor flags]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.adaptors import parse_with_adaptor
from data_toolkit.runner import add_common_args, load_tables, select
from data_toolkit.tables import append_record, make_table

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="download.py", description=__doc__)
    add_common_args(parser, workers=None)
    parser.add_argument("--download_root", "--output_dir", type=Path, help="where raw/ goes; default: --root")
    parser.add_argument("--check_only", action="store_true", help="only record what is there")
    adaptor, args = parse_with_adaptor(parser, argv)
    args.download_root = args.download_root or args.root
    folder = args.download_root / "raw"
    try:
        rows = select(load_tables(args.root, [folder]), args, lambda r: not r.get("local_path"))
    except ValueError as error:
        parser.error(str(error))
    print(f"Processing {len(rows)} objects...")
    done = make_table(adaptor.download(rows, **vars(args)))
    (folder / "new_records").mkdir(parents=True, exist_ok=True)
    for row in done.values():
        if not row.get("local_path", "").startswith("raw/"):
            raise ValueError(f"adaptor returned local_path {row.get('local_path')!r}, it must start with raw/")
        append_record(folder / "new_records" / f"part_{args.rank}.csv", row, ("sha256", "local_path"))
    print(f"{len(done)} of {len(rows)} assets are there")
    return 1 if rows and not done else 0


if __name__ == "__main__":
    raise SystemExit(main())
