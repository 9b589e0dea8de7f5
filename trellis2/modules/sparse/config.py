"""Choices shared by the sparse modules: convolution backend, attention backend, extra consistency checks.

Published backend names are accepted, so that existing scripts run; their work is done by the built-in operations.
"""

from __future__ import annotations

import logging
import os

from ...ops.attention_backends import attention_backend
from ...ops.sparse_conv import resolve_conv_backend

__all__ = ["attn_backend", "conv_backend", "debug", "set_attn_backend", "set_conv_backend", "set_debug"]

_log = logging.getLogger(__name__)
_FOREIGN_CONV = ("flex_gemm", "spconv", "torchsparse", "none")
_state: dict[str, str | bool] = {}


def set_conv_backend(name: str) -> None:
    """Choose the sparse convolution backend. Raises ValueError for unknown names."""
    if name in _FOREIGN_CONV:
        _log.info("sparse convolution backend %s is not used; the built-in one takes its place", name)
        name = "auto"
    resolve_conv_backend(name)
    _state["conv"] = name


def set_attn_backend(name: str) -> None:
    """Choose the backend of sparse attention modules made from now on.

    Raises ValueError for unknown names and ImportError when the package that a name stands for is not installed.
    """
    attention_backend(name)
    _state["attn"] = name


def set_debug(on: bool) -> None:
    """Switch the checks that compare whole coordinate sets."""
    _state["debug"] = bool(on)


def conv_backend() -> str:
    """Backend of sparse convolutions; `SPARSE_CONV_BACKEND` is read at the first call."""
    if "conv" not in _state:
        set_conv_backend(os.environ.get("SPARSE_CONV_BACKEND", "auto"))
    return str(_state["conv"])


def attn_backend(name: str | None = None) -> str:
    """`name`, or without one the chosen backend. Raises as `set_attn_backend`.

    `SPARSE_ATTN_BACKEND`, else `ATTN_BACKEND`, is read at the first call.
    """
    if name is not None:
        attention_backend(name)
        return name
    if "attn" not in _state:
        set_attn_backend(os.environ.get("SPARSE_ATTN_BACKEND", os.environ.get("ATTN_BACKEND", "auto")))
    return str(_state["attn"])


def debug() -> bool:
    """Whether the extra checks are on; `SPARSE_DEBUG=1` turns them on."""
    if "debug" not in _state:
        _state["debug"] = os.environ.get("SPARSE_DEBUG", "0") == "1"
    return bool(_state["debug"])
