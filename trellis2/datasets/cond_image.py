"""Conditioning images: crop to the object, composite on black; small augmentations on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

__all__ = ["CropBox", "ImageAugmentation", "crop_box", "crop_condition", "read_rgba", "sample_affine", "warp"]

CropRule = Literal["training", "inference"]


class CropBox(NamedTuple):
    """Square crop in pixels, right and bottom exclusive; may leave the image."""

    left: int
    top: int
    right: int
    bottom: int


def read_rgba(path: str | Path) -> np.ndarray:
    """PNG file → uint8 [H, W, 4]; ValueError if it has no alpha channel."""
    with Image.open(path) as image:
        if image.mode != "RGBA":
            raise ValueError(f"{path}: conditioning images must be RGBA, got mode {image.mode}")
        return np.asarray(image)


def crop_box(alpha: np.ndarray, rule: CropRule = "training", margin: float = 0.0) -> CropBox:
    """Square around the object, from uint8 alpha [H, W].

    "training": pixels with alpha > 0, half side max(w, h) / 2, corners truncated toward zero (published data loader).
    "inference": alpha > 204, half side floor(max(w, h) / 2), corners rounded half to even (published pipeline).
    `margin` widens the box by that part of its side on every edge. ValueError if the image is empty.
    """
    threshold = 0 if rule == "training" else 204
    rows = np.flatnonzero((alpha > threshold).any(axis=1))
    columns = np.flatnonzero((alpha > threshold).any(axis=0))
    if len(rows) == 0:
        raise ValueError(f"the image has no pixel with alpha above {threshold}")
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]), int(rows[0]), int(rows[-1])
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    size = max(x1 - x0, y1 - y0)
    half = size / 2 if rule == "training" else float(size // 2)
    half = max(half * (1 + 2 * margin), 0.5)
    corners = (cx - half, cy - half, cx + half, cy + half)
    box = [int(c) if rule == "training" else round(c) for c in corners]
    return CropBox(box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1))


def crop_condition(rgba: np.ndarray, size: int, rule: CropRule = "training", margin: float = 0.0) -> np.ndarray:
    """uint8 [H, W, 4] → uint8 [size, size, 3]: the object on black. Outside the image is transparent black.

    "training" resizes premultiplied RGBA, "inference" composites first; both with Lanczos, as published.
    """
    box = crop_box(rgba[..., 3], rule, margin)
    image = Image.fromarray(rgba).crop((box.left, box.top, box.right, box.bottom))
    if rule == "training":
        out = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), dtype=np.float32)
        return (out[..., :3] * (out[..., 3:] / 255) + 0.5).astype(np.uint8)
    pixels = np.asarray(image, dtype=np.float32) / 255
    composed = (pixels[..., :3] * pixels[..., 3:] * 255).astype(np.uint8)
    return np.array(Image.fromarray(composed).resize((size, size), Image.Resampling.LANCZOS))


class ImageAugmentation(NamedTuple):
    """Ranges of random changes; all zero means none."""

    scale: float = 0.0  # zoom factor in [1 - scale, 1 + scale]
    shift: float = 0.0  # translation up to this part of the image, each axis
    brightness: float = 0.0  # factor in [1 - brightness, 1 + brightness]
    contrast: float = 0.0  # the same about the mean of the object

    @classmethod
    def from_spec(cls, spec: Any) -> ImageAugmentation:
        if spec is None:
            return cls()
        unknown = sorted(set(spec) - set(cls._fields))
        if unknown:
            raise ValueError(f"unknown augmentation {unknown[0]!r}, choose from: {', '.join(cls._fields)}")
        return cls(**{k: float(v) for k, v in spec.items()})


def sample_affine(augmentation: ImageAugmentation, count: int, rng: torch.Generator) -> Tensor:
    """[B, 2, 3] maps from output to input positions, both in [-1, 1] of the unaugmented crop."""
    scale = 1 + augmentation.scale * (2 * torch.rand(count, generator=rng) - 1)
    shift = 2 * augmentation.shift * (2 * torch.rand(count, 2, generator=rng) - 1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    return theta


def warp(images: Tensor, theta: Tensor, size: int, margin: float, mode: str = "bilinear") -> Tensor:
    """[B, C, S', S'] stored with `margin` → [B, C, size, size] through the affine maps; zeros outside.

    The identity map cuts the margin off; when it is a whole number of pixels the result is an exact crop.
    """
    grid = F.affine_grid(theta.to(images.device), [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images.float(), grid / (1 + 2 * margin), mode=mode, padding_mode="zeros", align_corners=False)
