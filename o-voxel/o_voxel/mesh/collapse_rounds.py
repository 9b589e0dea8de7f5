"""The parallel edge collapse of the compiled core: rounds of edges that do not touch each other, on CPU or CUDA.

The steps are the same code on both, so the results have the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import native_module

__all__ = ["Collapsed", "UnitBox", "collapse_rounds"]


class UnitBox(NamedTuple):
    """The box of edge 1 about the origin that the used vertices are moved into."""

    centre: Tensor  # [3] float64
    scale: Tensor  # [] float64

    @classmethod
    def around(cls, vertices: Tensor, faces: Tensor) -> UnitBox:
        used = vertices[_used(vertices, faces)]
        if len(used) == 0:
            return cls(torch.zeros(3, dtype=torch.float64, device=vertices.device), vertices.new_ones(()).double())
        low, high = (x.double() for x in torch.aminmax(used, dim=0))
        extent = (high - low).max()
        return cls((low + high) / 2, torch.where(extent > 0, extent, torch.ones_like(extent)))

    def enter(self, vertices: Tensor) -> Tensor:  # [V, 3] -> float64
        return (vertices.double() - self.centre) / self.scale

    def leave(self, positions: Tensor) -> Tensor:  # [V, 3] float64 -> float64
        return positions * self.scale + self.centre


def _used(vertices: Tensor, faces: Tensor) -> Tensor:
    used = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    used[faces.reshape(-1)] = True
    return used


class Collapsed(NamedTuple):
    positions: Tensor  # [V', 3] float32, in the unit box
    faces: Tensor  # [F', 3] int32, by their lowest vertex, which comes first
    source: Tensor  # [V'] int32, the input vertex that each one grew from
    quadrics: Tensor  # [V', 10] float32: xx, xy, xz, yy, yz, zz, linear part, constant, about the vertex
    held: Tensor  # [V'] bool, on an open or non-manifold edge
    rounds: int

    def to(self, device: torch.device) -> Collapsed:
        positions, faces, source, quadrics, held = (x.to(device) for x in self[:5])
        return Collapsed(positions, faces, source, quadrics, held, self.rounds)


def collapse_rounds(
    positions: Tensor,  # [V, 3] float32, in the unit box
    faces: Tensor,  # [F, 3] int32, in range
    target: int,
    boundary_weight: float,
    regularization: float,
    max_normal_angle_cos: float,
    share: float = 0.06,
) -> Collapsed:
    """Collapse edges in rounds that remove up to `share` of the faces, until `target` are left or nothing more can go.

    At most `target` faces are left, and exactly so many if the number of faces that collapses remove can add up to
    it, unless no edge passes the tests any more: then more. Needs the compiled core, on a GPU with CUDA.
    """
    core = cuda_core() if positions.is_cuda else native_module()
    assert core is not None
    arguments = (target, boundary_weight, regularization, max_normal_angle_cos, share)
    positions, faces = positions.contiguous(), faces.contiguous()
    if positions.is_cuda:
        result = core.mesh_collapse_cuda(positions, faces, *arguments, launch(positions.device))
    else:
        result = core.mesh_collapse(positions.numpy(), faces.numpy(), *arguments)
    num_vertices, num_faces, rounds, *memory = result
    shapes: tuple[tuple[torch.dtype, tuple[int, ...]], ...] = (
        (torch.float32, (num_vertices, 3)),
        (torch.int32, (num_faces, 3)),
        (torch.int32, (num_vertices,)),
        (torch.float32, (num_vertices, 10)),
        (torch.bool, (num_vertices,)),
    )
    # Cloned, because the memory has the size of the input.
    p, f, source, quadrics, held = (as_tensor(block, *spec).clone() for block, spec in zip(memory, shapes, strict=True))
    return Collapsed(p, f, source, quadrics, held, rounds)
