"""The same calls on nvdiffrast, for those who have it installed and choose it: `backend="nvdiffrast"`.

Its licence is its own affair: nothing here is taken from it, and nothing imports it unless asked for by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

__all__ = ["antialias", "interpolate", "peeler", "rasterize", "texture"]


@cache
def _module() -> ModuleType:
    try:
        return importlib.import_module("nvdiffrast.torch")
    except ImportError as error:
        raise RuntimeError(
            "backend='nvdiffrast' needs the package nvdiffrast; the default backend needs nothing"
        ) from error


@cache
def _context(device: torch.device) -> Any:
    return _module().RasterizeCudaContext(device=device)


def _on_gpu(tensor: Tensor) -> None:
    if not tensor.is_cuda:
        raise ValueError(f"backend='nvdiffrast' needs CUDA tensors, got {tensor.device}")


def _index(tri: Tensor) -> Tensor:
    return tri.to(torch.int32).contiguous()


def peeler(pos: Tensor, tri: Tensor, size: tuple[int, int], grad_db: bool) -> Any:
    """nvdiffrast's depth peeler, a context manager whose `rasterize_next_layer()` gives (rast, rast_db)."""
    _on_gpu(pos)
    return _module().DepthPeeler(_context(pos.device), pos.contiguous(), _index(tri), list(size), grad_db=grad_db)


def rasterize(
    pos: Tensor, tri: Tensor, size: tuple[int, int], peel: Tensor | None, ranges: Tensor | None, grad_db: bool
) -> tuple[Tensor, Tensor]:
    """`pos [B, V, 4]`. Raises ValueError for a given peel depth: nvdiffrast peels inside `peeler` only."""
    _on_gpu(pos)
    if peel is not None:
        raise ValueError("backend='nvdiffrast' takes no peel_depth; use DepthPeeler")
    context = _context(pos.device)
    options = {"resolution": list(size), "ranges": ranges, "grad_db": grad_db}
    corners = pos.contiguous() if ranges is None else pos[0].contiguous()
    return _module().rasterize(context, corners, _index(tri), **options)


def interpolate(
    attr: Tensor, rast: Tensor, tri: Tensor, rast_db: Tensor | None, diff_attrs: Sequence[int]
) -> tuple[Tensor, Tensor]:
    _on_gpu(rast)
    chosen = list(diff_attrs) if rast_db is not None else None
    return _module().interpolate(attr.contiguous(), rast.contiguous(), _index(tri), rast_db=rast_db, diff_attrs=chosen)


def texture(
    tex: Tensor,
    uv: Tensor,
    uv_da: Tensor | None,
    bias: Tensor | None,
    mip: Sequence[Tensor] | None,
    filter_mode: str,
    boundary_mode: str,
    max_mip_level: int | None,
) -> Tensor:
    """Raises ValueError for `boundary_mode="mirror"`, which nvdiffrast lacks."""
    _on_gpu(uv)
    if boundary_mode == "mirror":
        raise ValueError("backend='nvdiffrast' has no boundary_mode 'mirror'")
    return _module().texture(
        tex.contiguous(),
        uv.contiguous(),
        uv_da=uv_da,
        mip_level_bias=bias,
        mip=None if mip is None else list(mip),
        filter_mode=filter_mode,
        boundary_mode=boundary_mode,
        max_mip_level=max_mip_level,
    )


def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, pos_gradient_boost: float) -> Tensor:
    _on_gpu(color)
    return _module().antialias(
        color.contiguous(), rast.contiguous(), pos.contiguous(), _index(tri), pos_gradient_boost=pos_gradient_boost
    )
