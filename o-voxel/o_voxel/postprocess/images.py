"""Compressing the textures of an asset, all at once on several threads."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image

from o_voxel.postprocess.png import png_bytes

__all__ = ["EncodedImage", "ImageFormat", "check_image_format", "encode_images"]

ImageFormat = Literal["png", "jpeg", "webp"]

_COLOUR = ("baseColorTexture", "emissiveTexture")  # seen as colour: halved chroma does not show


class EncodedImage(NamedTuple):
    """One compressed image."""

    data: bytes
    mime: str

    @property
    def suffix(self) -> str:
        """File name ending with its dot."""
        return {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}[self.mime]


def check_image_format(image_format: str, quality: int) -> None:
    """Raise ValueError unless both can be used."""
    if image_format not in get_args(ImageFormat):
        raise ValueError(f"image_format must be 'png', 'jpeg' or 'webp', got {image_format!r}")
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ValueError(f"quality must be an int in 1..100, got {quality!r}")


def encode_images(
    images: Mapping[str, Image.Image], image_format: ImageFormat, quality: int
) -> dict[str, EncodedImage]:
    """Compress images by names that end in their glTF texture names.

    "png" is lossless. "jpeg" keeps full chroma, and images with alpha stay PNG. "webp" is lossy for colour only: its
    halved chroma would mix the channels of normals and of occlusion, roughness and metal, which are kept lossless.
    """
    check_image_format(image_format, quality)
    with ThreadPoolExecutor(max(1, min(32, os.cpu_count() or 1))) as stripes, ThreadPoolExecutor(8) as whole:
        jobs: dict[int, Future[EncodedImage]] = {}  # by the image: one may serve two textures
        for name, image in images.items():
            if id(image) not in jobs:
                jobs[id(image)] = whole.submit(_encode, image, image_format, quality, name.endswith(_COLOUR), stripes)
        return {name: jobs[id(image)].result() for name, image in images.items()}


def _encode(
    image: Image.Image, image_format: ImageFormat, quality: int, colour: bool, threads: Executor
) -> EncodedImage:
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode in ("PA", "La", "RGBa") else "RGB")
    alpha = image.mode in ("LA", "RGBA")
    if image_format == "png" or (image_format == "jpeg" and alpha):
        pixels = np.asarray(image)
        return EncodedImage(png_bytes(pixels.reshape(*pixels.shape[:2], -1), threads), "image/png")
    stream = io.BytesIO()
    if image_format == "jpeg":
        image.save(stream, "JPEG", quality=quality, subsampling=0)
    elif colour:
        image.save(stream, "WEBP", quality=quality, method=2)
    else:
        image.save(stream, "WEBP", lossless=True, quality=0, method=0)
    return EncodedImage(stream.getvalue(), f"image/{image_format}")
