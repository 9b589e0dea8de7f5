"""Softmax attention for dense, ragged and windowed inputs behind one call; the backends do the work.

Letters: B batch / N samples, L tokens, T ragged tokens, H heads, D head dim, W windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .attention_backends import attention_backend, attention_reference
from .ragged_index import RaggedIndex, pad, unpad
from .rows import take_rows

__all__ = ["RaggedIndex", "WindowPartition", "attention", "attention_reference", "window_partition"]


class WindowPartition(NamedTuple):
    """Tokens grouped by window."""

    order: Tensor  # [T] int64, rows sorted by (sample, window), stable
    inverse: Tensor  # [T] int64, undoes `order`
    keys: Tensor  # [W, 4] int64, (sample, window x, y, z) of every non-empty window, ascending
    ragged: RaggedIndex  # over the W windows


def attention(
    q: Tensor,  # [B, L, H, D], or [T, H, D] with q_index
    k: Tensor,  # [B, L', H, D], or [T', H, D] with kv_index
    v: Tensor,  # as k
    q_index: RaggedIndex | WindowPartition | None = None,
    kv_index: RaggedIndex | WindowPartition | None = None,
    *,
    backend: str = "auto",
) -> Tensor:  # as q
    """softmax(q kᵀ / √D) v, the softmax in float32, the result in the type of q.

    Without indices: dense. With ragged indices: rows of sample i attend to the keys of sample i only. With window
    partitions (of the rows of q and of k and v): within windows; window i of the queries goes with window i of the
    keys. A query whose sample or window has no keys gets zeros. Samples of one length are computed as a dense batch.
    Backends: `attention_backends.ATTENTION_BACKENDS`. Raises ValueError for inputs that do not fit together or that the
    backend cannot take, ImportError for a backend that is not installed.
    """
    chosen = attention_backend(backend, q.device)
    if q_index is None or kv_index is None:
        if q_index is not kv_index:
            raise ValueError("q_index and kv_index must be given together")
        if q.ndim != 4 or k.ndim != 4 or q.shape[0] != k.shape[0] or q.shape[2:] != k.shape[2:] or k.shape != v.shape:
            raise ValueError(
                f"q [B, L, H, D] and k, v [B, L', H, D] do not fit together, got {tuple(q.shape)}, {tuple(k.shape)}, "
                f"{tuple(v.shape)}"
            )
        return torch.zeros_like(q) if 0 in q.shape or 0 in k.shape else chosen.dense(q, k, v)
    if q.ndim != 3 or k.ndim != 3 or q.shape[1:] != k.shape[1:] or k.shape != v.shape:
        raise ValueError(
            f"q [T, H, D] and k, v [T', H, D] do not fit together, got {tuple(q.shape)}, {tuple(k.shape)}, "
            f"{tuple(v.shape)}"
        )
    if isinstance(q_index, WindowPartition):
        rows = take_rows(q, q_index.order)
        return take_rows(attention(rows, k, v, q_index.ragged, kv_index, backend=backend), q_index.inverse)
    if isinstance(kv_index, WindowPartition):
        k, v = take_rows(k, kv_index.order), take_rows(v, kv_index.order)
        kv_index = kv_index.ragged
    if len(q_index.lengths) != len(kv_index.lengths):
        raise ValueError(
            f"queries and keys need the same number of samples, got {len(q_index.lengths)}, {len(kv_index.lengths)}"
        )
    if q.shape[0] == 0 or k.shape[0] == 0:
        return torch.zeros_like(q)
    if q_index.uniform and kv_index.uniform:
        return unpad(chosen.dense(pad(q, q_index), pad(k, kv_index), pad(v, kv_index)), q_index)
    if q_index.has_empty or kv_index.has_empty:
        chosen = attention_backend("sdpa" if chosen.name != "naive" else "naive")
    return chosen.ragged(q, k, v, q_index, kv_index)


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
