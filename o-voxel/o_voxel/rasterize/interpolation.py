"""Interpolation of vertex attributes over rasterised triangles (differentiable)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from o_voxel.rasterize import core, external
from o_voxel.rasterize.selection import RasterBackend, select_backend
from o_voxel.rasterize.triangles import check_tri, triangle_index
from o_voxel.reference.interpolate import interpolate_reference

__all__ = ["interpolate"]


def _check_channels(diff_attrs: Sequence[int] | Literal["all"] | None, channels: int) -> list[int]:
    if diff_attrs is None or isinstance(diff_attrs, str):
        if diff_attrs not in (None, "all"):
            raise ValueError(f"diff_attrs must be 'all' or a list of channels, got {diff_attrs!r}")
        return list(range(channels))
    chosen = [int(c) for c in diff_attrs]
    if any(not 0 <= c < channels for c in chosen):
        raise ValueError(f"diff_attrs must hold channels in 0..{channels - 1}, got {chosen}")
    return chosen


class _Interpolate(torch.autograd.Function):
    """The compiled interpolation."""

    @staticmethod
    def forward(ctx, attr, rast, rast_db, tri, chosen):
        ctx.save_for_backward(attr, rast, rast_db, tri)
        ctx.chosen = chosen
        ctx.set_materialize_grads(False)
        return core.interpolate(attr, rast, tri, rast_db, chosen)

    @staticmethod
    def backward(ctx, grad_out, grad_da):
        attr, rast, rast_db, tri = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        grads = core.interpolate_grad(attr, rast, tri, rast_db, ctx.chosen, grad_out, grad_da, wanted)
        return *grads, None, None


@overload
def interpolate(
    attr: Tensor,
    rast: Tensor,
    tri: Tensor,
    rast_db: None = None,
    diff_attrs: None = None,
    *,
    backend: RasterBackend = "auto",
) -> Tensor: ...


@overload
def interpolate(
    attr: Tensor,
    rast: Tensor,
    tri: Tensor,
    rast_db: Tensor,
    diff_attrs: Sequence[int] | Literal["all"] | None = None,
    *,
    backend: RasterBackend = "auto",
) -> tuple[Tensor, Tensor]: ...


def interpolate(
    attr: Tensor,  # [V, C] or [B or 1, V, C] float
    rast: Tensor,  # [B, H, W, 4] from `rasterize`
    tri: Tensor,  # [F, 3] int32; row i describes triangle i
    rast_db: Tensor | None = None,  # [B, H, W, 4] from `rasterize(..., grad_db=True)`
    diff_attrs: Sequence[int] | Literal["all"] | None = None,  # K channels
    *,
    backend: RasterBackend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:  # [B, H, W, C], and with rast_db [B, H, W, 2 K]
    """`u a_0 + v a_1 + (1 - u - v) a_2` per pixel, zeros where nothing was drawn.

    With `rast_db` the result is `(out, out_da)`, where `out_da` holds (d/dX, d/dY) for pixel coordinates of every
    channel in `diff_attrs` (default: all), one pair after the other: what `texture` takes as `uv_da`.

    `tri` may differ from the rasterised index buffer as long as row i describes triangle i (per-face or per-corner
    tables). Differentiable in `attr`, the barycentrics of `rast`, and `rast_db`. The compiled path serves float32;
    other types go through PyTorch. A visible triangle whose row or index is out of range raises ValueError on CPU; on
    CUDA, where looking would wait for the device, its pixels are 0.
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
    if attr.device != rast.device:
        raise ValueError(f"attr and rast must be on one device, got {attr.device} and {rast.device}")
    if rast_db is None and diff_attrs is not None:
        raise ValueError("diff_attrs needs rast_db, from rasterize(..., grad_db=True)")
    if rast_db is not None and rast_db.shape != rast.shape:
        raise ValueError(f"rast_db must have shape {list(rast.shape)}, got {list(rast_db.shape)}")
    chosen = _check_channels(diff_attrs, table.shape[2]) if rast_db is not None else []
    if rast_db is not None:
        rast_db = rast_db.to(rast.dtype)
    use = select_backend(backend, rast)
    if use == "native" and attr.dtype == rast.dtype == torch.float32:
        if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (attr, rast, rast_db)):
            out, out_da = _Interpolate.apply(table, rast, rast_db, tri, tuple(chosen))
        else:
            out, out_da = core.interpolate(table, rast, tri, rast_db, tuple(chosen))
        return out if rast_db is None else (out, out_da)
    if use == "nvdiffrast":
        out, out_da = external.interpolate(table, rast, tri, rast_db, chosen)
    else:
        out, out_da = interpolate_reference(table, rast, tri, triangle_index(rast), rast_db, chosen)
    return out if rast_db is None else (out, out_da)
