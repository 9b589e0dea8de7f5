"""What is inside and what is outside of a surface that may have holes, as labels of grid nodes.

Nodes are the corners of voxels. Labels spread along grid edges that no triangle crosses, from the border of the grid.
Around rims (edges of an odd number of faces) they first stop `gap / 2` voxels away, which closes holes up to `gap`
voxels across; what is then not reached is inside. The ring that was left out is given to both sides step by step, so
that they meet in the middle of a hole. Far from rims nothing is closed: a narrow cleft or a bottle's neck stays open.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from o_voxel._native import Backend
from o_voxel.mesh.remesh_core import BitSet, NodeGrid

__all__ = ["Solid", "label_nodes"]

# Nodes lie off the lattice by these shares of a voxel: coordinates on the lattice are frequent and would be ambiguous.
OFF_LATTICE = (3.1e-5, 5.3e-5, 7.7e-5)
MARGIN = 3  # empty nodes around the mesh, besides the closing radius
MAX_NODES = 2**33
MEETING_STEPS = 2  # by which both sides advance in turn for each ring of a closed hole


@dataclass(frozen=True)
class Solid:
    """Labels of a node grid around a mesh, and where the mesh crosses the grid edges."""

    grid: NodeGrid
    vertices: Tensor  # [V, 3] float64, in voxels; nodes at integers
    faces: Tensor  # [F, 3] int32
    crossed: BitSet  # 3 sets: edges along x, y, z by their start node
    first: Tensor  # [crossed.count] int64, smallest (place on the edge, face), packed
    last: Tensor  # [crossed.count] int64, largest
    outside: Tensor  # [W] int64
    reachable: Tensor  # [W] int64, what would be outside if no hole was closed
    origin: Tensor  # [3] float64, world position of node 0
    voxel_size: Tensor  # [3] float64

    def to_world(self, points: Tensor) -> Tensor:
        """[N, 3] from voxels of this grid."""
        return points * self.voxel_size + self.origin

    @property
    def leaks(self) -> bool:
        """Whether the outside would get in through holes that were closed."""
        return not torch.equal(self.outside, self.reachable)

    def face_sides(self, outside: Tensor | None = None) -> Tensor:
        """Crossings of each face with grid edges: [F, 5] int32.

        All; those with the front outside; with the back outside; with both; outermost of several faces on an edge with
        both ends outside. `outside` may be another label.
        """
        outside = self.outside if outside is None else outside
        counts = torch.empty(len(self.faces) * 5, dtype=torch.int32, device=self.grid.device)
        self.grid.call("face_sides", self.vertices, self.faces, self.grid.size, *self.crossings, outside, counts)
        return counts.reshape(-1, 5)

    @property
    def crossings(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of the core."""
        return self.crossed.bits, self.crossed.before, self.first, self.last


def label_nodes(
    vertices: Tensor,  # [V, 3] float
    faces: Tensor,  # [F, 3] int
    voxel_size: Tensor,  # [3] float64, on any device
    origin: Tensor,  # [3] float64, a voxel corner
    *,
    gap: float = 4.0,
    walls: Tensor | None = None,  # [F] bool
    box: Tensor | None = None,  # [2, 3] float64
    backend: Backend = "auto",
) -> Solid:
    """Label the nodes around a mesh; `gap` in voxels is the width of holes to be closed.

    Faces that are not `walls` (glass) let the outside through; they are left out of everything. `box` (lowest and
    highest corner) bounds the grid; what lies beyond is outside.

    Raises ValueError if there is no face, or the grid would have 2^33 nodes or more.
    """
    if walls is not None:
        faces = faces[walls]
    if len(faces) == 0:
        raise ValueError("faces must not be empty: there is no surface")
    device = vertices.device
    h, start = voxel_size.double().to(device), origin.double().to(device)
    local = (vertices.double() - start) / h
    rings = max(0, round(gap / 2))
    used = torch.zeros(len(local), dtype=torch.bool, device=device)
    used[faces.reshape(-1).long()] = True
    low_high = torch.aminmax(local[used], dim=0)
    bounds = torch.stack([low_high.min, low_high.max]).cpu()
    if box is not None:
        limits = ((box.double().to(device) - start) / h).cpu()
        bounds = torch.minimum(torch.maximum(bounds, limits[0]), limits[1])
    low = bounds[0].floor() - (MARGIN + rings)
    cells = bounds[1].ceil() - low + (MARGIN + rings)
    if not float(cells.add(1).prod()) < MAX_NODES:
        sides = " x ".join(f"{n:.3g}" for n in cells.tolist())
        raise ValueError(f"the grid must have fewer than 2^33 nodes, got {sides}: use larger voxels")
    size = (int(cells[0]) + 1, int(cells[1]) + 1, int(cells[2]) + 1)
    grid = NodeGrid(size, device, backend)
    off = torch.tensor(OFF_LATTICE, dtype=torch.float64, device=device)
    local = (local - low.to(device) + off).contiguous()
    faces = faces.int().contiguous()

    walls_bits = grid.zeros(3)
    grid.call("mark_crossings", local, faces, size, walls_bits)
    crossed = grid.numbered(walls_bits)
    first = torch.full((crossed.count,), -1, dtype=torch.int64, device=device)
    last = torch.zeros(crossed.count, dtype=torch.int64, device=device)
    grid.call("record_crossings", local, faces, size, crossed.bits, crossed.before, first, last)
    outside = _spread(grid, crossed.bits, _rings_around_rims(grid, local, faces, rings))
    reachable = outside.clone()
    grid.call("flood", reachable, crossed.bits, None, None, size)
    world = start + (low.to(device) - off) * h
    return Solid(grid, local, faces, crossed, first, last, outside, reachable, world, h)


def _rings_around_rims(grid: NodeGrid, local: Tensor, faces: Tensor, rings: int) -> list[Tensor]:
    """Nodes within 1, 2, ... `rings` steps of a rim, without the last; empty if the mesh has no rim."""
    if rings == 0:
        return []
    hashes = torch.zeros(len(local), dtype=torch.int64, device=grid.device)
    grid.call("rim_hashes", faces, hashes)
    if not bool(hashes.any()):
        return []
    near = grid.zeros()
    grid.call("mark_rims", local, faces, hashes, grid.size, near)
    result = [near]
    for _ in range(rings - 1):
        wider = grid.empty()
        grid.call("dilate", result[-1], grid.size, wider)
        result.append(wider)
    return result


def _spread(grid: NodeGrid, walls: Tensor, rings: list[Tensor]) -> Tensor:
    """Outside nodes."""
    outside = grid.border()
    closed = rings[-1] if rings else None
    grid.call("flood", outside, walls, closed, None, grid.size)
    if closed is None:
        return outside
    inside = grid.everything().bitwise_and_((closed | outside).bitwise_not_())
    for ring in [*reversed(rings[:-1]), None]:
        for _ in range(MEETING_STEPS):
            outside = _step(grid, outside, walls, ring, inside)
            inside = _step(grid, inside, walls, ring, outside)
        grid.call("flood", outside, walls, ring, inside, grid.size)
        grid.call("flood", inside, walls, ring, outside, grid.size)
    return outside


def _step(grid: NodeGrid, labels: Tensor, walls: Tensor, closed: Tensor | None, other: Tensor) -> Tensor:
    out = grid.empty()
    grid.call("step", labels, walls, closed, other, grid.size, out)
    return out
