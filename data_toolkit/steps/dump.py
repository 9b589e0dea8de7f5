"""Callables of the dump stages: one asset file to one dump file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_toolkit.dumps import DumpFormat, find_dump, load_dump, mesh_part, save_dump
from data_toolkit.gltf_dump import dump_asset
from data_toolkit.steps.stats import dump_stats
from data_toolkit.tables import Row

__all__ = ["DumpAsset", "DumpStats"]


@dataclass(frozen=True)
class DumpAsset:
    """Writes `<folder>/<sha>.npz` or `.pickle`; an existing dump is recorded and kept."""

    folder: Path
    kind: Literal["mesh", "pbr"]
    format: DumpFormat

    def __call__(self, file: Path | None, row: Row) -> dict[str, Any]:
        record = {"sha256": row["sha256"], f"{self.kind}_dumped": True}
        if find_dump(self.folder, row["sha256"]) is not None:
            return record
        if file is None or not file.is_file():
            raise ValueError(f"asset file {file} does not exist")
        dump = dump_asset(file)
        path = self.folder / f"{row['sha256']}.{self.format}"
        save_dump(path, mesh_part(dump) if self.kind == "mesh" else dump)
        return record


@dataclass(frozen=True)
class DumpStats:
    """Counts of the material dump if there is one, else of the mesh dump."""

    pbr_folder: Path
    mesh_folder: Path

    def __call__(self, file: Path | None, row: Row) -> dict[str, Any]:
        path = find_dump(self.pbr_folder, row["sha256"]) or find_dump(self.mesh_folder, row["sha256"])
        if path is None:
            raise ValueError("no dump file")
        return {"sha256": row["sha256"], **dump_stats(load_dump(path))}
