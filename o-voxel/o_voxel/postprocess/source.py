"""The full-resolution surface that textures are baked from: nearest points, normals and rays, tensors in and out."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel.mesh import BVH, vertex_normals
from o_voxel.mesh.normals import cross, normalize

__all__ = ["Hit", "SourceSurface", "weighted_corners"]


class Hit(NamedTuple):
    """The nearest point of a surface for each of M points."""

    distance: Tensor  # [M] float64; infinite where there is none
    face: Tensor  # [M] int64, -1 where there is none
    uvw: Tensor  # [M, 3] float64, weights of the corners of that face


class SourceSurface:
    """A triangle mesh on one device with a tree over its faces, built on first use."""

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        self.vertices = vertices  # [V, 3] float
        self.faces = faces  # [F, 3] int

    @property
    def device(self) -> torch.device:
        """Where the mesh is and the work is done."""
        return self.vertices.device

    @cached_property
    def bvh(self) -> BVH:
        """The tree."""
        return BVH(self.vertices, self.faces)

    @cached_property
    def vertex_normals(self) -> Tensor:
        """Area-weighted unit normals [V, 3]."""
        return torch.as_tensor(vertex_normals(self.vertices, self.faces), device=self.device)

    def nearest(self, points: Tensor, normals: Tensor | None = None, *, max_distance: float = float("inf")) -> Hit:
        """Nearest points to [M, 3] within `max_distance`; with `normals`, of faces whose normal does not oppose."""
        return Hit(*self.bvh.nearest(points, normals=normals, min_cos=0.0, max_distance=max_distance))

    def occluded(self, origins: Tensor, directions: Tensor, reach: float) -> Tensor:
        """Whether rays [M, 3] along unit directions meet the surface within `reach`: [M] bool."""
        return self.bvh.count_hits(origins, directions, t_max=reach, max_hits=1) > 0

    def face_normals(self, face: Tensor) -> Tensor:
        """Unit normals of faces [M]: float64 [M, 3], zero for faces without area."""
        a, b, c = self.vertices[self.faces[face].long()].double().unbind(1)
        return normalize(cross(b - a, c - a))

    def positions(self, hit: Hit) -> Tensor:
        """Points of the surface [M, 3] float64."""
        return weighted_corners(self.vertices, self.faces[hit.face].long(), hit.uvw)

    def normals(self, hit: Hit) -> Tensor:
        """Smooth unit normals at points of the surface [M, 3] float64."""
        return normalize(weighted_corners(self.vertex_normals, self.faces[hit.face].long(), hit.uvw))


def weighted_corners(values: Tensor, faces: Tensor, weights: Tensor) -> Tensor:
    """Values of vertices [V, C] at points of triangles `faces` [M, 3] with corner `weights` [M, 3]: [M, C].

    As wide as the wider of values and weights.
    """
    a, b, c = (values[faces[:, k]] * weights[:, k : k + 1] for k in range(3))
    return a + b + c
