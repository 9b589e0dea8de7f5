"""Softmax attention for dense, ragged and windowed inputs, on PyTorch's scaled_dot_product_attention.

Letters: B batch / N samples, L tokens, T ragged tokens, H heads, D head dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .ragged import pad_rows, padded_positions, unpad_rows

__all__ = ["RaggedIndex", "attention_reference", "dense_attention", "ragged_attention", "window_partition"]

_ALIGNMENT = 8


class RaggedIndex(NamedTuple):
    """Everything attention needs to know about a ragged batch, computed once per structure."""

    lengths: tuple[int, ...]  # rows per sample, on the host
    padded_length: int  # L, the longest sample, rounded up for aligned kernels if the samples differ
    positions: Tensor | None  # [T] int64, place of each row in the padded block [N, L]; None if uniform
    key_mask: Tensor | None  # [N, 1, 1, L] bool, true where a row exists, and for samples without rows; None if uniform

    @property
    def uniform(self) -> bool:
        """All samples have padded_length rows: the padded block is a view."""
        return self.positions is None

    @staticmethod
    def build(lengths: Sequence[int], device: torch.device | str) -> RaggedIndex:
        numbers = tuple(int(n) for n in lengths)
        longest = max(numbers, default=0)
        if all(n == longest for n in numbers):
            return RaggedIndex(numbers, longest, None, None)
        longest = -(-longest // _ALIGNMENT) * _ALIGNMENT
        counts = torch.tensor(numbers, dtype=torch.int64).to(device)
        # A sample without rows attends to its zero padding: the softmax stays finite and the result is zero.
        mask = (torch.arange(longest, device=device)[None] < counts[:, None]) | (counts == 0)[:, None]
        return RaggedIndex(numbers, longest, padded_positions(counts, sum(numbers), longest), mask[:, None, None])


def attention_reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v in plain operations; q [B, L, H, D], k and v [B, L', H, D] -> [B, L, H, D]."""
    scores = torch.einsum("blhd,bmhd->bhlm", q.float(), k.float()) / q.shape[-1] ** 0.5
    return torch.einsum("bhlm,bmhd->blhd", scores.softmax(-1), v.float()).to(q.dtype)


def dense_attention(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
    """Attention over [B, L, H, D] queries and [B, L', H, D] keys and values -> [B, L, H, D].

    key_mask: [B, 1, 1, L'] bool, true for the keys to attend to.
    """
    # [B, L, H, D] -> [B, H, L, D]
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=key_mask)
    return out.transpose(1, 2)


def _pad(x: Tensor, index: RaggedIndex) -> Tensor:
    """[T, H, D] -> [N, L, H, D]; a view when the samples are of one length."""
    if index.positions is None:
        return x.reshape(len(index.lengths), index.padded_length, *x.shape[1:])
    return pad_rows(x, index.positions, len(index.lengths), index.padded_length)


def ragged_attention(
    q: Tensor,  # [T, H, D]
    k: Tensor,  # [T', H, D]
    v: Tensor,  # [T', H, D]
    q_index: RaggedIndex,
    kv_index: RaggedIndex,
) -> Tensor:  # [T, H, D]
    """Block-diagonal attention: rows of sample i attend to the keys of sample i only.

    Samples are padded to the longest; padded keys are masked, padded queries dropped. A query whose sample has no
    keys gets zeros. Raises ValueError when the two sides have different numbers of samples.
    """
    if len(q_index.lengths) != len(kv_index.lengths):
        raise ValueError(
            f"queries and keys need the same number of samples, got {len(q_index.lengths)}, {len(kv_index.lengths)}"
        )
    if q.shape[0] == 0 or kv_index.padded_length == 0:
        return torch.zeros_like(q)
    out = dense_attention(_pad(q, q_index), _pad(k, kv_index), _pad(v, kv_index), kv_index.key_mask)
    if q_index.positions is None:
        return out.reshape(q.shape)
    return unpad_rows(out, q_index.positions)


class WindowPartition(NamedTuple):
    """Tokens grouped by window."""

    order: Tensor  # [T] int64, rows sorted by (sample, window), stable
    inverse: Tensor  # [T] int64, undoes `order`
    keys: Tensor  # [W, 4] int64, (sample, window x, y, z) of every non-empty window, ascending
    ragged: RaggedIndex  # over the W windows


def window_partition(coords: Tensor, window_size: Sequence[int], shift: Sequence[int]) -> WindowPartition:
    """Group [T, 4] coordinates by window ⌊(xyz + shift) / window_size⌋ within each sample."""
    size = torch.tensor(list(window_size), device=coords.device)
    offset = torch.tensor(list(shift), device=coords.device)
    window = torch.div(coords[:, 1:].long() + offset, size, rounding_mode="floor")
    label = torch.cat([coords[:, :1].long(), window], dim=1)
    keys, inverse, counts = torch.unique(label, dim=0, return_inverse=True, return_counts=True)
    order = torch.argsort(inverse, stable=True)
    back = torch.empty_like(order)
    back[order] = torch.arange(order.shape[0], device=order.device)
    return WindowPartition(order, back, keys, RaggedIndex.build(counts.tolist(), coords.device))
