"""Nearest point, distance and ray queries on a triangle mesh."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh import bvh_reference
from o_voxel.mesh._arrays import ArrayLike, as_numpy, enter, like, to_float64, to_int32
from o_voxel.mesh.normals import numpy_face_crosses, numpy_normalize

__all__ = ["BVH", "DistanceResult", "RayResult"]


class DistanceResult(NamedTuple):
    distance: ArrayLike  # [...] float32 (float64 for NumPy float64 points); infinite if the mesh is empty
    face_id: ArrayLike  # [...] int64, -1 if the mesh is empty
    uvw: ArrayLike | None  # [..., 3] weights of the corners of that face


class RayResult(NamedTuple):
    positions: ArrayLike  # [..., 3]
    face_id: ArrayLike  # [...] int64, -1 for a miss
    depth: ArrayLike  # [...] along the direction as given; infinite for a miss


class BVH:
    """Queries against one mesh; results are exact, deterministic, and go to the lowest face id on ties.

    Points and rays may have any leading shape; results are of the same kind (tensor or array) on the same device.
    Without the compiled core a plain NumPy search over all triangles is used: right, but slow.
    """

    def __init__(self, vertices: ArrayLike, faces: ArrayLike, *, backend: Backend = "auto") -> None:
        mesh = enter(vertices, faces)
        self.vertices = to_float64(mesh.vertices)  # [V, 3]
        self.faces = mesh.faces  # [F, 3] int64
        self._native = None
        if resolve_backend(backend) == "native":
            native = native_module()
            assert native is not None
            self._native = native.MeshBvh(self.vertices, to_int32(self.faces))

    def nearest(
        self,
        points: np.ndarray,  # [N, 3]
        *,
        normals: np.ndarray | None = None,  # [N, 3]
        min_cos: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Closest points: -> (distance [N] float64, face [N] int64, uvw [N, 3] float64).

        With `normals`, faces whose unit normal has a dot product below `min_cos` with the point's are left out
        (face -1 and infinite distance where none is left).
        """
        points = to_float64(points)
        normals = None if normals is None else to_float64(normals)
        if self._native is not None:
            return self._native.nearest(points, normals, float(min_cos))
        return bvh_reference.nearest(self.vertices, self.faces, points, normals, min_cos)

    def closest_points(self, face_id: np.ndarray, uvw: np.ndarray) -> np.ndarray:
        """Positions of (face, weights): [N, 3] float64."""
        return (self.vertices[self.faces[face_id]] * uvw[:, :, None]).sum(1)

    def count_hits(
        self, origins: np.ndarray, directions: np.ndarray, *, t_min: float = 0.0, max_hits: int = 1 << 62
    ) -> np.ndarray:
        """Number of faces that each ray [N, 3] meets at t >= t_min, up to `max_hits`: [N] int64.

        An edge hit counts for both faces.
        """
        if self._native is not None:
            return self._native.count_hits(to_float64(origins), to_float64(directions), float(t_min), max_hits)
        return np.minimum(bvh_reference.ray_hits(self.vertices, self.faces, origins, directions, t_min)[2], max_hits)

    def unsigned_distance(self, points: ArrayLike, return_uvw: bool = False) -> DistanceResult:
        """Distance to the surface, the face it is reached on, and the barycentric weights there."""
        shape, flat = _flatten(points, "points")
        distance, face, uvw = self.nearest(flat)
        return DistanceResult(
            _floats(distance.reshape(shape), points),
            like(face.reshape(shape), points),
            _floats(uvw.reshape(*shape, 3), points) if return_uvw else None,
        )

    def signed_distance(
        self,
        points: ArrayLike,
        return_uvw: bool = False,
        mode: Literal["watertight", "raystab"] = "watertight",
    ) -> DistanceResult:
        """`unsigned_distance`, negative inside.

        "watertight": the sign of the angle-weighted normal at the closest point (J. A. Baerentzen and H. Aanaes, Signed
        Distance Computation Using the Angle Weighted Pseudonormal, 2005); needs a closed, outward mesh. "raystab":
        inside is where most of 15 rays meet the surface an odd number of times; winding does not matter.
        """
        if mode not in ("watertight", "raystab"):
            raise ValueError(f"mode must be 'watertight' or 'raystab', got {mode!r}")
        shape, flat = _flatten(points, "points")
        distance, face, uvw = self.nearest(flat)
        if len(self.faces) == 0:
            inside = np.zeros(len(flat), dtype=bool)
        elif mode == "watertight":
            offset = flat - self.closest_points(face, uvw)
            inside = (offset * self._pseudonormal(face, uvw)).sum(-1) < 0
        else:
            inside = self.contains(flat)
        return DistanceResult(
            _floats(np.where(inside, -distance, distance).reshape(shape), points),
            like(face.reshape(shape), points),
            _floats(uvw.reshape(*shape, 3), points) if return_uvw else None,
        )

    def contains(self, points: np.ndarray, *, num_rays: int = 15) -> np.ndarray:
        """[N] bool: most of `num_rays` fixed directions meet the surface an odd number of times."""
        directions = numpy_normalize(np.random.default_rng(1).normal(size=(num_rays, 3)))
        votes = np.zeros(len(points), dtype=np.int64)
        for d in directions:
            votes += self.count_hits(points, np.broadcast_to(d, points.shape)) % 2
        return votes * 2 > num_rays

    def ray_trace(self, origins: ArrayLike, directions: ArrayLike) -> RayResult:
        """First hit of each ray (edges and grazing corners count as hits).

        Raises ValueError if the shapes differ or a direction is zero.
        """
        shape, o = _flatten(origins, "origins")
        shape_d, d = _flatten(directions, "directions")
        if shape != shape_d:
            raise ValueError(f"origins and directions must have one shape, got {list(shape)} and {list(shape_d)}")
        if not d.any(axis=1).all():
            raise ValueError(f"directions must not be zero, got zero at row {int(np.argmin(d.any(axis=1)))}")
        if self._native is not None:
            depth, face = self._native.trace(o, d, 0.0)
        else:
            depth, face, _ = bvh_reference.ray_hits(self.vertices, self.faces, o, d, 0.0)
        hit = face >= 0
        position = np.full_like(o, np.inf)
        position[hit] = o[hit] + depth[hit, None] * d[hit]
        return RayResult(
            _floats(position.reshape(*shape, 3), origins),
            like(face.reshape(shape), origins),
            _floats(depth.reshape(shape), origins),
        )

    def _pseudonormal(self, face: np.ndarray, uvw: np.ndarray) -> np.ndarray:
        """Normal at points given by (face, weights): of the face, of both faces of an edge, or of a corner."""
        unit = numpy_normalize(numpy_face_crosses(self.vertices, self.faces))
        p = self.vertices[self.faces]
        corner = np.zeros_like(self.vertices)
        for k in range(3):
            a = numpy_normalize(p[:, (k + 1) % 3] - p[:, k])
            b = numpy_normalize(p[:, (k + 2) % 3] - p[:, k])
            angle = np.arccos(np.clip((a * b).sum(-1), -1, 1))
            np.add.at(corner, self.faces[:, k], unit * angle[:, None])
        low, high = np.sort(self.faces[:, [1, 2]], 1), np.sort(self.faces[:, [2, 0]], 1)
        edge = np.stack([low, high, np.sort(self.faces[:, [0, 1]], 1)], axis=1)  # edge k lies opposite to corner k
        key = edge[..., 0] * len(self.vertices) + edge[..., 1]
        unique, inverse = np.unique(key, return_inverse=True)
        edge_normal = np.zeros((len(unique), 3))
        inverse = inverse.reshape(-1, 3)
        for k in range(3):
            np.add.at(edge_normal, inverse[:, k], unit)
        zero = uvw <= 1e-9
        normal = unit[face]
        on_edge = zero.sum(1) == 1
        side = np.argmax(zero, axis=1)
        normal[on_edge] = edge_normal[inverse[face[on_edge], side[on_edge]]]
        on_corner = zero.sum(1) >= 2
        tip = np.argmax(uvw, axis=1)
        normal[on_corner] = corner[self.faces[face[on_corner], tip[on_corner]]]
        return normal


def _flatten(points: ArrayLike, name: str) -> tuple[tuple[int, ...], np.ndarray]:
    array = as_numpy(points, name)
    if array.ndim < 1 or array.shape[-1] != 3:
        raise ValueError(f"{name} must have shape [..., 3], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array.shape[:-1], to_float64(array.reshape(-1, 3))


def _floats(array: np.ndarray, template: ArrayLike) -> ArrayLike:
    dtype = np.float64 if as_numpy(template, "points").dtype == np.float64 else np.float32
    return like(array.astype(dtype), template)
