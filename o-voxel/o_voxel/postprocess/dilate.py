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
    device = covered.device
    far = 2 * max(height, width) + rim + 2
    column = torch.arange(width, dtype=torch.int32, device=device).expand(height, width)
    left = torch.cummax(torch.where(covered, column, -far), 1).values
    right = torch.where(covered, column, far).flip(1).cummin(1).values.flip(1)
    offset = torch.where(column - left <= right - column, left - column, right - column).reshape(-1)  # [H * W]
    target = (~covered).reshape(-1).nonzero()[:, 0]
    y = target // width
    best = torch.full_like(target, rim * rim + 1, dtype=torch.int32)
    source = torch.zeros_like(target)
    for dy in sorted(range(-rim, rim + 1), key=lambda d: (abs(d), d)):
        beside = target + dy * width
        there = (y + dy >= 0) & (y + dy < height)
        along = offset[torch.where(there, beside, target)]
        distance = torch.where(there & (along.abs() <= rim), along * along + dy * dy, rim * rim + 1)
        better = distance < best
        best = torch.where(better, distance, best)
        source = torch.where(better, beside + along, source)
    found = (best <= rim * rim).nonzero()[:, 0]
    return target[found], source[found]


def push_pull(image: Tensor, known: Tensor) -> Tensor:
    """Fill texels of `image` [H, W, C] uint8 where `known` [H, W] is False from means over growing blocks."""
    height, width = known.shape
    if bool(known.all()) or min(height, width) == 0:
        return image
    if height == 1 and width == 1:
        return image
    values = torch.where(known[:, :, None], image, 0).to(torch.int16)
    even = torch.nn.functional.pad(values, (0, 0, 0, width % 2, 0, height % 2))
    marks = torch.nn.functional.pad(known, (0, width % 2, 0, height % 2)).to(torch.int16)
    rows, columns = even.shape[0] // 2, even.shape[1] // 2
    total = even.view(rows, 2, columns, 2, -1).sum(3, dtype=torch.int16).sum(1, dtype=torch.int16)
    count = marks.view(rows, 2, columns, 2).sum(3, dtype=torch.int16).sum(1, dtype=torch.int16)[:, :, None]
    mean = torch.div(total + count // 2, count.clamp(min=1), rounding_mode="floor").to(torch.uint8)
    coarse = push_pull(mean, count[:, :, 0] > 0)
    wide = coarse.repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width]
    return torch.where(known[:, :, None], image, wide)
