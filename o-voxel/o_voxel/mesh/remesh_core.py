"""Calls of the remeshing core on tensors: bit sets over a dense node grid, on the CPU, a GPU, or in plain NumPy.

A bit set is an int64 tensor [words]; 64 nodes along z share a word, words follow x, then y, then z. W is the number of
words of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from o_voxel._device import cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh import remesh_reference

__all__ = ["BitSet", "NodeGrid"]

MAX_MEMBERS = 2**31 - 1


@dataclass(frozen=True)
class BitSet:
    """Bits with a running count, which numbers the members."""

    bits: Tensor  # [sets * W] int64
    before: Tensor  # [sets * W] int32, members in earlier words
    count: int


class NodeGrid:
    """A grid of x * y * z nodes on a device, and the core that works on it."""

    def __init__(self, size: tuple[int, int, int], device: torch.device, backend: Backend = "auto") -> None:
        self.size = size
        self.device = device
        self.words = size[0] * size[1] * ((size[2] + 63) // 64)
        self._core: Any = remesh_reference
        self._suffix = ""
        self._launch: Any = None
        self._copies = False
        if resolve_backend(backend) == "native":
            if device.type == "cuda" and cuda_core("remeshing", device) is not None:
                self._core, self._suffix, self._launch = cuda_core(), "_cuda", launch(device)
            else:
                self._core = native_module()
        self._copies = device.type != "cpu" and not self._suffix

    def empty(self, sets: int = 1) -> Tensor:
        """A bit set that is still to be written."""
        return torch.empty(sets * self.words, dtype=torch.int64, device=self.device)

    def zeros(self, sets: int = 1) -> Tensor:
        """A bit set without members."""
        return torch.zeros(sets * self.words, dtype=torch.int64, device=self.device)

    def call(self, name: str, *arguments: Any) -> None:
        """Run `remesh_<name>`; results are written into the tensors among the arguments."""
        function = getattr(self._core, f"remesh_{name}{self._suffix}")
        if not self._copies:
            function(*arguments, self._launch)
            return
        copies = [a.cpu() if isinstance(a, Tensor) else a for a in arguments]
        function(*copies, None)
        for tensor, copy in zip(arguments, copies, strict=True):
            if isinstance(tensor, Tensor):
                tensor.copy_(copy)

    def numbered(self, bits: Tensor) -> BitSet:
        """Count the members. Raises ValueError if there are 2^31 or more."""
        counts = torch.empty(len(bits), dtype=torch.int32, device=self.device)
        self.call("count_bits", bits, counts)
        count = int(counts.sum(dtype=torch.int64))
        if count > MAX_MEMBERS:
            raise ValueError(f"the grid must have fewer than 2^31 members of a set, got {count}: use larger voxels")
        return BitSet(bits, torch.cumsum(counts, 0, dtype=torch.int32).sub_(counts), count)

    def places(self, of: BitSet) -> Tensor:
        """64 * word + bit of every member, ascending: [count] int64."""
        out = torch.empty(of.count, dtype=torch.int64, device=self.device)
        self.call("list_bits", of.bits, of.before, out)
        return out

    def border(self) -> Tensor:
        """The nodes on the six sides of the grid."""
        bits = self.everything().reshape(self.size[0], self.size[1], -1)
        inner = bits[1:-1, 1:-1]
        z = self.size[2] - 1
        ends = torch.zeros_like(inner)
        ends[..., 0] |= 1
        ends[..., z >> 6] |= (1 << (z & 63)) - (1 << 64) * ((z & 63) == 63)  # as a signed word
        inner &= ends
        return bits.reshape(-1)

    def everything(self) -> Tensor:
        """All nodes."""
        column = (self.size[2] + 63) // 64
        last = self.size[2] - 64 * (column - 1)
        bits = torch.full((self.size[0] * self.size[1], column), -1, dtype=torch.int64, device=self.device)
        if last < 64:
            bits[:, -1] = (1 << last) - 1
        return bits.reshape(-1)
