"""TRELLIS.2, independent implementation: image to 3D asset with PBR materials."""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"
_SUBPACKAGES = (
    "datasets", "models", "modules", "ops", "pipelines",
    "renderers", "representations", "samplers", "trainers", "utils",
)  # fmt: skip
__all__ = list(_SUBPACKAGES)


def __getattr__(name: str) -> ModuleType:
    """Load subpackages on first use, so that `import trellis2` stays light and needs no optional package."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
