"""Attention inside windows of the voxel grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ....ops.attention import RaggedIndex, WindowPartition, attention, window_partition
from ....ops.rows import take_rows
from .. import config
from ..tensor import SparseTensor

__all__ = [
    "sparse_windowed_scaled_dot_product_cross_attention",
    "sparse_windowed_scaled_dot_product_self_attention",
    "window_partition_of",
]


def _triple(value: int | Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (value,) * 3 if isinstance(value, int) else value
    return int(x), int(y), int(z)


def window_partition_of(
    x: SparseTensor, window_size: int | Sequence[int], shift: int | Sequence[int]
) -> WindowPartition:
    """Windows of the coordinates of x, found once per structure."""
    size, offset = _triple(window_size), _triple(shift)
    if min(size) < 1:
        raise ValueError(f"window_size must be positive, got {window_size}")
    key = f"windowed_attention_{size}_{offset}"
    cached = x.get_spatial_cache(key)
    if cached is None:
        cached = window_partition(x.coords, size, offset)
        x.register_spatial_cache(key, cached)
    return cached


def sparse_windowed_scaled_dot_product_self_attention(
    qkv: SparseTensor, window_size: int | Sequence[int], shift_window: int | Sequence[int] = (0, 0, 0)
) -> SparseTensor:
    """Attention of qkv feats [T, 3, H, D] among the rows of one sample and window ⌊(xyz + shift) / size⌋."""
    if qkv.feats.ndim != 4 or qkv.feats.shape[1] != 3:
        raise ValueError(f"qkv must have feats [T, 3, H, D], got {tuple(qkv.feats.shape)}")
    part = window_partition_of(qkv, window_size, shift_window)
    q, k, v = qkv.feats.unbind(1)
    return qkv.replace(attention(q, k, v, part, part, backend=config.attn_backend()))


def sparse_windowed_scaled_dot_product_cross_attention(
    q: SparseTensor,
    kv: SparseTensor,
    q_window_size: int | Sequence[int],
    kv_window_size: int | Sequence[int],
    q_shift_window: int | Sequence[int] = (0, 0, 0),
    kv_shift_window: int | Sequence[int] = (0, 0, 0),
) -> SparseTensor:
    """Rows of q [T, H, D] attend to the rows of kv [T', 2, H, D] in the window of the same sample and index.

    Windows are paired by index, not by rank; a query whose window holds no keys gets zeros.
    """
    if kv.feats.ndim != 4 or kv.feats.shape[1] != 2:
        raise ValueError(f"kv must have feats [T, 2, H, D], got {tuple(kv.feats.shape)}")
    q_part = window_partition_of(q, q_window_size, q_shift_window)
    kv_part = window_partition_of(kv, kv_window_size, kv_shift_window)
    places = {tuple(key): i for i, key in enumerate(kv_part.keys.tolist())}
    starts = [0]
    for n in kv_part.ragged.lengths:
        starts.append(starts[-1] + n)
    rows, lengths = [], []
    for key in q_part.keys.tolist():
        i = places.get(tuple(key))
        lengths.append(0 if i is None else kv_part.ragged.lengths[i])
        if i is not None:
            rows.append(torch.arange(starts[i], starts[i + 1]))
    picked = torch.cat(rows).to(q.device) if rows else torch.zeros(0, dtype=torch.int64, device=q.device)
    keys, values = take_rows(kv.feats, kv_part.order).index_select(0, picked).unbind(1)
    kv_index = RaggedIndex.build(lengths, q.device)
    return q.replace(attention(q.feats, keys, values, q_part, kv_index, backend=config.attn_backend()))
