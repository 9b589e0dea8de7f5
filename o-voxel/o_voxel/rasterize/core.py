"""Calls into the compiled rasteriser, for CPU and CUDA tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.reference.rasterize import barycentrics_reference

__all__ = ["rasterize", "rasterize_grad"]


def rasterize(
    pos: Tensor, tri: Tensor, size: tuple[int, int], peel: Tensor | None, with_db: bool
) -> tuple[Tensor, Tensor | None]:
    native = native_module()
    assert native is not None
    rast = torch.empty(pos.shape[0], *size, 4)
    tri_cpu = tri.detach().to("cpu", torch.int32).contiguous()
    peel_cpu = None if peel is None else peel.cpu().contiguous()
    native.rasterize_triangles(pos.detach().cpu().contiguous(), tri_cpu, rast, peel_cpu)
    rast = rast.to(pos.device)
    if not with_db:
        return rast, None
    return rast, barycentrics_reference(pos, tri, rast[..., 3].long() - 1)[1]


def rasterize_grad(pos: Tensor, tri: Tensor, rast: Tensor, grad: Tensor | None, grad_db: Tensor | None) -> Tensor:
    with torch.enable_grad():
        leaf = pos.detach().requires_grad_()
        value, rast_db = barycentrics_reference(leaf, tri, rast[..., 3].long() - 1)
        total = value.new_zeros(())
        if grad is not None:
            total = total + (value * grad[..., :3]).sum()
        if grad_db is not None:
            total = total + (rast_db * grad_db).sum()
        return torch.autograd.grad(total, leaf)[0]
