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

RIM = 4  # texels


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

    Distances are Euclidean. Of equally near texels the first in the order of `_disc` is taken.
    """
    height, width = covered.shape
    flat = covered.reshape(-1)
    padded = torch.nn.functional.pad(covered, (1, 1, 1, 1), value=True)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge = (covered & ~inner).reshape(-1).nonzero()[:, 0]  # every nearest covered texel has an empty neighbour
    y, x = edge // width, edge % width
    owner = torch.full((height * width,), -1, dtype=torch.int64, device=covered.device)
    for dy, dx in _disc(rim):
        there = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        source = edge[there]
        target = source + dy * width + dx
        free = ~flat[target] & (owner[target] < 0)
        owner[target[free]] = source[free]  # one source a target: offsets do not collide
    target = (owner >= 0).nonzero()[:, 0]
    return target, owner[target]


def _disc(radius: int) -> list[tuple[int, int]]:
    """Offsets (dy, dx) other than zero within `radius`, nearest first."""
    span = range(-radius, radius + 1)
    offsets = [(dy, dx) for dy in span for dx in span if 0 < dy * dy + dx * dx <= radius * radius]
    return sorted(offsets, key=lambda o: (o[0] ** 2 + o[1] ** 2, o))


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
