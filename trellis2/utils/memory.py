"""How much device memory there is to use."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["MemoryBudget", "MemoryTier", "device_limit", "free_memory", "indexed_device", "memory_tier"]


_SHARE = 0.92
"""Of the free memory, what is planned with: the rest is for the gaps between blocks of the allocator."""


def indexed_device(device: torch.device | str) -> torch.device:
    """'cuda' as the current CUDA device."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def device_limit(device: torch.device | str) -> int | None:
    """Bytes this process may allocate on a CUDA device: its memory or the share set for the process; None elsewhere."""
    device = indexed_device(device)
    if device.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    read_fraction = getattr(torch.cuda, "get_per_process_memory_fraction", None)
    return int(total * read_fraction(device)) if read_fraction is not None else total


def free_memory(device: torch.device | str) -> int | None:
    """Bytes PyTorch can still allocate on a CUDA device, with what its allocator holds unused; None elsewhere."""
    limit = device_limit(device)
    if limit is None:
        return None
    device = indexed_device(device)
    held, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    unclaimed = torch.cuda.mem_get_info(device)[0]
    return max(0, min(limit - held, unclaimed) + held - used)


class MemoryBudget:
    """Bytes that a computation may allocate on top of what is allocated when it starts.

    limit: bytes, or None for nearly all that is free. On a CUDA device the use since the start counts; elsewhere
    nothing is measured, and the whole limit is available at any time (None: no limit). Raises ValueError for a limit
    below 1.
    """

    def __init__(self, limit: int | None, device: torch.device | str) -> None:
        if limit is not None and limit < 1:
            raise ValueError(f"a memory budget must be a positive number of bytes, got {limit}")
        self.device = indexed_device(device)
        free = free_memory(self.device) if limit is None else None
        self.limit = limit if free is None else int(_SHARE * free)
        self._start = torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0

    def available(self) -> float:
        """Bytes left; infinite without a limit."""
        if self.limit is None:
            return float("inf")
        if self.device.type != "cuda":
            return float(self.limit)
        return float(max(0, self.limit - (torch.cuda.memory_allocated(self.device) - self._start)))


class MemoryTier(NamedTuple):
    """What a device of some size can do with the full-size system."""

    name: str
    least: float  # 10⁹ bytes of device memory
    meaning: str


_TIERS = (
    MemoryTier("resident", 30, "all networks stay on the device"),
    MemoryTier("swapped", 14, "networks take turns on the device"),
    MemoryTier("streamed", 7.5, "weights are streamed block by block"),
    MemoryTier("streamed int8", 5.5, "8-bit weights are streamed block by block"),
    MemoryTier("small", 0, "below what 1024³ needs; 512³, or the CPU"),
)


def memory_tier(total: int) -> MemoryTier:
    """The tier of a device with `total` bytes; a device's memory is a little less than its nominal size."""
    return next(tier for tier in _TIERS if total / 1e9 >= tier.least)
