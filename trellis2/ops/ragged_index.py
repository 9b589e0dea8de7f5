"""What attention needs to know about a ragged batch, and moving between its rows and padded blocks.

Letters: N samples, T rows of all samples one after another, L longest sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .ragged import pad_rows, padded_positions, unpad_rows

__all__ = ["RaggedIndex", "pad", "unpad"]

_ALIGNMENT = 8


class RaggedIndex(NamedTuple):
    """Everything attention needs to know about a ragged batch, computed once per structure."""

    lengths: tuple[int, ...]  # rows per sample, on the host
    padded_length: int  # L, the longest sample, rounded up for aligned kernels if the samples differ
    offsets: Tensor  # [N + 1] int64, first row of each sample and the end
    positions: Tensor | None  # [T] int64, place of each row in the padded block [N, L]; None if uniform
    key_mask: Tensor | None  # [N, 1, 1, L] bool, true where a row exists, and for samples without rows; None if uniform

    @property
    def uniform(self) -> bool:
        """All samples have padded_length rows: the padded block is a view."""
        return self.positions is None

    @property
    def has_empty(self) -> bool:
        """Some sample has no rows."""
        return 0 in self.lengths

    @staticmethod
    def build(lengths: Sequence[int], device: torch.device | str) -> RaggedIndex:
        numbers = tuple(int(n) for n in lengths)
        longest = max(numbers, default=0)
        counts = torch.tensor((0, *numbers), dtype=torch.int64).to(device)
        offsets = counts.cumsum(0)
        if all(n == longest for n in numbers):
            return RaggedIndex(numbers, longest, offsets, None, None)
        counts = counts[1:]
        longest = -(-longest // _ALIGNMENT) * _ALIGNMENT
        # A sample without rows attends to its zero padding: the softmax stays finite and the result is zero.
        mask = (torch.arange(longest, device=device)[None] < counts[:, None]) | (counts == 0)[:, None]
        positions = padded_positions(counts, sum(numbers), longest)
        return RaggedIndex(numbers, longest, offsets, positions, mask[:, None, None])


def pad(x: Tensor, index: RaggedIndex) -> Tensor:
    """[T, …] -> [N, L, …]; a view when the samples are of one length."""
    if index.positions is None:
        return x.unflatten(0, (len(index.lengths), index.padded_length))
    return pad_rows(x, index.positions, len(index.lengths), index.padded_length)


def unpad(x: Tensor, index: RaggedIndex) -> Tensor:
    """[N, L, …] -> [T, …], the inverse of `pad`."""
    return x.flatten(0, 1) if index.positions is None else unpad_rows(x, index.positions)
