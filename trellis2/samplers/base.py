"""What every sampler offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

__all__ = ["Sampler"]


class Sampler(ABC):
    """Draws samples from a trained model."""

    @abstractmethod
    def sample(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the whole sampling loop and return a result with a `samples` field."""
