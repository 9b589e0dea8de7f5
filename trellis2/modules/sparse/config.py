"""Choices shared by the sparse modules: convolution backend, attention backend, extra consistency checks.

Published backend names are accepted, so that existing scripts run; their work is done by the built-in operations.
"""

from __future__ import annotations

import logging
import os

from ...ops.sparse_conv import resolve_conv_backend

__all__ = ["attn_backend", "conv_backend", "debug", "set_attn_backend", "set_conv_backend", "set_debug"]

_log = logging.getLogger(__name__)
_FOREIGN_CONV = ("flex_gemm", "spconv", "torchsparse", "none")
_ATTN = ("auto", "sdpa", "naive", "flash_attn", "flash_attn_3", "xformers")
_state: dict[str, str | bool] = {}


def set_conv_backend(name: str) -> None:
    """Choose the sparse convolution backend. Raises ValueError for unknown names."""
    if name in _FOREIGN_CONV:
        _log.info("sparse convolution backend %s is not used; the built-in one takes its place", name)
        name = "auto"
    resolve_conv_backend(name)
    _state["conv"] = name


def set_attn_backend(name: str) -> None:
    """Choose the sparse attention backend. Raises ValueError for unknown names."""
    if name not in _ATTN:
        raise ValueError(f"unknown attention backend {name!r}, choose from: {', '.join(_ATTN)}")
    if name not in ("auto", "sdpa"):
        _log.info("attention backend %s is not used; PyTorch's scaled_dot_product_attention takes its place", name)
    _state["attn"] = "sdpa"


def set_debug(on: bool) -> None:
    """Switch the checks that compare whole coordinate sets."""
    _state["debug"] = bool(on)


def conv_backend() -> str:
    """Backend of sparse convolutions; `SPARSE_CONV_BACKEND` is read at the first call."""
    if "conv" not in _state:
        set_conv_backend(os.environ.get("SPARSE_CONV_BACKEND", "auto"))
    return str(_state["conv"])


def attn_backend() -> str:
    """Backend of sparse attention; `SPARSE_ATTN_BACKEND`, else `ATTN_BACKEND`, is read at the first call."""
    if "attn" not in _state:
        set_attn_backend(os.environ.get("SPARSE_ATTN_BACKEND", os.environ.get("ATTN_BACKEND", "auto")))
    return str(_state["attn"])


def debug() -> bool:
    """Whether the extra checks are on; `SPARSE_DEBUG=1` turns them on."""
    if "debug" not in _state:
        _state["debug"] = os.environ.get("SPARSE_DEBUG", "0") == "1"
    return bool(_state["debug"])
