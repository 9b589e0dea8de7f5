"""Datasets by name, loaded on first use. They return tensors and never render."""

from __future__ import annotations

import importlib
from typing import Any

_CLASSES = {
    "FlexiDualGridDataset": "flexi_dual_grid",
    "ImageConditionedSLat": "image_conditioned",
    "ImageConditionedSLatPbr": "image_conditioned",
    "ImageConditionedSLatShape": "image_conditioned",
    "ImageConditionedSparseStructureLatent": "image_conditioned",
    "ImageGeometry": "image_geometry",
    "MultiImageConditionedSLatShape": "image_conditioned",
    "SLat": "latents",
    "SLatPbr": "latents",
    "SLatShape": "latents",
    "SparseStructure": "sparse_structure",
    "SparseStructureLatent": "latents",
    "SparseVoxelPbrDataset": "sparse_voxel_pbr",
}
__all__ = list(_CLASSES)


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(importlib.import_module(f"{__name__}.{_CLASSES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
