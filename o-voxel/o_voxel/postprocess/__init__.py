"""GLB export: clean-up, simplification, unwrapping and baking of decoded surfaces."""

from __future__ import annotations

from .export import to_glb
from .glb import glb_bytes, save_glb
from .report import ExportReport

__all__ = ["ExportReport", "glb_bytes", "save_glb", "to_glb"]
