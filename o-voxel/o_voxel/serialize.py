"""Space-filling curve codes of voxel coordinates: Morton (z-order) and Hilbert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.reference import serialize as reference

__all__ = ["CURVE_BITS", "MAX_CURVE_BITS", "decode_seq", "encode_seq"]

CURVE_BITS = 10  # an axis, of the published codes and of files
MAX_CURVE_BITS = 21  # an axis: codes of 63 bits

Mode = Literal["z_order", "hilbert"]


def _check(permute: Sequence[int], mode: str, quirks: str | None, bits: int) -> tuple[int, int, int]:
    if not isinstance(bits, int) or not 1 <= bits <= MAX_CURVE_BITS:
        raise ValueError(f"bits must be a whole number in [1, {MAX_CURVE_BITS}], got {bits!r}")
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


def _code_dtype(bits: int) -> torch.dtype:
    return torch.int32 if bits <= CURVE_BITS else torch.int64


def encode_seq(
    coords: Tensor,  # [N, 3] integer
    permute: Sequence[int] = (0, 1, 2),
    mode: Mode = "z_order",
    *,
    bits: int = CURVE_BITS,
    backend: Backend = "auto",
    quirks: Literal["published"] | None = None,
) -> Tensor:  # [N] int32, int64 if bits > 10
    """Code of each coordinate along the curve; column `permute[0]` is the most significant.

    `bits` an axis (1 to 21) bound the coordinates: 11 serve a grid of 2048, with codes in int64. A Hilbert code depends
    on them, a z-order code does not. Runs on the device of `coords`. Raises ValueError if a coordinate is outside
    [0, 2^bits), unless `quirks="published"`, which lets it alias silently; TypeError or ValueError on a wrong type,
    shape, mode or permutation. Hilbert: J. Skilling, "Programming the Hilbert curve", 2004.
    """
    order = _check(permute, mode, quirks, bits)
    coords = _check_integers(coords, "coords", "[N, 3]", 2)
    if quirks is None and coords.numel():
        low, high = (int(v) for v in torch.aminmax(coords))
        if low < 0 or high >= 1 << bits:
            raise ValueError(f"coords must lie in [0, {(1 << bits) - 1}] ({bits} bits per axis), got {low} to {high}")
    coords = coords.detach()[:, list(order)].int().contiguous()
    native = native_module() if resolve_backend(backend) == "native" else None
    if native is not None and coords.is_cuda and cuda_core("curves", coords.device) is not None:
        codes = native.curve_encode_cuda(coords, mode == "hilbert", bits, launch(coords.device))
    elif native is not None and coords.device.type == "cpu":
        codes = native.curve_encode(coords, mode == "hilbert", bits)
    else:
        return reference.encode(coords, mode, bits).to(_code_dtype(bits))
    return as_tensor(codes, _code_dtype(bits), (coords.shape[0],))


def decode_seq(
    code: Tensor,  # [N] integer
    permute: Sequence[int] = (0, 1, 2),
    mode: Mode = "z_order",
    *,
    bits: int = CURVE_BITS,
    backend: Backend = "auto",
    quirks: Literal["published"] | None = None,
) -> Tensor:  # [N, 3] int32
    """Coordinates of each code: `decode_seq(encode_seq(c, p, m), p, m)` equals c, also with the same `bits` in both.

    Runs on the device of `code`. Raises ValueError if a code is outside [0, 2^(3 bits)), unless `quirks="published"`.
    """
    order = _check(permute, mode, quirks, bits)
    code = _check_integers(code, "code", "[N]", 1)
    if quirks is None and code.numel():
        low, high = (int(v) for v in torch.aminmax(code))
        if low < 0 or high >= 1 << (3 * bits):
            raise ValueError(f"code must lie in [0, 2^{3 * bits}), got {low} to {high}")
    code = code.detach().to(_code_dtype(bits)).contiguous()
    native = native_module() if resolve_backend(backend) == "native" else None
    shape = (code.shape[0], 3)
    if native is not None and code.is_cuda and cuda_core("curves", code.device) is not None:
        memory = native.curve_decode_cuda(code, mode == "hilbert", bits, launch(code.device))
        coords = as_tensor(memory, torch.int32, shape)
    elif native is not None and code.device.type == "cpu":
        coords = as_tensor(native.curve_decode(code, mode == "hilbert", bits), torch.int32, shape)
    else:
        coords = reference.decode(code, mode, bits)
    return coords[:, [order.index(axis) for axis in range(3)]].contiguous()
