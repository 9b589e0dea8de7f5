"""Where the compiled core is looked up; every fast path asks here, so its absence is handled in one place."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Literal

Backend = Literal["auto", "native", "reference"]


@cache
def native_module() -> ModuleType | None:
    """The compiled module `o_voxel._C`, or None where it was not built (the reference path is used then)."""
    try:
        return importlib.import_module("o_voxel._C")
    except ModuleNotFoundError as error:
        if error.name == "o_voxel._C":
            return None
        raise


def resolve_backend(backend: Backend) -> Literal["native", "reference"]:
    """Resolve `auto` once: native if the compiled core is there, else reference.

    Raises ValueError on an unknown name and RuntimeError if `native` is asked for but not built.
    """
    if backend not in ("auto", "native", "reference"):
        raise ValueError(f"backend must be 'auto', 'native' or 'reference', got {backend!r}")
    if backend == "auto":
        return "native" if native_module() is not None else "reference"
    if backend == "native" and native_module() is None:
        raise RuntimeError("backend='native' needs the compiled core: run `pip install ./o-voxel` with a C++ compiler")
    return backend
