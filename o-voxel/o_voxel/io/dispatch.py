"""`read` and `write` by file name suffix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from o_voxel.io.arrays import ArrayLike
from o_voxel.io.npz import read_npz, write_npz
from o_voxel.io.ply import read_ply, write_ply
from o_voxel.io.vxz import read_vxz, write_vxz

__all__ = ["read", "write"]

_READERS = {".npz": read_npz, ".ply": read_ply, ".vxz": read_vxz}
_WRITERS = {".npz": write_npz, ".ply": write_ply, ".vxz": write_vxz}


def _suffix(file_path: str | os.PathLike[str]) -> str:
    suffix = Path(file_path).suffix.lower()
    if suffix not in _READERS:
        raise ValueError(f"file_path must end in one of {sorted(_READERS)}, got {str(file_path)!r}")
    return suffix


def read(file_path: str | os.PathLike[str], **options: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Read `(coord [N, 3] int32, {name: values [N, ...]})` from a `.vxz`, `.npz` or `.ply` file.

    `options` go to `read_vxz`, `read_npz` or `read_ply`. Raises ValueError on another suffix and on a malformed file.
    """
    return _READERS[_suffix(file_path)](file_path, **options)


def write(
    file_path: str | os.PathLike[str],
    coord: ArrayLike,  # [N, 3] integer
    attr: Mapping[str, ArrayLike],  # name -> [N, C]
    **options: Any,
) -> None:
    """Write voxels to a `.vxz`, `.npz` or `.ply` file; `options` go to `write_vxz`, `write_npz` or `write_ply`."""
    _WRITERS[_suffix(file_path)](file_path, coord, attr, **options)
