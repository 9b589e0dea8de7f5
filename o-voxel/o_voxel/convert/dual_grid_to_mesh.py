"""Flexible dual grid -> triangle mesh: one quad per crossed grid edge."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.convert.quirks import Quirks, check_quirks
from o_voxel.grid import MAX_GRID_SIZE, Grid, VectorLike, local_to_world, resolve_grid
from o_voxel.reference.dual_mesh import Split, dual_mesh

__all__ = ["flexible_dual_grid_to_mesh"]

_SPLITS: dict[Split, int] = {"weight": 0, "flatter": 1, "published": 2}  # as in src/dualmesh
_MAX_NATIVE_ROWS = 1 << 29  # rows, quads and corners of the core are 32-bit


class _DualMesh(torch.autograd.Function):
    """The compiled core, on the device of its inputs: (local, weight) -> (vertices, triangles)."""

    @staticmethod
    def forward(
        ctx: Any, local: Tensor, weight: Tensor | None, coords: Tensor, flags: Tensor, grid: Grid, split: Split,
        train: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        native = native_module()
        assert native is not None
        ctx.launch = (launch(coords.device),) if coords.is_cuda else ()
        ctx.size, ctx.cells, ctx.train = grid.voxel_size.tolist(), grid.grid_size.tolist(), train
        rows = coords.shape[0]
        call = native.dual_mesh_cuda if coords.is_cuda else native.dual_mesh
        arguments = grid.aabb[0].tolist(), ctx.cells, _SPLITS[split], train, *ctx.launch
        quads, vertices, triangles, *kept = call(coords, local, flags, weight, ctx.size, *arguments)
        points = as_tensor(vertices, local.dtype, (rows + (quads if train else 0), 3))
        corners = as_tensor(triangles, torch.int32, ((4 if train else 2) * quads, 3))
        if train and (ctx.needs_input_grad[0] or ctx.needs_input_grad[1]):
            kept = [as_tensor(memory, torch.uint8, (memory.nbytes,)) for memory in kept]
            corners_of = as_tensor(kept[0], torch.int32, (quads, 4))
            ctx.save_for_backward(weight, coords, points, corners_of, *kept[1:])
        ctx.mark_non_differentiable(corners)
        return points, corners

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.train:
            grad = grads[0] * torch.tensor(ctx.size, dtype=grads[0].dtype, device=grads[0].device)
            return grad, None, None, None, None, None, None
        native = native_module()
        assert native is not None
        weight, coords, *kept = ctx.saved_tensors
        call = native.dual_mesh_backward_cuda if coords.is_cuda else native.dual_mesh_backward
        memory = call(coords, weight, *kept, grads[0].contiguous(), ctx.size, ctx.cells, *ctx.launch)
        local = as_tensor(memory[0], weight.dtype, (len(coords), 3))
        return local, as_tensor(memory[1], weight.dtype, (len(coords),)), None, None, None, None, None


def _use_core(backend: Backend, coords: Tensor, local: Tensor, weight: Tensor | None) -> bool:
    """Whether the compiled core takes this call; else the PyTorch reference runs, on the same device."""
    if resolve_backend(backend) != "native" or coords.shape[0] >= _MAX_NATIVE_ROWS:
        return False
    if local.dtype not in (torch.float32, torch.float64) or (weight is not None and weight.dtype != local.dtype):
        return False
    return coords.device.type == "cpu" or (coords.is_cuda and cuda_core("dual_grid_to_mesh", coords.device) is not None)


def flexible_dual_grid_to_mesh(
    coords: Tensor,  # [N, 3] int32, unique rows
    dual_vertices: Tensor,  # [N, 3] float, voxel-local; half precision is widened to float32
    intersected_flag: Tensor,  # [N, 3] bool
    split_weight: Tensor | None,  # [N, 1] or [N] float > 0
    aabb: Any,  # [2, 3] world
    voxel_size: VectorLike | None = None,
    grid_size: VectorLike | None = None,
    train: bool = False,
    *,
    backend: Backend = "auto",
    quirks: Quirks = None,
) -> tuple[Tensor, Tensor]:  # [N, 3] or [N+L, 3] float world, [2L, 3] or [4L, 3] int32; on the device of coords
    """Convert a flexible dual grid to a triangle mesh with one quad per crossed edge whose four voxels exist.

    The first N vertices are those of the voxels, in input order, also of voxels in no quad. A quad is cut along q0-q2
    if w0 w2 > w1 w3, or, without `split_weight`, along the flatter diagonal (larger cosine between unit normals). With
    `train` it is cut into four around a centre: the weighted mean of its diagonals' midpoints, appended after the N
    vertices; this form is differentiable in `split_weight` too. Differentiable in `dual_vertices` always.

    All quads face the negative axis of their flag: orientation carries no meaning. If both sizes are given,
    `voxel_size` wins. `quirks="published"` always cuts along q0-q2 when there is no weight (unless that triangle has no
    area), and returns int64 triangles in training mode.

    Raises ValueError on wrong shapes, dtypes or devices, coordinates outside the grid or repeated, or `train` without
    weights.
    """
    published = check_quirks(quirks)
    for value, name in ((coords, "coords"), (dual_vertices, "dual_vertices"), (intersected_flag, "intersected_flag")):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        if value.ndim != 2 or value.shape[1] != 3 or value.shape[0] != coords.shape[0]:
            raise ValueError(f"{name} must have shape [{coords.shape[0]}, 3], got {list(value.shape)}")
        if value.device != coords.device:
            raise ValueError(f"{name} must be on the device of coords, {coords.device}, got {value.device}")
    if coords.is_floating_point() or coords.dtype == torch.bool:
        raise ValueError(f"coords must be an integer tensor, got {coords.dtype}")
    if not dual_vertices.is_floating_point():
        raise ValueError(f"dual_vertices must be a float tensor, got {dual_vertices.dtype}")
    weight = None
    if split_weight is not None:
        if split_weight.device != coords.device:
            raise ValueError(f"split_weight must be on device {coords.device} as coords, got {split_weight.device}")
        if split_weight.numel() != coords.shape[0]:
            raise ValueError(f"split_weight must have shape [{coords.shape[0]}, 1], got {list(split_weight.shape)}")
        weight = split_weight.reshape(-1).to(torch.promote_types(split_weight.dtype, torch.float32))
    elif train:
        raise ValueError("split_weight must be given when train=True, got None")
    grid = resolve_grid(voxel_size, grid_size, aabb, prefer_voxel_size=True)
    cells = coords.detach()
    if cells.dtype != torch.int32:
        cells = cells.clamp(-1, MAX_GRID_SIZE).int()  # out of range stays so
    cells, flags = cells.contiguous(), intersected_flag.detach().bool().contiguous()
    wide = dual_vertices.to(torch.promote_types(dual_vertices.dtype, torch.float32))  # half cannot hold coordinates
    split: Split = "weight" if weight is not None else ("published" if published else "flatter")
    if _use_core(backend, cells, wide, weight):
        weight = weight if weight is None else weight.contiguous()
        vertices, triangles = _DualMesh.apply(wide.contiguous(), weight, cells, flags, grid, split, train)
    else:
        vertices = local_to_world(wide, cells, grid)
        vertices, triangles = dual_mesh(cells, vertices, flags, weight, grid.grid_size, split=split, train=train)
        if vertices.shape[0] < 2**31:
            triangles = triangles.int()
    return vertices, triangles.long() if published and train else triangles
