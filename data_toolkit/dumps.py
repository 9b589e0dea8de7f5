"""Mesh and material dumps on disk; the formats are described where they are read, `trellis2.datasets.dump_file`."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from data_toolkit.files import atomic_write
from trellis2.datasets.dump_file import DUMP_FORMAT, find_dump, load_dump

__all__ = ["DumpFormat", "find_dump", "load_dump", "mesh_part", "save_dump"]

DumpFormat = Literal["npz", "pickle"]


def mesh_part(dump: dict[str, Any]) -> dict[str, Any]:
    """The mesh dump contained in a material dump."""
    return {"objects": [{"vertices": o["vertices"], "faces": o["faces"]} for o in dump["objects"]]}


def save_dump(path: Path, dump: dict[str, Any]) -> None:
    """Write a dump; the suffix of `path` (.npz or .pickle) picks the format."""
    if path.suffix == ".pickle":
        atomic_write(path, lambda file: pickle.dump(dump, file, protocol=4))
        return
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz or .pickle, got {path.name!r}")
    arrays: dict[str, np.ndarray] = {}

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [strip(v) for v in value]
        if isinstance(value, (np.ndarray, bytes)):
            name = f"a{len(arrays)}"
            arrays[name] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
            return {"$": name, "bytes": isinstance(value, bytes)}
        return value

    structure = json.dumps({"format": DUMP_FORMAT, "dump": strip(dump)}).encode()

    def write(file: IO[bytes]) -> None:
        np.savez_compressed(file, structure=np.frombuffer(structure, np.uint8), **arrays)  # type: ignore[arg-type]

    atomic_write(path, write)
