"""Latitude-longitude images: directions, look-up, reduction and HDR files.

An image is `[H, 2H, 3]` linear radiance; row 0 is the zenith (+Z). Seen from inside along -Y (the image centre),
with +Z up, image left is left: column 3/4 is -X. The published convention mirrors this (`quirks="published"`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trellis2.utils.exr import read_exr, write_exr

__all__ = [
    "directions_to_uv",
    "load_environment",
    "panorama_directions",
    "reduce_panorama",
    "sample_panorama",
    "save_environment",
    "solid_angles",
]

_MAX_RADIANCE = 32000.0


def panorama_directions(height: int, device: torch.device | str = "cpu") -> Tensor:
    """Unit world directions `[H, 2H, 3]` of the texel centres."""
    theta = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * (math.pi / height)
    azimuth = ((torch.arange(2 * height, device=device, dtype=torch.float32) + 0.5) / (2 * height) - 0.5) * 2 * math.pi
    theta, azimuth = torch.meshgrid(theta, azimuth, indexing="ij")
    return torch.stack([-theta.sin() * azimuth.sin(), -theta.sin() * azimuth.cos(), theta.cos()], dim=-1)


def solid_angles(height: int, device: torch.device | str = "cpu") -> Tensor:
    """Exact solid angle of a texel in every row, `[H]` steradians; `2H` times their sum is 4 pi."""
    edges = torch.arange(height + 1, device=device, dtype=torch.float64) * (math.pi / height)
    return ((edges[:-1].cos() - edges[1:].cos()) * (math.pi / height)).float()


def directions_to_uv(directions: Tensor, quirks: Literal["published"] | None = None) -> Tensor:
    """World directions `[..., 3]` (any length) to `(u, v)` in [0, 1]; u runs to the right, v down from the zenith."""
    x, y, z = directions.unbind(-1)
    side = x if quirks == "published" else -x
    u = torch.atan2(side, -y) / (2 * math.pi) + 0.5
    v = torch.atan2((x * x + y * y).sqrt(), z) / math.pi
    return torch.stack([u, v], dim=-1)


def sample_panorama(image: Tensor, directions: Tensor, quirks: Literal["published"] | None = None) -> Tensor:
    """Bilinear radiance `[..., C]` of `image [H, W, C]` in `directions [..., 3]`; wraps around, clamps at the poles."""
    shape = directions.shape[:-1]
    uv = directions_to_uv(directions.reshape(1, 1, -1, 3), quirks)
    width = image.shape[1]
    padded = torch.cat([image[:, -1:], image, image[:, :1]], dim=1).permute(2, 0, 1)[None]  # [1, C, H, W + 2]
    grid = torch.stack([(uv[..., 0] * width + 1) * (2 / (width + 2)) - 1, 2 * uv[..., 1] - 1], dim=-1)
    out = F.grid_sample(padded, grid.to(image.dtype), padding_mode="border", align_corners=False)
    return out[0, :, 0].T.reshape(*shape, image.shape[2])


def reduce_panorama(image: Tensor, height: int) -> Tensor:
    """Area mean on the sphere, to `[height, 2 * height, 3]`; smaller images are interpolated up instead."""
    source = image.permute(2, 0, 1)[None].float()
    size = (height, 2 * height)
    if image.shape[0] < height or image.shape[1] < 2 * height:
        return F.interpolate(source, size=size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    weight = solid_angles(image.shape[0], image.device)[None, None, :, None].expand(1, 1, -1, image.shape[1])
    mean = F.adaptive_avg_pool2d(source * weight, size) / F.adaptive_avg_pool2d(weight, size)
    return mean[0].permute(1, 2, 0).contiguous()


def load_environment(path: str | Path) -> Tensor:
    """Read a latitude-longitude `.hdr` or `.exr` file: `[H, W, 3]` float32 linear RGB, clamped to [0, 32000].

    EXR files may be scan-line ones, compressed with RLE, ZIPS, ZIP, PIZ, PXR24 or not; grey ones (`Y`) become RGB.
    Raises FileNotFoundError if there is no such file and ValueError if it is no readable 2:1 picture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no environment file at {path}")
    pixels = _read_exr_colour(path) if path.suffix.lower() == ".exr" else _read_radiance(path)
    if pixels.shape[1] != 2 * pixels.shape[0]:
        raise ValueError(f"{path} must be twice as wide as high, got {pixels.shape[1]} x {pixels.shape[0]}")
    image = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
    return torch.nan_to_num(image, nan=0.0, posinf=_MAX_RADIANCE, neginf=0.0).clamp(0, _MAX_RADIANCE)


def save_environment(path: str | Path, image: Tensor, *, bits: int = 10) -> None:
    """Write `image [H, W, 3]` as a half-float `.exr` with `bits` of mantissa (10 is all; fewer compress better)."""
    if Path(path).suffix.lower() != ".exr":
        raise ValueError(f"path must end in .exr, got {Path(path).name!r}")
    if not 1 <= bits <= 10:
        raise ValueError(f"bits must be in 1..10, got {bits}")
    values = image.detach().cpu().float().clamp(0, _MAX_RADIANCE).numpy()
    drop = 10 - bits
    raw = values.astype(np.float16).view(np.uint16).astype(np.uint32)
    raw = ((raw + ((1 << drop) >> 1)) >> drop << drop).astype(np.uint16)
    planes = raw.view(np.float16)
    write_exr(path, {name: planes[..., i] for i, name in enumerate("RGB")})


def _read_exr_colour(path: Path) -> np.ndarray:
    """[H, W, 3] of the channels R, G, B, or of Y alone."""
    planes = read_exr(path)
    names = "RGB" if all(name in planes for name in "RGB") else "YYY"
    if names[0] not in planes:
        raise ValueError(f"{path} must have channels R, G, B or Y, has {', '.join(planes)}")
    return np.stack([planes[name].astype(np.float32) for name in names], axis=-1)


def _read_radiance(path: Path) -> np.ndarray:
    """[H, W, 3] of a Radiance picture."""
    import cv2

    try:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"{path} cannot be decoded ({error.err})") from error
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] < 3 or pixels.dtype != np.float32:
        raise ValueError(f"{path} must be a readable high dynamic range picture (.hdr or .exr)")
    return pixels[:, :, 2::-1]
