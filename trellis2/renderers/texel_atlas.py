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

    texels: np.ndarray  # [6, N] float32
    offset: np.ndarray  # [M, L] int64, first texel of a level
    width: np.ndarray  # [M, L] int32
    height: np.ndarray  # [M, L] int32
    wrap: np.ndarray  # [M, 2] int32, CLAMP | REPEAT | MIRROR for u and v
    nearest: np.ndarray  # [M] bool, no filtering

    def level(self, material: int, level: int) -> np.ndarray:
        """One level of one texture, `[H, W, 6]` (a view)."""
        start, height, width = (int(t[material, level]) for t in (self.offset, self.height, self.width))
        return self.texels[:, start : start + height * width].reshape(NUM_CHANNELS, height, width).transpose(1, 2, 0)

    def sample(self, u: np.ndarray, v: np.ndarray, material: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Filtered texels `[6, n]` at `u [n]`, `v [n]` of `material [n]` int, from mip `level [n]` int."""
        levels = self.offset.shape[1]
        entry = material * levels + np.clip(level, 0, levels - 1)
        offset = self.offset.reshape(-1).take(entry)
        if int(self.width.max()) == 1 and int(self.height.max()) == 1:  # no textures at all
            return self.texels.take(offset, axis=1)
        width, height = self.width.reshape(-1).take(entry), self.height.reshape(-1).take(entry)
        x = _bounded(u) * width - np.float32(0.5)
        y = (1 - _bounded(v)) * height - np.float32(0.5)
        if self.nearest.any():
            blocky = self.nearest[material]
            x, y = np.where(blocky, np.rint(x), x), np.where(blocky, np.rint(y), y)
        floor_x, floor_y = np.floor(x), np.floor(y)
        fx, fy = x - floor_x, y - floor_y
        x0, y0 = floor_x.astype(np.int32), floor_y.astype(np.int32)
        wrap_x, wrap_y = self.wrap[:, 0].take(material), self.wrap[:, 1].take(material)
        left, right = _wrapped(x0, width, wrap_x), _wrapped(x0 + 1, width, wrap_x)
        top, bottom = (offset + _wrapped(row, height, wrap_y) * width for row in (y0, y0 + 1))
        out = np.zeros((NUM_CHANNELS, len(u)), np.float32)
        for index, weight in (
            (top + left, (1 - fx) * (1 - fy)),
            (top + right, fx * (1 - fy)),
            (bottom + left, (1 - fx) * fy),
            (bottom + right, fx * fy),
        ):
            texels = self.texels.take(index, axis=1)
            texels *= weight
            out += texels
        return out


def _bounded(x: np.ndarray) -> np.ndarray:
    """Texture coordinates without NaN and within what an int32 texel index can hold."""
    return np.clip(np.nan_to_num(x), -1e4, 1e4).astype(np.float32, copy=False)


def _wrapped(index: np.ndarray, size: np.ndarray, wrap: np.ndarray) -> np.ndarray:
    """Texel index in [0, size) after the wrap mode of each element."""
    if (wrap == REPEAT).all():
        return index % size if (size & (size - 1)).any() else index & (size - 1)
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
        texels=np.ascontiguousarray(np.concatenate(parts).T),
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
