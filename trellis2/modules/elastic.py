"""Elastic memory: checkpoint as many blocks as a step of the given size needs to fit into device memory."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["ElasticModuleMixin", "LinearMemoryController", "MemoryController", "SparseTransformerElasticMixin"]


class MemoryController:
    """Decides the share of blocks that keep their activations, and learns from what steps needed."""

    def __init__(self) -> None:
        self._states: list[tuple[float, float]] = []

    def get_mem_ratio(self, input_size: float) -> float:
        """Share in [0, 1] of the activations to keep for an input of this size."""
        return 1.0

    def update_run_states(self, input_size: float, mem_ratio: float) -> None:
        """Note what one elastic module did in the current step."""
        self._states.append((float(input_size), float(mem_ratio)))

    @contextmanager
    def record(self) -> Iterator[None]:
        """Wrap one training step."""
        self._states = []
        try:
            yield
        finally:
            self._states = []


class LinearMemoryController(MemoryController):
    """Models the peak memory as k·(size·ratio) + b GiB and fits k and b from recorded steps.

    target_ratio: share of available_memory (GiB; default: the CUDA device's) to use. The allowed ratio starts at
    max_mem_ratio_start and grows by 0.1 at every fit, which happens every `update_every` recorded steps.
    """

    def __init__(
        self,
        buffer_size: int = 1000,
        update_every: int = 500,
        target_ratio: float = 0.8,
        available_memory: float | None = None,
        max_mem_ratio_start: float = 0.1,
        params: tuple[float, float] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.update_every = update_every
        self.target_ratio = target_ratio
        self.device = device
        self.available_memory = available_memory
        self.max_mem_ratio = max_mem_ratio_start if params is None else 1.0
        self.params = params if params is not None else (0.0, 0.0)
        self.step = 0
        self._buffer: deque[tuple[float, float, float]] = deque(maxlen=buffer_size)
        self._last: tuple[float, float, float] | None = None

    def _available(self) -> float:
        if self.available_memory is None:
            if not torch.cuda.is_available():
                raise ValueError("available_memory must be given in GiB when there is no CUDA device")
            self.available_memory = torch.cuda.get_device_properties(self.device).total_memory / 1024**3
        return self.available_memory

    def get_mem_ratio(self, input_size: float) -> float:
        k, b = self.params
        if k == 0:
            return random.random() * self.max_mem_ratio
        wanted = (self._available() * self.target_ratio - b) / (k * max(input_size, 1))
        return min(self.max_mem_ratio, max(0.0, wanted))

    @contextmanager
    def record(self) -> Iterator[None]:
        self._states = []
        on_cuda = torch.cuda.is_available()
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        completed = False
        try:
            yield
            completed = True
        finally:
            states, self._states = self._states, []
            if completed and states:
                peak = torch.cuda.max_memory_allocated(self.device) / 1024**3 if on_cuda else 0.0
                self.add_sample(peak, states)

    def add_sample(self, peak_memory: float, states: list[tuple[float, float]]) -> None:
        """Add one step: its peak in GiB and the (size, ratio) of its elastic modules, which must agree in size."""
        sizes = {size for size, _ in states}
        if len(sizes) != 1:
            raise ValueError(f"elastic modules of one step must report one input size, got {sorted(sizes)}")
        ratio = sum(r for _, r in states) / len(states)
        self._last = (peak_memory, states[0][0], ratio)
        self._buffer.append(self._last)
        self.step += 1
        if self.step % self.update_every == 0:
            self.max_mem_ratio = min(1.0, self.max_mem_ratio + 0.1)
            self._fit()

    def _fit(self) -> None:
        peak, size, ratio = np.array(self._buffer, dtype=np.float64).T
        design = np.stack([size * ratio, np.ones_like(size)], axis=1)
        k, b = np.linalg.lstsq(design, peak, rcond=None)[0]
        self.params = (float(k), float(b))

    def state_dict(self) -> dict[str, Any]:
        return {"params": self.params}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        k, b = state["params"]
        self.params = (float(k), float(b))

    def log(self) -> dict[str, float]:
        """Numbers for the training log."""
        memory, size, ratio = self._last if self._last is not None else (math.nan, math.nan, math.nan)
        k, b = self.params
        return {"params/k": k, "params/b": b, "memory": memory, "input_size": size, "mem_ratio": ratio}


class ElasticModuleMixin:
    """Put before a module class: its training forward runs under the ratio its memory controller chooses."""

    _memory_controller: MemoryController | None = None

    def register_memory_controller(self, controller: MemoryController) -> None:
        self._memory_controller = controller

    def _get_input_size(self, *args: Any, **kwargs: Any) -> int:
        raise TypeError(f"{type(self).__name__} must define _get_input_size")

    @contextmanager
    def with_mem_ratio(self, mem_ratio: float = 1.0) -> Iterator[float]:
        """Run under this ratio; yields the ratio that was possible."""
        yield 1.0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        controller = self._memory_controller
        run = super().forward  # type: ignore[misc]
        if controller is None or not torch.is_grad_enabled() or not self.training:  # type: ignore[attr-defined]
            return run(*args, **kwargs)
        size = self._get_input_size(*args, **kwargs)
        with self.with_mem_ratio(controller.get_mem_ratio(size)) as exact:
            out = run(*args, **kwargs)
        controller.update_run_states(size, exact)
        return out


class SparseTransformerElasticMixin(ElasticModuleMixin):
    """For models with `blocks` that honour `use_checkpoint`; the size is the number of tokens."""

    blocks: nn.ModuleList

    def _get_input_size(self, *args: Any, **kwargs: Any) -> int:
        x = args[0] if args else kwargs["x"]
        return int(x.feats.shape[0])

    @contextmanager
    def with_mem_ratio(self, mem_ratio: float = 1.0) -> Iterator[float]:
        """Checkpoint the first blocks so that about `mem_ratio` of the activations stay; restores the settings."""
        blocks: list[Any] = list(self.blocks)
        saved = [block.use_checkpoint for block in blocks]
        count = 0
        if mem_ratio < 1:
            count = min(math.ceil((1 - mem_ratio) * len(blocks)) + 1, len(blocks))
        try:
            for i, block in enumerate(blocks):
                block.use_checkpoint = saved[i] if mem_ratio >= 1 else i < count
            yield 1.0 if mem_ratio >= 1 else 1 - (count - 1) / len(blocks)
        finally:
            for block, value in zip(blocks, saved):
                block.use_checkpoint = value
