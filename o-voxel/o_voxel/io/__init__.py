"""Sparse voxels with attributes in files: `.vxz` (chunked octrees), `.npz` and `.ply`."""

from __future__ import annotations

from o_voxel.io.dispatch import read, write
from o_voxel.io.npz import read_npz, write_npz
from o_voxel.io.ply import read_ply, write_ply
from o_voxel.io.vxz import iter_vxz, read_vxz, read_vxz_info, write_vxz

__all__ = [
    "iter_vxz",
    "read",
    "read_npz",
    "read_ply",
    "read_vxz",
    "read_vxz_info",
    "write",
    "write_npz",
    "write_ply",
    "write_vxz",
]
