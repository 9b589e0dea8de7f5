"""Trainers by name, loaded on first use. One loop (`base.py`), one objective a file."""

from __future__ import annotations

import importlib
from typing import Any

_CLASSES = {
    "BasicTrainer": "base",
    "SparseStructureVaeTrainer": "ss_vae",
    "ShapeVaeTrainer": "shape_vae",
    "PbrVaeTrainer": "pbr_vae",
    "ImageEncoderTrainer": "image_encoder",
    "FlowMatchingTrainer": "flow",
    "FlowMatchingCFGTrainer": "flow",
    "ImageConditionedFlowMatchingCFGTrainer": "flow",
    "SparseFlowMatchingTrainer": "sparse_flow",
    "SparseFlowMatchingCFGTrainer": "sparse_flow",
    "ImageConditionedSparseFlowMatchingCFGTrainer": "sparse_flow",
    "MultiImageConditionedSparseFlowMatchingCFGTrainer": "sparse_flow",
}
__all__ = list(_CLASSES)


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return getattr(importlib.import_module(f"{__name__}.{_CLASSES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
