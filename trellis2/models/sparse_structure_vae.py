"""Dense VAE of the sparse structure: an occupancy grid to a small latent grid and back."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.norm import ChannelLayerNorm32, GroupNorm32
from ..modules.spatial import pixel_shuffle_3d
from ..modules.utils import convert_module_to, manual_cast, require_choice, zero_module
from .configurable import configurable

__all__ = ["DownsampleBlock3d", "ResBlock3d", "SparseStructureDecoder", "SparseStructureEncoder", "UpsampleBlock3d"]

NormType = Literal["layer", "group"]


def _norm(norm_type: str, channels: int) -> nn.Module:
    require_choice("norm_type", norm_type, ("layer", "group"))
    return ChannelLayerNorm32(channels) if norm_type == "layer" else GroupNorm32(32, channels)


class ResBlock3d(nn.Module):
    """norm → SiLU → conv twice, plus skip; the last convolution starts at zero."""

    def __init__(self, channels: int, out_channels: int | None = None, norm_type: NormType = "layer") -> None:
        super().__init__()
        self.channels = channels
        self.out_channels = channels if out_channels is None else out_channels
        self.norm1 = _norm(norm_type, channels)
        self.norm2 = _norm(norm_type, self.out_channels)
        self.conv1 = nn.Conv3d(channels, self.out_channels, 3, padding=1)
        self.conv2 = zero_module(nn.Conv3d(self.out_channels, self.out_channels, 3, padding=1))
        same = channels == self.out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv3d(channels, self.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.conv2(F.silu(self.norm2(h))) + self.skip_connection(x)


class DownsampleBlock3d(nn.Module):
    """Halve the grid by a strided convolution, or by average pooling (then in and out channels agree)."""

    def __init__(self, in_channels: int, out_channels: int, mode: Literal["conv", "avgpool"] = "conv") -> None:
        super().__init__()
        require_choice("mode", mode, ("conv", "avgpool"))
        if mode == "avgpool" and in_channels != out_channels:
            raise ValueError(f"mode 'avgpool' keeps the channels, got {in_channels} and {out_channels}")
        self.mode = mode
        if mode == "conv":
            self.conv = nn.Conv3d(in_channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if self.mode == "conv" else F.avg_pool3d(x, 2)


class UpsampleBlock3d(nn.Module):
    """Double the grid by a convolution and pixel shuffle, or by copying (then in and out channels agree)."""

    def __init__(self, in_channels: int, out_channels: int, mode: Literal["conv", "nearest"] = "conv") -> None:
        super().__init__()
        require_choice("mode", mode, ("conv", "nearest"))
        if mode == "nearest" and in_channels != out_channels:
            raise ValueError(f"mode 'nearest' keeps the channels, got {in_channels} and {out_channels}")
        self.mode = mode
        if mode == "conv":
            self.conv = nn.Conv3d(in_channels, out_channels * 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "conv":
            return pixel_shuffle_3d(self.conv(x), 2)
        return F.interpolate(x, scale_factor=2, mode="nearest")


class _Torso(nn.Module):
    blocks: nn.ModuleList
    middle_block: nn.Sequential
    dtype: torch.dtype
    use_fp16: bool

    @property
    def device(self) -> torch.device:
        """Device of the first parameter."""
        return next(self.parameters()).device

    def convert_to(self, dtype: torch.dtype) -> None:
        """Cast the convolutions of the torso; norms, input and output layers stay float32."""
        self.dtype = dtype
        self.use_fp16 = dtype == torch.float16
        for part in (self.blocks, self.middle_block):
            part.apply(lambda m: convert_module_to(m, dtype))

    def convert_to_fp16(self) -> None:
        self.convert_to(torch.float16)

    def convert_to_fp32(self) -> None:
        self.convert_to(torch.float32)


@configurable
class SparseStructureEncoder(_Torso):
    """Occupancy [N, in_channels, X, Y, Z] to a latent [N, latent_channels, X/2^k, …], k = len(channels) − 1."""

    def __init__(
        self,
        in_channels: int,
        latent_channels: int,
        num_res_blocks: int,
        channels: list[int],
        num_res_blocks_middle: int = 2,
        norm_type: NormType = "layer",
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.latent_channels = latent_channels
        self.num_res_blocks = num_res_blocks
        self.channels = list(channels)
        self.num_res_blocks_middle = num_res_blocks_middle
        self.norm_type = norm_type
        self.input_layer = nn.Conv3d(in_channels, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for i, width in enumerate(channels):
            self.blocks.extend(ResBlock3d(width) for _ in range(num_res_blocks))
            if i < len(channels) - 1:
                self.blocks.append(DownsampleBlock3d(width, channels[i + 1]))
        self.middle_block = nn.Sequential(*(ResBlock3d(channels[-1]) for _ in range(num_res_blocks_middle)))
        self.out_layer = nn.Sequential(
            _norm(norm_type, channels[-1]), nn.SiLU(), nn.Conv3d(channels[-1], latent_channels * 2, 3, padding=1)
        )
        self.convert_to(torch.float16 if use_fp16 else torch.float32)

    def forward(self, x: Tensor, sample_posterior: bool = False, return_raw: bool = False) -> Any:
        """z, or (z, mean, logvar) with return_raw; z is the mean unless sample_posterior."""
        if x.ndim != 5 or x.shape[1] != self.in_channels:
            raise ValueError(f"x must be [N, {self.in_channels}, X, Y, Z], got {tuple(x.shape)}")
        h = manual_cast(self.input_layer(x), self.dtype)
        for block in self.blocks:
            h = block(h)
        h = self.out_layer(self.middle_block(h).type(x.dtype))
        mean, logvar = h.chunk(2, dim=1)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean) if sample_posterior else mean
        return (z, mean, logvar) if return_raw else z


@configurable
class SparseStructureDecoder(_Torso):
    """Latent [N, latent_channels, x, y, z] to occupancy logits [N, out_channels, x·2^k, …]; occupied where > 0."""

    def __init__(
        self,
        out_channels: int,
        latent_channels: int,
        num_res_blocks: int,
        channels: list[int],
        num_res_blocks_middle: int = 2,
        norm_type: NormType = "layer",
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.latent_channels = latent_channels
        self.num_res_blocks = num_res_blocks
        self.channels = list(channels)
        self.num_res_blocks_middle = num_res_blocks_middle
        self.norm_type = norm_type
        self.input_layer = nn.Conv3d(latent_channels, channels[0], 3, padding=1)
        self.middle_block = nn.Sequential(*(ResBlock3d(channels[0]) for _ in range(num_res_blocks_middle)))
        self.blocks = nn.ModuleList()
        for i, width in enumerate(channels):
            self.blocks.extend(ResBlock3d(width) for _ in range(num_res_blocks))
            if i < len(channels) - 1:
                self.blocks.append(UpsampleBlock3d(width, channels[i + 1]))
        self.out_layer = nn.Sequential(
            _norm(norm_type, channels[-1]), nn.SiLU(), nn.Conv3d(channels[-1], out_channels, 3, padding=1)
        )
        self.convert_to(torch.float16 if use_fp16 else torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Occupancy logits."""
        if x.ndim != 5 or x.shape[1] != self.latent_channels:
            raise ValueError(f"x must be [N, {self.latent_channels}, X, Y, Z], got {tuple(x.shape)}")
        h = self.middle_block(manual_cast(self.input_layer(x), self.dtype))
        for block in self.blocks:
            h = block(h)
        return self.out_layer(h.type(x.dtype))
