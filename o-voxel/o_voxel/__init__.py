"""O-Voxel: textured mesh <-> sparse flexible dual grid with PBR attributes."""

from __future__ import annotations

import importlib
from types import ModuleType

__version__ = "0.1.0"
__all__ = ["convert", "io", "mesh", "postprocess", "rasterize", "sampling", "serialize"]


def __getattr__(name: str) -> ModuleType:
    """Load submodules on first use, so that `import o_voxel` stays light and needs no optional package."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
