"""Choices shared by the dense attention modules: backend, extra consistency checks."""

from __future__ import annotations

import os

from ...ops.attention_backends import attention_backend

__all__ = ["attn_backend", "debug", "set_backend", "set_debug"]

_state: dict[str, str | bool] = {}


def set_backend(name: str) -> None:
    """Choose the backend of attention modules made from now on.

    Raises ValueError for unknown names and ImportError when the package that a name stands for is not installed.
    """
    attention_backend(name)
    _state["attn"] = name


def attn_backend(name: str | None = None) -> str:
    """`name`, or without one the chosen backend; `ATTN_BACKEND` is read at the first call. Raises as `set_backend`."""
    if name is not None:
        attention_backend(name)
        return name
    if "attn" not in _state:
        set_backend(os.environ.get("ATTN_BACKEND", "auto"))
    return str(_state["attn"])


def set_debug(on: bool) -> None:
    """Switch the check that attention gives finite results."""
    _state["debug"] = bool(on)


def debug() -> bool:
    """Whether the extra check is on; `ATTN_DEBUG=1` turns it on."""
    if "debug" not in _state:
        _state["debug"] = os.environ.get("ATTN_DEBUG", "0") == "1"
    return bool(_state["debug"])
