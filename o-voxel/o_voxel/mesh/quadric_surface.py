"""A surface under simplification, and the two ways on: many edges at once, or one by one.

Both take the quadric errors that earlier collapses left behind, so one can go on where the other stopped.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import native_module
from o_voxel.mesh.connectivity import build_edges
from o_voxel.mesh.simplify_reference import simplify_reference

__all__ = ["FEW_FACES", "Limits", "Method", "QuadricSurface", "UnitBox", "in_rounds", "one_by_one", "reduce_to"]

Method = Literal["auto", "rounds", "one_by_one"]

#: From this many faces on "auto" collapses one edge at a time, in exact order of cost.
FEW_FACES = 20_000
#: Share of the faces that a round may remove: with 6 % the error is that of the exact order, with 10 % it is 4 % more.
ROUND_SHARE = 0.06


class Limits(NamedTuple):
    boundary_weight: float
    regularization: float
    max_normal_angle_cos: float  # of the largest turn of a face

    @classmethod
    def checked(cls, boundary_weight: float, regularization: float, max_normal_angle: float) -> Limits:
        """Raises ValueError on values out of range. The angle is in degrees."""
        if not 0 < max_normal_angle <= 90:
            raise ValueError(f"max_normal_angle must lie in (0, 90] degrees, got {max_normal_angle}")
        if not (0 <= boundary_weight < math.inf and 0 <= regularization < math.inf):
            raise ValueError(
                f"boundary_weight and regularization must be >= 0 and finite, got {boundary_weight}, {regularization}"
            )
        return cls(float(boundary_weight), float(regularization), math.cos(math.radians(max_normal_angle)))


class UnitBox(NamedTuple):
    """The box of edge 1 about the origin that the used vertices are moved into."""

    centre: Tensor  # [3] float64
    scale: Tensor  # [] float64

    @classmethod
    def around(cls, vertices: Tensor, faces: Tensor) -> UnitBox:
        used = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
        used[faces.reshape(-1)] = True
        points = vertices[used]
        if len(points) == 0:
            return cls(torch.zeros(3, dtype=torch.float64, device=vertices.device), vertices.new_ones(()).double())
        low, high = (x.double() for x in torch.aminmax(points, dim=0))
        extent = (high - low).max()
        return cls((low + high) / 2, torch.where(extent > 0, extent, torch.ones_like(extent)))

    def enter(self, vertices: Tensor) -> Tensor:  # [V, 3] -> float64
        return (vertices.double() - self.centre) / self.scale

    def leave(self, positions: Tensor) -> Tensor:  # [V, 3] float64 -> float64
        return positions * self.scale + self.centre


class QuadricSurface(NamedTuple):
    positions: Tensor  # [V, 3] float64, in the unit box; after rounds the values are those of float32
    faces: Tensor  # [F, 3] int32, in range
    source: Tensor  # [V] int64, the vertex of the first surface that each one grew from
    quadrics: Tensor | None = None  # [V, 10]: xx, xy, xz, yy, yz, zz, linear part, constant, about the vertex
    held: Tensor | None = None  # [V] bool, on an open or non-manifold edge

    @classmethod
    def start(cls, positions: Tensor, faces: Tensor) -> QuadricSurface:
        return cls(positions, faces.int(), torch.arange(len(positions), device=positions.device))


def in_rounds(
    surface: QuadricSurface, target: int, limits: Limits, share: float = ROUND_SHARE
) -> tuple[QuadricSurface, int]:
    """Collapse edges that do not touch, in rounds that remove up to `share` of the faces: -> (surface, rounds).

    Ends with exactly `target` faces if collapses can add up to that, else with one less, or with more if no such edge
    passes the tests any more. The same bits on CPU threads and CUDA. Needs the compiled core; a GPU without its kernels
    has the work done on the CPU.
    """
    device = surface.positions.device
    on_gpu = surface.positions.is_cuda and cuda_core("simplify", device) is not None
    core = cuda_core() if on_gpu else native_module()
    assert core is not None
    where = device if on_gpu else torch.device("cpu")
    positions = surface.positions.float().to(where).contiguous()
    faces = surface.faces.to(where).contiguous()
    quadrics = None if surface.quadrics is None else surface.quadrics.float().to(where).contiguous()
    held = None if surface.held is None else surface.held.to(torch.uint8).to(where)
    if on_gpu:
        result = core.mesh_collapse_cuda(positions, faces, target, *limits, share, launch(device), quadrics, held)
    else:
        state = [None if x is None else x.numpy() for x in (quadrics, held)]
        result = core.mesh_collapse(positions.numpy(), faces.numpy(), target, *limits, share, *state)
    del positions, faces
    num_vertices, num_faces, rounds, *memory = result
    shapes: tuple[tuple[torch.dtype, tuple[int, ...]], ...] = (
        (torch.float32, (num_vertices, 3)),
        (torch.int32, (num_faces, 3)),
        (torch.int32, (num_vertices,)),
        (torch.float32, (num_vertices, 10)),
        (torch.bool, (num_vertices,)),
    )
    # Cloned, because the memory has the size of the input.
    p, f, source, q, h = (
        as_tensor(block, *spec).clone().to(device) for block, spec in zip(memory, shapes, strict=True)
    )
    return QuadricSurface(p.double(), f, surface.source[source.long()], q, h), rounds


def one_by_one(
    surface: QuadricSurface, target: int, limits: Limits, must_reach_target: bool, native: bool
) -> tuple[QuadricSurface, int]:
    """Collapse one edge at a time, the cheapest first: -> (surface, phase). On the CPU, in one thread."""
    device = surface.positions.device
    positions, faces = surface.positions.cpu().numpy(), surface.faces.cpu().numpy()
    core = native_module() if native else None
    if core is None:
        p, f, kept, phase = simplify_reference(positions, faces, target, *limits, must_reach_target)
        source = surface.source[torch.from_numpy(kept).to(device)]
        return QuadricSurface(torch.from_numpy(p).to(device), torch.from_numpy(f).int().to(device), source), phase
    result = core.mesh_simplify(positions, faces, target, *limits, 2 * must_reach_target, *host_state(surface))
    return reduced(surface, result)


def host_state(surface: QuadricSurface) -> tuple[object, object]:
    """Quadrics and held flags as the compiled core takes them on the host."""
    quadrics = None if surface.quadrics is None else surface.quadrics.double().cpu().numpy()
    held = None if surface.held is None else surface.held.to(torch.uint8).cpu().numpy()
    return quadrics, held


def reduced(before: QuadricSurface, result: tuple) -> tuple[QuadricSurface, int]:
    """What `mesh_simplify` of the core returned, as a surface on the device of the one that it had: with the phase."""
    device = before.positions.device
    positions, faces, kept, phase, quadrics, held = result
    p, f, k, q, h = (torch.from_numpy(x).to(device) for x in (positions, faces, kept, quadrics, held))
    return QuadricSurface(p, f, before.source[k.long()], q, h.bool()), phase


def reduce_to(
    surface: QuadricSurface, target: int, limits: Limits, method: Method, must_reach_target: bool, native: bool
) -> tuple[QuadricSurface, int]:
    """`target` faces by the method: -> (surface, phase as in `SimplifyResult`)."""
    before = surface.faces
    surface, phase = _collapse_to(surface, target, limits, method, must_reach_target, native)
    lacking = target - len(surface.faces)
    if lacking > 0 and (phase == 0 or lacking == 1):  # a face is no loss if it had no corners to begin with
        lost = int((before != before[:, [1, 2, 0]]).all(1).sum()) - len(surface.faces)
        for _ in range(min(lacking, lost)):
            surface = split_open_face(surface)
    return surface, phase


def _collapse_to(
    surface: QuadricSurface, target: int, limits: Limits, method: Method, must_reach_target: bool, native: bool
) -> tuple[QuadricSurface, int]:
    stop = max(target, FEW_FACES) if method == "auto" else target
    if native and method != "one_by_one" and (method == "rounds" or len(surface.faces) > stop):
        surface, _ = in_rounds(surface, stop, limits)
        if len(surface.faces) <= target:
            return surface, 0
    return one_by_one(surface, target, limits, must_reach_target, native)


def split_open_face(surface: QuadricSurface) -> QuadricSurface:
    """One face more on the same surface: the longest open edge gets a vertex in its middle. Unchanged if it is closed.

    Where collapses that take two faces away leave one too few, this makes up for it.
    """
    table = build_edges(surface.faces)
    open_edges = (table.counts == 1).nonzero()[:, 0]
    if len(open_edges) == 0:
        return surface
    a, b = table.edges[open_edges].long().unbind(1)
    length = (surface.positions[a] - surface.positions[b]).square().sum(1)
    chosen = int(open_edges[int((length == length.max()).nonzero()[0, 0])])
    face, k = divmod(int(table.sides[table.offsets[chosen]]), 3)
    start, end, tip = (int(surface.faces[face, (k + i) % 3]) for i in range(3))
    middle = len(surface.positions)
    faces = torch.cat([surface.faces, surface.faces.new_tensor([[middle, end, tip]])])
    faces[face] = faces.new_tensor([start, middle, tip])
    position = (surface.positions[start] + surface.positions[end])[None] / 2
    if surface.quadrics is None or surface.held is None:
        quadrics, held = None, None
    else:  # nothing is known of the new vertex, besides that it lies on an open edge
        quadrics = torch.cat([surface.quadrics, torch.zeros_like(surface.quadrics[:1])])
        held = torch.cat([surface.held, torch.ones_like(surface.held[:1])])
    source = torch.cat([surface.source, surface.source[start : start + 1]])
    return QuadricSurface(torch.cat([surface.positions, position]), faces, source, quadrics, held)
