"""Sampling of sparse voxel features at points, as an operation of the registry; `o_voxel.sampling` does the work.

Letters: N voxels, C channels, B samples, L points of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from . import backends

__all__ = ["grid_sample_3d"]

OP = "grid_sample"


def _native_unavailable(device: torch.device) -> str | None:
    from o_voxel._native import native_module

    try:
        module = native_module()
    except ImportError as error:
        return f"the compiled core of o_voxel cannot be loaded: {error}"
    if module is None:
        return "the compiled core of o_voxel is not built"
    if device.type == "cuda" and not getattr(module, "with_cuda", False):
        return "the compiled core of o_voxel was built without CUDA"
    return None if device.type in ("cpu", "cuda") else f"the compiled core of o_voxel does not run on {device.type}"


def _run(backend: Literal["native", "reference"]) -> Any:
    def run(feats: Tensor, coords: Tensor, shape: Sequence[int], grid: Tensor, mode: str) -> Tensor:
        from o_voxel.sampling import grid_sample_3d as sample

        return sample(feats, coords, shape, grid, mode, backend=backend)

    return run


def grid_sample_3d(
    feats: Tensor,  # [N, C] float
    coords: Tensor,  # [N, 4] int32 (batch, x, y, z), rows unique
    shape: Sequence[int],  # (B, C, X, Y, Z)
    grid: Tensor,  # [B, L, 3] float32, voxel units, voxel centres at i + 0.5
    mode: Literal["trilinear", "nearest"] = "trilinear",
) -> Tensor:  # [B, L, C], dtype of feats
    """Features at points; weights of absent corners go to the present ones, points without any give zeros.

    Differentiable in `feats`. See `o_voxel.sampling.grid_sample_3d` for the exact meaning and what is raised.
    """
    return backends.selected(OP, feats.device).run(feats, coords, shape, grid, mode)


def _register() -> None:
    backends.register(OP, "native", _native_unavailable, _run("native"), priority=10)
    backends.register(OP, backends.REFERENCE, lambda device: None, _run("reference"))


_register()
