"""Filling of the texels between charts, so that neither bilinear filtering nor mip levels show seams.

A rim around every chart takes the value of the nearest covered texel. Further out push-pull takes over: every empty
texel gets the mean of the smallest 2^k block around it that holds anything, so that level k of a mip pyramid shows
means of charts alone, as far as its blocks hold one chart only. All in integers: the same bits on every device.
(S. J. Gortler et al., The Lumigraph, 1996, section 3.4: push-pull; here with box filters.)
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fill_background", "nearest_rim", "push_pull"]

RIM = 8  # texels
_FAR = 1 << 15  # farther than any rim; its square fits 32 bits
_CPU_CHUNK, _GPU_CHUNK = 1 << 15, 1 << 24  # texels at a time


def fill_background(image: Tensor, covered: Tensor, rim: int = RIM) -> Tensor:
    """Fill texels of uint8 images [H, W, C] where `covered` [H, W] is False: [H, W, C].

    Without any covered texel the image comes back as it is.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or covered.shape != image.shape[:2]:
        raise ValueError(
            f"image must be uint8 [H, W, C] with covered [H, W], got {image.dtype} {list(image.shape)} and "
            f"{list(covered.shape)}"
        )
    if bool(covered.all()) or not bool(covered.any()):
        return image
    target, source = nearest_rim(covered, rim)
    flat = image.reshape(-1, image.shape[2]).clone()
    flat[target] = flat[source]
    known = covered.reshape(-1).clone()
    known[target] = True
    return push_pull(flat.view(image.shape), known.view(covered.shape))


def nearest_rim(covered: Tensor, rim: int) -> tuple[Tensor, Tensor]:
    """Uncovered texels within `rim` of a covered one and the nearest covered texel of each: flat indices [R], [R].

    Distances are Euclidean; of equally near texels the one with the nearer row counts, then the upper, then the left.
    Looks along rows for the nearest covered texel first, then along columns. (P. F. Felzenszwalb and
    D. P. Huttenlocher, Distance Transforms of Sampled Functions, 2012, section 2.1.)
    """
    height, width = covered.shape
    column = torch.arange(width, dtype=torch.int32, device=covered.device).expand(height, width)
    left = torch.cummax(torch.where(covered, column, -_FAR), 1).values
    right = torch.where(covered, column, _FAR).flip(1).cummin(1).values.flip(1)
    # To the nearest covered texel of the row, with empty rows above and below.
    offset = torch.where(column - left <= right - column, left - column, right - column).clamp(-_FAR, _FAR)
    offset = torch.nn.functional.pad(offset, (0, 0, rim, rim), value=_FAR).reshape(-1)
    empty = (~covered).reshape(-1).nonzero()[:, 0].to(torch.int32 if covered.numel() < 2**30 else torch.int64)
    targets, sources = [], []
    for target in empty.split(_GPU_CHUNK if covered.is_cuda else _CPU_CHUNK):
        best = torch.full_like(target, rim * rim + 1, dtype=torch.int32)
        source = torch.zeros_like(target)
        for dy in sorted(range(-rim, rim + 1), key=lambda d: (abs(d), d)):
            along = offset[target + (dy + rim) * width]
            distance = along * along + dy * dy
            better = distance < best
            best = torch.where(better, distance, best)
            source = torch.where(better, target + dy * width + along, source)
        found = best <= rim * rim
        targets.append(target[found].long())
        sources.append(source[found].long())
    return torch.cat(targets), torch.cat(sources)


def push_pull(image: Tensor, known: Tensor) -> Tensor:
    """Fill texels of `image` [H, W, C] uint8 where `known` [H, W] is False from means over growing blocks."""
    height, width = known.shape
    if bool(known.all()) or min(height, width) == 0:
        return image
    if height == 1 and width == 1:
        return image
    even = torch.nn.functional.pad(image * known[:, :, None], (0, 0, 0, width % 2, 0, height % 2))
    marks = torch.nn.functional.pad(known, (0, width % 2, 0, height % 2)).to(torch.int16)
    total, count = _sum_of_four(even), _sum_of_four(marks)[:, :, None]
    mean = torch.div(total + count // 2, count.clamp(min=1), rounding_mode="floor").to(torch.uint8)
    coarse = push_pull(mean, count[:, :, 0] > 0)
    row, column = (~known).nonzero().unbind(1)
    filled = image.clone()
    filled[row, column] = coarse[row // 2, column // 2]
    return filled


def _sum_of_four(image: Tensor) -> Tensor:
    """Sums over blocks of 2 x 2 of [2 H, 2 W, ...], int16."""
    upper, lower = image[0::2].to(torch.int16), image[1::2].to(torch.int16)
    return upper[:, 0::2] + upper[:, 1::2] + lower[:, 0::2] + lower[:, 1::2]
