"""Every mesh tool gives the same on a GPU as on the CPU: indices always, positions bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from o_voxel import mesh as M
from o_voxel.convert import flexible_dual_grid_to_mesh
from o_voxel.mesh.components import connected_components, parity_components
from o_voxel.mesh.connectivity import build_edges, face_components
from o_voxel.mesh.grouping import first_equal
from o_voxel.mesh.holes import boundary_loops

pytestmark = pytest.mark.gpu
Mesh = tuple[Tensor, Tensor]


def noisy_surface(size: int = 40) -> Mesh:
    """A decoded sphere with jittered vertices, 1 % flipped flags and 1 % missing voxels."""
    generator = torch.Generator().manual_seed(0)
    axis = (torch.arange(size + 1) / size - 0.5) * 1.1
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = x * x + y * y + z * z < 0.2
    flags = torch.stack([inside[:-1, :-1, :-1] != inside[1:, :-1, :-1], inside[:-1, :-1, :-1] != inside[:-1, 1:, :-1],
                         inside[:-1, :-1, :-1] != inside[:-1, :-1, 1:]], dim=-1)  # fmt: skip
    near = torch.nn.functional.max_pool3d(flags.any(-1)[None, None].float(), 3, 1, 1)[0, 0] > 0
    coords = near.nonzero().int()
    crossing = flags[near] ^ (torch.rand(len(coords), 3, generator=generator) < 0.01)
    keep = torch.rand(len(coords), generator=generator) > 0.01
    local = torch.rand(len(coords), 3, generator=generator)
    box = [[-0.5] * 3, [0.5] * 3]
    v, f = flexible_dual_grid_to_mesh(coords[keep], local[keep], crossing[keep], None, box, grid_size=size)
    return v, f.long()


def soup(count: int = 3000) -> Mesh:
    """Random faces among few vertices: crowded edges, duplicates, degenerate faces."""
    generator = torch.Generator().manual_seed(1)
    v = torch.rand(count // 4, 3, generator=generator, dtype=torch.float64)
    return v, torch.randint(0, count // 4, (count, 3), generator=generator)


def table_of(v: Tensor, f: Tensor) -> list[Tensor]:
    table = build_edges(f)
    return [table.edges, table.counts, table.sides, table.offsets]


def parity_of(v: Tensor, f: Tensor) -> tuple[Tensor, ...]:
    _, sides = build_edges(f).manifold_pairs()
    start = f.reshape(-1)[sides]
    return parity_components(len(f), sides // 3, start[:, 0] == start[:, 1])


def chain(v: Tensor, f: Tensor) -> Mesh:
    v, f = M.remove_duplicate_faces(*M.remove_degenerate_faces(*M.merge_close_vertices(v, f)))
    v, f = M.repair_non_manifold(v, f, pair_sheets=True)
    v, f = M.fill_holes(*M.unify_face_orientations(v, f, cut_conflicts=True), 0.3)
    return v, M.orient_outward(v, f)


TOOLS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "edges": table_of,
    "components": lambda v, f: face_components(f),
    "corner components": lambda v, f: connected_components(int(f.max()) + 1, f[:, :2].contiguous()),
    "parity": parity_of,
    "equal rows": lambda v, f: first_equal(f.sort(dim=1).values),
    "loops": lambda v, f: boundary_loops(f),
    "merge": lambda v, f: M.merge_close_vertices(v, f, 0.01),
    "degenerate": M.remove_degenerate_faces,
    "duplicate": M.remove_duplicate_faces,
    "split": M.repair_non_manifold,
    "sheets": lambda v, f: M.repair_non_manifold(v, f, pair_sheets=True),
    "small": lambda v, f: M.remove_small_components(v, f, 1e-3, relative=True),
    "unify": M.unify_face_orientations,
    "unify by votes": lambda v, f: M.unify_face_orientations(v, f, votes=(f[:, 0] % 3 - 1).float()),
    "outward": M.orient_outward,
    "holes": lambda v, f: M.fill_holes(v, f, 0.3),
    "areas": M.face_areas,
    "normals": M.face_normals,
    "stats": M.mesh_stats,
    "all of it": chain,
}


def _flat(result: object) -> list[object]:
    if isinstance(result, (list, tuple)):
        return [x for part in result for x in _flat(part)]
    return [result]


@pytest.mark.parametrize("make", [noisy_surface, soup])
@pytest.mark.parametrize("tool", TOOLS)
def test_same_on_both_devices(make: Callable[[], Mesh], tool: str) -> None:
    v, f = make()
    want, got = _flat(TOOLS[tool](v, f)), _flat(TOOLS[tool](v.cuda(), f.cuda()))
    assert len(want) == len(got) > 0 or tool == "loops"
    for a, b in zip(want, got, strict=True):
        if not isinstance(a, Tensor):
            assert a == b
            continue
        assert isinstance(b, Tensor) and b.is_cuda and a.dtype == b.dtype
        assert a.shape == b.shape and torch.equal(a, b.cpu())


@pytest.mark.parametrize("make", [noisy_surface, soup])
def test_queries_are_the_same_on_both_devices(make: Callable[[], Mesh]) -> None:
    v, f = make()
    host, device = M.BVH(v, f), M.BVH(v.cuda(), f.cuda())
    generator = torch.Generator().manual_seed(2)
    points = (torch.rand(20_000, 3, generator=generator, dtype=v.dtype) - 0.5) * 1.5
    aims = torch.randn(20_000, 3, generator=generator, dtype=v.dtype)
    p, d = points.cuda(), aims.cuda()
    pairs = [
        (host.nearest(points), device.nearest(p)),
        (host.nearest(points, normals=aims, max_distance=0.2), device.nearest(p, normals=d, max_distance=0.2)),
        (host.ray_trace(points, aims), device.ray_trace(p, d)),
        ([host.count_hits(points, aims)], [device.count_hits(p, d)]),
        ([host.count_hits(points, aims, t_max=0.3, max_hits=2)], [device.count_hits(p, d, t_max=0.3, max_hits=2)]),
        (host.signed_distance(points, True, "raystab"), device.signed_distance(p, True, "raystab")),
    ]
    for want, got in pairs:
        for a, b in zip(want, got, strict=True):
            assert b.is_cuda and torch.equal(a, b.cpu())


@pytest.mark.parametrize("faces", [0, 1, 4, 5, 16, 17, 64, 65])
def test_hierarchies_of_every_small_size(faces: int) -> None:
    v, f = soup()
    f = f[:faces]
    host, device = M.BVH(v, f), M.BVH(v.cuda(), f.cuda())
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for a, b in zip(host.nearest(points), device.nearest(points.cuda()), strict=True):
        assert torch.equal(a, b.cpu())


def test_numpy_points_on_a_mesh_in_device_memory() -> None:
    v, f = soup()
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for a, b in zip(
        M.BVH(v, f).nearest(points.numpy()), M.BVH(v.cuda(), f.cuda()).nearest(points.numpy()), strict=True
    ):
        assert (a == b).all()


def test_vertex_normals_agree_to_rounding() -> None:
    v, f = noisy_surface()
    # Sums of few float64 terms in another order.
    torch.testing.assert_close(M.vertex_normals(v, f), M.vertex_normals(v.cuda(), f.cuda()).cpu(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [noisy_surface, soup])
def test_the_same_bits_on_every_run(make: Callable[[], Mesh]) -> None:
    v, f = (t.cuda() for t in make())
    points = torch.rand(5000, 3, generator=torch.Generator().manual_seed(5), dtype=v.dtype).cuda()
    first, second = ([*chain(v, f), M.vertex_normals(v, f), *M.BVH(v, f).nearest(points)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
