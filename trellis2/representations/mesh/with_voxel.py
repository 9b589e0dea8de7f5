"""A mesh together with the sparse voxel volume that holds its surface attributes.

Letters: V vertices, F faces, N voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...ops.grid_sample import grid_sample_3d
from ..voxel import Voxel
from .plain import Mesh

__all__ = ["MeshWithVoxel"]


class MeshWithVoxel(Mesh, Voxel):
    """Geometry as triangles, PBR attributes as sparse voxels around the surface.

    `voxel_shape` is `(1, C, X, Y, Z)`, the grid that `coords` live on.
    """

    voxel_shape: torch.Size

    def __init__(
        self,
        vertices: Tensor,  # [V, 3] float
        faces: Tensor,  # [F, 3] int
        origin: Tensor | Sequence[float],  # [3]
        voxel_size: float,
        coords: Tensor,  # [N, 3] int
        attrs: Tensor,  # [N, C] float
        voxel_shape: torch.Size | Sequence[int],
        layout: Mapping[str, slice] | None = None,
    ) -> None:
        Mesh.__init__(self, vertices, faces)
        self._set_voxels(origin, voxel_size, coords, attrs, layout, vertices.device)
        shape = torch.Size(voxel_shape)
        if len(shape) != 5 or shape[1] != attrs.shape[1]:
            raise ValueError(f"voxel_shape must be (1, {attrs.shape[1]}, X, Y, Z), got {tuple(shape)}")
        self.voxel_shape = shape

    @property
    def device(self) -> torch.device:
        return self.vertices.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MeshWithVoxel:
        move: dict[str, Any] = {"device": device, "non_blocking": non_blocking}
        return MeshWithVoxel(
            self.vertices.to(**move),
            self.faces.to(**move),
            self.origin.to(**move),
            self.voxel_size,
            self._coords().to(**move),
            self._attrs().to(**move),
            self.voxel_shape,
            self.layout,
        )

    def cuda(self, non_blocking: bool = False) -> MeshWithVoxel:
        return self.to("cuda", non_blocking)

    def cpu(self) -> MeshWithVoxel:
        return self.to("cpu")

    def query_attrs(self, xyz: Tensor) -> Tensor:
        """Attributes at world positions `xyz` [..., 3] -> [n, C] float32, points flattened.

        Trilinear over the voxels that exist (weights renormalised over them); zero where none is near.
        """
        if xyz.shape[-1:] != (3,):
            raise ValueError(f"xyz must have shape [..., 3], got {tuple(xyz.shape)}")
        coords, attrs = self._coords(), self._attrs().float()
        points = (xyz.reshape(-1, 3).float() - self.origin) / self.voxel_size  # [n, 3], voxel units
        if coords.shape[0] == 0 or points.shape[0] == 0:
            return attrs.new_zeros(points.shape[0], attrs.shape[1])
        batched = torch.cat([torch.zeros_like(coords[:, :1]), coords], dim=1).contiguous()  # [N, 4]
        return grid_sample_3d(attrs, batched, self.voxel_shape, points[None].contiguous(), mode="trilinear")[0]

    def query_vertex_attrs(self) -> Tensor:
        """Attributes at the vertices, [V, C]."""
        return self.query_attrs(self.vertices)
