"""Pictures of assets: where cameras stand, where light comes from, what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from o_voxel.asset import VoxelAsset
from o_voxel.grid import resolve_grid
from o_voxel.view import contact_sheet, look_at, render_asset, voxel_normals

GRID = resolve_grid(None, 8, [[-0.5] * 3, [0.5] * 3])


def asset(coords: list[list[int]], **attrs: list[list[int]]) -> VoxelAsset:
    values = {name: torch.tensor(value, dtype=torch.uint8) for name, value in attrs.items()}
    return VoxelAsset(torch.tensor(coords, dtype=torch.int32), values, GRID)


def test_the_first_view_is_from_the_front_and_the_next_from_the_right():
    """Yaw 0 stands on -Y and sees +X to the right; yaw 90 degrees stands on +X."""
    for yaw, position, right in ((0, [0, -2, 0], [1, 0, 0]), (math.pi / 2, [2, 0, 0], [0, 1, 0])):
        extrinsics, intrinsics = look_at(yaw, 0.0, 2.0, math.radians(90), torch.device("cpu"))
        camera = -extrinsics[:3, :3].T @ extrinsics[:3, 3]
        assert torch.allclose(camera, torch.tensor(position).float(), atol=1e-6)
        assert torch.allclose(extrinsics[0, :3], torch.tensor(right).float(), atol=1e-6)
        assert torch.allclose(extrinsics[1, :3], torch.tensor([0, 0, -1.0]), atol=1e-6)
        assert torch.allclose(intrinsics[0, 0], torch.tensor(0.5))


def test_light_comes_from_above():
    """Of two red voxels side by side the one that faces up is lighter than the one that faces down."""
    up, down = [128, 30, 200], [128, 30, 55]  # both lean towards the camera at -Y
    pair = asset([[1, 4, 4], [6, 4, 4]], base_color=[[200, 0, 0]] * 2, normal=[up, down])
    image = render_asset(pair, views=1, size=64)[0].astype(int)
    drawn = np.abs(image - image[0, 0]).sum(-1) > 6
    left, right = image[:, :32][drawn[:, :32]].mean(), image[:, 32:][drawn[:, 32:]].mean()
    assert left > right + 10


def test_transparent_voxels_are_left_out():
    pair = asset([[1, 4, 4], [6, 4, 4]], base_color=[[255, 0, 0], [0, 0, 255]], alpha=[[0], [255]])
    image = render_asset(pair, views=1, size=64, channel="base_color")[0].astype(int)
    assert (image[:, :, 2] - image[:, :, 0] > 100).any()
    assert not (image[:, :, 0] - image[:, :, 2] > 100).any()
    shown = render_asset(pair, views=1, size=64, channel="alpha")[0]
    assert (shown == 0).all(-1).any() and (shown == 255).all(-1).any()


def test_assets_without_normals_or_colours_are_drawn():
    image = render_asset(asset([[3, 3, 3]]), views=2, size=32)
    assert len(image) == 2
    assert (image[0] != image[0][0, 0]).any()
    assert voxel_normals(asset([[3, 3, 3]])).tolist() == [[0, 0, 0]]


def test_contact_sheet():
    frames = [np.full((2, 3, 3), k, np.uint8) for k in range(5)]
    assert contact_sheet(frames[:4]).shape == (2, 12, 3)
    assert contact_sheet(frames).shape == (4, 9, 3)
    assert contact_sheet(frames, columns=1)[8, 0, 0] == 4
    with pytest.raises(ValueError, match="at least one frame"):
        contact_sheet([])


def test_bad_requests():
    with pytest.raises(ValueError, match="no voxels"):
        render_asset(VoxelAsset(torch.zeros(0, 3, dtype=torch.int32), {}, GRID))
    with pytest.raises(ValueError, match="no 'metallic'"):
        render_asset(asset([[0, 0, 0]]), channel="metallic")
