"""Mip levels of textures: successive halvings down to one texel."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.convert.materials import Texture, decode_table, linear_to_srgb

__all__ = ["mip_levels"]


@cache
def _encode_table() -> np.ndarray:
    """sRGB byte of a linear value in 65535 steps, [65536] uint8."""
    return np.rint(linear_to_srgb(np.arange(65536) / 65535.0) * 255).astype(np.uint8)


def _published_levels(image: np.ndarray) -> list[np.ndarray]:
    """Repeated 2 x 2 means, rounded down at each step; the side must be a power of two."""
    levels = [image]
    while levels[-1].shape[0] > 1:
        wide = levels[-1].astype(np.uint16)
        total = wide[0::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 0::2] + wide[1::2, 1::2]
        levels.append((total // 4).astype(np.uint8))
    return levels


def _halve(values: np.ndarray) -> np.ndarray:
    """Area mean onto half the size, at least one texel; three texels where a side is odd. [H, W, C] float32."""
    height, width = values.shape[:2]
    rows, columns = (1 if n == 1 else 2 + n % 2 for n in (height, width))
    h, w = max(1, height // 2), max(1, width // 2)
    total = np.zeros((h, w, values.shape[2]), np.float32)
    for r in range(rows):
        for k in range(columns):
            total += values[r::2, k::2][:h, :w]
    return total / np.float32(rows * columns)


def _reference_levels(image: np.ndarray, srgb: bool) -> list[np.ndarray]:
    """Area means of decoded values onto half the size, kept in float32 from level to level."""
    levels, values = [image], decode_table(srgb)[image]
    while max(values.shape[:2]) > 1:
        values = _halve(values)
        if srgb:
            stored = _encode_table()[(values * np.float32(65535) + np.float32(0.5)).astype(np.int32)]
        else:
            stored = np.rint(values * np.float32(255)).astype(np.uint8)
        levels.append(stored)
    return levels


def _cuda_levels(image: Tensor, srgb: bool) -> list[Tensor]:
    """The same on the GPU of `image` [H, W, C] uint8."""
    core = cuda_core()
    assert core is not None
    decode = torch.from_numpy(decode_table(srgb)).to(image.device)
    encode = torch.from_numpy(_encode_table()).to(image.device) if srgb else None
    levels = [image]
    for memory in core.mip_levels_cuda(image, decode, encode, launch(image.device)):
        height, width, channels = levels[-1].shape
        levels.append(as_tensor(memory, torch.uint8, (max(1, height // 2), max(1, width // 2), channels)))
    return levels


def mip_levels(
    texture: Texture, published: bool = False, device: torch.device | None = None, backend: Backend = "auto"
) -> list[Tensor]:  # [H, W, C], [H/2, W/2, C], ... uint8 on `device`, default that of the image
    """The image and its successive halvings down to one texel; nearest filtering has only the image.

    Means are taken of decoded (linear) values and rounded to bytes; where a side is odd three texels are averaged.
    `published`: of stored values, truncated; ValueError unless the image is a square with a power-of-two side.
    """
    pixels = texture.image
    if isinstance(pixels, np.ndarray) and not pixels.flags.writeable:
        pixels = pixels.copy()  # tensors must be writable
    image = torch.as_tensor(pixels).contiguous()
    device = image.device if device is None else device
    if texture.filter == "nearest":
        return [image.to(device)]
    if published:
        height, width = image.shape[:2]
        if height != width or height & (height - 1):
            raise ValueError(f"texture must be square with a power-of-two side, got {width} x {height}")
        return [torch.from_numpy(level).to(device) for level in _published_levels(image.cpu().numpy())]
    native = resolve_backend(backend) == "native"
    if native and device.type == "cuda" and cuda_core("volumetric_attributes", device):
        return _cuda_levels(image.to(device), texture.srgb)
    pixels = image.cpu().numpy()
    if native:
        module = native_module()
        assert module is not None
        encode = _encode_table() if texture.srgb else None
        levels = [pixels, *module.mip_levels(pixels, decode_table(texture.srgb), encode)]
    else:
        levels = _reference_levels(pixels, texture.srgb)
    return [torch.from_numpy(level).to(device) for level in levels]
