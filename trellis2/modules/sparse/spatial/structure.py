"""Index tables between a voxel grid and the grid f times coarser. Letters: T fine rows, M coarse rows."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from ....ops.child_coords import child_coords
from ....ops.neighbor_map import pack_coords
from ..tensor import Scale, SparseTensor

__all__ = [
    "CoarseStructure",
    "FineStructure",
    "coarsen",
    "down_tensor",
    "fine_structure",
    "refine",
    "register_down",
    "scaled",
    "sub_index",
    "up_tensor",
]


class CoarseStructure(NamedTuple):
    """Parents of the rows of a grid."""

    coords: Tensor  # [M, 4] int32, lexicographic (b, x, y, z)
    idx: Tensor  # [T] int64, parent row of each fine row
    subidx: Tensor  # [T] int64, place in the parent, x fastest


class FineStructure(NamedTuple):
    """Children of the rows of a grid."""

    coords: Tensor  # [T, 4] int32
    idx: Tensor  # [T] int64, parent row
    subidx: Tensor  # [T] int64, place in the parent, x fastest


def scaled(scale: Scale, factor: Fraction) -> Scale:
    """Scale times factor on every axis."""
    return scale[0] * factor, scale[1] * factor, scale[2] * factor


def sub_index(coords: Tensor, factor: int) -> Tensor:
    """(x mod f) + f·(y mod f) + f²·(z mod f) of [T, 4] coordinates -> [T] int64."""
    local = coords[:, 1:].long() % factor
    return local[:, 0] + factor * local[:, 1] + factor * factor * local[:, 2]


def coarsen(x: SparseTensor, factor: int) -> CoarseStructure:
    """Parents of x on the grid `factor` times coarser, sorted lexicographically; found once per structure."""
    key = f"spatial2channel_{factor}"
    cached = x.get_spatial_cache(key)
    if cached is None:
        if factor < 2:
            raise ValueError(f"factor must be at least 2, got {factor}")
        parent = x.coords.clone()
        parent[:, 1:] = torch.div(parent[:, 1:], factor, rounding_mode="floor")
        unique, idx = torch.unique(pack_coords(parent), return_inverse=True)
        coords = parent.new_empty((unique.shape[0], 4))
        coords[idx] = parent  # all children of a parent write the same row
        cached = CoarseStructure(coords, idx, sub_index(x.coords, factor))
        x.register_spatial_cache(key, cached)
    return cached


def refine(coords: Tensor, subdivision: Tensor, factor: int) -> FineStructure:
    """Children named by subdivision [M, f³] bool: parent by parent in row order, inside a parent by sub-index."""
    if subdivision.shape != (coords.shape[0], factor**3):
        raise ValueError(f"subdivision must be [{coords.shape[0]}, {factor**3}], got {tuple(subdivision.shape)}")
    idx, subidx = torch.nonzero(subdivision, as_tuple=True)
    return FineStructure(child_coords(coords, idx, subidx, factor), idx, subidx)


def down_tensor(x: SparseTensor, feats: Tensor, factor: int) -> SparseTensor:
    """The coarse tensor of `coarsen(x, factor)`: carries N, multiplies the scale, shares the cache."""
    structure = coarsen(x, factor)
    shape = torch.Size([len(x), *feats.shape[1:]])
    return SparseTensor(
        feats,
        structure.coords,
        shape,
        scale=scaled(x.scale, Fraction(factor)),
        spatial_cache=x._spatial_cache,
    )


def up_tensor(x: SparseTensor, feats: Tensor, coords: Tensor, factor: int, shared: bool) -> SparseTensor:
    """A fine tensor over x: divides the scale; shares the cache only when its structure came from there."""
    shape = torch.Size([len(x), *feats.shape[1:]])
    cache = x._spatial_cache if shared else None
    return SparseTensor(feats, coords, shape, scale=scaled(x.scale, Fraction(1, factor)), spatial_cache=cache)


def register_down(x: SparseTensor, coarse: SparseTensor, factor: int, training: bool) -> None:
    """Record the structure at both scales, so that a decoder can replay it."""
    structure = coarsen(x, factor)
    coarse.register_spatial_cache(f"channel2spatial_{factor}", FineStructure(x.coords, structure.idx, structure.subidx))
    if coarse.get_spatial_cache("shape") is None and x.get_spatial_cache("shape") is not None:
        coarse.register_spatial_cache("shape", torch.Size(-(-s // factor) for s in x.spatial_shape))
    if training:
        occupied = torch.zeros((structure.coords.shape[0], factor**3), dtype=torch.bool, device=x.device)
        occupied[structure.idx, structure.subidx] = True
        coarse.register_spatial_cache("subdivision", occupied)


def fine_structure(x: SparseTensor, subdivision: SparseTensor | None, factor: int) -> tuple[FineStructure, bool]:
    """Children of x and whether they came from the cache. A cached structure wins over `subdivision`.

    Raises ValueError when there is neither, or when the subdivision is not aligned with x.
    """
    cached = x.get_spatial_cache(f"channel2spatial_{factor}")
    if cached is not None:
        return cached, True
    if subdivision is None:
        raise ValueError("up-sampling needs a cached structure or a subdivision [M, f³]")
    if subdivision.feats.shape[0] != x.feats.shape[0]:
        raise ValueError(
            f"subdivision must have a row per voxel: {x.feats.shape[0]} voxels, {subdivision.feats.shape[0]} rows"
        )
    return refine(x.coords, subdivision.feats.bool(), factor), False
