"""A condition that stays the same over many calls: its keys and values in every cross attention, computed once.

Letters: N samples, L tokens, C channels, H heads, D head dim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ConditionCache", "LayerCondition"]


class LayerCondition:
    """The condition as one cross attention sees it. What the layer computes first, it keeps."""

    def __init__(self, rows: Any, constant: bool) -> None:
        self.rows = rows  # [N, L, C], or a ragged container
        self.constant = constant  # all tokens of the condition are equal
        self._keys_values: tuple[Tensor, Tensor] | None = None
        self._result: Tensor | None = None

    def keys_values(self, compute: Callable[[Any], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """`compute(rows)`, remembered."""
        if self._keys_values is None:
            self._keys_values = compute(self.rows)
        return self._keys_values

    def result(self, compute: Callable[[Any], Tensor]) -> Tensor:
        """What attention to a constant condition gives every query, `compute(first token)`, remembered."""
        if self._result is None:
            self._result = compute(self.rows[:, :1])
        return self._result


class ConditionCache:
    """One condition prepared for all layers of one model; made by `FlowTransformer.prepare_condition`.

    Pass it where the model takes `cond`. It holds 2·L·C values per layer after the first call, and none for a condition
    whose tokens are all equal (such as the zeros that stand for "no condition"): the softmax weights of equal keys are
    equal, so that every query gets the one value, and the branch is the same row for all of them.
    For inference: what is remembered belongs to the weights at the time.
    """

    def __init__(self, cond: Any, num_layers: int, dtype: torch.dtype) -> None:
        self.dtype = dtype
        constant = isinstance(cond, Tensor) and cond.shape[1] > 0 and bool((cond == cond[:, :1]).all())
        self.layers = tuple(LayerCondition(cond, constant) for _ in range(num_layers))
        self.cond = cond

    def __len__(self) -> int:
        return len(self.cond)

    @property
    def num_bytes(self) -> int:
        """Memory of what the layers remember."""
        kept = [t for layer in self.layers for t in (*(layer._keys_values or ()), layer._result) if t is not None]
        return sum(t.numel() * t.element_size() for t in kept)
