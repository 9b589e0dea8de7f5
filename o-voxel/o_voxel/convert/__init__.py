"""Conversions between textured triangle meshes and the O-Voxel representation.

`mesh_to_flexible_dual_grid` and `flexible_dual_grid_to_mesh` carry the shape, `textured_mesh_to_volumetric_attr` and
`blender_dump_to_volumetric_attr` the material. Shape and material of one mesh on one grid have the same voxels.
"""

from __future__ import annotations

from o_voxel.convert.flexible_dual_grid import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid
from o_voxel.convert.volumetric_attr import blender_dump_to_volumetric_attr, textured_mesh_to_volumetric_attr

__all__ = [
    "blender_dump_to_volumetric_attr",
    "flexible_dual_grid_to_mesh",
    "mesh_to_flexible_dual_grid",
    "textured_mesh_to_volumetric_attr",
]
