"""Distance and ray queries against brute force and closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from o_voxel.mesh import BVH


def test_nearest_matches_brute_force() -> None:
    rng = np.random.default_rng(0)
    v, f = rng.random((120, 3)), rng.integers(0, 120, (200, 3))  # a soup with degenerate faces in it
    points = rng.random((300, 3)) * 2 - 0.5
    fast, slow = BVH(v, f, backend="native"), BVH(v, f, backend="reference")
    d, face, uvw = fast.nearest(points)
    d2, _, uvw2 = slow.nearest(points)
    np.testing.assert_allclose(d, d2, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(fast.closest_points(face, uvw) - points, axis=1), d, atol=1e-12)
    for w in (uvw, uvw2):
        np.testing.assert_allclose(w.sum(1), 1)
        assert w.min() > -1e-9


def test_nearest_respects_normals(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube(1.0)
    thin = v * np.array([1, 1, 0.01], dtype=np.float32)
    points = np.array([[0.1, 0.2, 0.004]] * 2)
    normals = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    for backend in ("native", "reference"):
        bvh = BVH(thin, f, backend=backend)  # type: ignore[arg-type]
        d, face, uvw = bvh.nearest(points, normals=normals)
        np.testing.assert_allclose(bvh.closest_points(face, uvw)[:, 2], [0.005, -0.005], atol=1e-9)
        np.testing.assert_allclose(d, [0.001, 0.009], atol=1e-9)
        _, face, _ = BVH(v[f[0]], np.array([[0, 1, 2]]), backend=backend).nearest(  # type: ignore[arg-type]
            points, normals=np.zeros((2, 3)), min_cos=0.5
        )
        assert face.tolist() == [-1, -1]


def test_ties_go_to_the_lowest_face(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube(1.0)
    both = np.concatenate([f, f])
    _, face, _ = BVH(v, both).nearest(np.random.default_rng(0).normal(size=(500, 3)))
    assert face.max() < len(f)


def test_distances_of_a_sphere(shapes: SimpleNamespace) -> None:
    v, f = shapes.sphere(5, 0.4)
    points = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 50, 3)).astype(np.float32) * 0.4)
    bvh = BVH(v, f)
    want = points.norm(dim=-1) - 0.4
    unsigned = bvh.unsigned_distance(points, return_uvw=True)
    assert unsigned.distance.shape == (4, 50) and unsigned.uvw.shape == (4, 50, 3)
    assert unsigned.distance.dtype == torch.float32 and unsigned.face_id.dtype == torch.int64
    torch.testing.assert_close(unsigned.distance, want.abs(), atol=1e-3, rtol=0)
    for mode in ("watertight", "raystab"):
        signed = bvh.signed_distance(points, mode=mode).distance  # type: ignore[arg-type]
        clear = want.abs() > 2e-3
        torch.testing.assert_close(signed[clear], want[clear], atol=1e-3, rtol=0)


def test_signs_at_sharp_edges_and_corners(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube(1.0)
    points = np.array([[0.6, 0.6, 0.6], [0.4, 0.45, 0.45], [0.6, 0.6, 0.0], [0.0, 0.499, 0.4999]])
    d = BVH(v, f).signed_distance(points).distance
    np.testing.assert_allclose(d, [0.1 * 3**0.5, -0.05, 0.1 * 2**0.5, -0.0001], atol=1e-6)


def test_rays_match_brute_force() -> None:
    rng = np.random.default_rng(2)
    v, f = rng.random((90, 3)), rng.integers(0, 90, (150, 3))
    o = rng.normal(size=(400, 3)) * 2
    d = rng.random((400, 3)) * 1.6 - 0.3 - o  # towards the soup, some past it
    fast, slow = BVH(v, f, backend="native"), BVH(v, f, backend="reference")
    a, b = fast.ray_trace(o, d), slow.ray_trace(o, d)
    np.testing.assert_array_equal(a.face_id, b.face_id)
    hit = a.face_id >= 0
    assert 0.1 < hit.mean() < 0.9
    np.testing.assert_allclose(a.depth[hit], b.depth[hit])
    np.testing.assert_allclose(a.positions[hit], o[hit] + a.depth[hit, None] * d[hit])
    assert np.isinf(a.depth[~hit]).all()
    np.testing.assert_array_equal(fast.count_hits(o, d), slow.count_hits(o, d))


def test_axis_rays_through_edges_do_not_slip_through(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube(1.0)
    o = np.stack([np.linspace(-0.5, 0.5, 21), np.linspace(-0.5, 0.5, 21), np.full(21, 2.0)], 1)  # along the diagonal
    hit = BVH(v, f).ray_trace(o, np.tile([0.0, 0.0, -1.0], (21, 1)))
    np.testing.assert_allclose(hit.depth, 1.5)


def test_single_triangle_needs_no_minimum_size() -> None:
    v = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    r = BVH(v, torch.tensor([[0, 1, 2]])).unsigned_distance(torch.tensor([0.25, 0.25, 2.0]), return_uvw=True)
    assert r.distance.item() == pytest.approx(2.0)
    torch.testing.assert_close(r.uvw, torch.tensor([0.5, 0.25, 0.25]))


def test_bad_queries_are_refused(shapes: SimpleNamespace) -> None:
    bvh = BVH(*shapes.cube())
    with pytest.raises(ValueError, match=r"points must have shape \[..., 3\]"):
        bvh.unsigned_distance(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="points must be finite"):
        bvh.unsigned_distance(np.full((4, 3), np.nan))
    with pytest.raises(ValueError, match="mode must be"):
        bvh.signed_distance(np.zeros((1, 3)), mode="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="directions must not be zero, got zero at row 1"):
        bvh.ray_trace(np.zeros((2, 3)), np.array([[1.0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="one shape"):
        bvh.ray_trace(np.zeros((2, 3)), np.zeros((3, 3)))


@pytest.mark.parametrize("scale", [1e-18, 1e-6, 1.0, 1e6, 1e17])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_scale_and_place(scale: float, offset: float, dtype: torch.dtype) -> None:
    """Boxes are float32 and rounded outward: no face is lost far from the origin or at extreme sizes."""
    generator = torch.Generator().manual_seed(5)
    v = ((torch.rand(200, 3, generator=generator, dtype=torch.float64) + offset) * scale).to(dtype)
    f = torch.randint(0, 200, (400, 3), generator=generator)
    points = ((torch.rand(200, 3, generator=generator, dtype=torch.float64) * 1.4 - 0.2 + offset) * scale).to(dtype)
    aims = torch.randn(200, 3, generator=generator, dtype=torch.float64).to(dtype)
    fast, slow = built(v, f, "native"), built(v, f, "reference")
    rounding = (1 + offset) * scale * (1e-12 if dtype == torch.float64 else 1e-6)
    torch.testing.assert_close(fast.nearest(points)[0], slow.nearest(points)[0], atol=rounding, rtol=0)
    # The two tests of a ray and a triangle may differ at an edge: rarely, on random rays never.
    assert torch.equal(fast.count_hits(points, aims), slow.count_hits(points, aims))
    hits, misses = fast.ray_trace(points, aims), slow.ray_trace(points, aims)
    assert torch.equal(hits.face_id, misses.face_id)


@pytest.mark.parametrize("kind", ["soup", "fan"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_faces_whose_boxes_lie_in_one_another(kind: str, dtype: torch.dtype) -> None:
    """Most boxes hold every point, so the quick tests of planes and lines decide; they lose nothing."""
    generator = torch.Generator().manual_seed(8)
    if kind == "soup":
        v, f = torch.rand(900, 3, generator=generator, dtype=torch.float64), torch.arange(900).view(-1, 3)
    else:  # around one edge
        turn = torch.arange(300, dtype=torch.float64) * (2 * torch.pi / 300)
        tips = torch.stack([0.4 * turn.cos(), 0.4 * turn.sin(), 0 * turn], 1)
        v = torch.cat([torch.tensor([[0.0, 0, -0.3], [0, 0, 0.3]], dtype=torch.float64), tips])
        f = torch.stack([torch.zeros(300), torch.ones(300), torch.arange(300) + 2], 1).long()
    v = v.to(dtype)
    weights = torch.rand(400, 3, generator=generator, dtype=torch.float64)
    weights[::3, 0] = 0  # on a side, some on the edge of all faces
    weights /= weights.sum(1, keepdim=True)
    on = (v[f[torch.randint(0, 300, (400,), generator=generator)]] * weights[..., None]).sum(1).to(dtype)
    aims = torch.randn(400, 3, generator=generator, dtype=torch.float64).to(dtype)
    fast, slow = built(v, f, "native"), built(v, f, "reference")
    rounding = 1e-12 if dtype == torch.float64 else 1e-7
    for points in (on, on + 1e-3 * aims):
        distance, face, _ = fast.nearest(points)
        torch.testing.assert_close(distance, slow.nearest(points)[0], atol=rounding, rtol=0)
        assert len(face.unique()) > 100
        begin = points + 1e-2 * aims  # off the faces, where the two ways of counting agree
        assert torch.equal(fast.count_hits(begin, aims), slow.count_hits(begin, aims))
        assert torch.equal(fast.ray_trace(begin, aims).face_id, slow.ray_trace(begin, aims).face_id)


def built(v: torch.Tensor, f: torch.Tensor, backend: str) -> BVH:
    return BVH(v, f, backend=backend)  # type: ignore[arg-type]


def test_limits_of_distance_and_of_rays(shapes: SimpleNamespace) -> None:
    v, f = shapes.cube(1.0)
    for backend in ("native", "reference"):
        bvh = BVH(v, f, backend=backend)  # type: ignore[arg-type]
        distance, face, uvw = bvh.nearest(np.array([[0.0, 0, 2], [0, 0, 1]]), max_distance=0.5)
        assert distance.tolist() == [np.inf, 0.5] and face[0] == -1 and face[1] >= 0 and uvw[0].tolist() == [0, 0, 0]
        rays = np.tile([[0.1, 0.2, 2.0]], (3, 1)), np.tile([[0.0, 0, -1]], (3, 1))
        assert bvh.count_hits(*rays).tolist() == [2] * 3
        assert bvh.count_hits(*rays, t_max=1.5).tolist() == [1] * 3
        assert bvh.count_hits(*rays, t_max=1.4).tolist() == [0] * 3
        assert bvh.count_hits(*rays, t_min=1.6).tolist() == [1] * 3
        assert bvh.count_hits(*rays, max_hits=1).tolist() == [1] * 3


def test_tensors_and_arrays_give_the_same(shapes: SimpleNamespace) -> None:
    v, f = shapes.torus()
    points = np.random.default_rng(6).normal(size=(100, 3)) * 0.4
    arrays, tensors = BVH(v, f), BVH(torch.from_numpy(v), torch.from_numpy(f))
    assert isinstance(arrays.vertices, np.ndarray) and isinstance(tensors.vertices, torch.Tensor)
    for a, b in zip(arrays.nearest(points), tensors.nearest(torch.from_numpy(points)), strict=True):
        assert isinstance(a, np.ndarray) and isinstance(b, torch.Tensor)
        np.testing.assert_array_equal(a, b.numpy())
    narrow = tensors.nearest(torch.from_numpy(points).float())
    assert narrow[0].dtype == torch.float32 and narrow[1].dtype == torch.int64
    near = arrays.closest_points(*arrays.nearest(points)[1:])
    np.testing.assert_allclose(np.linalg.norm(near - points, axis=1), arrays.nearest(points)[0], atol=1e-12)
