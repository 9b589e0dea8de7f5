"""Background removal: each class maps an RGB image to an RGBA cut-out."""

from __future__ import annotations

from .birefnet import CONVERSIONS, BiRefNet
from .grabcut import GrabCut
from .registry import MATTING_MODELS, Matting, build_matting

__all__ = ["CONVERSIONS", "MATTING_MODELS", "BiRefNet", "GrabCut", "Matting", "build_matting"]
