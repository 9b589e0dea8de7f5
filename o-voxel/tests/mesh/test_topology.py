"""The integer core on random soups and on small known shapes: compiled against PyTorch, and what must always hold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel import mesh as M
from o_voxel.mesh.components import connected_components, parity_components
from o_voxel.mesh.connectivity import build_edges, face_components
from o_voxel.mesh.grouping import exact_sums, first_equal
from o_voxel.mesh.holes import boundary_loops
from o_voxel.mesh.split import split_non_manifold
from o_voxel.mesh.views import component_views, hashed_uniform

Mesh = tuple[torch.Tensor, torch.Tensor]


@st.composite
def soups(draw: st.DrawFn, proper: bool = False) -> Mesh:
    """A few vertices and faces drawn at random among them: crowded edges, bow-ties, isolated vertices, duplicates."""
    num = draw(st.integers(3, 12))
    corner = st.integers(0, num - 1)
    face = st.tuples(corner, corner, corner)
    if proper:
        face = face.filter(lambda f: len(set(f)) == 3)
    faces = draw(st.lists(face, max_size=24))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    vertices = torch.rand(num, 3, generator=generator, dtype=torch.float64)
    return vertices, torch.tensor(faces, dtype=torch.int64).reshape(-1, 3)


def _columns(faces: torch.Tensor, backend: str) -> list[torch.Tensor]:
    table = build_edges(faces, backend=backend)  # type: ignore[arg-type]
    return [table.edges, table.counts, table.sides, table.offsets]


@settings(max_examples=60, deadline=None)
@given(soups())
def test_compiled_core_agrees_with_pytorch(mesh: Mesh) -> None:
    v, f = mesh
    for a, b in zip(_columns(f, "native"), _columns(f, "reference"), strict=True):
        assert a.dtype == b.dtype == torch.int64 and torch.equal(a, b)
    rows = torch.sort(f, dim=1).values
    assert torch.equal(first_equal(rows), first_equal(rows, backend="reference"))
    for a, b in zip(boundary_loops(f), boundary_loops(f, backend="reference"), strict=True):
        assert torch.equal(a, b)
    _, sides = build_edges(f).manifold_pairs()
    assert torch.equal(
        connected_components(len(f), sides // 3), connected_components(len(f), sides // 3, backend="reference")
    )


def test_edges_of_a_vertex_with_a_million_faces() -> None:
    n = 300_000
    rim = torch.arange(1, n + 1)
    fan = torch.stack([torch.zeros_like(rim), rim, rim.roll(-1)], dim=1)
    table = build_edges(fan)
    assert table.edges.shape == (2 * n, 2) and bool((table.edges[:n, 0] == 0).all())
    assert len(boundary_loops(fan, table)[0]) == n


@settings(max_examples=60, deadline=None)
@given(soups(proper=True))
def test_split_fans_share_no_vertex_and_keep_every_face(mesh: Mesh) -> None:
    v, f = mesh
    new_v, new_f, source = split_non_manifold(v, f)
    assert torch.equal(source[new_f], f) and torch.equal(new_v, v[source])
    # A vertex is one fan: its corners hang together over edges with two faces.
    again_v, again_f, _ = split_non_manifold(new_v, new_f)
    assert len(again_v) == len(new_v) and torch.equal(again_f, new_f)


@settings(max_examples=60, deadline=None)
@given(soups(proper=True))
def test_no_edge_keeps_more_than_two_faces_and_no_winding_conflicts(mesh: Mesh) -> None:
    v, f = M.remove_duplicate_faces(*mesh)
    area = float(M.face_areas(v, f).sum())
    v, f = M.repair_non_manifold(v, f, pair_sheets=True)
    assert M.mesh_stats(v, f).non_manifold_edges == 0
    assert float(M.face_areas(v, f).sum()) == pytest.approx(area)
    v, f = M.unify_face_orientations(v, f, cut_conflicts=True)
    stats = M.mesh_stats(v, f)
    assert stats.non_manifold_edges == 0 and stats.winding_conflicts == 0
    closed = M.fill_holes(v, f, 100.0)
    after = M.mesh_stats(*closed)
    assert after.non_manifold_edges == 0 and after.winding_conflicts == 0
    assert after.boundary_edges <= stats.boundary_edges


@settings(max_examples=60, deadline=None)
@given(soups())
def test_patches_crowd_no_edge_of_any_soup(mesh: Mesh) -> None:
    v, f = mesh
    before = M.mesh_stats(v, f)
    for backend in ("native", "reference"):
        after = M.mesh_stats(*M.fill_holes(v, f, 100.0, backend=backend))  # type: ignore[arg-type]
        assert after.non_manifold_edges == before.non_manifold_edges


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11), st.booleans()), max_size=30))
def test_spanning_forest_is_what_order_keeps(n: int, links: list[tuple[int, int, bool]]) -> None:
    """The reference, by rounds of components, against pairs honoured one after the other."""
    pairs = [(a % n, b % n) for a, b, _ in links]
    differ = [d for *_, d in links]
    side = {v: {v: False} for v in range(n)}  # component of each node, with colours
    conflicts = []
    for (a, b), d in zip(pairs, differ, strict=True):
        one, two = side[a], side[b]
        if one is two:
            conflicts.append(one[a] ^ one[b] ^ d)
            continue
        conflicts.append(False)
        turn = one[a] ^ two[b] ^ d
        one.update({v: colour ^ turn for v, colour in two.items()})
        side.update(dict.fromkeys(one, one))
    want = [(min(side[v]), side[v][v] ^ side[v][min(side[v])]) for v in range(n)]
    tensor = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    for backend in ("native", "reference"):
        labels, parity, found = parity_components(n, tensor, torch.tensor(differ, dtype=torch.bool), backend=backend)  # type: ignore[arg-type]
        assert list(zip(labels.tolist(), parity.tolist(), strict=True)) == want
        assert found.tolist() == conflicts


def test_wrong_number_of_flags_is_refused() -> None:
    with pytest.raises(ValueError, match="differ must have one entry for each of 1 pairs, got 2"):
        parity_components(3, np.array([[0, 1]]), np.array([True, False]))


def test_single_triangle_and_isolated_vertices_pass_every_tool() -> None:
    v = torch.tensor([[5.0, 5, 5], [0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]])
    f = torch.tensor([[1, 2, 3]], dtype=torch.int32)
    for tool in (M.remove_unreferenced_vertices, M.repair_non_manifold, M.remove_degenerate_faces):
        out_v, out_f = tool(v, f)
        assert out_v.tolist() == v[1:4].tolist() and out_f.tolist() == [[0, 1, 2]] and out_f.dtype == torch.int32
    assert M.fill_holes(v, f, 100.0)[1].tolist() == [[1, 2, 3]]  # a triangle on its own is not a hole
    assert M.mesh_stats(v, f).boundary_edges == 3
    assert M.vertex_normals(v, f).tolist()[0] == [0, 0, 0]


def test_votes_decide_the_winding_of_a_component(shapes: SimpleNamespace) -> None:
    v, f = (torch.from_numpy(a) for a in shapes.sphere(2))
    outward = M.unify_face_orientations(v, f)[1]
    votes = torch.zeros(len(f))
    votes[7] = -1
    flipped = M.unify_face_orientations(v, f, votes=votes)[1]
    assert torch.equal(flipped, outward[:, [0, 2, 1]].to(flipped.dtype))
    assert torch.equal(M.unify_face_orientations(v, f, votes=-votes)[1], outward)
    with pytest.raises(ValueError, match=r"votes must have shape \[320\], got \[3\]"):
        M.unify_face_orientations(v, f, votes=votes[:3])


def test_votes_say_where_a_band_is_cut(shapes: SimpleNamespace) -> None:
    """Of a band with one twist all faces are right but a stretch: the cut is at an end of the stretch."""
    v, f = (torch.from_numpy(a) for a in shapes.moebius(30))
    straight = M.unify_face_orientations(v, f)[1]
    votes = torch.ones(len(f))
    cut_v, cut_f = M.unify_face_orientations(v, straight, cut_conflicts=True, votes=votes)
    assert M.mesh_stats(cut_v, cut_f).winding_conflicts == 0
    assert torch.equal(cut_v[cut_f.long()], v[straight.long()])  # every face kept its winding


def test_a_hole_with_a_chord_is_closed_without_using_it_twice() -> None:
    # A square hole, two opposite corners of which are joined by a fin's edge already.
    v = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [-1, -1, 0], [2, -1, 0], [2, 2, 0], [-1, 2, 0]])
    v = torch.cat([v, torch.tensor([[0.5, 0.5, 1.0]])])
    ring = [[0, 4, 5], [0, 5, 1], [1, 5, 6], [1, 6, 2], [2, 6, 7], [2, 7, 3], [3, 7, 4], [3, 4, 0]]
    f = torch.tensor([*ring, [0, 2, 8]])
    assert M.mesh_stats(v, f).non_manifold_edges == 0
    table = build_edges(f)
    assert table.edges[table.counts == 1].tolist().count([0, 2]) == 1
    after = M.mesh_stats(*M.fill_holes(v, f, 4.5))
    assert after.non_manifold_edges == 0


def test_hashed_numbers_are_uniform_and_repeatable() -> None:
    u = hashed_uniform(20_000, 3, 5, torch.device("cpu"))
    assert torch.equal(u, hashed_uniform(20_000, 3, 5, torch.device("cpu")))
    for seed in (6, -1, 12345678901234567890):
        assert not torch.equal(u, hashed_uniform(20_000, 3, seed, torch.device("cpu")))
    assert float(u.min()) >= 0 and float(u.max()) < 1
    # 60 000 numbers: the mean is within 5 standard errors, 5 / sqrt(12 * 60 000).
    assert abs(float(u.mean()) - 0.5) < 0.006
    assert torch.corrcoef(u.T).fill_diagonal_(0).abs().max() < 0.04


def test_exact_sums_do_not_depend_on_order() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(10_000, generator=generator, dtype=torch.float64) ** 8
    index = torch.randint(0, 7, (10_000,), generator=generator)
    order = torch.randperm(10_000, generator=generator)
    total = exact_sums(values, index, 7)
    assert torch.equal(total, exact_sums(values[order], index[order], 7))
    torch.testing.assert_close(
        total, torch.zeros(7, dtype=torch.float64).index_add_(0, index, values), rtol=1e-12, atol=0
    )


def test_many_components_share_a_bounded_number_of_rays() -> None:
    n = 30_000  # separate triangles, more than get rays
    base = hashed_uniform(n, 3, 0, torch.device("cpu"))[:, None] * 100
    size = torch.linspace(0.1, 0.3, n)[:, None, None]
    v = (base + size * torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)).reshape(-1, 3)
    f = torch.arange(3 * n).reshape(-1, 3)
    view = component_views(v, f)
    asked = view.escape > 0
    assert view.num_rays == 16 and 24_000 < int(asked.sum()) <= 25_000
    assert int(asked[: n // 10].sum()) == 0  # the largest get them


def test_components_of_a_fan_are_numbered_by_their_first_face(shapes: SimpleNamespace) -> None:
    v, f = shapes.fins(3)  # one edge with three faces joins nothing
    assert face_components(f.astype(np.int64)).tolist() == [0, 1, 2]
    assert face_components(torch.from_numpy(f).long()).tolist() == [0, 1, 2]


def _collar(outline: torch.Tensor) -> Mesh:
    """A wall of triangles that hangs below a closed outline [N, 3]: the outline is a hole seen from above."""
    n = len(outline)
    low = outline - torch.tensor([0.0, 0.0, 1.0])
    a = torch.arange(n)
    b = a.roll(-1)
    return torch.cat([outline, low]), torch.cat([torch.stack([a, a + n, b], 1), torch.stack([b, a + n, b + n], 1)])


def test_patch_of_a_long_planar_outline_covers_it_once() -> None:
    turn = torch.arange(300, dtype=torch.float64) / 300 * 2 * torch.pi
    radius = 1 + 0.5 * torch.sin(9 * turn)  # far from convex
    outline = torch.stack([radius * turn.cos(), radius * turn.sin(), 0 * turn], dim=1)
    v, f = _collar(outline)
    loops = boundary_loops(f)
    assert [len(loop) for loop in loops] == [300, 300]
    new_v, new_f = M.fill_holes(v, f, 100.0)
    cap = new_f[len(f) :]
    cap = cap[(cap < 300).all(dim=1)]
    assert len(new_v) == len(v) and len(cap) == 298
    x, y = outline[:, 0], outline[:, 1]
    shoelace = float((x * y.roll(-1) - y * x.roll(-1)).sum() / 2)
    p = new_v[cap]
    signed = (p[:, 1] - p[:, 0]).cross(p[:, 2] - p[:, 0], dim=1)[:, 2] / 2
    assert float(signed.sum()) == pytest.approx(shoelace) and float(signed.abs().sum()) == pytest.approx(shoelace)


def test_a_loop_of_a_hundred_thousand_sides_is_closed_in_bounded_time() -> None:
    turn = torch.arange(100_000, dtype=torch.float64) / 100_000 * 2 * torch.pi
    v, f = _collar(torch.stack([turn.cos(), turn.sin(), 0.1 * (7 * turn).sin()], dim=1))
    stats = M.mesh_stats(*M.fill_holes(v, f, 100.0))
    assert stats.watertight and stats.euler == 2
