"""Generated assets: no network, any number, the same everywhere.

Rows hold what `download` needs (family, index, version), so flags only matter when the table is made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from data_toolkit import runner
from data_toolkit.files import write_bytes
from data_toolkit.procedural import VERSION, family_of, generate_asset, spec_sha256
from data_toolkit.tables import Row, as_rows

__all__ = ["add_args", "asset_row", "download", "get_metadata"]


def add_args(parser: argparse.ArgumentParser) -> None:
    """`--start`, `--count`, `--families`, `--download_workers`."""
    parser.add_argument("--start", type=int, default=0, help="index of the first asset; evaluation uses 1000000 and up")
    parser.add_argument("--count", type=int, default=100, help="number of assets")
    parser.add_argument("--families", default="", help="comma-separated: keep only assets of these families")
    parser.add_argument("--download_workers", type=int, default=0, help="processes that generate; 0 means one a core")


def asset_row(index: int) -> dict[str, Any]:
    """Base table row of one asset."""
    family = family_of(index)
    return {
        "sha256": spec_sha256(index),
        "file_identifier": f"{family}/{index}",
        "aesthetic_score": 6.0,
        "captions": json.dumps([f"a {family.replace('_', ' ')}"]),
        "generator": "trellis2.procedural",
        "generator_version": VERSION,
        "family": family,
        "index": index,
        "license": "MIT",
    }


def get_metadata(start: int = 0, count: int = 100, families: str = "", **_: Any) -> list[dict[str, Any]]:
    """Rows of assets start … start + count - 1."""
    from data_toolkit.procedural.families import FAMILIES

    if count < 1:
        raise ValueError(f"--count must be positive, got {count}")
    names = [f.strip() for f in families.split(",") if f.strip()]
    unknown = [n for n in names if n not in FAMILIES]
    if unknown:
        raise ValueError(f"unknown family {unknown[0]!r}, choose from: {', '.join(sorted(FAMILIES))}")
    rows = [asset_row(i) for i in range(start, start + count)]
    return [r for r in rows if not names or r["family"] in names]


class Generate:
    """Writes one GLB below the download root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, file: Path | None, row: Row) -> dict[str, Any]:
        if int(row["generator_version"]) != VERSION:
            raise ValueError(f"the table was made by generator version {row['generator_version']}, this is {VERSION}")
        index = int(row["index"])
        if spec_sha256(index) != row["sha256"]:
            raise ValueError(f"index {index} does not belong to this sha256")
        local = f"raw/{row['file_identifier']}.glb"
        path = self.root / local
        if not path.is_file():
            write_bytes(path, generate_asset(index).glb())
        return {"sha256": row["sha256"], "local_path": local}


def download(
    metadata: Any, download_root: Path, check_only: bool = False, download_workers: int = 0, **_: Any
) -> list[dict[str, Any]]:
    """Generate the assets that are missing; with `check_only` report those that are there."""
    rows = as_rows(metadata)
    if check_only:
        found = [(r["sha256"], f"raw/{r['file_identifier']}.glb") for r in rows]
        return [{"sha256": s, "local_path": p} for s, p in found if (Path(download_root) / p).is_file()]
    return runner.foreach_instance(rows, None, Generate(Path(download_root)), download_workers, True, "Generating")
