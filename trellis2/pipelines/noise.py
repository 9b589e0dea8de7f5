"""Noise that depends on the seed alone, not on device, batch or other users of random numbers.

Letters: B samples, T tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["NoiseSource", "check_seed"]


def check_seed(seed: int) -> int:
    """A seed as PyTorch takes it. Raises ValueError."""
    if isinstance(seed, bool) or int(seed) != seed or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number in 0…2^63-1, got {seed!r}")
    return int(seed)


class NoiseSource:
    """One CPU generator a sample; draws are made sample by sample, then moved."""

    def __init__(self, seeds: Sequence[int]) -> None:
        if not seeds:
            raise ValueError("seeds must name at least one seed")
        self.seeds = tuple(check_seed(seed) for seed in seeds)
        self._generators = [torch.Generator().manual_seed(seed) for seed in self.seeds]

    @classmethod
    def from_global(cls, num_samples: int) -> NoiseSource:
        """Seeds drawn from PyTorch's global CPU generator, so that `torch.manual_seed` governs them."""
        return cls(torch.randint(0, 2**62, (num_samples,)).tolist())

    def __len__(self) -> int:
        return len(self.seeds)

    def dense(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Gaussian noise, [B, *shape] float32."""
        return torch.stack([torch.randn(*shape, generator=g) for g in self._generators]).to(device)

    def sparse(self, coords: Tensor, channels: int) -> Tensor:
        """Gaussian noise for tokens `coords` [T, 4] (rows of one sample together), [T, C] float32."""
        counts = torch.bincount(coords[:, 0].cpu().long(), minlength=len(self)).tolist()
        if len(counts) != len(self):
            raise ValueError(f"coords name {len(counts)} samples, but there are seeds for {len(self)}")
        rows = [torch.randn(n, channels, generator=g) for n, g in zip(counts, self._generators, strict=True)]
        return torch.cat(rows).to(coords.device)
