"""Constructing a model whose weights are about to be overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

__all__ = ["EmptyInit"]

_SKIPPED = frozenset({"uniform_", "normal_", "constant_", "kaiming_uniform_", "kaiming_normal_"})


class EmptyInit(TorchFunctionMode):
    """Context in which in-place initialisation is skipped, so that large models are built in a moment.

    Skips the functions of torch.nn.init that can be overridden; the tensor methods beneath them keep working, since
    other initialisers draw from them until the values fit. Only for models whose every parameter is loaded
    afterwards. Computed buffers are not affected.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init" and func.__name__ in _SKIPPED:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
