"""Your own assets: every mesh file below a folder, keyed by the SHA-256 of its bytes."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from data_toolkit.files import sha256_of
from data_toolkit.tables import as_rows

__all__ = ["SUFFIXES", "add_args", "download", "get_metadata"]

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")


def add_args(parser: argparse.ArgumentParser) -> None:
    """`--source_dir`, `--copy`, `--aesthetic_score`."""
    parser.add_argument("--source_dir", type=Path, help="folder with mesh files (needed when the table is made)")
    parser.add_argument("--copy", action="store_true", help="copy files into raw/ instead of hard-linking them")
    parser.add_argument("--aesthetic_score", type=float, default=5.0, help="score given to every asset")


def get_metadata(source_dir: Path | None = None, aesthetic_score: float = 5.0, **_: Any) -> list[dict[str, Any]]:
    """One row per distinct file."""
    if source_dir is None or not Path(source_dir).is_dir():
        raise ValueError(f"--source_dir must be an existing folder, got {source_dir}")
    folder = Path(source_dir).resolve()
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
        sha = sha256_of(path)
        rows.setdefault(sha, {
            "sha256": sha, "file_identifier": path.relative_to(folder).as_posix(), "source_dir": str(folder),
            "aesthetic_score": aesthetic_score, "captions": "[]",
        })  # fmt: skip
    if not rows:
        raise ValueError(f"{folder} holds no file that ends in {', '.join(SUFFIXES)}")
    return list(rows.values())


def _place(source: Path, target: Path, copy: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        try:
            os.link(source, target)
            return
        except OSError:
            pass  # another file system: copy
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def download(
    metadata: Any, download_root: Path, check_only: bool = False, copy: bool = False, **_: Any
) -> list[dict[str, Any]]:
    """Bring files into raw/ and verify their hashes; side files of .gltf and .obj come along."""
    out = []
    for row in as_rows(metadata):
        source = Path(row["source_dir"]) / row["file_identifier"]
        single = source.suffix.lower() not in (".gltf", ".obj")
        local = f"raw/{row['sha256']}{source.suffix}" if single else f"raw/{row['file_identifier']}"
        target = Path(download_root) / local
        if not target.is_file() and not check_only:
            if not source.is_file():
                print(f"Error processing object {row['sha256']}: {source} is gone")
                continue
            files = [source] if single else [p for p in source.parent.iterdir() if p.is_file()]
            for path in files:
                goal = target if path == source else target.parent / path.name
                if not goal.exists():
                    _place(path, goal, copy)
        if not target.is_file():
            continue
        if sha256_of(target) != row["sha256"]:
            print(f"Error processing object {row['sha256']}: {target} has another hash")
            continue
        out.append({"sha256": row["sha256"], "local_path": local})
    return out
