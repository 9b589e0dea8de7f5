"""Throw-away heads that give an image encoder something to learn. Letters: B images, P patches, C channels."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["HeadOutputs", "ImageEncoderHeads"]


class HeadOutputs(NamedTuple):
    """Predictions; G = map side, R = occupancy resolution."""

    mask: Tensor  # [B, 1, G, G] logits
    position: Tensor  # [B, 3, G, G] object frame
    normal: Tensor  # [B, 3, G, G] not normalised
    occupancy: Tensor  # [B, 1, R, R, R] logits
    family: Tensor  # [B, K] logits


class _CrossBlock(nn.Module):
    """Queries read the image tokens, then an MLP; pre-norm."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(channels, 2 * channels)
        self.to_out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        b, q, c = x.shape
        heads = (self.num_heads, c // self.num_heads)
        query = self.to_q(self.norm1(x)).view(b, q, *heads).transpose(1, 2)  # [B, H, Q, D]
        key, value = self.to_kv(tokens).view(b, tokens.shape[1], 2, *heads).permute(2, 0, 3, 1, 4)  # 2 × [B, H, L, D]
        read = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(b, q, c)
        x = x + self.to_out(read)
        return x + self.mlp(self.norm2(x))


class ImageEncoderHeads(nn.Module):
    """Maps per patch, occupancy by cross-attention from a learned 3-D lattice, family from the class token."""

    def __init__(
        self,
        channels: int,
        patch_grid: int = 16,
        map_size: int = 32,
        occupancy_resolution: int = 16,
        num_families: int = 128,
        num_blocks: int = 2,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        if map_size % patch_grid != 0:
            raise ValueError(f"map_size must be a multiple of patch_grid, got {map_size} and {patch_grid}")
        if occupancy_resolution % 2 != 0:
            raise ValueError(f"occupancy_resolution must be even, got {occupancy_resolution}")
        self.patch_grid = patch_grid
        self.cells = map_size // patch_grid  # map cells a side in one patch
        self.lattice = occupancy_resolution // 2
        self.patch = nn.Sequential(
            nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, 7 * self.cells * self.cells)
        )
        self.queries = nn.Parameter(torch.randn(self.lattice**3, channels) * 0.02)
        self.blocks = nn.ModuleList(_CrossBlock(channels, num_heads) for _ in range(num_blocks))
        self.occupancy = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 8))
        self.family = nn.Linear(channels, num_families)

    def forward(self, tokens: Tensor) -> HeadOutputs:
        """`tokens` [B, 1 + P, C], class token first, P = patch_grid²."""
        b, g, k = len(tokens), self.patch_grid, self.cells
        if tokens.shape[1] != 1 + g * g:
            raise ValueError(f"tokens must be [B, {1 + g * g}, C], got {tuple(tokens.shape)}")
        maps = self.patch(tokens[:, 1:]).view(b, g, g, 7, k, k)
        maps = maps.permute(0, 3, 1, 4, 2, 5).reshape(b, 7, g * k, g * k)  # [B, 7, G, G]
        x = self.queries.expand(b, -1, -1)
        for block in self.blocks:
            x = block(x, tokens)
        s = self.lattice
        cells = self.occupancy(x).view(b, s, s, s, 2, 2, 2).permute(0, 1, 4, 2, 5, 3, 6)
        occupancy = cells.reshape(b, 1, 2 * s, 2 * s, 2 * s)
        return HeadOutputs(maps[:, :1], maps[:, 1:4], maps[:, 4:7], occupancy, self.family(tokens[:, 0]))
