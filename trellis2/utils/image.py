"""Reading conditioning images and cutting them to their subject.

Images are PIL images; alpha 255 is opaque. Used by the pipelines and by the datasets, so that a network sees the
same kind of picture in training and in use.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = [
    "FOREGROUND_ALPHA",
    "MAX_SIDE",
    "crop_to_foreground",
    "has_transparency",
    "limit_size",
    "load_image",
    "to_8bit",
]

logger = logging.getLogger(__name__)

#: Longest side of the image that is cropped, in pixels.
MAX_SIDE = 1024
#: A pixel belongs to the subject if its alpha is above 0.8.
FOREGROUND_ALPHA = 0.8 * 255
#: Below this alpha nothing is to be seen.
_INVISIBLE_ALPHA = 8
#: A subject needs at least so many pixels on its longer side.
_MIN_SUBJECT = 4


def load_image(source: str | Path | bytes | IO[bytes]) -> Image.Image:
    """Read an image file completely, upright (EXIF orientation applied), in an 8-bit mode.

    Raises FileNotFoundError, or ValueError if the data is no image or a broken one.
    """
    name = str(source) if isinstance(source, (str, Path)) else "image data"
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"image file not found: {path}")
        if path.is_dir():
            raise ValueError(f"image must be a file, but {path} is a folder")
        source = path  # PIL opens it itself
    elif isinstance(source, (bytes, bytearray)):
        source = io.BytesIO(source)
    try:
        with Image.open(source) as opened:
            opened.load()
            image = opened.copy()
            image.info = dict(opened.info)
    except UnidentifiedImageError:
        raise ValueError(f"{name} is not an image in a known format (PNG, JPEG, WebP, …)") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} cannot be read as an image: {error}") from None
    return to_8bit(image)


def to_8bit(image: Image.Image) -> Image.Image:
    """The same picture upright and as `RGB`, or as `RGBA` if its mode carries transparency.

    Handles palette and grey images with transparency, premultiplied alpha, 16-bit and float grey, CMYK and Lab.
    Raises TypeError if `image` is no PIL image, ValueError if it has no pixels.
    """
    if not isinstance(image, Image.Image):
        raise TypeError(f"image must be a PIL image, got {type(image).__name__}; open files with load_image")
    if min(image.size) < 1:
        raise ValueError(f"image must have at least one pixel, got {image.width} x {image.height}")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit, 32-bit and float grey
        grey = np.nan_to_num(np.asarray(image).astype(np.float64))
        if image.mode == "F":
            top = 1.0 if grey.max() <= 1 else 255.0
        else:
            top = 65535.0 if grey.max() > 255 or image.mode.startswith("I;16") else 255.0
        return Image.fromarray(np.clip(grey / top * 255 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    carries_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if image.mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA" if carries_alpha else "RGB")


def has_transparency(image: Image.Image) -> bool:
    """Whether an image has an alpha channel that is not opaque everywhere."""
    return image.mode == "RGBA" and int(np.asarray(image.getchannel("A")).min()) < 255


def limit_size(image: Image.Image, max_side: int = MAX_SIDE) -> Image.Image:
    """Shrink (Lanczos) so that the longer side is at most `max_side` pixels; smaller images stay."""
    scale = min(1, max_side / max(image.size))
    if scale == 1:
        return image
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def crop_to_foreground(rgba: Image.Image) -> Image.Image:
    """Square crop around the subject on black, RGB.

    The subject is where alpha exceeds 0.8 (of the largest alpha, should the whole picture be fainter). The square has
    the subject's longer side, rounded down to an even number, and no margin; colours are multiplied by alpha.
    Raises ValueError if nothing is visible or the subject is smaller than four pixels.
    """
    if rgba.mode != "RGBA":
        raise ValueError(f"rgba must be an image of mode RGBA, got {rgba.mode}")
    alpha = np.asarray(rgba.getchannel("A"))
    strongest = int(alpha.max())
    if strongest < _INVISIBLE_ALPHA:
        raise ValueError("image is fully transparent: its alpha channel shows no subject")
    threshold = FOREGROUND_ALPHA if strongest > FOREGROUND_ALPHA else 0.8 * strongest
    rows, columns = np.nonzero(alpha > threshold)
    x0, x1, y0, y1 = int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max())
    size = max(x1 - x0, y1 - y0)
    if size < _MIN_SUBJECT:
        raise ValueError(
            f"the subject of the image is only {x1 - x0 + 1} x {y1 - y0 + 1} pixels; "
            f"use a picture in which it is at least {_MIN_SUBJECT + 1} pixels wide or high"
        )
    half = size // 2
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    box = (round(cx - half), round(cy - half), round(cx + half), round(cy + half))  # half to even
    pixels = np.asarray(rgba.crop(box)).astype(np.float32) / 255
    return Image.fromarray((pixels[:, :, :3] * pixels[:, :, 3:4] * 255).astype(np.uint8))
