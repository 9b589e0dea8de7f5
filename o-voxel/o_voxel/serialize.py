"""Space-filling curve codes of voxel coordinates: Morton (z-order) and Hilbert, 10 bits per axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.reference import serialize as reference

__all__ = ["CURVE_BITS", "decode_seq", "encode_seq"]

CURVE_BITS = 10

Mode = Literal["z_order", "hilbert"]


def _check(permute: Sequence[int], mode: str, quirks: str | None) -> tuple[int, int, int]:
    if mode not in ("z_order", "hilbert"):
        raise ValueError(f"unknown mode {mode!r}, choose from: z_order, hilbert")
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    order = tuple(int(p) for p in permute)
    if sorted(order) != [0, 1, 2]:
        raise ValueError(f"permute must be a permutation of [0, 1, 2], got {list(permute)}")
    return order  # type: ignore[return-value]


def _check_integers(value: Any, name: str, shape: str, ndim: int) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"{name} must be an integer tensor, got {value.dtype}")
    if value.ndim != ndim or (ndim == 2 and value.shape[1] != 3):
        raise ValueError(f"{name} must have shape {shape}, got {list(value.shape)}")
    return value


def encode_seq(
    coords: Tensor,  # [N, 3] integer
    permute: Sequence[int] = (0, 1, 2),
    mode: Mode = "z_order",
    *,
    backend: Backend = "auto",
    quirks: Literal["published"] | None = None,
) -> Tensor:  # [N] int32
    """Code of each coordinate along the curve; column `permute[0]` is the most significant.

    Runs on the device of `coords`. Raises ValueError if a coordinate is outside [0, 1023], unless
    `quirks="published"`, which lets it alias silently; TypeError or ValueError on a wrong type, shape, mode or
    permutation. Hilbert: J. Skilling, "Programming the Hilbert curve", 2004.
    """
    order = _check(permute, mode, quirks)
    coords = _check_integers(coords, "coords", "[N, 3]", 2)
    if quirks is None and coords.numel():
        low, high = (int(v) for v in torch.aminmax(coords))
        if low < 0 or high >= 1 << CURVE_BITS:
            raise ValueError(f"coords must lie in [0, {(1 << CURVE_BITS) - 1}] (10 bits per axis), got {low} to {high}")
    coords = coords[:, list(order)].int().contiguous()
    native = resolve_backend(backend) == "native"
    if native and coords.is_cuda and (core := cuda_core()):
        codes = core.curve_encode_cuda(coords, mode == "hilbert", launch(coords.device))
        return as_tensor(codes, torch.int32, (coords.shape[0],))
    if native and coords.device.type == "cpu":
        module = native_module()
        assert module is not None
        return torch.from_numpy(module.curve_encode(coords.numpy(), mode == "hilbert"))
    return reference.encode(coords, mode)


def decode_seq(
    code: Tensor,  # [N] integer
    permute: Sequence[int] = (0, 1, 2),
    mode: Mode = "z_order",
    *,
    backend: Backend = "auto",
    quirks: Literal["published"] | None = None,
) -> Tensor:  # [N, 3] int32
    """Coordinates of each code: `decode_seq(encode_seq(c, p, m), p, m)` equals c.

    Runs on the device of `code`. Raises ValueError if a code is outside [0, 2^30), unless `quirks="published"`.
    """
    order = _check(permute, mode, quirks)
    code = _check_integers(code, "code", "[N]", 1)
    if quirks is None and code.numel():
        low, high = (int(v) for v in torch.aminmax(code))
        if low < 0 or high >= 1 << (3 * CURVE_BITS):
            raise ValueError(f"code must lie in [0, 2^30), got {low} to {high}")
    code = code.int().contiguous()
    native = resolve_backend(backend) == "native"
    if native and code.is_cuda and (core := cuda_core()):
        memory = core.curve_decode_cuda(code, mode == "hilbert", launch(code.device))
        coords = as_tensor(memory, torch.int32, (code.shape[0], 3))
    elif native and code.device.type == "cpu":
        module = native_module()
        assert module is not None
        coords = torch.from_numpy(module.curve_decode(code.numpy(), mode == "hilbert"))
    else:
        coords = reference.decode(code, mode)
    return coords[:, [order.index(axis) for axis in range(3)]].contiguous()
