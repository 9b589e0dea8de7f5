"""Endless micro-batches with a position that counts what the caller has consumed.

Every batch has its own seed, made from (seed, epoch, position, rank): views and augmentations do not depend on
prefetching or on how the run was interrupted.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..utils.data_utils import ResumableSampler
from .base import ItemError

__all__ = ["BatchLoader"]

log = logging.getLogger(__name__)
Batch = tuple[list[dict[str, Any]], dict[str, int]]  # micro-batches, sampler state after them


class BatchLoader:
    """Iterates over `dataset.batch(...)` in the order of `sampler`; one iterator at a time."""

    def __init__(
        self,
        dataset: Any,
        sampler: ResumableSampler,
        *,
        batch_size: int,
        batch_split: int = 1,
        device: torch.device | str = "cpu",
        num_workers: int | None = None,
        prefetch: bool = True,
        balanced: bool = False,
    ) -> None:
        self.dataset = dataset
        self.sampler = sampler
        self.batch_size = batch_size
        self.batch_split = batch_split
        self.device = torch.device(device)
        self.prefetch = prefetch
        self.balanced = balanced
        if num_workers is not None:
            dataset.num_workers = num_workers
        self.num_workers = getattr(dataset, "num_workers", 0)
        if len(sampler) < batch_size:
            raise ValueError(
                f"the dataset gives {len(sampler)} items per process, fewer than one batch of {batch_size}; "
                "use a smaller batch or more data"
            )
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._iterator: Iterator[Batch] | None = None

    def _index_batches(self) -> Iterator[tuple[list[int], int, dict[str, int]]]:
        sampler = self.sampler
        epoch, idx = sampler.epoch, sampler.idx
        while True:
            sampler.epoch = epoch
            indices = sampler.epoch_indices()
            while idx + self.batch_size <= len(indices):
                entropy = [sampler.seed, epoch, idx, sampler.rank]
                seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
                batch = indices[idx : idx + self.batch_size]
                idx += self.batch_size
                yield batch, seed, {"epoch": epoch, "idx": idx}
            epoch, idx = epoch + 1, 0

    def assemble(self, indices: Sequence[int], seed: int) -> dict[str, Any]:
        """One micro-batch. Unreadable items are counted and left out; RuntimeError if none is left."""
        indices = list(indices)
        while indices:
            rng = torch.Generator().manual_seed(seed)
            try:
                return self.dataset.batch(indices, rng, self.device)
            except ItemError as error:
                self.dataset.note_failures(error.failed)
                indices = [i for i in indices if i not in error.failed]
        raise RuntimeError("no item of a micro-batch could be read")

    def _batches(self) -> Iterator[Batch]:
        for indices, seed, position in self._index_batches():
            if self.batch_split == 1:
                groups: list[list[int]] = [indices]
            elif self.balanced:
                groups = self.dataset.split_indices(indices, self.batch_split)
            else:
                part = len(indices) // self.batch_split
                groups = [indices[i : i + part] for i in range(0, len(indices), part)]
            yield [self.assemble(group, seed + i) for i, group in enumerate(groups)], position

    def _prefetched(self) -> Iterator[Batch]:
        items: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=2)

        def put(item: Batch | BaseException) -> bool:
            while not self._stop.is_set():
                try:
                    items.put(item, timeout=0.2)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            try:
                if self.device.type == "cuda":
                    torch.cuda.set_device(self.device)
                for batch in self._batches():
                    if not put(batch):
                        return
            except BaseException as error:  # handed to the consumer
                put(error)

        self._thread = threading.Thread(target=work, daemon=True, name="batch-prefetch")
        self._thread.start()
        while True:
            item = items.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    def __iter__(self) -> Iterator[Batch]:
        if self._iterator is None:
            self._stop.clear()
            self._iterator = self._prefetched() if self.prefetch else self._batches()
        return self._iterator

    def resume(self) -> None:
        """Start again from the sampler's state."""
        self.close()

    def close(self) -> None:
        """Stop prefetching; the next `iter` starts from the sampler's state."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        self._iterator = None
