"""The voxel renderer: vector, geometry by hand, native against reference, bad input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.rasterize import VoxelRenderer, intrinsics_to_projection

BACKENDS = ["reference"] + (["native"] if native_module() is not None else [])
needs_native = pytest.mark.skipif(native_module() is None, reason="compiled core not built")


def _camera(distance: float = 2.0, focal: float = 1.0, cx: float = 0.5, cy: float = 0.5) -> tuple[Tensor, Tensor]:
    """Looking along world +z from (0, 0, -distance)."""
    extrinsics = torch.eye(4)
    extrinsics[2, 3] = distance
    return extrinsics, torch.tensor([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("quirks", ["published", "none"])
def test_matches_vector(vectors_dir: Path, backend: str, quirks: str) -> None:
    data = np.load(vectors_dir / "o_voxel" / "voxel_render.npz")
    names = ("position", "attrs", "extrinsics", "intrinsics", "attr", "depth", "alpha")
    position, attrs, extrinsics, intrinsics, attr, depth, alpha = (torch.from_numpy(data[k]) for k in names)
    renderer = VoxelRenderer({"resolution": int(data["resolution"])})
    edge = float(data["voxel_size"])
    out = renderer.render(position, attrs, edge, extrinsics, intrinsics, quirks=quirks, backend=backend)
    torch.testing.assert_close(out.attr, attr, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.alpha, alpha)
    torch.testing.assert_close(out.depth[alpha > 0], depth[alpha > 0], atol=1e-5, rtol=0)
    assert (out.depth[alpha == 0] == 0).all()
    index = torch.from_numpy(data["voxel_index"]).long()
    assert torch.equal(index >= 0, out.alpha > 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_box_covers_its_projection(backend: str) -> None:
    extrinsics, intrinsics = _camera()
    renderer = VoxelRenderer({"resolution": (20, 40), "depth_type": "z"})
    out = renderer.render(torch.zeros(1, 3), torch.tensor([[0.25]]), 1.0, extrinsics, intrinsics, backend=backend)
    # Front face at depth 1.5 spans +-0.5 / 1.5 of a focal length: columns 40 (1/2 -+ 1/3), rows 20 (1/2 -+ 1/3).
    want = torch.zeros(20, 40)
    want[math.ceil(20 / 6 - 0.5) : math.floor(100 / 6 + 0.5), math.ceil(40 / 6 - 0.5) : math.floor(200 / 6 + 0.5)] = 1
    assert torch.equal(out.alpha, want)
    torch.testing.assert_close(out.depth, want * 1.5)
    torch.testing.assert_close(out.attr, want[None] * 0.25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ray_depth_is_distance_along_the_ray(backend: str) -> None:
    extrinsics, intrinsics = _camera(focal=0.6)
    args = (torch.zeros(1, 3), torch.ones(1, 1), 1.0, extrinsics, intrinsics)
    ray = VoxelRenderer({"resolution": 8}).render(*args, backend=backend)
    z = VoxelRenderer({"resolution": 8, "depth_type": "z"}).render(*args, backend=backend)
    rows, columns = (ray.alpha > 0).nonzero(as_tuple=True)
    x, y = ((columns + 0.5) / 8 - 0.5) / 0.6, ((rows + 0.5) / 8 - 0.5) / 0.6
    length = (1 + x**2 + y**2).sqrt()
    torch.testing.assert_close(ray.depth[rows, columns], z.depth[rows, columns] * length)


@pytest.mark.parametrize("backend", BACKENDS)
def test_entry_decides_not_the_centre(backend: str) -> None:
    # Box 1's near face is closer along the oblique ray though its centre lies deeper.
    extrinsics, intrinsics = _camera(distance=0.0, focal=0.5)
    position = torch.tensor([[0.0, 0.0, 2.0], [1.4, 0.0, 2.3]])
    attrs = torch.tensor([[1.0], [2.0]])
    size = (1.0, 1.0, 0.2)
    near = VoxelRenderer({"resolution": 64}).render(position, attrs, size, extrinsics, intrinsics, backend=backend)
    assert set(near.attr.unique().tolist()) == {0.0, 1.0, 2.0}
    overlap = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
    tie = VoxelRenderer({"resolution": 16}).render(overlap, attrs, 1.0, extrinsics, intrinsics, backend=backend)
    assert set(tie.attr.unique().tolist()) == {0.0, 1.0}  # equal entries: the first row


@pytest.mark.parametrize("backend", BACKENDS)
def test_near_and_far_cut(backend: str) -> None:
    extrinsics, intrinsics = _camera(distance=0.0)
    position = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 9.0]])
    attrs = torch.tensor([[1.0], [2.0], [3.0]])

    def centre(**options: float) -> tuple[float, float]:
        renderer = VoxelRenderer({"resolution": 9, "depth_type": "z", **options})
        out = renderer.render(position, attrs, 1.0, extrinsics, intrinsics, backend=backend)
        return float(out.attr[0, 4, 4]), float(out.depth[4, 4])

    assert centre() == (1.0, pytest.approx(0.1))  # camera inside the first box: it is cut open at the near plane
    assert centre(near=1.0) == (2.0, 2.5)
    assert centre(near=4.0) == (3.0, 8.5)
    assert centre(near=4.0, far=8.0) == (0.0, 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_principal_point_shifts_the_image(backend: str) -> None:
    args = (torch.tensor([[0.1, -0.2, 0.0]]), torch.ones(1, 1), 0.3)
    renderer = VoxelRenderer({"resolution": 40})
    centred = renderer.render(*args, *_camera(), backend=backend).alpha
    shifted = renderer.render(*args, *_camera(cx=0.6, cy=0.45), backend=backend).alpha
    assert centred.sum() > 10
    assert torch.equal(shifted, centred.roll((-2, 4), (0, 1)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_published_quirks(backend: str) -> None:
    # Box 0 has its centre 0.15 from the camera, box 1 lies beyond `far`; the principal point is off centre.
    position = torch.tensor([[0.0, 0.0, 0.15], [0.0, 0.0, 20.0]])
    extrinsics, intrinsics = _camera(distance=0.0, cx=0.7)
    args = (position, torch.tensor([[1.0], [2.0]]), (0.1, 0.1, 0.02), extrinsics, intrinsics)
    renderer = VoxelRenderer({"resolution": 401})
    published = renderer.render(*args, quirks="published", backend=backend)
    assert published.attr.unique().tolist() == [0.0, 2.0]
    assert torch.equal(published.alpha, published.alpha.flip(1))  # centred although cx is not
    exact = renderer.render(*args, backend=backend)
    assert exact.attr.unique().tolist() == [0.0, 1.0]
    assert not torch.equal(exact.alpha, exact.alpha.flip(1))


@needs_native
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([(33, 17), (5, 70), (1, 1)]))
def test_native_equals_reference(seed: int, published: bool, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    position = torch.randn(80, 3, generator=generator) * 0.5
    attrs = torch.arange(80.0)[:, None]
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    extrinsics, intrinsics = _camera(distance=0.8, focal=0.7, cx=0.4)
    extrinsics[:3, :3] = rotation
    renderer = VoxelRenderer({"resolution": size, "near": 0.3, "far": 1.5})
    quirks = "published" if published else "none"
    args = (position, attrs, 0.11, extrinsics, intrinsics)
    native = renderer.render(*args, quirks=quirks, backend="native")
    reference = renderer.render(*args, quirks=quirks, backend="reference")
    assert torch.equal(native.attr, reference.attr)
    torch.testing.assert_close(native.depth, reference.depth)


def test_super_sampling_averages_colour_and_keeps_depth_inside_the_surface() -> None:
    extrinsics, intrinsics = _camera()
    args = (torch.zeros(1, 3), torch.ones(1, 1), 0.9, extrinsics, intrinsics)
    smooth = VoxelRenderer({"resolution": 20, "ssaa": 4, "depth_type": "z"}).render(*args)
    assert smooth.attr.shape == (1, 20, 20) and smooth.alpha.shape == smooth.depth.shape == (20, 20)
    assert ((smooth.alpha > 0.05) & (smooth.alpha < 0.95)).any()
    torch.testing.assert_close(
        smooth.depth[smooth.alpha > 0.01], torch.full_like(smooth.depth, 1.55)[smooth.alpha > 0.01]
    )


def test_attr_gradient_counts_pixels() -> None:
    attrs = torch.ones(1, 2, requires_grad=True)
    out = VoxelRenderer({"resolution": 16}).render(torch.zeros(1, 3), attrs, 0.5, *_camera())
    out.attr.sum().backward()
    assert attrs.grad is not None
    assert attrs.grad.tolist() == [[float(out.alpha.sum())] * 2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_and_non_finite_voxels(backend: str) -> None:
    renderer = VoxelRenderer({"resolution": 4})
    out = renderer.render(torch.zeros(0, 3), torch.zeros(0, 3), 0.1, *_camera(), backend=backend)
    assert out.attr.shape == (3, 4, 4) and out.alpha.sum() == 0
    bad = torch.tensor([[float("nan"), 0, 0], [float("inf"), 0, 0]])
    assert renderer.render(bad, torch.ones(2, 1), 0.1, *_camera(), backend=backend).alpha.sum() == 0


def test_projection_matrix() -> None:
    intrinsics = torch.tensor([[1.2, 0, 0.4], [0, 1.3, 0.7], [0, 0, 1]])
    projection = intrinsics_to_projection(intrinsics, 0.5, 4.0)
    want = torch.zeros(4, 4)
    want[0, 0], want[1, 1], want[0, 2], want[1, 2] = 2.4, 2.6, -0.2, -0.4
    want[2, 2], want[2, 3], want[3, 2] = 4 / 3.5, -2 / 3.5, 1
    torch.testing.assert_close(projection, want)


def test_bad_arguments_are_named() -> None:
    args = (torch.zeros(1, 3), torch.ones(1, 1), 0.5, *_camera())
    with pytest.raises(ValueError, match="resolution must be set"):
        VoxelRenderer().render(*args)
    with pytest.raises(ValueError, match="unknown rendering options"):
        VoxelRenderer({"size": 4})
    with pytest.raises(ValueError, match="voxel_size"):
        VoxelRenderer({"resolution": 4}).render(args[0], args[1], -1.0, *_camera())
    with pytest.raises(ValueError, match=r"attrs must be floating point \[1, C\]"):
        VoxelRenderer({"resolution": 4}).render(args[0], torch.ones(2, 1), 0.5, *_camera())
    with pytest.raises(ValueError, match="near and far"):
        VoxelRenderer({"resolution": 4, "near": 2, "far": 1}).render(*args)
