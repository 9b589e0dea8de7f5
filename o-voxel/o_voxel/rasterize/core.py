"""Calls into the compiled rasteriser, for CPU and CUDA tensors: allocation of results and plain arguments.

All tensors are float32 and on one device; CUDA tensors are copied to the CPU and back where the core lacks CUDA (only
`rasterize` and its gradient are called then).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from o_voxel._device import cuda_core, launch
from o_voxel._native import native_module

__all__ = [
    "antialias",
    "antialias_grad",
    "build_mips",
    "build_mips_grad",
    "edge_neighbours",
    "interpolate",
    "interpolate_grad",
    "rasterize",
    "rasterize_grad",
    "texture",
    "texture_grad",
]

FILTERS = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")
BOUNDARIES = ("wrap", "clamp", "mirror", "zero")


def _launch(tensor: Tensor) -> Any:
    return launch(tensor.device) if tensor.is_cuda else None


def _core() -> Any:
    native = native_module()
    assert native is not None
    return native


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()


def _corners(pos: Tensor) -> Tensor:
    """Clip positions whose rows start at multiples of 16 bytes, as the device reads them."""
    pos = _plain(pos)
    return pos.clone() if pos.is_cuda and pos.data_ptr() % 16 else pos


def _index(tri: Tensor, device: torch.device) -> Tensor:
    return tri.detach().to(device, torch.int32).contiguous()


@cache
def _channels(chosen: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(chosen, dtype=torch.int32, device=device)


def _draw_device(pos: Tensor) -> torch.device:
    return torch.device("cpu") if pos.is_cuda and cuda_core("triangle_rasterizing", pos.device) is None else pos.device


def rasterize(
    pos: Tensor, tri: Tensor, size: tuple[int, int], peel: Tensor | None, ranges: Tensor | None, with_db: bool
) -> tuple[Tensor, Tensor | None]:
    """rast and rast_db [B, H, W, 4] of pos [B, V, 4], or [1, V, 4] with ranges int32 [B, 2] on CPU."""
    device = _draw_device(pos)
    batch = pos.shape[0] if ranges is None else ranges.shape[0]
    rast = torch.empty(batch, *size, 4, device=device)
    rast_db = torch.empty_like(rast) if with_db else None
    peel = None if peel is None else _plain(peel.to(device))
    _core().rasterize(_corners(pos.to(device)), _index(tri, device), rast, rast_db, peel, ranges, _launch(rast))
    return rast.to(pos.device), None if rast_db is None else rast_db.to(pos.device)


def rasterize_grad(pos: Tensor, tri: Tensor, rast: Tensor, grad: Tensor | None, grad_db: Tensor | None) -> Tensor:
    """dL/dpos, shaped like pos [B or 1, V, 4]."""
    device = _draw_device(pos)
    corners, drawn = _corners(pos.to(device)), _plain(rast.to(device))
    grads = [None if g is None else _plain(g.to(device)) for g in (grad, grad_db)]
    grad_pos = torch.zeros_like(corners)
    _core().rasterize_grad(corners, _index(tri, device), drawn, *grads, grad_pos, _launch(grad_pos))
    return grad_pos.to(pos.device)


def interpolate(
    attr: Tensor, rast: Tensor, tri: Tensor, rast_db: Tensor | None, chosen: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """out [B, H, W, C] and out_da [B, H, W, 2 K] of attr [B or 1, V, C]."""
    batch, height, width = rast.shape[:3]
    out = torch.empty(batch, height * width, attr.shape[2], device=rast.device)
    out_da = torch.empty(batch, height * width, 2 * len(chosen), device=rast.device)
    db = None if rast_db is None else _plain(rast_db).view(batch, -1, 4)
    index, pixels = _index(tri, rast.device), _plain(rast).view(batch, -1, 4)
    _core().interpolate(_plain(attr), index, pixels, db, _channels(chosen, rast.device), out, out_da, _launch(rast))
    return out.view(batch, height, width, -1), out_da.view(batch, height, width, 2 * len(chosen))


def interpolate_grad(
    attr: Tensor,
    rast: Tensor,
    tri: Tensor,
    rast_db: Tensor | None,
    chosen: tuple[int, ...],
    grad_out: Tensor | None,
    grad_da: Tensor | None,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """dL/d(attr, rast, rast_db), those that are wanted."""
    batch = rast.shape[0]
    grad_attr = torch.zeros_like(attr, memory_format=torch.contiguous_format) if wanted[0] else None
    pixels = _plain(rast).view(batch, -1, 4)
    grad_rast = torch.empty_like(pixels) if wanted[1] else None
    grad_db = torch.empty_like(pixels) if wanted[2] else None
    _core().interpolate_grad(
        _plain(attr),
        _index(tri, rast.device),
        pixels,
        None if rast_db is None else _plain(rast_db).view(batch, -1, 4),
        _channels(chosen, rast.device),
        None if grad_out is None else _plain(grad_out).view(batch, pixels.shape[1], -1),
        None if grad_da is None else _plain(grad_da).view(batch, pixels.shape[1], -1),
        grad_attr,
        grad_rast,
        grad_db,
        _launch(rast),
    )
    views = [None if g is None else g.view(rast.shape) for g in (grad_rast, grad_db)]
    return grad_attr, views[0], views[1]


def _flat(image: Tensor | None, *last: int) -> Tensor | None:
    """[B, h, w, ...] -> [B, P, ...]."""
    if image is None:
        return None
    return _plain(image).view(image.shape[0], image.shape[1] * image.shape[2], *last)


def texture(
    levels: Sequence[Tensor], uv: Tensor, uv_da: Tensor | None, bias: Tensor | None, filter_mode: str, boundary: str
) -> Tensor:
    """[B, h, w, C] of levels [B or 1, H_l, W_l, C] at uv [B, h, w, 2]."""
    channels = levels[0].shape[3]
    out = torch.empty(*uv.shape[:3], channels, device=uv.device)
    at = (_flat(uv, 2), _flat(uv_da, 4), _flat(bias))
    modes = (FILTERS.index(filter_mode), BOUNDARIES.index(boundary))
    _core().texture([_plain(level) for level in levels], *at, *modes, _flat(out, channels), _launch(uv))
    return out


def texture_grad(
    levels: Sequence[Tensor],
    uv: Tensor,
    uv_da: Tensor | None,
    bias: Tensor | None,
    filter_mode: str,
    boundary: str,
    grad_out: Tensor,
    wanted: tuple[bool, bool, bool, bool],
) -> tuple[list[Tensor], Tensor | None, Tensor | None, Tensor | None]:
    """dL/d(levels, uv, uv_da, bias), those that are wanted."""
    grad_levels = [torch.zeros_like(level, memory_format=torch.contiguous_format) for level in levels if wanted[0]]
    grads = [
        torch.empty(t.shape, device=uv.device) if want and t is not None else None
        for want, t in zip(wanted[1:], (uv, uv_da, bias))
    ]
    _core().texture_grad(
        [_plain(level) for level in levels],
        *(_flat(uv, 2), _flat(uv_da, 4), _flat(bias)),
        *(FILTERS.index(filter_mode), BOUNDARIES.index(boundary)),
        _flat(grad_out, levels[0].shape[3]),
        grad_levels,
        *(_flat(grads[0], 2), _flat(grads[1], 4), _flat(grads[2])),
        _launch(uv),
    )
    return grad_levels, grads[0], grads[1], grads[2]


def build_mips(tex: Tensor, count: int) -> list[Tensor]:
    """Levels 1 .. count of tex [B, H, W, C]."""
    chain = [_plain(tex)]
    for _ in range(count):
        batch, height, width, channels = chain[-1].shape
        chain.append(torch.empty(batch, max(1, height // 2), max(1, width // 2), channels, device=tex.device))
    _core().build_mips(chain, _launch(tex))
    return chain[1:]


def build_mips_grad(grads: Sequence[Tensor]) -> Tensor:
    """dL/dtex from the contiguous gradients of levels 0, 1, 2, ...; each is added to the one before, in place."""
    _core().build_mips_grad(list(grads), _launch(grads[0]))
    return grads[0]


def edge_neighbours(tri: Tensor) -> Tensor:
    """int32 [F, 3]."""
    out = torch.empty(tri.shape, dtype=torch.int32, device=tri.device)
    _core().edge_neighbours(_index(tri, tri.device), out, _launch(tri))
    return out


def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, opposite: Tensor) -> tuple[Tensor, Tensor]:
    """Blended color [B, H, W, C] and the blends [B, H, W, 2] between pixels; pos [B or 1, V, 4]."""
    out = torch.empty(color.shape, device=color.device)
    alphas = torch.empty(*color.shape[:3], 2, device=color.device)
    tables = (_index(tri, color.device), _index(opposite, color.device))
    _core().antialias(_plain(color), _plain(rast), _corners(pos), *tables, alphas, out, _launch(color))
    return out, alphas


def antialias_grad(
    color: Tensor,
    rast: Tensor,
    pos: Tensor,
    tri: Tensor,
    opposite: Tensor,
    alphas: Tensor,
    grad_out: Tensor,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """dL/d(color, pos), those that are wanted."""
    grad_color = torch.empty(color.shape, device=color.device) if wanted[0] else None
    grad_pos = torch.zeros(pos.shape, device=color.device) if wanted[1] else None
    tables = (_index(tri, color.device), _index(opposite, color.device))
    plain = (_plain(color), _plain(rast), _corners(pos), *tables, alphas, _plain(grad_out))
    _core().antialias_grad(*plain, grad_color, grad_pos, _launch(color))
    return grad_color, grad_pos
