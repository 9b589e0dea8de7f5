"""GLB export: clean-up, simplification, unwrapping and baking of decoded surfaces."""

from __future__ import annotations

from o_voxel.postprocess.export import to_glb
from o_voxel.postprocess.glb import glb_bytes, save_glb
from o_voxel.postprocess.report import ExportReport

__all__ = ["ExportReport", "glb_bytes", "save_glb", "to_glb"]
