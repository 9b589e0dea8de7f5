"""Batch handling of conditions and of the two guidance branches.

Letters: B samples, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .multi_view import ViewConditions

__all__ = ["expand_batch", "two_branches"]

Latent = Any


def expand_batch(cond: Any, num: int) -> Any:
    """Repeat a condition of batch 1 (or each of several views) for `num` samples; anything else passes through."""
    if isinstance(cond, ViewConditions):
        return cond.map(lambda one: expand_batch(one, num))
    if isinstance(cond, Tensor) and cond.ndim > 0 and cond.shape[0] == 1 and num != 1:
        return cond.expand(num, *cond.shape[1:])
    return cond


def two_branches(
    call: Callable[..., Latent],
    model: Callable[..., Latent],
    x_t: Latent,
    t: float,
    cond: Tensor,  # [B or 1, ...]
    neg_cond: Tensor,  # [B or 1, ...]
    extra: Mapping[str, Any],
) -> tuple[Latent, Latent]:
    """Evaluate both conditions in one call of batch 2B; returns the two velocities."""
    num = int(x_t.shape[0])
    both = torch.cat([expand_batch(cond, num), expand_batch(neg_cond, num)])
    out = call(model, _twice(x_t, num), t, both, **{name: _twice(value, num) for name, value in extra.items()})
    if isinstance(x_t, Tensor):
        return out[:num], out[num:]
    tokens = x_t.feats.shape[0]
    return x_t.replace(out.feats[:tokens]), x_t.replace(out.feats[tokens:])


def _twice(value: Any, num: int) -> Any:
    """`value` stacked on itself along the batch, if it has one."""
    if isinstance(value, Tensor):
        return torch.cat([value, value]) if value.ndim > 0 and value.shape[0] == num else value
    if hasattr(value, "feats") and hasattr(value, "coords"):
        from trellis2.modules.sparse import sparse_cat

        return sparse_cat([value, value])
    return value
