"""Moving between ragged rows [T, …] and padded blocks [N, L, …], and between samples and their rows.

Letters: N samples, T rows of all samples one after another, L longest sample.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .rows import put_rows, take_rows

__all__ = ["expand_rows", "pad_rows", "padded_positions", "segment_sum", "unpad_rows"]


def padded_positions(lengths: Tensor, total: int, longest: int) -> Tensor:
    """Flat position of every row in the padded block, [T] int64: sample · longest + place within the sample.

    lengths: [N] int64, adding up to `total`. No host synchronisation.
    """
    starts = torch.cumsum(lengths, 0) - lengths
    samples = torch.arange(lengths.shape[0], device=lengths.device)
    sample = torch.repeat_interleave(samples, lengths, output_size=total)
    return sample * longest + torch.arange(total, device=lengths.device) - starts[sample]


def pad_rows(x: Tensor, positions: Tensor, num_samples: int, longest: int) -> Tensor:
    """[T, …] -> [N, L, …], zeros where a sample has no row. Differentiable."""
    return put_rows(x, positions, num_samples * longest).view(num_samples, longest, *x.shape[1:])


def unpad_rows(x: Tensor, positions: Tensor) -> Tensor:
    """[N, L, …] -> [T, …], the inverse of `pad_rows` on the rows that exist. Differentiable."""
    return take_rows(x.flatten(0, 1), positions)


def segment_sum(x: Tensor, lengths: Tensor) -> Tensor:
    """Sum the rows of each sample: [T, …] and [N] int64 -> [N, …] in float32 or wider. Not differentiable.

    The lengths are trusted: checking them would wait for the device.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    flat = x.unsqueeze(-1).flatten(1).to(dtype)
    if flat.shape[1] == 0 or flat.shape[0] == 0:
        return torch.zeros((lengths.shape[0], *x.shape[1:]), dtype=dtype, device=x.device)
    out = torch.segment_reduce(flat, "sum", lengths=lengths, axis=0, initial=0, unsafe=True)
    return out.view(lengths.shape[0], *x.shape[1:])


class _ExpandRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, row_sample: Tensor, lengths: Tensor) -> Tensor:
        ctx.save_for_backward(lengths)
        return x.index_select(0, row_sample)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (lengths,) = ctx.saved_tensors
        return segment_sum(grads[0], lengths).to(grads[0].dtype), None, None


def expand_rows(x: Tensor, row_sample: Tensor, lengths: Tensor) -> Tensor:
    """One row per sample to one per token: [N, …] -> [T, …] by `row_sample` [T]; `lengths` [N] int64.

    Same as `x[row_sample]`; the gradient is a segment sum in float32, which is fast and deterministic where many
    tokens share a sample.
    """
    return _ExpandRows.apply(x, row_sample, lengths)
