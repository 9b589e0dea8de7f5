"""Dense resampling by moving channels into space and back."""

from __future__ import annotations

from torch import Tensor

__all__ = ["patchify", "pixel_shuffle_3d", "unpatchify"]


def pixel_shuffle_3d(x: Tensor, scale_factor: int) -> Tensor:
    """[B, C·r³, X, Y, Z] -> [B, C, X·r, Y·r, Z·r].

    Input channel ((c·r + i)·r + j)·r + k becomes channel c at (r·x + i, r·y + j, r·z + k). Raises ValueError if the
    channels are not divisible by r³.
    """
    batch, channels, *size = x.shape
    r = scale_factor
    if x.ndim != 5 or channels % r**3:
        raise ValueError(f"x must be [B, C·{r**3}, X, Y, Z], got {tuple(x.shape)}")
    x = x.reshape(batch, channels // r**3, r, r, r, *size)  # [B, C, i, j, k, X, Y, Z]
    x = x.permute(0, 1, 5, 2, 6, 3, 7, 4)  # [B, C, X, i, Y, j, Z, k]
    return x.reshape(batch, channels // r**3, *(s * r for s in size))


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """[N, C, *S] -> [N, C·p^d, *S/p]; channel = c·p^d + row-major place in the patch."""
    batch, channels, *size = x.shape
    p, dims = patch_size, len(size)
    if any(s % p for s in size):
        raise ValueError(f"spatial size must be divisible by patch_size {p}, got {tuple(size)}")
    split = [n for s in size for n in (s // p, p)]
    x = x.reshape(batch, channels, *split)
    x = x.permute(0, 1, *(2 * d + 3 for d in range(dims)), *(2 * d + 2 for d in range(dims)))
    return x.reshape(batch, channels * p**dims, *(s // p for s in size))


def unpatchify(x: Tensor, patch_size: int) -> Tensor:
    """[N, C·p^d, *S] -> [N, C, *S·p], the inverse of `patchify`."""
    batch, channels, *size = x.shape
    p, dims = patch_size, len(size)
    if channels % p**dims:
        raise ValueError(f"channels must be divisible by {p**dims}, got {channels}")
    x = x.reshape(batch, channels // p**dims, *([p] * dims), *size)
    x = x.permute(0, 1, *(n for d in range(dims) for n in (2 + dims + d, 2 + d)))
    return x.reshape(batch, channels // p**dims, *(s * p for s in size))
