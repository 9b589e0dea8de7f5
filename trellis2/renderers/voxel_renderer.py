"""Pictures of sparse voxels as opaque cubes.

R = resolution, N voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trellis2.representations import Voxel

from .options import AttrDict, make_options

__all__ = ["VoxelRenderer"]

_DEFAULTS: dict[str, Any] = {"resolution": None, "near": 0.1, "far": 10.0, "ssaa": 1, "depth_type": "z"}


class VoxelRenderer:
    """Draws a `Voxel` through `o_voxel.rasterize`. Options: `resolution` R (required), `near`, `far`,
    `ssaa`, `depth_type` "z" (camera depth, as the mesh renderers) | "ray" (distance along the ray).
    """

    def __init__(self, rendering_options: Mapping[str, Any] | None = None) -> None:
        self.rendering_options = make_options(_DEFAULTS, rendering_options)

    @torch.no_grad()
    def render(
        self,
        voxel: Voxel,
        extrinsics: Tensor,  # [4, 4]
        intrinsics: Tensor,  # [3, 3]
        colors_overwrite: Tensor | None = None,  # [N, C]
    ) -> AttrDict:
        """Render one view: `depth`, `alpha` [R, R], and `color` [C, R, R] with `colors_overwrite`, else one entry
        `[k, R, R]` per name of the voxels' layout. Background 0.
        """
        from o_voxel.rasterize import VoxelRenderer as Rasterizer

        options = self.rendering_options
        if options.resolution is None:
            raise ValueError("rendering option resolution must be set")
        position = voxel.position
        attrs = voxel.attrs if colors_overwrite is None else colors_overwrite
        if attrs is None or attrs.shape[0] != position.shape[0]:
            raise ValueError(f"colours must have one row for each of the {position.shape[0]} voxels")
        size = (options.resolution, options.resolution)
        drawn = Rasterizer(dict(options)).render(
            position, attrs.float().to(position.device), voxel.voxel_size, extrinsics, intrinsics
        )
        picture = drawn["attr"].reshape(-1, *size)
        out = AttrDict(depth=drawn["depth"].reshape(size), alpha=drawn["alpha"].reshape(size))
        if colors_overwrite is not None:
            out.color = picture
        else:
            for name, part in voxel.layout.items():
                out[name] = picture[part]
        return out
