"""What attention needs to know about a ragged batch, and moving between its rows and padded blocks.

Letters: N samples, T rows of all samples one after another, L longest sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .ragged import pad_rows, padded_positions, unpad_rows

__all__ = ["RaggedIndex", "pad", "unpad"]

_ALIGNMENT = 8


@dataclass(frozen=True)
class RaggedIndex:
    """Lengths on the host, and what derives from them on the device, computed once when it is first needed."""

    lengths: tuple[int, ...]  # rows per sample
    device: torch.device

    @staticmethod
    def build(lengths: Sequence[int], device: torch.device | str) -> RaggedIndex:
        """Index of samples with these numbers of rows. Copies nothing to the device yet."""
        return RaggedIndex(tuple(int(n) for n in lengths), torch.device(device))

    @cached_property
    def uniform(self) -> bool:
        """All samples have padded_length rows: the padded block is a view."""
        return len(set(self.lengths)) <= 1

    @cached_property
    def has_empty(self) -> bool:
        """Some sample has no rows."""
        return 0 in self.lengths

    @cached_property
    def longest(self) -> int:
        """Rows of the longest sample."""
        return max(self.lengths, default=0)

    @cached_property
    def padded_length(self) -> int:
        """L, the longest sample, rounded up for aligned kernels if the samples differ."""
        return self.longest if self.uniform else -(-self.longest // _ALIGNMENT) * _ALIGNMENT

    @cached_property
    def counts(self) -> Tensor:
        """[N] int64, the lengths."""
        return torch.tensor(self.lengths, dtype=torch.int64).to(self.device)

    @cached_property
    def offsets(self) -> Tensor:
        """[N + 1] int32, first row of each sample and the end."""
        return torch.nn.functional.pad(self.counts.cumsum(0), (1, 0)).int()

    @cached_property
    def positions(self) -> Tensor | None:
        """[T] int64, place of each row in the padded block [N, L]; None if uniform."""
        return None if self.uniform else padded_positions(self.counts, sum(self.lengths), self.padded_length)

    @cached_property
    def key_mask(self) -> Tensor | None:
        """[N, 1, 1, L] bool, true where a row exists, and for samples without rows; None if uniform.

        A sample without rows attends to its zero padding: the softmax stays finite and the result is zero.
        """
        if self.uniform:
            return None
        counts = self.counts
        mask = torch.arange(self.padded_length, device=self.device)[None] < counts[:, None]
        return (mask | (counts == 0)[:, None])[:, None, None]


def pad(x: Tensor, index: RaggedIndex) -> Tensor:
    """[T, …] -> [N, L, …]; a view when the samples are of one length."""
    if index.positions is None:
        return x.unflatten(0, (len(index.lengths), index.padded_length))
    return pad_rows(x, index.positions, len(index.lengths), index.padded_length)


def unpad(x: Tensor, index: RaggedIndex) -> Tensor:
    """[N, L, …] -> [T, …], the inverse of `pad`."""
    return x.flatten(0, 1) if index.positions is None else unpad_rows(x, index.positions)
