"""The part that `dump_mesh.py` and `dump_pbr.py` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from data_toolkit.adaptors import parse_with_adaptor
from data_toolkit.runner import Stage, add_common_args, load_tables, not_done, run_stage, select
from data_toolkit.steps.dump import DumpAsset

__all__ = ["run_dump"]


def run_dump(kind: Literal["mesh", "pbr"], description: str | None, argv: list[str] | None) -> int:
    """Dump every downloaded asset with the glTF-native back end; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"dump_{kind}.py", description=description)
    add_common_args(parser)
    parser.add_argument("--download_root", type=Path, help="where raw/ is; default: --root")
    parser.add_argument(f"--{kind}_dump_root", type=Path, help="where the dumps go; default: --root")
    parser.add_argument(
        "--dump_format", choices=("npz", "pickle"), default="npz",
        help="npz: open container; pickle: the published format, for other readers",
    )  # fmt: skip
    adaptor, args = parse_with_adaptor(parser, argv)
    flag = f"{kind}_dumped"
    folder = (getattr(args, f"{kind}_dump_root") or args.root) / f"{kind}_dumps"
    download_root = args.download_root or args.root
    stage = Stage(folder, (flag,), f"Dumping {'mesh' if kind == 'mesh' else 'PBR'}")
    try:
        table = load_tables(args.root, [download_root / "raw", folder], {"local_path": "download.py"})
        rows = select(
            table, args, lambda r: bool(r.get("local_path")) and not_done(r, flag), stage.failures(args.rank)
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    rows = [r for r in rows if r.get("local_path")]
    step = DumpAsset(folder, kind, args.dump_format)
    return run_stage(
        [stage], rows, step, rank=args.rank, max_workers=args.max_workers, base_dir=download_root, adaptor=adaptor
    )  # fmt: skip
