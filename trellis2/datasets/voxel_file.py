"""Reading `.vxz` files with the attributes a dataset expects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = ["read_voxels"]


def read_voxels(path: str | Path, channels: Mapping[str, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(coords [R, 3], {name: uint8 [R, c]}); coords are uint8 below 256, else int16. ValueError on a mismatch."""
    from o_voxel.io import read_vxz

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    coords_any, attrs = read_vxz(str(path), num_threads=1)
    coords = np.asarray(coords_any)
    out = {}
    for name, count in channels.items():
        if name not in attrs:
            raise ValueError(f"{path} has no attribute {name!r}, only {sorted(attrs)}")
        values = np.asarray(attrs[name])
        if values.ndim == 1:
            values = values[:, None]
        if values.shape != (len(coords), count):
            raise ValueError(f"{path}: attribute {name!r} has shape {values.shape}, expected {(len(coords), count)}")
        out[name] = values.astype(np.uint8, copy=False)
    if len(coords) == 0:
        raise ValueError(f"{path} holds no voxel")
    high = int(coords.max())
    if int(coords.min()) < 0 or high > np.iinfo(np.int16).max:
        raise ValueError(f"{path}: coordinates must be in [0, 32767], found up to {high}")
    return coords.astype(np.uint8 if high < 256 else np.int16), out
