"""Camera paths, frames, videos."""

from __future__ import annotations

import math

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
import trimesh

from trellis2.renderers import EnvMap, MeshRenderer, PbrMeshRenderer, VoxelRenderer
from trellis2.representations import Mesh, MeshWithPbrMaterial, PbrMaterial, Voxel
from trellis2.utils import render_utils
from trellis2.utils.render_utils import (
    get_renderer,
    make_pbr_vis_frames,
    render_frames,
    render_multiview,
    render_snapshot,
    render_turntable,
    render_video,
    turntable_cameras,
    yaw_pitch_r_fov_to_extrinsics_intrinsics,
)
from trellis2.utils.vis_utils import pca_color, vis_sparse_tensor


@pytest.fixture(scope="module")
def env():
    return EnvMap(torch.ones(16, 32, 3))


@pytest.fixture(scope="module")
def ball():
    sphere = trimesh.creation.icosphere(2, radius=0.4)
    faces = torch.tensor(sphere.faces)
    material = PbrMaterial(base_color_factor=[0.8, 0.2, 0.2], metallic_factor=0.0)
    return MeshWithPbrMaterial(
        torch.tensor(sphere.vertices), faces, torch.zeros(len(faces)), torch.zeros(len(faces), 3, 2), [material]
    )


def voxels():
    coords = torch.tensor([[0, 0, 0], [3, 3, 3], [1, 2, 3]])
    attrs = torch.tensor([[1.0, 0, 0, 0.5], [0, 1, 0, 0.5], [0, 0, 1, 0.5]])
    return Voxel([-0.5] * 3, 0.25, coords, attrs, {"color": slice(0, 3), "roughness": slice(3, 4)})


def test_published_camera_check_values():
    extrinsics, intrinsics = yaw_pitch_r_fov_to_extrinsics_intrinsics(0.0, 0.0, 2.0, 40.0)
    assert torch.allclose(extrinsics[:3, :3], torch.tensor([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]), atol=1e-6)
    assert torch.allclose(extrinsics[:3, 3], torch.tensor([0.0, 0.0, 2.0]), atol=1e-6)
    assert intrinsics[0, 0] == pytest.approx(0.5 / math.tan(math.radians(20)))
    assert intrinsics[0, 2] == 0.5


def test_lists_give_lists_and_single_numbers_spread():
    extrinsics, intrinsics = yaw_pitch_r_fov_to_extrinsics_intrinsics([0.0, 1.0], [0.1, 0.2], 2, 40)
    assert len(extrinsics) == len(intrinsics) == 2
    single = yaw_pitch_r_fov_to_extrinsics_intrinsics(1.0, 0.2, 2, 40)[0]
    assert torch.equal(extrinsics[1], single)
    with pytest.raises(ValueError, match="pitchs"):
        yaw_pitch_r_fov_to_extrinsics_intrinsics([0.0, 1.0], [0.1], 2, 40)


def test_turntable_is_a_closed_loop_without_a_repeated_frame():
    extrinsics, _ = turntable_cameras(24)
    steps = [float((a - b).norm()) for a, b in zip(extrinsics, extrinsics[1:] + extrinsics[:1])]
    assert min(steps) > 0.5 * max(steps)
    eye = -extrinsics[0][:3, :3].T @ extrinsics[0][:3, 3]
    assert torch.allclose(eye, 2 * torch.tensor([math.cos(0.25), 0.0, math.sin(0.25)]), atol=1e-5)


def test_renderer_for_each_kind_of_sample(ball):
    assert isinstance(get_renderer(ball), PbrMeshRenderer)
    assert isinstance(get_renderer(Mesh(ball.vertices, ball.faces)), MeshRenderer)
    assert isinstance(get_renderer(voxels(), resolution=8), VoxelRenderer)
    assert get_renderer(ball, ssaa=1).rendering_options.ssaa == 1
    assert get_renderer(ball).rendering_options.resolution == 512
    with pytest.raises(ValueError, match="sample must be"):
        get_renderer(torch.zeros(3))


def test_frames_are_bytes_with_three_channels(ball, env):
    extrinsics, intrinsics = turntable_cameras(2)
    result = render_frames(ball, extrinsics, intrinsics, {"resolution": 16, "ssaa": 1}, verbose=False, envmap=env)
    for name, frames in result.items():
        assert len(frames) == 2, name
        assert frames[0].shape == (16, 16, 3) and frames[0].dtype == np.uint8
    assert (result["base_color"][0][8, 8] == [204, 51, 51]).all()
    assert (result["mask"][0][8, 8] == 255).all() and (result["mask"][0][0, 0] == 0).all()


def test_background_colour_and_named_environments(ball, env):
    options = {"resolution": 16, "ssaa": 1}
    white = render_video(ball, num_frames=1, bg_color=(1, 1, 1), resolution=16, verbose=False, envmap=env)
    assert (white["shaded"][0][0, 0] == 255).all() and (white["base_color"][0][0, 0] == 0).all()
    named = render_snapshot(ball, 16, nviews=3, verbose=False, envmap={"a": env, "b": env}, options=options)
    assert len(named["shaded_a"]) == 3 and "shaded" not in named


def test_default_lighting_comes_from_code(ball, monkeypatch):
    monkeypatch.setattr(render_utils, "open_environment", lambda name: torch.full((16, 32, 3), 0.5))
    frames = render_video(ball, 8, num_frames=1, verbose=False)
    assert 0 < frames["shaded"][0][4, 4, 0] < 255


def test_multiview_of_any_sample(ball, env):
    for sample, kwargs in ((ball, {"envmap": env}), (voxels(), {}), (Mesh(ball.vertices, ball.faces), {})):
        frames, extrinsics, intrinsics = render_multiview(sample, 12, nviews=3, verbose=False, **kwargs)
        assert len(frames) == len(extrinsics) == len(intrinsics) == 3
        assert frames[0].shape == (12, 12, 3) and frames[1].max() > 0
    with pytest.raises(ValueError, match="choose from"):
        render_multiview(ball, 8, 1, buffer="colour", verbose=False, envmap=env)


def test_voxel_pictures_show_each_attribute_and_camera_depth():
    extrinsics, intrinsics = yaw_pitch_r_fov_to_extrinsics_intrinsics(math.pi, 0.0, 2.0, 40.0)
    out = get_renderer(voxels(), resolution=32, ssaa=1).render(voxels(), extrinsics, intrinsics)
    assert out.color.shape == (3, 32, 32) and out.roughness.shape == (1, 32, 32)
    # Voxel (0, 0, 0) spans x, z in [-0.5, -0.25] and its front is at y = -0.5, depth 1.5: left and low.
    size = 0.5 / math.tan(math.radians(20)) * 32
    column, row = 16 + size * -0.375 / 1.5, 16 + size * 0.375 / 1.5
    assert torch.equal(out.color[:, int(row), int(column)], torch.tensor([1.0, 0, 0]))
    assert float(out.depth[int(row), int(column)]) == pytest.approx(1.5, abs=1e-4)
    assert float(out.alpha[0, 0]) == 0 and float(out.depth[0, 0]) == 0
    overwritten = get_renderer(voxels(), resolution=32, ssaa=2).render(
        voxels(), extrinsics, intrinsics, colors_overwrite=torch.ones(3, 3)
    )
    assert set(overwritten) == {"color", "depth", "alpha"}
    assert torch.allclose(overwritten.color[:, int(row), int(column)], torch.ones(3))


def test_sheets_have_the_published_layout(ball, env):
    result = render_video(ball, 32, num_frames=2, verbose=False, envmap=env)
    sheets = make_pbr_vis_frames(result, 32)
    assert len(sheets) == 2 and sheets[0].shape == (48, 64, 3)
    assert np.array_equal(sheets[0][:32, :32], result["shaded"][0])
    assert np.array_equal(sheets[1][:32, 32:], result["normal"][1])
    assert abs(int(sheets[0][40, 8, 0]) - 204) < 3  # centre of the small base colour
    with pytest.raises(ValueError, match="shaded"):
        make_pbr_vis_frames({"shaded_a": []}, 32)


@pytest.mark.parametrize(("layout", "size"), [("shaded", (32, 32)), ("pbr", (48, 64))])
def test_turntable_streams_to_a_video(ball, env, tmp_path, layout, size):
    path = tmp_path / "turn.mp4"
    render_turntable(ball, path, 32, num_frames=3, layout=layout, verbose=False, envmap=env)
    with imageio.get_reader(path) as video:
        assert video.count_frames() == 3 and video.get_data(0).shape[:2] == size
    assert [p.name for p in tmp_path.iterdir()] == ["turn.mp4"]


def test_pca_colours_span_the_range_and_survive_low_rank():
    feats = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    colors = pca_color(feats)
    assert colors.shape == (50, 3)
    assert torch.allclose(colors.amin(0), torch.zeros(3)) and torch.allclose(colors.amax(0), torch.ones(3))
    thin = pca_color(torch.arange(5.0)[:, None])
    assert thin.shape == (5, 3) and torch.isfinite(thin).all() and (thin[:, 1:] == 0.5).all()
    with pytest.raises(ValueError, match="feats"):
        pca_color(torch.zeros(0, 4))


def test_sparse_tensor_turntable():
    class Sparse:
        coords = torch.tensor([[0, 0, 0, 0], [0, 5, 1, 2], [0, 3, 3, 3]])
        feats = torch.eye(3)

    frames = vis_sparse_tensor(Sparse(), num_frames=2, resolution=16, verbose=False)
    assert len(frames) == 2 and frames[0].max() > 0
    Sparse.coords[2, 0] = 1
    with pytest.raises(ValueError, match="one sample"):
        vis_sparse_tensor(Sparse())
