"""Networks of a pipeline: loaded on first use, and moved to the device for as long as they work."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import nn

from trellis2.modules.streaming import SwappedModel, streamed
from trellis2.utils.memory import device_limit, free_memory, indexed_device

__all__ = ["ModelStore", "Residents", "make_room", "network_of", "on_device", "working_reserve"]

logger = logging.getLogger(__name__)


class ModelStore(MutableMapping[str, nn.Module]):
    """Models by key; a key may hold a loader that is run when the model is first asked for."""

    def __init__(self, models: Mapping[str, nn.Module | Callable[[], nn.Module]] | None = None) -> None:
        self._entries: dict[str, nn.Module | Callable[[], nn.Module]] = {}
        self._device: torch.device | None = None
        self._changes: list[Callable[[nn.Module], object]] = []
        for key, value in (models or {}).items():
            self[key] = value

    def __getitem__(self, key: str) -> nn.Module:
        entry = self._entries[key]
        if isinstance(entry, nn.Module):
            return entry
        logger.info("loading %s", key)
        model = entry().eval().requires_grad_(False)
        for change in self._changes:
            change(model)
        if self._device is not None:
            model.to(self._device)
        self._entries[key] = model
        return model

    def __setitem__(self, key: str, model: nn.Module | Callable[[], nn.Module]) -> None:
        if isinstance(model, nn.Module):
            model.eval()
        self._entries[key] = model

    def __delitem__(self, key: str) -> None:
        del self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def loaded(self) -> dict[str, nn.Module]:
        """The models that are in memory."""
        return {key: entry for key, entry in self._entries.items() if isinstance(entry, nn.Module)}

    def change(self, change: Callable[[nn.Module], object]) -> None:
        """Apply `change` to the models that are in memory, and to each of the others when it is loaded."""
        for model in self.loaded().values():
            change(model)
        self._changes.append(change)

    def place(self, device: torch.device | None) -> None:
        """Move what is loaded, and what will be; None leaves models where they are made."""
        self._device = device
        if device is not None:
            for model in self.loaded().values():
                model.to(device)


def network_of(model: Any) -> nn.Module | None:
    """The network in a model: itself, or what a feature extractor or a remover holds."""
    network = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    return network if isinstance(network, nn.Module) else None


@contextmanager
def on_device(model: Any, device: torch.device, release: bool, stream: bool = False) -> Iterator[Any]:
    """`model` on `device`; with `release`, back on the CPU afterwards.

    stream: on a CUDA device, keep the weights of its blocks in host memory and copy them ahead one by one: the same
    results with a fraction of the memory.
    """
    network = network_of(model)
    if stream and device.type == "cuda" and network is not None:
        with streamed(network, device, release=release):
            yield model
        return
    model.to(device)
    try:
        yield model
    finally:
        if release and device.type != "cpu":
            model.to(torch.device("cpu"))


class Residents:
    """Networks that take turns on a CUDA device and stay there for as long as there is room.

    One that had to make room waits in pinned memory, so that it comes quickly and is just let go the next time.
    """

    alive: ClassVar[weakref.WeakSet[Residents]] = weakref.WeakSet()

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._lock = threading.RLock()
        self._models: dict[int, SwappedModel] = {}  # least recently used first
        self._working: set[int] = set()
        Residents.alive.add(self)

    @contextmanager
    def use(self, network: nn.Module, reserve: int, keep: bool = True) -> Iterator[None]:
        """`network` on the device, with `reserve` bytes beside it for its work as far as others can make room.

        keep: let it stay afterwards, until its memory is needed.
        """
        key = id(network)
        with self._lock:
            entry = self._entry(network)
            nested = key in self._working
            if not entry.visits:
                self.make_room(entry.num_bytes + reserve, but=key)
            else:
                self.make_room(reserve, but=key)
            entry.enter()
            self._working.add(key)
        try:
            yield
        finally:
            with self._lock:
                if not nested:
                    self._working.discard(key)
                    if not keep:
                        entry.leave()

    def prefetch(self, network: nn.Module, reserve: int) -> None:
        """Start bringing a network that is needed next, if it and `reserve` bytes fit without sending others away."""
        with self._lock:
            entry = self._entry(network)
            if not entry.visits and (free_memory(self.device) or 0) >= entry.num_bytes + reserve:
                entry.prefetch()

    def make_room(self, num_bytes: int, but: int | None = None) -> None:
        """Send idle networks away, the least recently used first, until so many bytes are free."""
        with self._lock:
            for key, entry in list(self._models.items()):
                if (free_memory(self.device) or 0) >= num_bytes:
                    return
                if key not in self._working and key != but:
                    entry.leave()

    def clear(self) -> None:
        """Send all networks away."""
        with self._lock:
            for entry in self._models.values():
                entry.release()
            self._models.clear()

    def _entry(self, network: nn.Module) -> SwappedModel:
        entry = self._models.pop(id(network), None)
        if entry is None or entry.model is not network:
            entry = SwappedModel(network, self.device)
        self._models[id(network)] = entry
        return entry


def make_room(device: torch.device, num_bytes: int) -> bool:
    """Whether so many bytes of a CUDA device can be had; idle networks that take turns there leave as far as needed."""
    for residents in list(Residents.alive):
        if indexed_device(residents.device) == indexed_device(device):  # "cuda" is the current one
            residents.make_room(num_bytes)
    if torch.cuda.mem_get_info(device)[0] < num_bytes:
        torch.cuda.empty_cache()  # cached blocks may be too small to be of use
    return (free_memory(device) or 0) >= num_bytes


def working_reserve(device: torch.device) -> int:
    """Bytes kept free for the work of a stage: 9 GB where the device has them, at most half of it."""
    limit = device_limit(device) or 0
    return min(9 * 10**9, limit // 2)
