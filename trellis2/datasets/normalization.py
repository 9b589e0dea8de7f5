"""Per-channel normalisation of latents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Normalization"]


@dataclass(frozen=True)
class Normalization:
    """ẑ = (z − mean) / std for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any] | str | Path | None, key: str | None = None) -> Normalization | None:
        """{`mean`, `std`} or the path of a JSON file with it (possibly under `key`); None stays None."""
        if spec is None:
            return None
        table: Any = spec
        if isinstance(spec, (str, Path)):
            path = Path(spec)
            if not path.is_file():
                raise ValueError(f"normalization file {path} does not exist")
            table = json.loads(path.read_text())
        if not isinstance(table, Mapping):
            raise TypeError(f"normalization must be an object with mean and std, got {type(table).__name__}")
        if "mean" not in table and key is not None and key in table:
            table = table[key]
        if "mean" not in table or "std" not in table:
            raise ValueError(f"normalization needs `mean` and `std`, got the keys {sorted(table)}")
        mean, std = tuple(float(v) for v in table["mean"]), tuple(float(v) for v in table["std"])
        if len(mean) != len(std) or any(not s > 0 for s in std):
            raise ValueError("normalization: mean and std must have the same length, and std must be positive")
        return cls(mean, std)

    def _tensors(self, like: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        if like.shape[dim] != len(self.mean):
            raise ValueError(f"normalization has {len(self.mean)} channels, the latent {like.shape[dim]}")
        shape = [1] * like.ndim
        shape[dim] = -1
        mean = torch.tensor(self.mean, device=like.device, dtype=torch.float32).view(shape)
        std = torch.tensor(self.std, device=like.device, dtype=torch.float32).view(shape)
        return mean, std

    def normalize(self, x: Tensor, dim: int = 1) -> Tensor:
        """Latent → network units; channels along `dim`."""
        mean, std = self._tensors(x, dim)
        return (x - mean) / std

    def denormalize(self, x: Tensor, dim: int = 1) -> Tensor:
        """Network units → latent."""
        mean, std = self._tensors(x, dim)
        return x * std + mean
