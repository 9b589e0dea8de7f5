"""Triangle-mesh tools: connectivity, clean-up, orientation, simplification, distance queries, remeshing, unwrapping.

Functions take vertices [V, 3] float and faces [F, 3] int as torch tensors or NumPy arrays and return the same kind.
"""

from __future__ import annotations

from .bvh import BVH, DistanceResult, RayResult
from .cleanup import (
    merge_close_vertices,
    remove_degenerate_faces,
    remove_duplicate_faces,
    remove_faces,
    remove_small_components,
    remove_unreferenced_vertices,
    repair_non_manifold,
)
from .connectivity import MeshStats, mesh_stats
from .holes import fill_holes
from .normals import face_areas, face_normals, vertex_normals
from .orient import orient_outward, unify_face_orientations
from .remesh import remesh_narrow_band_dc
from .simplify import SimplifyResult, simplify
from .unwrap import UnwrapResult, unwrap

__all__ = [
    "BVH",
    "DistanceResult",
    "MeshStats",
    "RayResult",
    "SimplifyResult",
    "UnwrapResult",
    "face_areas",
    "face_normals",
    "fill_holes",
    "merge_close_vertices",
    "mesh_stats",
    "orient_outward",
    "remesh_narrow_band_dc",
    "remove_degenerate_faces",
    "remove_duplicate_faces",
    "remove_faces",
    "remove_small_components",
    "remove_unreferenced_vertices",
    "repair_non_manifold",
    "simplify",
    "unify_face_orientations",
    "unwrap",
    "vertex_normals",
]
