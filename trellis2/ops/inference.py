"""Whether an operation may take a path that records no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inference_only"]


def inference_only(first: Tensor, *others: Tensor | None) -> bool:
    """True when no gradient is recorded through these tensors and autocast does not choose the types."""
    if torch.is_autocast_enabled(first.device.type):
        return False
    return not torch.is_grad_enabled() or not any(t is not None and t.requires_grad for t in (first, *others))
