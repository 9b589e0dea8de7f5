"""Edge antialiasing of rendered images (differentiable, also in the silhouette's position)."""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel.rasterize import core, external
from o_voxel.rasterize.selection import RasterBackend, select_backend
from o_voxel.rasterize.triangles import check_tri, triangle_index
from o_voxel.reference.antialias import antialias_reference, edge_neighbours_reference

__all__ = ["antialias", "antialias_construct_topology_hash"]


def antialias_construct_topology_hash(tri: Tensor, *, backend: RasterBackend = "auto") -> Tensor:
    """Vertex across each edge of each triangle, int32 [F, 3]: make it once where `tri` does not change.

    Entry k belongs to the edge opposite corner k; -1 where no other triangle continues. Triangles with a repeated
    corner are left out; of more than two triangles at an edge the smallest and the largest opposite vertex count.
    """
    check_tri(tri)
    if select_backend(backend, tri) == "native":
        return core.edge_neighbours(tri)
    return edge_neighbours_reference(tri.long()).int()


class _Antialias(torch.autograd.Function):
    """The compiled antialiasing."""

    @staticmethod
    def forward(ctx, color, pos, rast, tri, opposite):
        out, alphas = core.antialias(color, rast, pos, tri, opposite)
        ctx.save_for_backward(color, pos, rast, tri, opposite, alphas)
        return out

    @staticmethod
    def backward(ctx, grad):
        color, pos, rast, tri, opposite, alphas = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        return *core.antialias_grad(color, rast, pos, tri, opposite, alphas, grad, wanted), None, None, None


def antialias(
    color: Tensor,  # [B, H, W, C] float
    rast: Tensor,  # [B, H, W, 4] from `rasterize`
    pos: Tensor,  # [V, 4] or [B, V, 4] float, clip space, as drawn
    tri: Tensor,  # [F, 3] int32, as drawn
    topology_hash: Tensor | None = None,  # [F, 3] int32 from antialias_construct_topology_hash
    pos_gradient_boost: float = 1.0,
    *,
    backend: RasterBackend = "auto",
) -> Tensor:  # [B, H, W, C]
    """Blend neighbouring pixels across silhouette edges by where the edge crosses between their centres.

    Of two neighbours that show different triangles the nearer one owns the edge. If its triangle ends between the
    centres (at distance d from the owner's) in a silhouette (no other triangle at the edge, or one that faces the other
    way) that is closer to the perpendicular of the pair than to the pair, the pixel that the edge runs through takes
    |0.5 - d| of its neighbour's colour. Differentiable in `color` and `pos`; `pos_gradient_boost` scales the latter.
    Based on: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020.
    """
    if not isinstance(color, Tensor) or not color.dtype.is_floating_point:
        raise TypeError(f"color must be a floating-point tensor, got {getattr(color, 'dtype', type(color).__name__)}")
    if rast.ndim != 4 or rast.shape[-1] != 4:
        raise ValueError(f"rast must have shape [B, H, W, 4], got {list(rast.shape)}")
    if color.ndim != 4 or color.shape[:3] != rast.shape[:3]:
        raise ValueError(f"color must have shape {[*rast.shape[:3], 'C']}, got {list(color.shape)}")
    if not isinstance(pos, Tensor) or not pos.dtype.is_floating_point:
        raise TypeError(f"pos must be a float32 tensor, got {getattr(pos, 'dtype', type(pos).__name__)}")
    batch = rast.shape[0]
    corners = pos[None] if pos.ndim == 2 else pos
    if corners.ndim != 3 or corners.shape[2] != 4 or corners.shape[0] not in (1, batch):
        raise ValueError(f"pos must have shape [V, 4] or [{batch}, V, 4], got {list(pos.shape)}")
    check_tri(tri)
    if not color.device == rast.device == corners.device == tri.device:
        raise ValueError(f"color, rast, pos and tri must be on one device, got {color.device} and others")
    use = select_backend(backend, color)
    if use == "nvdiffrast":
        return external.antialias(color, rast, pos, tri, pos_gradient_boost)
    if topology_hash is None:
        topology_hash = antialias_construct_topology_hash(tri, backend=backend)
    if topology_hash.shape != tri.shape or topology_hash.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"topology_hash must be int32 {list(tri.shape)}, got {list(topology_hash.shape)}")
    if pos_gradient_boost != 1:
        corners = corners.detach() + pos_gradient_boost * (corners - corners.detach())  # same values
    if use == "native" and color.dtype == rast.dtype == corners.dtype == torch.float32:
        if torch.is_grad_enabled() and (color.requires_grad or corners.requires_grad):
            return _Antialias.apply(color, corners, rast, tri, topology_hash)
        return core.antialias(color, rast, corners, tri, topology_hash)[0]
    corners = corners.expand(batch, -1, -1)
    return antialias_reference(color, rast, triangle_index(rast), corners, tri, topology_hash)
