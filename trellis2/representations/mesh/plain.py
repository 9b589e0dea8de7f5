"""A triangle mesh with optional vertex attributes.

Letters: V vertices, F faces, C attribute channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._geometry import fill_holes, simplify

__all__ = ["Mesh"]


class Mesh:
    """Vertices in world space (Z up, asset inside [-0.5, 0.5]^3) and triangles."""

    vertices: Tensor  # [V, 3] float32
    faces: Tensor  # [F, 3] int32
    vertex_attrs: Tensor | None  # [V, C] float

    def __init__(
        self,
        vertices: Tensor,  # [V, 3]
        faces: Tensor,  # [F, 3]
        vertex_attrs: Tensor | None = None,  # [V, C]
    ) -> None:
        """Cast to float32 / int32. Raises ValueError on wrong shapes."""
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f"vertices must have shape [V, 3], got {tuple(vertices.shape)}")
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(f"faces must have shape [F, 3], got {tuple(faces.shape)}")
        if faces.is_floating_point():
            raise TypeError(f"faces must be integers, got {faces.dtype}")
        if vertex_attrs is not None and vertex_attrs.shape[:1] != vertices.shape[:1]:
            raise ValueError(
                f"vertex_attrs must have {vertices.shape[0]} rows, one a vertex, got shape {tuple(vertex_attrs.shape)}"
            )
        self.vertices = vertices.float()
        self.faces = faces.int()
        self.vertex_attrs = vertex_attrs

    @property
    def device(self) -> torch.device:
        return self.vertices.device

    @property
    def is_empty(self) -> bool:
        return self.vertices.shape[0] == 0 or self.faces.shape[0] == 0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Mesh:
        """The same mesh on another device."""
        move: dict[str, Any] = {"device": device, "non_blocking": non_blocking}
        return Mesh(
            self.vertices.to(**move),
            self.faces.to(**move),
            None if self.vertex_attrs is None else self.vertex_attrs.to(**move),
        )

    def cuda(self, non_blocking: bool = False) -> Mesh:
        return self.to("cuda", non_blocking)

    def cpu(self) -> Mesh:
        return self.to("cpu")

    def fill_holes(self, max_hole_perimeter: float = 3e-2) -> None:
        """Close boundary loops no longer than `max_hole_perimeter` (world units), in place.

        Each hole gets one new vertex at its middle; its attributes are the mean over the loop.
        """
        if not max_hole_perimeter >= 0:
            raise ValueError(f"max_hole_perimeter must not be negative, got {max_hole_perimeter}")
        if self.is_empty:
            return
        self._replace(*fill_holes(self.vertices, self.faces, self.vertex_attrs, max_hole_perimeter))

    def remove_faces(self, face_mask: Tensor) -> None:
        """Drop the faces where `face_mask` [F] bool is true, in place; vertices stay."""
        self.faces = self.faces[~self._check_face_mask(face_mask)]

    def simplify(self, target: int = 1000000, verbose: bool = False, options: dict[str, float] | None = None) -> None:
        """Collapse edges (quadric error) until at most `target` faces are left, in place.

        No change if the mesh is small enough. `options`: `boundary_weight`, `regularization`, `max_normal_angle` of
        `o_voxel.mesh.simplify`; the published names `thresh`, `lambda_edge_length`, `lambda_skinny` have no effect.
        Vertices keep the attributes of the ones they grew from.
        """
        if target < 1:
            raise ValueError(f"target must be at least 1 face, got {target}")
        if self.is_empty or self.faces.shape[0] <= target:
            return
        self._replace(*simplify(self.vertices, self.faces, self.vertex_attrs, target, verbose, options or {}))

    def _replace(self, vertices: Tensor, faces: Tensor, vertex_attrs: Tensor | None) -> None:
        self.vertices, self.faces, self.vertex_attrs = vertices, faces, vertex_attrs

    def _check_face_mask(self, face_mask: Tensor) -> Tensor:
        if face_mask.shape != self.faces.shape[:1] or face_mask.dtype != torch.bool:
            have = f"{face_mask.dtype} {tuple(face_mask.shape)}"
            raise ValueError(f"face_mask must be bool of shape [{self.faces.shape[0]}], got {have}")
        return face_mask.to(self.faces.device)
