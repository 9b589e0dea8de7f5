"""Items packed into a few tensors, so that a batch is one gather per key instead of Python per item.

Letters: N items, R rows of all items together, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["Packed", "gather_rows", "load_packed", "pack", "save_packed"]


@dataclass(frozen=True)
class Packed:
    """`ragged[key]` is [R, ...] with item i in rows offsets[i]:offsets[i+1]; `dense[key]` is [N, ...].

    `seqlen` stays on the CPU wherever the data is, so that gathering never waits for a device.
    """

    ragged: dict[str, Tensor]
    dense: dict[str, Tensor]
    seqlen: Tensor  # [N] int64, CPU

    def __len__(self) -> int:
        return len(self.seqlen)

    @property
    def offsets(self) -> Tensor:
        """[N + 1] int64, first row of each item."""
        return torch.cat([self.seqlen.new_zeros(1), self.seqlen.cumsum(0)])

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (*self.ragged.values(), *self.dense.values()))

    @property
    def device(self) -> torch.device:
        """Where the data is."""
        return next(iter((*self.ragged.values(), *self.dense.values())), self.seqlen).device

    @property
    def batch_idx(self) -> Tensor:
        """[R] int64, item of each row, on the data's device."""
        return torch.repeat_interleave(self.seqlen).to(self.device, non_blocking=True)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Packed:
        return Packed(
            {k: v.to(device, non_blocking=non_blocking) for k, v in self.ragged.items()},
            {k: v.to(device, non_blocking=non_blocking) for k, v in self.dense.items()},
            self.seqlen,
        )

    def pin(self) -> Packed:
        """Copy in page-locked memory, for asynchronous transfers to a CUDA device."""
        return Packed(
            {k: v.pin_memory() for k, v in self.ragged.items()},
            {k: v.pin_memory() for k, v in self.dense.items()},
            self.seqlen,
        )


def pack(items: Sequence[Mapping[str, np.ndarray]], ragged_keys: Sequence[str]) -> Packed:
    """Items (key → array) → `Packed`. Ragged arrays of one item must have the same number of rows."""
    if not items:
        raise ValueError("cannot pack an empty list of items")
    lengths = []
    for item in items:
        rows = {len(item[key]) for key in ragged_keys}
        if len(rows) > 1:
            raise ValueError(f"row counts of one item differ: { {k: len(item[k]) for k in ragged_keys} }")
        lengths.append(rows.pop() if rows else 0)
    ragged = {key: torch.from_numpy(np.concatenate([item[key] for item in items])) for key in ragged_keys}
    dense = {
        key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0] if key not in ragged_keys
    }
    return Packed(ragged, dense, torch.tensor(lengths, dtype=torch.int64))


def gather_rows(store: Packed, indices: Tensor, offsets: Tensor | None = None) -> Packed:
    """The items `indices` [B] (int64, CPU) as a new `Packed`, rows in the order of `indices`."""
    offsets = store.offsets if offsets is None else offsets
    seqlen = store.seqlen[indices]
    device = store.device
    ragged: dict[str, Tensor] = {}
    if store.ragged:
        starts = offsets[indices]
        begin = seqlen.cumsum(0) - seqlen
        rows = torch.arange(int(seqlen.sum()))
        rows = (rows + torch.repeat_interleave(starts - begin, seqlen)).to(device, non_blocking=True)
        ragged = {k: v.index_select(0, rows) for k, v in store.ragged.items()}
    where = indices.to(device, non_blocking=True)
    return Packed(ragged, {k: v.index_select(0, where) for k, v in store.dense.items()}, seqlen)


def save_packed(store: Packed, path: str | Path) -> None:
    """Write a store as safetensors, atomically."""
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"ragged.{k}": v.contiguous() for k, v in store.ragged.items()}
    tensors.update({f"dense.{k}": v.contiguous() for k, v in store.dense.items()})
    tensors["seqlen"] = store.seqlen
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(tensors, str(temporary))
    temporary.replace(path)


def load_packed(path: str | Path) -> Packed:
    """Read what `save_packed` wrote."""
    from safetensors.torch import load_file

    tensors = load_file(str(path))
    return Packed(
        {k[7:]: v for k, v in tensors.items() if k.startswith("ragged.")},
        {k[6:]: v for k, v in tensors.items() if k.startswith("dense.")},
        tensors["seqlen"],
    )
