"""How a call reaches the CUDA kernels of the compiled core: which device and stream, and whose memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from o_voxel._native import native_module

__all__ = ["Launch", "as_tensor", "cuda_core", "launch"]

Launch = tuple[int, int, Callable[[int], Tensor]]


@cache
def _core_with_cuda() -> ModuleType | None:
    module = native_module()
    return module if module is not None and module.with_cuda else None


def cuda_core(op: str | None = None, device: torch.device | None = None) -> ModuleType | None:
    """The compiled core if it holds CUDA kernels, else None (CUDA tensors then take another path).

    With an operation (of `o_voxel.selftest.OPS`) and a device, None too if its kernels fail their self-test there.
    """
    core = _core_with_cuda()
    if core is None or op is None or device is None:
        return core
    from o_voxel.selftest import trusted

    return core if trusted(op, device) else None


def launch(device: torch.device) -> Launch:
    """What every `*_cuda` function of the core takes: device index, current stream, allocator.

    Memory comes from torch's caching allocator, so it is stream-ordered, counted in
    `torch.cuda.max_memory_allocated` and reused.
    """
    index = device.index if device.index is not None else torch.cuda.current_device()
    resolved = torch.device("cuda", index)

    def allocate(num_bytes: int) -> Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8, device=resolved)

    return index, torch.cuda.current_stream(resolved).cuda_stream, allocate


def as_tensor(memory: Tensor | np.ndarray, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """View bytes that the core returned (uint8 [>= size], an array if from the CPU) as `shape` of `dtype`, uncopied."""
    block = memory if isinstance(memory, Tensor) else torch.from_numpy(memory)
    return block[: math.prod(shape) * dtype.itemsize].view(dtype).view(shape)
