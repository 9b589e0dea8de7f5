"""Interpolation of vertex attributes over rasterised triangles (differentiable)."""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.rasterize.triangles import check_tri, triangle_index

__all__ = ["interpolate"]


def interpolate(
    attr: Tensor,  # [V, C] or [B or 1, V, C] float
    rast: Tensor,  # [B, H, W, 4] from `rasterize`
    tri: Tensor,  # [F, 3] int32; row i describes triangle i
    *,
    backend: Backend = "auto",
) -> Tensor:  # [B, H, W, C]
    """`u a_0 + v a_1 + (1 - u - v) a_2` per pixel, zeros where nothing was drawn.

    `tri` may differ from the rasterised index buffer as long as row i describes triangle i (per-face or per-corner
    tables). Differentiable in `attr` and in the barycentrics of `rast`. The native path serves float32 on CPU when no
    gradient is asked for. Raises ValueError if an index of a visible triangle is out of range.
    """
    if not isinstance(attr, Tensor) or not attr.dtype.is_floating_point:
        raise TypeError(f"attr must be a floating-point tensor, got {getattr(attr, 'dtype', type(attr).__name__)}")
    if rast.ndim != 4 or rast.shape[-1] != 4:
        raise ValueError(f"rast must have shape [B, H, W, 4], got {list(rast.shape)}")
    check_tri(tri)
    table = attr[None] if attr.ndim == 2 else attr
    batch = rast.shape[0]
    if table.ndim != 3 or table.shape[0] not in (1, batch):
        raise ValueError(f"attr must have shape [V, C] or [{batch}, V, C], got {list(attr.shape)}")
    num_vertices, channels = table.shape[1:]
    tracked = torch.is_grad_enabled() and (attr.requires_grad or rast.requires_grad)
    plain = attr.device.type == rast.device.type == "cpu" and attr.dtype == rast.dtype == torch.float32 and not tracked
    if resolve_backend(backend) == "native" and plain:
        native = native_module()
        assert native is not None
        shaded = torch.empty(batch, rast.shape[1] * rast.shape[2], channels)
        index = tri.detach().to("cpu", torch.int32).contiguous()
        pixels = rast.detach().reshape(batch, -1, 4).contiguous()
        native.interpolate_attributes(table.detach().contiguous(), index, pixels, shaded)
        return shaded.reshape(*rast.shape[:3], channels)
    face = triangle_index(rast)  # [B, H, W]
    pixel = (face.reshape(-1) >= 0).nonzero()[:, 0]  # [P]
    face = face.reshape(-1)[pixel]
    if face.numel() and int(face.max()) >= tri.shape[0]:
        raise ValueError(f"tri has {tri.shape[0]} rows but rast shows triangle {int(face.max())}")
    corner = tri.to(rast.device, torch.int64)[face]  # [P, 3]
    if corner.numel() and (int(corner.min()) < 0 or int(corner.max()) >= num_vertices):
        raise ValueError(f"tri must hold indices in 0..{num_vertices - 1} for every visible triangle")
    if table.shape[0] > 1:
        corner = corner + (pixel // (rast.shape[1] * rast.shape[2]) * num_vertices)[:, None]
    flat = table.reshape(-1, channels)
    uv = rast.reshape(-1, 4)[pixel, :2].to(attr.dtype)  # [P, 2]
    u, v = uv[:, :1], uv[:, 1:]
    value = u * flat[corner[:, 0]] + v * flat[corner[:, 1]] + (1 - u - v) * flat[corner[:, 2]]
    out = torch.zeros(batch * rast.shape[1] * rast.shape[2], channels, dtype=attr.dtype, device=attr.device)
    return out.index_put((pixel,), value).reshape(*rast.shape[:3], channels)
