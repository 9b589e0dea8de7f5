"""The computations between image tokens and an asset, each on its own: no files, no devices, no state.

Letters: B samples, T tokens, C channels, N voxels, R grid cells a side.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trellis2.representations import Mesh, MeshWithVoxel
from trellis2.representations.layout import PBR_ATTR_LAYOUT

from .errors import StageError

__all__ = [
    "check_finite",
    "check_surface",
    "denormalize",
    "latent_factor",
    "meshes_with_voxels",
    "normalize",
    "occupied_coords",
    "pick_resolution",
    "quantize_coords",
]

logger = logging.getLogger(__name__)

_RETRY = "try another seed, or an image that shows the whole object clearly"


def latent_factor(decoder: Any) -> int:
    """Output voxels per latent cell and axis: 2 to the number of up-samplings of a structured-latent decoder."""
    return int(decoder.downsampling)


def normalize(feats: Tensor, stats: Mapping[str, Sequence[float]]) -> Tensor:
    """`(z - mean) / std` per channel of `feats` [T, C]."""
    mean, std = _stats(feats, stats)
    return (feats - mean) / std


def denormalize(feats: Tensor, stats: Mapping[str, Sequence[float]]) -> Tensor:
    """`z std + mean` per channel of `feats` [T, C]."""
    mean, std = _stats(feats, stats)
    return feats * std + mean


def _stats(feats: Tensor, stats: Mapping[str, Sequence[float]]) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(stats["mean"], dtype=feats.dtype, device=feats.device)
    std = torch.tensor(stats["std"], dtype=feats.dtype, device=feats.device)
    if mean.shape != feats.shape[1:]:
        raise ValueError(f"normalization has {mean.numel()} channels, but the latent has {feats.shape[1]}")
    return mean, std


def check_finite(stage: str, value: Tensor) -> None:
    """Raise StageError if `value` holds infinities or NaN."""
    if not bool(torch.isfinite(value).all()):
        raise StageError(
            stage,
            "the network gave values that are not finite",
            "lower guidance_strength, or run in float32; if it stays, the weights may be damaged",
        )


def occupied_coords(
    logits: Tensor,  # [B, 1, G, G, G]
    resolution: int,
) -> Tensor:  # [T, 4] int32 (batch, x, y, z)
    """Cells of an R^3 grid in which any decoder logit is positive, in lexicographic order.

    Raises ValueError if `resolution` does not divide the decoder's grid, StageError if a sample is empty.
    """
    grid = int(logits.shape[-1])
    if resolution < 1 or grid % resolution:
        raise ValueError(f"resolution must divide the structure decoder's grid of {grid}, got {resolution}")
    check_finite("sparse structure", logits)
    occupied = logits > 0
    factor = grid // resolution
    if factor > 1:
        occupied = torch.nn.functional.max_pool3d(occupied.float(), factor, factor) > 0
    empty = [i for i, any_cell in enumerate(occupied.flatten(1).any(dim=1).tolist()) if not any_cell]
    if empty:
        raise StageError("sparse structure", f"no object was found (sample {empty[0]} has no occupied cell)", _RETRY)
    return occupied[:, 0].nonzero().int()


def quantize_coords(
    coords: Tensor,  # [N, 4] int32 on a grid of `source` cells
    source: int,
    target: int,
) -> Tensor:  # [T, 4] int32 on a grid of `target` cells, unique, lexicographic
    """Cells of the target grid that hold the centres of the source cells."""
    cells = ((coords[:, 1:] + 0.5) / source * target).int()
    return torch.cat([coords[:, :1].int(), cells], dim=1).unique(dim=0)


def pick_resolution(
    coords: Tensor,  # [N, 4] int32, structure on a grid of `source` cells
    source: int,
    ladder: Sequence[int],
    factor: int,
    max_num_tokens: int,
) -> tuple[Tensor, int]:
    """Latent cells [T, 4] and output resolution: the first of `ladder` with fewer than `max_num_tokens` cells.

    The last rung is taken whatever its number of cells, with a warning.
    """
    for resolution in ladder:
        cells = quantize_coords(coords, source, resolution // factor)
        if cells.shape[0] < max_num_tokens:
            break
    else:
        logger.warning(
            "%d tokens at resolution %d pass the limit of %d; memory may run out",
            cells.shape[0],
            resolution,
            max_num_tokens,
        )
    if resolution != ladder[0]:
        logger.warning("resolution lowered from %d to %d to keep the token limit", ladder[0], resolution)
    return cells, resolution


def check_surface(mesh: Mesh, sample: int = 0, max_hole_perimeter: float = 3e-2) -> Mesh:
    """The same mesh with small holes closed. Raises StageError if it is empty or not finite."""
    if mesh.is_empty:
        raise StageError("shape decoder", f"the surface is empty (sample {sample} has no face)", _RETRY)
    check_finite("shape decoder", mesh.vertices)
    mesh.fill_holes(max_hole_perimeter)
    return mesh


def meshes_with_voxels(
    meshes: Sequence[Mesh],
    attrs: Any,  # SparseTensor, feats [N, 6] in 0…1, coords on the output grid
    resolution: int,
    max_hole_perimeter: float = 3e-2,
) -> list[MeshWithVoxel]:
    """Join decoded surfaces with their decoded attributes; closes small holes.

    Raises StageError if a surface is empty or anything is not finite.
    """
    out = []
    for i, (mesh, part) in enumerate(zip(meshes, attrs.layout, strict=True)):
        check_surface(mesh, i, max_hole_perimeter)
        check_finite("texture decoder", attrs.feats[part])
        values = attrs.feats[part].float()
        out.append(
            MeshWithVoxel(
                mesh.vertices,
                mesh.faces,
                origin=(-0.5, -0.5, -0.5),
                voxel_size=1 / resolution,
                coords=attrs.coords[part, 1:],
                attrs=values,
                voxel_shape=torch.Size((1, values.shape[1], resolution, resolution, resolution)),
                layout=dict(PBR_ATTR_LAYOUT),
            )
        )
    return out
