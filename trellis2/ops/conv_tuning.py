"""Tile sizes of the convolution kernels: shipped choices by device, shape and type."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["ConvConfig", "WeightGradConfig", "conv_config", "weight_grad_config"]


class ConvConfig(NamedTuple):
    """How a convolution kernel is cut."""

    bm: int  # rows of a tile
    bn: int  # produced channels of a tile
    bk: int  # summed channels of a step
    stages: int
    warps: int
    groups: int = 1  # runs of taps with an order and a partial sum of their own
    slices: int = 1  # pieces that the sum of a tile is cut in
    tma: bool = False
    cache: str = ""  # cache modifier of the gather
    hopper: bool = False  # the kernel with warps of their own for copies; bm is the rows of both its consumers


class WeightGradConfig(NamedTuple):
    """How the weight-gradient kernel is cut."""

    bm: int
    bn: int
    bk: int
    stages: int
    warps: int
    chunk: int  # pairs of a work item


def _power(x: int, low: int, high: int) -> int:
    n = low
    while n < x and n < high:
        n *= 2
    return n


def conv_config(dtype: torch.dtype, num_rows: int, ck: int, cn: int, volume: int, device: torch.device) -> ConvConfig:
    """Shipped choice for a product of [num_rows, ck] rows with [ck, cn] weights over `volume` taps."""
    bk = _power(ck, 16, 64)
    if dtype == torch.float32:
        return ConvConfig(64, _power(cn, 16, 64), min(bk, 32), 2, 4)
    bn = _power(cn, 16, 256)
    if bn == 256:
        return ConvConfig(128, 256, bk, 7, 8)
    return ConvConfig(128, bn, bk, 4, 4)


def weight_grad_config(dtype: torch.dtype, co: int, ci: int, device: torch.device) -> WeightGradConfig:
    """Shipped choice for weight gradients [co, ci]."""
    if dtype == torch.float32:
        return WeightGradConfig(_power(co, 16, 64), _power(ci, 16, 64), 32, 2, 4, 16384)
    bm, bn = _power(co, 16, 128), _power(ci, 16, 128)
    return WeightGradConfig(bm, bn, 64, 3, 8 if bm * bn >= 128 * 128 else 4, 16384)
