"""Remembering the constructor arguments of a model, which are its configuration on disk."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeVar

import torch
from torch import nn

__all__ = ["configurable", "init_args"]

C = TypeVar("C", bound=type[nn.Module])


def configurable(cls: C) -> C:
    """Class decorator: instances keep the arguments they were constructed with, readable by `init_args`."""
    original = cls.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        if "_init_args" not in self.__dict__:  # the outermost class of a chain of constructors wins
            bound = signature.bind(self, *args, **kwargs)
            self.__dict__["_init_args"] = dict(list(bound.arguments.items())[1:])
        original(self, *args, **kwargs)

    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls


def _jsonable(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if isinstance(value, PurePath):
        return str(value)
    return value


def init_args(model: nn.Module) -> dict[str, Any]:
    """Constructor keywords of a model as JSON values. Raises TypeError for classes that do not record them."""
    if "_init_args" not in model.__dict__:
        raise TypeError(f"{type(model).__name__} does not record its constructor arguments")
    return _jsonable(model.__dict__["_init_args"])
