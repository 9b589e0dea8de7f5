"""Triangle-mesh tools: connectivity, clean-up, orientation, simplification, distance queries, remeshing, unwrapping.

Functions take vertices [V, 3] float and faces [F, 3] int as torch tensors or NumPy arrays and return the same kind.
"""

from __future__ import annotations

from o_voxel.mesh.bvh import BVH, DistanceResult, RayResult
from o_voxel.mesh.cleanup import (
    merge_close_vertices,
    remove_degenerate_faces,
    remove_duplicate_faces,
    remove_faces,
    remove_small_components,
    remove_unreferenced_vertices,
    repair_non_manifold,
)
from o_voxel.mesh.connectivity import MeshStats, mesh_stats
from o_voxel.mesh.holes import fill_holes
from o_voxel.mesh.lod import Lod, lod_chain
from o_voxel.mesh.normals import face_areas, face_normals, vertex_normals
from o_voxel.mesh.orient import orient_outward, unify_face_orientations
from o_voxel.mesh.remesh import remesh_narrow_band_dc
from o_voxel.mesh.remesh_surface import RemeshResult, remesh_solid
from o_voxel.mesh.shells import FaceView, find_shells, remove_hidden_faces
from o_voxel.mesh.simplify import SimplifyResult, simplify
from o_voxel.mesh.smooth import smooth_surface
from o_voxel.mesh.unwrap import UnwrapResult, unwrap

__all__ = [
    "BVH",
    "DistanceResult",
    "FaceView",
    "Lod",
    "MeshStats",
    "RayResult",
    "RemeshResult",
    "SimplifyResult",
    "UnwrapResult",
    "face_areas",
    "face_normals",
    "fill_holes",
    "find_shells",
    "lod_chain",
    "merge_close_vertices",
    "mesh_stats",
    "orient_outward",
    "remesh_narrow_band_dc",
    "remesh_solid",
    "remove_degenerate_faces",
    "remove_duplicate_faces",
    "remove_faces",
    "remove_hidden_faces",
    "remove_small_components",
    "remove_unreferenced_vertices",
    "repair_non_manifold",
    "simplify",
    "smooth_surface",
    "unify_face_orientations",
    "unwrap",
    "vertex_normals",
]
