"""Pictures for logs: grids, captions and text tiles, with PIL's built-in font."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["make_grid", "notes_on_image", "save_image_with_notes", "text_image"]

_MARGIN = 10


def make_grid(
    images: Sequence[np.ndarray],  # [H, W, 3] uint8, one size
    nrow: int | None = None,
    ncol: int | None = None,
    aspect_ratio: float | None = None,
) -> np.ndarray:
    """Tile images row by row, black where none is left.

    Give rows, columns, both, or neither: then the grid's width / height comes close to `aspect_ratio` (default 1).
    Raises ValueError if there are no images, their sizes differ, or they do not fit.
    """
    if len(images) == 0:
        raise ValueError("images must not be empty")
    height, width = images[0].shape[:2]
    if any(image.shape != images[0].shape for image in images):
        raise ValueError("images must all have the same shape")
    count = len(images)
    if nrow is None and ncol is None:
        ratio = 1.0 if aspect_ratio is None else aspect_ratio
        ncol = min(count, max(1, round(math.sqrt(count * ratio * height / width))))
    if ncol is None:
        ncol = math.ceil(count / nrow)  # type: ignore[operator]
    if nrow is None:
        nrow = math.ceil(count / ncol)
    if nrow * ncol < count:
        raise ValueError(f"{nrow} x {ncol} tiles cannot hold {count} images")
    grid = np.zeros((nrow * height, ncol * width, *images[0].shape[2:]), images[0].dtype)
    for i, image in enumerate(images):
        row, column = divmod(i, ncol)
        grid[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    return grid


def notes_on_image(image: np.ndarray, notes: str | None = None) -> np.ndarray:
    """`image [H, W, 3]` uint8 with a 32-pixel black strip below that holds `notes` in white: [H + 32, W, 3]."""
    strip = Image.new("RGB", (image.shape[1], 32))
    if notes:
        ImageDraw.Draw(strip).text((_MARGIN, 16), notes, fill="white", font=ImageFont.load_default(20), anchor="lm")
    return np.concatenate([image, np.asarray(strip)], axis=0)


def save_image_with_notes(image: np.ndarray, path: str | Path, notes: str | None = None) -> None:
    """Save `notes_on_image`; the suffix of `path` picks the format, the file appears when complete."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        Image.fromarray(notes_on_image(image, notes)).save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def text_image(
    text: str,
    resolution: tuple[int, int] = (512, 512),  # height, width
    max_size: float = 0.5,
    h_align: Literal["left", "center", "right"] = "left",
    v_align: Literal["top", "center", "bottom"] = "center",
) -> np.ndarray:
    """Black wrapped text on white, `[H, W, 3]` uint8, as large as fits; no line higher than `max_size` of it."""
    height, width = resolution
    if min(height, width) <= 2 * _MARGIN:
        raise ValueError(f"resolution must exceed {2 * _MARGIN} pixels, got {resolution}")
    for name, value, choices in (
        ("h_align", h_align, ("left", "center", "right")),
        ("v_align", v_align, ("top", "center", "bottom")),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    room = (width - 2 * _MARGIN, height - 2 * _MARGIN)
    low, high = 4, max(4, int(max_size * height))
    while low < high:  # largest size that fits
        size = (low + high + 1) // 2
        if _layout(draw, text, size, room)[2]:
            low = size
        else:
            high = size - 1
    lines, line_height, _ = _layout(draw, text, low, room)
    font = ImageFont.load_default(low)
    total = line_height * len(lines)
    y = {"top": 0.0, "center": (room[1] - total) / 2, "bottom": room[1] - total}[v_align] + _MARGIN
    for i, line in enumerate(lines):
        slack = room[0] - draw.textlength(line, font=font)
        x = {"left": 0.0, "center": slack / 2, "right": slack}[h_align] + _MARGIN
        draw.text((x, y + i * line_height), line, fill="black", font=font)
    return np.asarray(canvas)


def _layout(draw: ImageDraw.ImageDraw, text: str, size: int, room: tuple[int, int]) -> tuple[list[str], float, bool]:
    """Lines, line height and whether they fit into `room` (width, height)."""
    font = ImageFont.load_default(size)
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and draw.textlength(longer, font=font) > room[0]:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    line_height = size * 1.25
    fits = line_height * len(lines) <= room[1] and all(draw.textlength(line, font=font) <= room[0] for line in lines)
    return lines, line_height, fits
