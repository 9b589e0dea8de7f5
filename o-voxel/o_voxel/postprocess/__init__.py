"""GLB export: clean-up, simplification, unwrapping and baking of decoded surfaces; writers of many formats."""

from __future__ import annotations

from o_voxel.postprocess.export import to_glb
from o_voxel.postprocess.formats import save_asset
from o_voxel.postprocess.glb import glb_bytes, save_glb
from o_voxel.postprocess.lods import make_lods
from o_voxel.postprocess.report import ExportReport

__all__ = ["ExportReport", "glb_bytes", "make_lods", "save_asset", "save_glb", "to_glb"]
