"""Shape VAE on flexible dual grids: a dual vertex and three edge flags per voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ...modules import sparse as sp
from ..configurable import configurable
from .sparse_unet_vae import SparseUnetVaeDecoder, SparseUnetVaeEncoder

if TYPE_CHECKING:
    from ...representations import Mesh

__all__ = ["FlexiDualGridVaeDecoder", "FlexiDualGridVaeEncoder"]


@configurable
class FlexiDualGridVaeEncoder(SparseUnetVaeEncoder):
    """Dual vertices in [0, 1]³ and edge flags to a shape latent."""

    def __init__(
        self,
        model_channels: list[int],
        latent_channels: int,
        num_blocks: list[int],
        block_type: list[str],
        down_block_type: list[str],
        block_args: list[dict[str, Any]],
        use_fp16: bool = False,
    ) -> None:
        super().__init__(
            6, model_channels, latent_channels, num_blocks, block_type, down_block_type, block_args, use_fp16
        )

    def forward(  # type: ignore[override]
        self,
        vertices: sp.SparseTensor,
        intersected: sp.SparseTensor,
        sample_posterior: bool = False,
        return_raw: bool = False,
    ) -> Any:
        """vertices [T, 3] position inside the voxel in [0, 1]; intersected [T, 3] bool edge flags, row-aligned."""
        if vertices.feats.shape != intersected.feats.shape or vertices.feats.shape[1:] != (3,):
            raise ValueError(
                "vertices and intersected must both have feats [T, 3], got "
                f"{tuple(vertices.feats.shape)} and {tuple(intersected.feats.shape)}"
            )
        flags = intersected.feats.to(vertices.dtype)
        x = vertices.replace(torch.cat([vertices.feats, flags], dim=1) - 0.5)
        return super().forward(x, sample_posterior, return_raw)


@configurable
class FlexiDualGridVaeDecoder(SparseUnetVaeDecoder):
    """Shape latent to meshes.

    Of the 7 raw channels o: dual vertex (1 + 2m)·σ(o[0:3]) − m in voxel units with m = voxel_margin, edge logits
    o[3:6], quad split weight softplus(o[6]).
    """

    def __init__(
        self,
        resolution: int,
        model_channels: list[int],
        latent_channels: int,
        num_blocks: list[int],
        block_type: list[str],
        up_block_type: list[str],
        block_args: list[dict[str, Any]],
        voxel_margin: float = 0.5,
        use_fp16: bool = False,
    ) -> None:
        super().__init__(
            7, model_channels, latent_channels, num_blocks, block_type, up_block_type, block_args, use_fp16
        )
        self.resolution = resolution
        self.voxel_margin = voxel_margin

    def set_resolution(self, resolution: int) -> None:
        """Cells per axis of the finest grid, which spans [−0.5, 0.5]³."""
        self.resolution = resolution

    def head(self, raw: sp.SparseTensor) -> tuple[sp.SparseTensor, sp.SparseTensor, sp.SparseTensor]:
        """Raw [T, 7] -> dual vertices [T, 3] (voxel units), edge logits [T, 3], quad split weights [T, 1]."""
        o, m = raw.feats, self.voxel_margin
        vertices = (1 + 2 * m) * torch.sigmoid(o[:, 0:3]) - m
        return raw.replace(vertices), raw.replace(o[:, 3:6]), raw.replace(F.softplus(o[:, 6:7]))

    def forward(  # type: ignore[override]
        self, x: sp.SparseTensor, gt_intersected: sp.SparseTensor | None = None, **kwargs: Any
    ) -> Any:
        """Meshes of the samples; (meshes, subs) with return_subs=True.

        Training: (meshes, vertices, edge logits, subs_gt, subs); meshes follow gt_intersected [T, 3] bool and are
        differentiable in the vertices and split weights.
        """
        decoded = self.decode(x, **kwargs)
        raw = decoded[0] if isinstance(decoded, tuple) else decoded
        vertices, logits, weights = self.head(raw)
        if self.training:
            if gt_intersected is None:
                raise ValueError("training needs gt_intersected with feats [T, 3]")
            meshes = self._extract(vertices, gt_intersected.feats.bool(), weights, train=True)
            return meshes, vertices, logits, *decoded[1:]
        meshes = self._extract(vertices, logits.feats > 0, weights, train=False)
        return (meshes, decoded[1]) if isinstance(decoded, tuple) else meshes

    def _extract(
        self, vertices: sp.SparseTensor, flags: torch.Tensor, weights: sp.SparseTensor, train: bool
    ) -> list[Mesh]:
        from o_voxel.convert import flexible_dual_grid_to_mesh

        from ...representations import Mesh

        meshes = []
        for s in vertices.layout:
            mesh_vertices, mesh_faces = flexible_dual_grid_to_mesh(
                vertices.coords[s, 1:].contiguous(),
                vertices.feats[s].float(),
                flags[s],
                weights.feats[s].float(),
                aabb=[[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]],
                grid_size=self.resolution,
                train=train,
            )
            meshes.append(Mesh(mesh_vertices, mesh_faces))
        return meshes
