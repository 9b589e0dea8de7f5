"""Matting models by the name that `pipeline.json` gives them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from PIL import Image

from .birefnet import BiRefNet
from .grabcut import GrabCut

__all__ = ["MATTING_MODELS", "Matting", "build_matting"]

logger = logging.getLogger(__name__)


class Matting(Protocol):
    """Cuts the subject of an image out of its background."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """RGB image to RGBA image of the same size; the input is not changed."""
        ...

    def to(self, device: torch.device | str) -> Any: ...


MATTING_MODELS: dict[str, type] = {"BiRefNet": BiRefNet, "GrabCut": GrabCut}


def build_matting(name: str, args: Mapping[str, Any]) -> Matting:
    """Construct a matting model; one that needs weights that are not at hand is replaced by `GrabCut`, with a warning.

    Raises ValueError for an unknown name.
    """
    if name not in MATTING_MODELS:
        raise ValueError(f"unknown rembg_model {name!r}, choose from: {', '.join(sorted(MATTING_MODELS))}")
    if name == "GrabCut":
        return GrabCut(**args)
    try:
        return MATTING_MODELS[name](**args)
    except (OSError, ImportError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        logger.warning(
            "background remover %s is not available (%s); using the built-in GrabCut cut-out. "
            "An image with transparency needs no remover.",
            name,
            reason[0] if reason else type(error).__name__,
        )
        return GrabCut()
