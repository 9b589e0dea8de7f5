"""Small vision transformer that turns an image into condition tokens. Letters: B images, P patches, C channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from ..modules.embedding import AbsolutePositionEmbedder
from ..modules.image_feature_extractor import imagenet_normalize, images_to_tensor
from ..modules.norm import layer_norm_32
from ..modules.transformer import TransformerBlock
from .configurable import configurable

__all__ = ["ImageEncoder"]


@configurable
class ImageEncoder(nn.Module):
    """Images to [B, 1 + P, channels] tokens: class token, then patches row by row; parameter-free layer norm last.

    Positions are fixed 2-D sines and cosines of the patch centres, measured in patches of the training image size,
    so that another `image_size` spans the same range. Gradients flow; callers that only encode use no_grad.
    """

    def __init__(
        self,
        image_size: int = 128,
        patch_size: int = 8,
        channels: int = 256,
        num_blocks: int = 8,
        num_heads: int = 4,
        mlp_ratio: float = 4.0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size must be divisible by patch_size, got {image_size} and {patch_size}")
        self.image_size = image_size
        self.patch_size = patch_size
        self.channels = channels
        self.in_channels = in_channels
        self.trained_grid = image_size // patch_size
        self.patch_embed = nn.Conv2d(in_channels, channels, patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.position = AbsolutePositionEmbedder(channels, in_channels=2)
        self.blocks = nn.ModuleList(
            TransformerBlock(channels, num_heads, mlp_ratio=mlp_ratio, ln_affine=True) for _ in range(num_blocks)
        )
        nn.init.normal_(self.cls_token, std=0.02)
        for block in self.blocks:
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.cls_token.device

    def _positions(self, rows: int, columns: int) -> Tensor:
        """[1, rows·columns, channels] float32."""
        y = (torch.arange(rows, device=self.device) + 0.5) * (self.trained_grid / rows) - 0.5
        x = (torch.arange(columns, device=self.device) + 0.5) * (self.trained_grid / columns) - 0.5
        return self.position(torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(-1, 2))[None]

    def forward(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """Tensor [B, in_channels, H, W] in [0, 1], used at its size, or PIL images, resized to image_size²."""
        if not isinstance(images, Tensor):
            images = images_to_tensor(images, self.image_size).to(self.device)
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"images must be [B, {self.in_channels}, H, W], got {tuple(images.shape)}")
        if images.shape[2] % self.patch_size or images.shape[3] % self.patch_size:
            raise ValueError(f"image sides must be multiples of {self.patch_size}, got {tuple(images.shape[2:])}")
        if self.in_channels == 3:
            images = imagenet_normalize(images)
        h = self.patch_embed(images.to(self.patch_embed.weight.dtype))  # [B, C, rows, columns]
        rows, columns = h.shape[2:]
        h = h.flatten(2).transpose(1, 2)
        h = h + self._positions(rows, columns).to(h.dtype)
        h = torch.cat([self.cls_token.expand(h.shape[0], -1, -1).to(h.dtype), h], dim=1)
        for block in self.blocks:
            h = block(h)
        return layer_norm_32(h)
