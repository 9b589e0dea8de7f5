"""Networks of a pipeline: loaded on first use, and moved to the device for as long as they work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trellis2.modules.streaming import streamed

__all__ = ["ModelStore", "on_device"]

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


@contextmanager
def on_device(model: Any, device: torch.device, release: bool, stream: bool = False) -> Iterator[Any]:
    """`model` on `device`; with `release`, back on the CPU afterwards.

    stream: on a CUDA device, keep the weights of its blocks in host memory and copy them ahead one by one: the same
    results with a fraction of the memory.
    """
    network = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    if stream and device.type == "cuda" and isinstance(network, nn.Module):
        with streamed(network, device, release=release):
            yield model
        return
    model.to(device)
    try:
        yield model
    finally:
        if release and device.type != "cpu":
            model.to(torch.device("cpu"))
