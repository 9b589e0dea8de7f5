"""How the convolution kernels are cut: the fixed numerical recipe, and shipped tile sizes for the common GPUs.

The recipe (how a sum is split) follows from the shape alone, so that results do not depend on the device's tuning; tile
sizes only change the speed. Letters: N rows, Ck channels summed over, Cn channels produced, V taps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = [
    "ConvConfig",
    "ConvProblem",
    "Recipe",
    "WeightGradConfig",
    "conv_candidates",
    "conv_recipe",
    "weight_grad_candidates",
    "weight_grad_chunk",
]

_HALF = (torch.float16, torch.bfloat16)
_SHARED_BYTES = {(8, 0): 163 << 10, (8, 6): 99 << 10, (8, 7): 163 << 10, (8, 9): 99 << 10, (12, 0): 99 << 10}
"""Shared memory of a block, by compute capability; 227 KiB from 9.0 to 11, 99 KiB for the unknown."""
_REFERENCE_PROGRAMS = 132
"""Programs that the recipe aims to have at least; a constant, so that the recipe is the same on every device."""


class ConvProblem(NamedTuple):
    """What the choice of tiles depends on."""

    kind: str  # "forward", "input_grad", "children" or "weight_grad"
    dtype: torch.dtype
    rows: int  # N, or pairs for the weight gradient
    ck: int
    cn: int
    volume: int


class Recipe(NamedTuple):
    """How the sum of an output row is cut; the parts are added in a fixed order in float32."""

    groups: int = 1  # runs of taps, each with an order of the rows of its own
    slices: int = 1  # pieces of the taps and channels that are summed


class ConvConfig(NamedTuple):
    """Tiles of a convolution kernel."""

    bm: int  # rows of a tile
    bn: int  # produced channels of a tile
    bk: int  # summed channels of a step
    stages: int
    warps: int
    groups: int = 1
    slices: int = 1
    tma: bool = False  # weights through bulk tensor copies
    cache: str = ""  # cache modifier of the stores of the result
    hopper: bool = False  # the kernel with warps of their own for copies; bm is the rows of both its consumers


class WeightGradConfig(NamedTuple):
    """Tiles of the weight-gradient kernel."""

    bm: int
    bn: int
    bk: int
    stages: int
    warps: int
    chunk: int = 16384  # pairs summed in one go; the sums of the chunks of a tap are added in their order
    hopper: bool = False  # the kernel with warps of their own for copies; bm is what both its consumers make


def conv_recipe(problem: ConvProblem) -> Recipe:
    """The split of the sum for a shape.

    Wide channels on few rows: sorting all 27 taps at once leaves tiles of very different rows (24 active taps where
    16 are needed); three runs of 9 taps, each sorted by itself, bring that to 18, which pays for the partial sums.
    Very few rows: the taps are sliced until there are enough programs.
    """
    if problem.kind == "children":
        return Recipe()
    groups = 1
    if problem.volume == 27 and problem.ck >= 512 and problem.rows <= 131072 and problem.rows * problem.ck >= 1 << 24:
        groups = 3
    programs = -(-problem.rows // 128) * -(-problem.cn // 256) * groups
    depth = problem.volume * -(-problem.ck // 64) // groups  # steps of the sum
    slices = 1
    while slices < 8 and 2 * slices * programs <= _REFERENCE_PROGRAMS and depth >= 16 * slices:
        slices *= 2
    return Recipe(groups, slices)


def weight_grad_chunk(problem: ConvProblem) -> int:
    """Pairs of a chunk, so that all chunks make about four programs for each that the recipe aims at."""
    tiles = -(-problem.cn // 256) * -(-problem.ck // 128)
    items = max(problem.volume, 4 * _REFERENCE_PROGRAMS // tiles) - problem.volume // 2
    return min(max(-(-problem.rows // max(1, items)), 4096), 65536)


def _shared_bytes(capability: tuple[int, int]) -> int:
    if (9, 0) <= capability < (12, 0):
        return 227 << 10
    return _SHARED_BYTES.get(capability, 99 << 10)


def _power(x: int, low: int, high: int) -> int:
    n = low
    while n < x and n < high:
        n *= 2
    return n


def _ring_bytes(config: ConvConfig | WeightGradConfig, element: int) -> int:
    """Shared memory of the buffers of a pipelined kernel; the gather leaves a third of the stages to the indices."""
    buffers = max(2, -(-(config.stages + 2) // 3)) if isinstance(config, ConvConfig) else config.stages
    return buffers * (config.bm + config.bn) * config.bk * element + 2048


def conv_candidates(
    problem: ConvProblem, capability: tuple[int, int], hopper: bool, recipe: Recipe
) -> list[ConvConfig]:
    """Tile sizes worth trying, the shipped choice first. hopper: the Hopper kernel takes the shape."""
    bk = _power(problem.ck, 16, 64)
    if problem.dtype not in _HALF:
        bn = _power(problem.cn, 16, 64)
        found = [ConvConfig(64, bn, min(bk, 32), 4, 4), ConvConfig(32, bn, min(bk, 32), 4, 4)]
        return [c._replace(groups=recipe.groups, slices=recipe.slices) for c in found]
    tma = capability[0] >= 9
    bn = _power(problem.cn, 16, 256)
    found = []
    narrow = min(bn, 128)
    hopper = hopper and recipe.slices == 1
    if hopper and bn > 64:
        found += _hopper_candidates(bn)
    found += [
        ConvConfig(128, narrow, bk, 7, 4, tma=tma),
        ConvConfig(128, narrow, bk, 4, 4, tma=tma),
        ConvConfig(64, narrow, bk, 4, 4, tma=tma),
        ConvConfig(128, narrow, min(bk, 32), 4, 4, tma=tma),
        ConvConfig(64, min(bn, 64), min(bk, 32), 4, 4, tma=tma),
    ]
    if hopper and bn == 64:
        found[1:1] = [found[0]._replace(cache=".cs"), *_hopper_candidates(bn)]
    if bn == 256:
        found.insert(1 if not hopper else 3, ConvConfig(128, 256, bk, 7, 8, tma=tma))
    limit = _shared_bytes(capability)
    fitting = [c for c in found if c.hopper or _ring_bytes(c, 2) <= limit]
    return [c._replace(groups=recipe.groups, slices=recipe.slices) for c in dict.fromkeys(fitting)][:6]


def _hopper_candidates(bn: int) -> list[ConvConfig]:
    if bn == 256:
        return [
            ConvConfig(128, 256, 64, 3, 4, hopper=True),
            ConvConfig(128, 256, 64, 4, 4, hopper=True),
        ]
    if bn == 128:
        return [
            ConvConfig(256, 128, 64, 4, 8, hopper=True),
            ConvConfig(256, 128, 64, 4, 4, hopper=True),
            ConvConfig(256, 128, 64, 4, 8, cache=".cs", hopper=True),
        ]
    return [ConvConfig(256, 64, 64, 5, 4, hopper=True)]


def weight_grad_candidates(
    problem: ConvProblem, capability: tuple[int, int], hopper: bool = False
) -> list[WeightGradConfig]:
    """Tile sizes worth trying for weight gradients [Cn, Ck], the shipped choice first."""
    chunk = weight_grad_chunk(problem)
    if problem.dtype not in _HALF:
        return [WeightGradConfig(_power(problem.cn, 16, 64), _power(problem.ck, 16, 64), 32, 2, 4, chunk)]
    bm, bn = _power(problem.cn, 16, 128), _power(problem.ck, 16, 128)
    found = []
    if hopper and bm == 128:
        found += [WeightGradConfig(256, 128, 64, 4, 4, hopper=True)] if problem.cn % 256 == 0 and bn == 128 else []
        found += [WeightGradConfig(128, 256, 64, 4, 4, hopper=True)] if problem.ck % 256 == 0 else []
        found += [WeightGradConfig(128, bn, 64, 6, 4, hopper=True)]
    found += [
        WeightGradConfig(bm, bn, 32, 5, 4),
        WeightGradConfig(bm, bn, 64, 3, 8 if bm * bn >= 128 * 128 else 4),
        WeightGradConfig(bm, bn, 32, 3, 4),
        WeightGradConfig(min(bm, 64), min(bn, 64), 32, 3, 4),
    ]
    limit = _shared_bytes(capability)
    return [c._replace(chunk=chunk) for c in dict.fromkeys(found) if c.hopper or _ring_bytes(c, 2) <= limit]
