"""Results of a sampling step and of a sampling run.

`Latent` is a dense tensor [B, ...] or a sparse tensor; it only needs scalar and elementwise arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Sampled", "Step"]

Latent = Any


class _ByName:
    """Lets `result["name"]`, `"name" in result` and `dict(result.items())` work beside attributes."""

    def keys(self) -> list[str]:
        return [f.name for f in fields(self)]  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def items(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.keys()]


@dataclass(frozen=True)
class Step(_ByName):
    """One Euler step."""

    pred_x_prev: Latent  # state at the earlier time
    pred_x_0: Latent  # estimate of the clean sample


@dataclass(frozen=True)
class Sampled(_ByName):
    """One sampling run."""

    samples: Latent  # state at t = 0
    pred_x_t: tuple[Latent, ...]  # state after every step (the last one only, unless history was asked for)
    pred_x_0: tuple[Latent, ...]  # estimate of the clean sample at every step (likewise)
