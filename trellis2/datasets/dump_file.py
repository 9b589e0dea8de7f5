"""Mesh and material dumps as they lie on disk: our open container, and a safe reader of published pickles.

Container `<sha>.npz`: member `structure` is UTF-8 JSON (as uint8) holding the dump with each array or byte string
replaced by {"$": name}; the other members are those arrays (byte strings as uint8). Nothing in it can run code.
Published `<sha>.pickle` files are read by an unpickler that admits plain containers and NumPy arrays only.
"""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["DUMP_FORMAT", "find_dump", "load_dump"]

DUMP_FORMAT = "trellis2-dump/1"
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _PlainUnpickler(pickle.Unpickler):
    """Admits what an array needs; everything else is refused before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a dump")
        return super().find_class(module, name)


def load_dump(path: Path) -> dict[str, Any]:
    """Read a dump of either format. Raises ValueError if the file is damaged or not a dump."""
    try:
        dump = _load_pickle(path) if path.suffix == ".pickle" else _load_npz(path)
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
        ImportError,
    ) as e:
        raise ValueError(f"{path} is not a readable dump: {e}") from e
    if not isinstance(dump, dict) or not isinstance(dump.get("objects"), list):
        raise ValueError(f"{path} must hold a dict with the list 'objects'")
    return dump


def _load_pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        return _PlainUnpickler(io.BufferedReader(file)).load()


def _load_npz(path: Path) -> Any:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as store:
            head = json.loads(store["structure"].tobytes().decode())
            if head["format"] != DUMP_FORMAT:
                raise ValueError(f"{path} has format {head['format']!r}, expected {DUMP_FORMAT!r}")
            arrays = {name: store[name] for name in store.files if name != "structure"}
    except (zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{path} is not a readable dump: {error}") from error

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            if "$" in value:
                array = arrays[value["$"]]
                return array.tobytes() if value["bytes"] else array
            return {k: restore(v) for k, v in value.items()}
        return [restore(v) for v in value] if isinstance(value, list) else value

    return restore(head["dump"])


def find_dump(folder: Path, sha: str) -> Path | None:
    """The dump of an asset in a stage folder, ours before a published one."""
    for suffix in (".npz", ".pickle"):
        path = folder / f"{sha}{suffix}"
        if path.is_file():
            return path
    return None
