"""Sampling of sparse voxel features at continuous points.

N voxels, C channels, B batch items, L points each, M = B * L. Voxel i spans [i, i + 1) with its sample at i + 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.reference.sampling import WeightedGather, locate_reference

__all__ = ["VoxelIndex", "grid_sample_3d"]

Mode = Literal["trilinear", "nearest"]
Quirks = Literal["none", "published"]

_CUDA_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_MAX_NATIVE_ROWS = 1 << 31


class _Sample(torch.autograd.Function):
    """The compiled core, on the device of its inputs: feats [N, C] -> [M, C], same dtype."""

    @staticmethod
    def forward(
        ctx: Any, feats: Tensor, coords: Tensor, slots: Tensor, size: tuple[int, ...], points: Tensor,
        options: tuple[bool, bool, bool],
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(coords, slots, points)
        ctx.size, ctx.options, ctx.dtype = size, options, feats.dtype
        shape = (points.shape[0], feats.shape[1])
        native = native_module()
        assert native is not None
        if feats.is_cuda:
            memory = native.sample_sparse_cuda(feats, coords, slots, size, points, *options, launch(feats.device))
            return as_tensor(memory, feats.dtype, shape)
        out = native.sample_sparse(feats.float(), coords, slots, size, points, *options)
        return as_tensor(out, torch.float32, shape).to(feats.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        coords, slots, points = ctx.saved_tensors
        shape = (coords.shape[0], grads[0].shape[1])
        native = native_module()
        assert native is not None
        if coords.is_cuda:
            ordered = torch.are_deterministic_algorithms_enabled()
            memory = native.sample_sparse_backward_cuda(
                grads[0].contiguous(), coords, slots, ctx.size, points, *ctx.options, ordered, launch(coords.device)
            )
        else:
            gradient = grads[0].float().contiguous()
            memory = native.sample_sparse_backward(gradient, coords, slots, ctx.size, points, *ctx.options)
        return as_tensor(memory, torch.float32, shape).to(ctx.dtype), None, None, None, None, None


class VoxelIndex:
    """Look-up table of voxel coordinates for sampling, made once and used for many calls.

    `coords` [N, 4] integer (batch, x, y, z) and `shape` (.., X, Y, Z) are those of `grid_sample_3d`; `batches` is the
    number of batch items. Voxels outside are never found; of equal rows the first is. Holds 32 bytes a voxel besides
    the coordinates (int32), on their device.
    """

    def __init__(self, coords: Tensor, shape: Sequence[int], *, batches: int = 1, backend: Backend = "auto") -> None:
        if coords.ndim != 2 or coords.shape[1] != 4:
            raise ValueError(f"coords must have shape [N, 4], got {list(coords.shape)}")
        if coords.dtype.is_floating_point or coords.dtype == torch.bool:
            raise TypeError(f"coords must hold integers, got {coords.dtype}")
        sizes = [int(s) for s in shape]
        if len(sizes) < 3 or any(s < 0 or s > 2**20 for s in sizes[-3:]):
            raise ValueError(f"shape must end in X, Y, Z, each in 0..{2**20}, got {tuple(sizes)}")
        if batches < 0 or max(1, batches) * sizes[-3] * sizes[-2] * sizes[-1] >= 2**63:
            raise ValueError(f"shape is too large for 64-bit keys: {tuple(sizes)} with {batches} batch items")
        self.size: tuple[int, int, int, int] = (batches, sizes[-3], sizes[-2], sizes[-1])
        wide = coords.detach()
        if wide.dtype != torch.int32:
            wide = wide.clamp(-1, 2**31 - 1).int()  # out of range stays so
        self.coords = wide.contiguous()  # [N, 4] int32
        self._slots: Tensor | None = None
        usable = self.coords.shape[0] < _MAX_NATIVE_ROWS and batches < 2**30
        if usable and resolve_backend(backend) == "native":
            native = native_module()
            assert native is not None
            if self.coords.is_cuda and cuda_core("sampling", self.coords.device) is not None:
                self._slots = native.voxel_table_cuda(self.coords, self.size, launch(self.coords.device))
            elif self.coords.device.type == "cpu":
                self._slots = torch.from_numpy(native.voxel_table(self.coords, self.size))

    def sample(
        self,
        feats: Tensor,  # [N, C] float
        grid: Tensor,  # [B, L, 3] float32, voxel units
        mode: Mode = "trilinear",
        *,
        normalize: bool = True,
        quirks: Quirks = "none",
    ) -> Tensor:  # [B, L, C], dtype of feats
        """As `grid_sample_3d`."""
        if mode not in ("trilinear", "nearest"):
            raise ValueError(f"mode must be 'trilinear' or 'nearest', got {mode!r}")
        if quirks not in ("none", "published"):
            raise ValueError(f"quirks must be 'none' or 'published', got {quirks!r}")
        if feats.ndim != 2 or not feats.dtype.is_floating_point:
            raise ValueError(f"feats must be floating point of shape [N, C], got {feats.dtype} {list(feats.shape)}")
        if feats.shape[0] != self.coords.shape[0]:
            raise ValueError(f"coords must have shape [{feats.shape[0]}, 4], got {list(self.coords.shape)}")
        if grid.ndim != 3 or grid.shape[2] != 3 or not grid.dtype.is_floating_point:
            raise ValueError(f"grid must be floating point of shape [B, L, 3], got {grid.dtype} {list(grid.shape)}")
        if grid.shape[0] != self.size[0]:
            raise ValueError(f"grid must have {self.size[0]} batch items as the index, got {grid.shape[0]}")
        if not (feats.device == self.coords.device == grid.device):
            raise ValueError(f"devices differ: feats {feats.device}, coords {self.coords.device}, grid {grid.device}")
        nearest, truncate = mode == "nearest", quirks == "published"
        points = grid.detach()
        if self._slots is not None and (feats.dtype in _CUDA_TYPES or (not feats.is_cuda and feats.itemsize < 4)):
            options = (nearest, truncate, normalize)
            points = points.float().reshape(-1, 3).contiguous()
            out = _Sample.apply(feats.contiguous(), self.coords, self._slots, self.size, points, options)
        else:  # float64, and devices without a compiled core
            points = points.to(torch.promote_types(feats.dtype, torch.float32))
            batches, x, y, z = self.size
            index, weight = locate_reference(
                self.coords, batches, (x, y, z), points, nearest=nearest, truncate=truncate, normalize=normalize
            )
            out = WeightedGather.apply(feats, index, weight)
        return out.reshape(grid.shape[0], grid.shape[1], feats.shape[1])


def grid_sample_3d(
    feats: Tensor,  # [N, C] float
    coords: Tensor,  # [N, 4] int32 (batch, x, y, z), rows unique
    shape: Sequence[int],  # (B, C, X, Y, Z); the last three count
    grid: Tensor,  # [B, L, 3] float32, voxel units, voxel centres at i + 0.5
    mode: Mode = "trilinear",
    *,
    normalize: bool = True,
    quirks: Quirks = "none",
    backend: Backend = "auto",
) -> Tensor:  # [B, L, C], dtype of feats
    """Sample sparse voxels at points; row b of `grid` looks at the voxels of batch item b.

    `trilinear`: the eight voxels around the point that exist, weighted by prod(1 - |q - centre|). With `normalize` (the
    published behaviour) the weights are divided by the sum of those present, so that a point with a single present
    neighbour gets its full value; without, missing voxels count as zero. `nearest`: the voxel that holds the point.
    Points without a voxel, and non-finite ones, get zeros. Sums run in float32 (float64 for float64 `feats`).

    Differentiable in `feats`. The gradient adds up in float32 and is cast once; on a GPU its order of summation varies
    from run to run unless `torch.use_deterministic_algorithms(True)` asks for one order, that of the CPU. To sample the
    same voxels often, make a `VoxelIndex` and call its `sample`. `quirks="published"` makes `nearest` round toward
    zero, so that -1 < q < 0 reads voxel 0.
    Raises TypeError or ValueError on wrong types, shapes, devices and modes.
    """
    if feats.ndim == 2 and coords.ndim == 2 and coords.shape != (feats.shape[0], 4):
        raise ValueError(f"coords must have shape [{feats.shape[0]}, 4], got {list(coords.shape)}")
    if grid.ndim != 3:
        raise ValueError(f"grid must be floating point of shape [B, L, 3], got {grid.dtype} {list(grid.shape)}")
    index = VoxelIndex(coords, shape, batches=grid.shape[0], backend=backend)
    return index.sample(feats, grid, mode, normalize=normalize, quirks=quirks)
