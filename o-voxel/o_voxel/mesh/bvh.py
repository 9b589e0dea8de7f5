"""Nearest point, distance and ray queries on a triangle mesh."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from o_voxel import _device
from o_voxel._device import cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh import bvh_reference
from o_voxel.mesh._arrays import ArrayLike, as_tensor, enter_tensors, like
from o_voxel.mesh.pseudonormal import pseudonormals

__all__ = ["BVH", "DistanceResult", "RayResult"]

_PADDING = 4e-15  # boxes grow by this share of the largest coordinate, which covers the rounding of the queries
_MAX_FACES = 1 << 30


class DistanceResult(NamedTuple):
    distance: ArrayLike  # [...] float32 (float64 for float64 points); infinite if the mesh is empty
    face_id: ArrayLike  # [...] int64, -1 if the mesh is empty
    uvw: ArrayLike | None  # [..., 3] weights of the corners of that face


class RayResult(NamedTuple):
    positions: ArrayLike  # [..., 3]
    face_id: ArrayLike  # [...] int64, -1 for a miss
    depth: ArrayLike  # [...] along the direction as given; infinite for a miss


class BVH:
    """Queries against one mesh; results are exact, deterministic, and go to the lowest face id on ties.

    The mesh is on the CPU or a GPU and stays there; points and rays may be of any kind and device, and results are of
    the same kind on the same device. Triangles without area count as segments or points. The hierarchy takes 58 bytes
    a face (94 if vertices are not exactly float32). Without the compiled core a plain NumPy search over all triangles
    is used: right, but slow.
    """

    def __init__(self, vertices: ArrayLike, faces: ArrayLike, *, backend: Backend = "auto") -> None:
        mesh = enter_tensors(vertices, faces)
        if len(mesh.faces) > _MAX_FACES:
            raise ValueError(f"faces must be at most 2^30, got {len(mesh.faces)}")
        self._of_tensors = isinstance(vertices, Tensor)
        self._v, self._f = mesh.vertices, mesh.faces
        self._tree: tuple | None = None  # arguments of every query in the core
        self._device = torch.device("cpu")
        if resolve_backend(backend) != "native":
            return
        core = cuda_core("mesh_bvh", self._v.device) if self._v.is_cuda else None
        if core is not None:
            self._device = self._v.device
        largest, narrow = _measure(self._v)
        vertices = (self._v.float() if narrow else self._v).to(self._device).contiguous()
        build = vertices, self._f.int().to(self._device).contiguous(), _PADDING * largest
        self._tree = (len(self._f), not narrow, *self._core("mesh_bvh_build", *build))

    def _core(self, name: str, *arguments: object) -> Any:
        native = native_module()
        assert native is not None
        if self._device.type == "cuda":
            return getattr(native, f"{name}_cuda")(*arguments, launch(self._device))
        numpy = (a.numpy() if isinstance(a, Tensor) else a for a in arguments)
        return getattr(native, name)(*numpy)

    @property
    def vertices(self) -> ArrayLike:
        """[V, 3]: a tensor if the mesh came as tensors, else a float64 array."""
        return self._v if self._of_tensors else self._v.double().numpy()

    @property
    def faces(self) -> ArrayLike:
        """[F, 3] int64, of the kind of the vertices."""
        return self._f if self._of_tensors else self._f.numpy()

    def nearest(
        self,
        points: ArrayLike,  # [N, 3]
        *,
        normals: ArrayLike | None = None,  # [N, 3]
        min_cos: float = 0.0,
        max_distance: float = float("inf"),
    ) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
        """Closest points: -> (distance [N], face [N] int64, uvw [N, 3]); floats as wide as points (arrays: 64 bits).

        With `normals`, faces whose unit normal has a dot product below `min_cos` with the point's are left out. Where
        no face is left within `max_distance`, the face is -1, the distance infinite, and the weights are zero.
        """
        flat = self._points(points, "points")
        direction = None if normals is None else self._points(normals, "normals").to(flat.dtype)
        distance, face, uvw = self._nearest(flat, direction, min_cos, max_distance)
        return like(distance, points), like(face, points), like(uvw, points)

    def closest_points(self, face_id: ArrayLike, uvw: ArrayLike) -> ArrayLike:
        """Positions of (face, weights): [N, 3], as wide as the weights."""
        face, weights = as_tensor(face_id, "face_id").to(self._v.device), as_tensor(uvw, "uvw").to(self._v.device)
        corners = self._v[self._f[face]].to(weights.dtype)  # [N, 3, 3]
        return like((corners * weights[:, :, None]).sum(1), uvw)

    def count_hits(
        self,
        origins: ArrayLike,  # [N, 3]
        directions: ArrayLike,  # [N, 3]
        *,
        t_min: float = 0.0,
        t_max: float = float("inf"),
        max_hits: int = 1 << 62,
    ) -> ArrayLike:
        """Number of faces that each ray meets at t_min <= t <= t_max along its direction, up to `max_hits`: [N] int64.

        An edge hit counts for both faces. With `max_hits=1` the search ends at the first hit found.
        """
        o, d = self._points(origins, "origins"), self._points(directions, "directions")
        if self._tree is None:
            hits = bvh_reference.ray_hits(*self._arrays(), o.numpy(), d.numpy(), t_min, t_max)[2]
            return like(np.minimum(hits, max_hits), origins)
        memory = self._core("mesh_bvh_count_hits", *self._tree, o, d.to(o.dtype), float(t_min), float(t_max), max_hits)
        return like(_device.as_tensor(memory, torch.int64, (len(o),)), origins)

    def unsigned_distance(self, points: ArrayLike, return_uvw: bool = False) -> DistanceResult:
        """Distance to the surface, the face it is reached on, and the barycentric weights there."""
        shape, flat = _flatten(points, "points")
        distance, face, uvw = self.nearest(flat)
        return DistanceResult(
            _floats(distance.reshape(shape), points),
            face.reshape(shape),
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
        if len(self._f) == 0:
            inside = distance < 0
        elif mode == "watertight":
            inside = like(self._is_behind(flat, face, uvw), points)
        else:
            inside = self.contains(flat)
        where = torch.where if isinstance(points, Tensor) else np.where
        return DistanceResult(
            _floats(where(inside, -distance, distance).reshape(shape), points),
            face.reshape(shape),
            _floats(uvw.reshape(*shape, 3), points) if return_uvw else None,
        )

    def contains(self, points: ArrayLike, *, num_rays: int = 15) -> ArrayLike:
        """[N] bool: most of `num_rays` fixed directions meet the surface an odd number of times."""
        flat = self._points(points, "points")
        directions = np.random.default_rng(1).normal(size=(num_rays, 3))
        votes = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
        for d in torch.from_numpy(directions).to(flat):
            votes += self.count_hits(flat, d.expand_as(flat)) % 2
        return like(votes * 2 > num_rays, points)

    def ray_trace(self, origins: ArrayLike, directions: ArrayLike) -> RayResult:
        """First hit of each ray (edges and grazing corners count as hits).

        Raises ValueError if the shapes differ or a direction is zero.
        """
        shape, flat_o = _flatten(origins, "origins")
        shape_d, flat_d = _flatten(directions, "directions")
        if shape != shape_d:
            raise ValueError(f"origins and directions must have one shape, got {list(shape)} and {list(shape_d)}")
        o, d = self._points(flat_o, "origins"), self._points(flat_d, "directions")
        moves = (d != 0).any(dim=1)
        if not bool(moves.all()):
            raise ValueError(f"directions must not be zero, got zero at row {int((~moves).nonzero()[0])}")
        if self._tree is None:
            found = bvh_reference.ray_hits(*self._arrays(), o.numpy(), d.numpy(), 0.0)
            depth, face = (torch.from_numpy(a) for a in found[:2])
        else:
            memory = self._core("mesh_bvh_trace", *self._tree, o, d.to(o.dtype), 0.0, float("inf"))
            depth = _device.as_tensor(memory[0], o.dtype, (len(o),))
            face = _device.as_tensor(memory[1], torch.int64, (len(o),))
        position = torch.where((face >= 0)[:, None], o + depth[:, None] * d, torch.inf)
        return RayResult(
            _floats(like(position, origins).reshape(*shape, 3), origins),
            like(face, origins).reshape(shape),
            _floats(like(depth, origins).reshape(shape), origins),
        )

    def _points(self, points: ArrayLike, name: str) -> Tensor:
        """[N, 3] on the device of the hierarchy, float32 or (always from arrays) float64."""
        flat = as_tensor(points, name)
        if flat.ndim != 2 or flat.shape[1] != 3:
            raise ValueError(f"{name} must have shape [N, 3], got {list(flat.shape)}")
        wide = not isinstance(points, Tensor) or flat.dtype == torch.float64
        return flat.to(self._device, torch.float64 if wide else torch.float32).contiguous()

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return self._v.double().cpu().numpy(), self._f.cpu().numpy()

    def _nearest(
        self, points: Tensor, normals: Tensor | None, min_cos: float, max_distance: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = len(points)
        if self._tree is None:
            wide, directions = points.double().numpy(), None if normals is None else normals.double().numpy()
            found = bvh_reference.nearest(*self._arrays(), wide, directions, min_cos, max_distance)
            distance, face, uvw = (torch.from_numpy(a) for a in found)
            return distance.to(points.dtype), face, uvw.to(points.dtype)
        memory = self._core("mesh_bvh_nearest", *self._tree, points, normals, float(min_cos), float(max_distance), True)
        return (
            _device.as_tensor(memory[0], points.dtype, (n,)),
            _device.as_tensor(memory[1], torch.int64, (n,)),
            _device.as_tensor(memory[2], points.dtype, (n, 3)),
        )

    def _is_behind(self, points: ArrayLike, face: ArrayLike, uvw: ArrayLike) -> Tensor:
        """[N] bool: the point lies against the angle-weighted normal at its closest point."""
        p, f, w = (as_tensor(a, "points").to(self._v.device) for a in (points, face, uvw))
        p, w = p.double(), w.double()
        offset = p - (self._v[self._f[f]].double() * w[:, :, None]).sum(1)
        return (offset * pseudonormals(self._v, self._f, f, w)).sum(-1) < 0


def _measure(v: Tensor) -> tuple[float, bool]:
    """The largest coordinate, and whether float32 holds all of them exactly."""
    if len(v) == 0:
        return 0.0, True
    largest = v.abs().amax().double()
    if v.dtype == torch.float32:
        return float(largest), True
    largest, exact = torch.stack([largest, (v.float().double() == v).all().double()]).tolist()
    return largest, bool(exact)


def _flatten(points: ArrayLike, name: str) -> tuple[tuple[int, ...], ArrayLike]:
    array = as_tensor(points, name)
    if array.ndim < 1 or array.shape[-1] != 3:
        raise ValueError(f"{name} must have shape [..., 3], got {list(array.shape)}")
    if not bool(torch.isfinite(array).all()):
        raise ValueError(f"{name} must be finite")
    return tuple(array.shape[:-1]), points.reshape(-1, 3)


def _floats(array: ArrayLike, template: ArrayLike) -> ArrayLike:
    """float64 if the template is, else float32."""
    if isinstance(array, Tensor):
        return array.to(torch.float64 if template.dtype == torch.float64 else torch.float32)
    return array.astype(np.float64 if template.dtype == np.float64 else np.float32)
