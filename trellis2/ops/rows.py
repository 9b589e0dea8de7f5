"""Copying rows by index: gathers with wide loads, and moves whose gradient needs no atomic additions.

Letters: N rows, M picked rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["gather_rows", "put_rows", "take_rows"]

_WORDS = (torch.complex128, torch.int64, torch.int32, torch.int16)


def gather_rows(x: Tensor, idx: Tensor) -> Tensor:
    """x[idx] for [N, C] and [M] -> [M, C], not differentiable.

    Rows are copied in the widest machine words that divide them, which is what bounds a gather of narrow types.
    """
    row_bytes = x.shape[1] * x.element_size()
    if x.dtype.is_complex or not x.is_contiguous() or row_bytes == 0:
        return x.index_select(0, idx)
    for word in _WORDS:
        if row_bytes % word.itemsize == 0 and word.itemsize > x.element_size() and x.data_ptr() % word.itemsize == 0:
            return x.view(word).index_select(0, idx).view(x.dtype)
    return x.index_select(0, idx)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, idx: Tensor) -> Tensor:
        ctx.save_for_backward(idx)
        ctx.num_rows = x.shape[0]
        return gather_rows(x.flatten(1), idx).view(idx.shape[0], *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (idx,) = ctx.saved_tensors
        grad = grads[0]
        return grad.new_zeros((ctx.num_rows, *grad.shape[1:])).index_copy_(0, idx, grad), None


def take_rows(x: Tensor, idx: Tensor) -> Tensor:
    """x[idx] for [N, …] and idx [M] int64 without repetitions -> [M, …].

    The gradient is a copy instead of an atomic addition; repeated rows would lose theirs.
    """
    return _Take.apply(x, idx)


class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, idx: Tensor, num_rows: int) -> Tensor:
        ctx.save_for_backward(idx)
        return x.new_zeros((num_rows, *x.shape[1:])).index_copy_(0, idx, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (idx,) = ctx.saved_tensors
        grad = grads[0].contiguous()
        return gather_rows(grad.flatten(1), idx).view(idx.shape[0], *grad.shape[1:]), None, None


def put_rows(x: Tensor, idx: Tensor, num_rows: int) -> Tensor:
    """Rows [M, …] to the places idx [M] int64 (no repetitions) of a zero tensor [num_rows, …]; inverse of take_rows."""
    return _Put.apply(x, idx, num_rows)
