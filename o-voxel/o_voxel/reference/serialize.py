"""Morton and Hilbert codes in PyTorch, bit by bit, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decode", "encode"]


def _interleave(x: list[Tensor], bits: int) -> Tensor:
    code = torch.zeros_like(x[0])
    for bit in range(bits):
        for axis in range(3):
            code |= ((x[axis] >> bit) & 1) << (3 * bit + 2 - axis)
    return code


def _deinterleave(code: Tensor, bits: int) -> list[Tensor]:
    x = [torch.zeros_like(code) for _ in range(3)]
    for bit in range(bits):
        for axis in range(3):
            x[axis] |= ((code >> (3 * bit + 2 - axis)) & 1) << bit
    return x


def _turn(x: list[Tensor], axis: int, q: int) -> None:
    """Where bit q of x[axis] is set invert the lower bits of x[0], elsewhere exchange them with x[axis]."""
    p = q - 1
    is_set = (x[axis] & q) != 0
    swap = torch.where(is_set, 0, (x[0] ^ x[axis]) & p)
    first = torch.where(is_set, x[0] ^ p, x[0] ^ swap)
    x[axis] = x[axis] ^ swap
    x[0] = first if axis else torch.where(is_set, first, x[0])


def encode(coords: Tensor, mode: str, bits: int) -> Tensor:
    """Coordinates [N, 3] integer, column 0 most significant -> codes [N] int64; higher bits are ignored."""
    x = [column & ((1 << bits) - 1) for column in coords.long().unbind(1)]
    if mode == "hilbert":
        for bit in range(bits - 1, 0, -1):
            for axis in range(3):
                _turn(x, axis, 1 << bit)
        x[1] = x[1] ^ x[0]
        x[2] = x[2] ^ x[1]
        t = torch.zeros_like(x[0])
        for bit in range(bits - 1, 0, -1):
            t = t ^ torch.where((x[2] & (1 << bit)) != 0, (1 << bit) - 1, 0)
        x = [c ^ t for c in x]
    return _interleave(x, bits)


def decode(code: Tensor, mode: str, bits: int) -> Tensor:
    """Codes [N] integer -> coordinates [N, 3] int32."""
    x = _deinterleave(code.long(), bits)
    if mode == "hilbert":
        t = x[2] >> 1
        x[2] = x[2] ^ x[1]
        x[1] = x[1] ^ x[0]
        x[0] = x[0] ^ t
        for bit in range(1, bits):
            for axis in (2, 1, 0):
                _turn(x, axis, 1 << bit)
    return torch.stack(x, 1).int()
