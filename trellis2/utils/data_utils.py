"""Load balancing and samplers whose position can be stored and restored.

Letters: W world size (processes), B batch size of one process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import Sampler

__all__ = [
    "BalancedResumableSampler",
    "ResumableSampler",
    "cycle",
    "load_balanced_group_indices",
    "recursive_to_device",
]


def recursive_to_device(data: Any, device: torch.device | str, non_blocking: bool = False) -> Any:
    """Move everything that has `.to(device)`; lists, tuples and mappings are walked, other values returned as is."""
    if isinstance(data, Mapping):
        return {k: recursive_to_device(v, device, non_blocking) for k, v in data.items()}
    if isinstance(data, list):
        return [recursive_to_device(v, device, non_blocking) for v in data]
    if isinstance(data, tuple):
        return tuple(recursive_to_device(v, device, non_blocking) for v in data)
    if hasattr(data, "to"):
        return data.to(device, non_blocking=non_blocking)
    return data


def load_balanced_group_indices(load: Sequence[float], num_groups: int, equal_size: bool = False) -> list[list[int]]:
    """Distribute items over groups so that the sums of their loads are close.

    Greedy: the heaviest item first, to the lightest group; ties of load in reverse index order, ties of groups to the
    first. With `equal_size` no group takes more than `len(load) // num_groups` items.
    """
    if num_groups < 1:
        raise ValueError(f"num_groups must be at least 1, got {num_groups}")
    capacity = len(load) // num_groups
    order = np.argsort(np.asarray(load), kind="stable")[::-1]
    groups: list[list[int]] = [[] for _ in range(num_groups)]
    sums = [0.0] * num_groups
    for index in order:
        target = min(range(num_groups), key=sums.__getitem__)
        groups[target].append(int(index))
        sums[target] += float(load[index])
        if equal_size and len(groups[target]) >= capacity:
            sums[target] = math.inf
    return groups


def _rank_and_world(rank: int | None, world_size: int | None) -> tuple[int, int]:
    initialised = dist.is_available() and dist.is_initialized()
    if rank is None:
        rank = dist.get_rank() if initialised else 0
    if world_size is None:
        world_size = dist.get_world_size() if initialised else 1
    return rank, world_size


class ResumableSampler(Sampler[int]):
    """Shuffled indices of this process's share, with a position (`epoch`, `idx`) that can be stored.

    `idx` counts the samples this process has consumed in the epoch. The permutation of an epoch comes from a CPU
    generator seeded with `seed + epoch`; it is padded from its start (or cut, with `drop_last`) to a multiple of W.
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.rank, self.world_size = _rank_and_world(rank, world_size)
        self.epoch = 0
        self.idx = 0
        n = len(dataset)
        if n == 0:
            raise ValueError("the dataset is empty: no item passed the filters")
        if drop_last and n % self.world_size != 0:
            self.num_samples = math.ceil((n - self.world_size) / self.world_size)
        else:
            self.num_samples = math.ceil(n / self.world_size)
        self.total_size = self.num_samples * self.world_size

    def _permutation(self) -> list[int]:
        n = len(self.dataset)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            indices = torch.randperm(n, generator=generator).tolist()
        else:
            indices = list(range(n))
        if self.drop_last:
            return indices[: self.total_size]
        missing = self.total_size - n
        while missing > 0:
            indices += indices[:missing]
            missing = self.total_size - len(indices)
        return indices

    def epoch_indices(self) -> list[int]:
        """All indices of this process in the current epoch, consumed ones included."""
        return self._permutation()[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[int]:
        return iter(self.epoch_indices()[self.idx :])

    def __len__(self) -> int:
        return self.num_samples

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "idx": self.idx}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.epoch, self.idx = int(state["epoch"]), int(state["idx"])


class BalancedResumableSampler(ResumableSampler):
    """As `ResumableSampler`, but each window of B·W indices is dealt to the processes by load.

    The dataset must have `loads`, one number an item. Incomplete windows at the end of an epoch are dropped.
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        batch_size: int = 1,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if not hasattr(dataset, "loads"):
            raise TypeError(f"dataset {type(dataset).__name__} has no `loads`, which balancing needs")
        super().__init__(dataset, shuffle, seed, drop_last, rank=rank, world_size=world_size)
        self.batch_size = batch_size
        self.loads = dataset.loads

    def epoch_indices(self) -> list[int]:
        indices = self._permutation()
        window = self.batch_size * self.world_size
        out: list[int] = []
        for start in range(0, len(indices) - window + 1, window):
            part = indices[start : start + window]
            groups = load_balanced_group_indices(
                [self.loads[i] for i in part], num_groups=self.world_size, equal_size=True
            )
            out.extend(part[i] for i in groups[self.rank])
        return out

    def __len__(self) -> int:
        return self.total_size // (self.batch_size * self.world_size) * self.batch_size


def cycle(loader: Any) -> Iterator[Any]:
    """Endless batches of a torch `DataLoader`, advancing its sampler's position as they are fetched.

    Raises ValueError if an epoch gives no batch.
    """
    while True:
        empty = True
        for batch in loader:
            empty = False
            if isinstance(loader.sampler, ResumableSampler):
                loader.sampler.idx += loader.batch_size
            yield batch
        if empty and not (isinstance(loader.sampler, ResumableSampler) and loader.sampler.idx > 0):
            raise ValueError("the loader yields no batch: the dataset is smaller than one batch")
        if isinstance(loader.sampler, ResumableSampler):
            loader.sampler.epoch += 1
            loader.sampler.idx = 0
        elif hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(loader.sampler.epoch + 1)
