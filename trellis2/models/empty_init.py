"""Constructing a model whose weights are about to be overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["EmptyInit"]

_RANDOM_FILLS = (torch.Tensor.uniform_, torch.Tensor.normal_)


class EmptyInit(TorchFunctionMode):
    """Context in which in-place initialisation is skipped, so that large models are built in a moment.

    Only for models whose every parameter is loaded afterwards. Computed buffers are not affected.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        from_init = getattr(func, "__module__", None) == "torch.nn.init" and func.__name__.endswith("_")
        if func in _RANDOM_FILLS or from_init:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
