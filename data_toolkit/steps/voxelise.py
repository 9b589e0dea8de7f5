"""Callables of the voxel stages: one dump to one `.vxz` file per resolution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_toolkit.dumps import find_dump, load_dump
from data_toolkit.steps import voxels
from data_toolkit.tables import Row

__all__ = ["ConvertDualGrid", "VoxelisePbr"]


def _existing(path: Path, flag: str, column: str) -> dict[str, Any] | None:
    count = voxels.voxel_count(path)
    return None if count is None else {flag: True, column: count}


def _load(folder: Path, sha: str) -> dict[str, Any]:
    path = find_dump(folder, sha)
    if path is None:
        raise ValueError(f"no dump of this asset in {folder}")
    return load_dump(path)


@dataclass(frozen=True)
class ConvertDualGrid:
    """Mesh dump to `dual_grid_<R>/<sha>.vxz` for each R."""

    dump_folder: Path
    folders: dict[int, Path]
    codec: voxels.Codec

    def __call__(self, file: Path | None, row: Row) -> dict[str, Any]:
        sha, objects, cells = row["sha256"], None, []
        for resolution, folder in self.folders.items():
            path = folder / f"{sha}.vxz"
            record = _existing(path, "dual_grid_converted", "dual_grid_size")
            if record is None:
                if objects is None:
                    objects = voxels.normalise_objects(_load(self.dump_folder, sha)["objects"])
                coords, vertices, flags = voxels.dual_grid(objects, resolution)
                voxels.save_dual_grid(path, coords, vertices, flags, resolution, self.codec)
                record = {"dual_grid_converted": True, "dual_grid_size": len(coords)}
            cells.append(record)
        return {"sha256": sha, "stages": cells}


@dataclass(frozen=True)
class VoxelisePbr:
    """Material dump to `pbr_voxels_<R>/<sha>.vxz` for each R."""

    dump_folder: Path
    folders: dict[int, Path]
    codec: voxels.Codec
    quirks: Literal["published"] | None

    def __call__(self, file: Path | None, row: Row) -> dict[str, Any]:
        sha, dump, objects, cells = row["sha256"], None, None, []
        for resolution, folder in self.folders.items():
            path = folder / f"{sha}.vxz"
            record = _existing(path, "pbr_voxelized", "num_pbr_voxels")
            if record is None:
                if dump is None or objects is None:
                    dump = _load(self.dump_folder, sha)
                    objects = voxels.normalise_objects(dump["objects"])
                coords, attributes = voxels.pbr_voxels(dump["materials"], objects, resolution, self.quirks)
                voxels.save_pbr_voxels(path, coords, attributes, resolution, self.codec)
                record = {"pbr_voxelized": True, "num_pbr_voxels": len(coords)}
            cells.append(record)
        return {"sha256": sha, "stages": cells}
