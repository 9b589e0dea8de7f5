"""All textures of an asset, with their mip levels, in one flat array.

One gather then serves every material and every level of detail at once, which keeps small views cheap on a CPU.
Channels: base colour (3, linear light), alpha, metallic, roughness. `v` runs upwards (0 is the last image row).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["CLAMP", "MIRROR", "NUM_CHANNELS", "REPEAT", "TexelAtlas", "build_atlas"]

NUM_CHANNELS = 6
CLAMP, REPEAT, MIRROR = 0, 1, 2


@dataclass(frozen=True)
class TexelAtlas:
    """Mip-mapped textures. M materials, L levels (short chains repeat their last level)."""

    texels: np.ndarray  # [N, 6] float32
    offset: np.ndarray  # [M, L] int64, first texel of a level
    width: np.ndarray  # [M, L] int32
    height: np.ndarray  # [M, L] int32
    wrap: np.ndarray  # [M, 2] int32, CLAMP | REPEAT | MIRROR for u and v
    nearest: np.ndarray  # [M] bool, no filtering

    def level(self, material: int, level: int) -> np.ndarray:
        """One level of one texture, `[H, W, 6]` (a view)."""
        start, height, width = (int(t[material, level]) for t in (self.offset, self.height, self.width))
        return self.texels[start : start + height * width].reshape(height, width, NUM_CHANNELS)

    def sample(self, uv: np.ndarray, material: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Filtered texels `[n, 6]` at `uv [n, 2]` of `material [n]` int, from mip `level [n]` int."""
        level = np.clip(level, 0, self.offset.shape[1] - 1)
        offset = self.offset[material, level]
        width, height = self.width[material, level], self.height[material, level]
        uv = np.where(np.isfinite(uv), uv, 0.0).astype(np.float32)
        uv = np.clip(uv, -1e4, 1e4)
        x = uv[:, 0] * width - np.float32(0.5)
        y = (1 - uv[:, 1]) * height - np.float32(0.5)
        if self.nearest.any():
            blocky = self.nearest[material]
            x, y = np.where(blocky, np.rint(x), x), np.where(blocky, np.rint(y), y)
        x0, y0 = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        wrap_x, wrap_y = self.wrap[material, 0], self.wrap[material, 1]
        left, right = _wrapped(x0, width, wrap_x), _wrapped(x0 + 1, width, wrap_x)
        top = offset + _wrapped(y0, height, wrap_y).astype(np.int64) * width
        bottom = offset + _wrapped(y0 + 1, height, wrap_y).astype(np.int64) * width
        texels = self.texels
        upper = texels[top + left] * (1 - fx) + texels[top + right] * fx
        lower = texels[bottom + left] * (1 - fx) + texels[bottom + right] * fx
        return upper * (1 - fy) + lower * fy


def _wrapped(index: np.ndarray, size: np.ndarray, wrap: np.ndarray) -> np.ndarray:
    """Texel index in [0, size) after the wrap mode of each element."""
    if (wrap == REPEAT).all():
        return np.mod(index, size)
    mirrored = np.mod(index, 2 * size)
    mirrored = np.where(mirrored >= size, 2 * size - 1 - mirrored, mirrored)
    return np.where(
        wrap == REPEAT, np.mod(index, size), np.where(wrap == MIRROR, mirrored, np.clip(index, 0, size - 1))
    )


def build_atlas(
    images: Sequence[np.ndarray],  # each [H, W, 6] float32
    wraps: Sequence[tuple[int, int]],
    nearest: Sequence[bool],
) -> TexelAtlas:
    """Pack the textures of M materials with box-filtered mip levels down to one texel."""
    chains = [_mip_chain(np.ascontiguousarray(image, np.float32)) for image in images]
    levels = max(len(chain) for chain in chains)
    count = len(chains)
    offset = np.zeros((count, levels), np.int64)
    width, height = np.zeros((count, levels), np.int32), np.zeros((count, levels), np.int32)
    parts: list[np.ndarray] = []
    total = 0
    for i, chain in enumerate(chains):
        for level in range(levels):
            if level < len(chain):
                texels = chain[level]
                offset[i, level], height[i, level], width[i, level] = total, texels.shape[0], texels.shape[1]
                parts.append(texels.reshape(-1, NUM_CHANNELS))
                total += len(parts[-1])
            else:
                offset[i, level], height[i, level], width[i, level] = (
                    offset[i, level - 1],
                    height[i, level - 1],
                    width[i, level - 1],
                )
    return TexelAtlas(
        texels=np.concatenate(parts),
        offset=offset,
        width=width,
        height=height,
        wrap=np.asarray(wraps, np.int32).reshape(count, 2),
        nearest=np.asarray(nearest, bool),
    )


def _mip_chain(image: np.ndarray) -> list[np.ndarray]:
    chain = [image]
    while max(chain[-1].shape[:2]) > 1:
        height, width = chain[-1].shape[:2]
        half = (max(1, width // 2), max(1, height // 2))
        chain.append(cv2.resize(chain[-1], half, interpolation=cv2.INTER_AREA))
    return chain
