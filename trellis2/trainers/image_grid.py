"""Write a batch of images as one JPEG grid."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

__all__ = ["save_image_grid"]


def save_image_grid(images: Tensor, path: str | Path) -> None:
    """[N, 3, H, W] in [0, 1] → a grid of floor(sqrt(N)) columns, written atomically."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be [N, 3, H, W], got {tuple(images.shape)}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = images.detach().float().clamp(0, 1).cpu()
    images = images.expand(-1, 3, -1, -1)
    n, _, h, w = images.shape
    columns = max(1, int(math.sqrt(n)))
    rows = math.ceil(n / columns)
    canvas = np.zeros((rows * h, columns * w, 3), dtype=np.uint8)
    pixels = (images * 255 + 0.5).byte().permute(0, 2, 3, 1).numpy()  # [N, H, W, 3]
    for i in range(n):
        r, c = divmod(i, columns)
        canvas[r * h : (r + 1) * h, c * w : (c + 1) * w] = pixels[i]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    Image.fromarray(canvas).save(temporary, format="JPEG", quality=92)
    os.replace(temporary, path)
