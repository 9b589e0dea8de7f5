"""The one reader of `voxel_size`, `grid_size` and `aabb`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from o_voxel.grid import box_to_local, local_to_box, local_to_world, resolve_grid

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]


@pytest.mark.parametrize("size", [1, 1.0, (1, 1, 1), [1.0, 1, 1], np.ones(3), torch.ones(3), torch.ones(3).double()])
def test_voxel_size_accepts_every_number_type(size):
    grid = resolve_grid(size, None, [[0, 0, 0], [4, 4, 4]])
    assert grid.grid_size.tolist() == [4, 4, 4] and grid.grid_size.dtype == torch.int32
    assert grid.voxel_size.tolist() == [1, 1, 1] and grid.voxel_size.dtype == torch.float32


@pytest.mark.parametrize("count", [8, np.int64(8), [8, 8, 8], (8, 8, 8), torch.tensor([8, 8, 8]), np.full(3, 8.0)])
def test_grid_size_accepts_every_number_type(count):
    assert resolve_grid(None, count, UNIT).voxel_size.tolist() == [0.125] * 3


def test_both_sizes_are_kept_or_voxel_size_wins():
    assert resolve_grid(0.25, 8, UNIT).grid_size.tolist() == [8, 8, 8]
    assert resolve_grid(0.25, 8, UNIT, prefer_voxel_size=True).grid_size.tolist() == [4, 4, 4]


def test_box_is_padded_to_whole_voxels():
    points = torch.tensor([[0.0, 0, 0], [1, 2, 3]])
    grid = resolve_grid(0.4, vertices=points)
    assert grid.grid_size.tolist() == [3, 5, 8]
    torch.testing.assert_close(grid.aabb.sum(0), torch.tensor([1.0, 2, 3]))
    torch.testing.assert_close(grid.aabb[1] - grid.aabb[0], torch.tensor([1.2, 2.0, 3.2]))


def test_box_gets_half_a_voxel_of_margin():
    points = torch.tensor([[0.0, 0, 0], [1, 2, 3]])
    grid = resolve_grid(None, 11, vertices=points)
    torch.testing.assert_close(grid.voxel_size, torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(grid.aabb[0], torch.tensor([-0.05, -0.1, -0.15]))


def test_box_of_a_flat_mesh_has_volume():
    grid = resolve_grid(None, 5, vertices=torch.tensor([[0.0, 0, 1], [1, 1, 1]]))
    assert bool((grid.voxel_size > 0).all())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"aabb": UNIT}, "voxel_size or grid_size"),
        ({"grid_size": 8}, "aabb must be given"),
        ({"grid_size": 0, "aabb": UNIT}, "grid_size must lie"),
        ({"grid_size": 2**21, "aabb": UNIT}, "grid_size must lie"),
        ({"grid_size": 2.5, "aabb": UNIT}, "whole numbers"),
        ({"grid_size": [8, 8], "aabb": UNIT}, r"shape \[3\]"),
        ({"voxel_size": 0.0, "aabb": UNIT}, "positive"),
        ({"voxel_size": -1.0, "aabb": UNIT}, "positive"),
        ({"voxel_size": float("nan"), "aabb": UNIT}, "finite"),
        ({"voxel_size": "large", "aabb": UNIT}, "voxel_size"),
        ({"voxel_size": 100.0, "aabb": UNIT}, "cells"),
        ({"grid_size": 8, "aabb": [[0, 0, 0], [1, 0, 1]]}, "upper corner above"),
        ({"grid_size": 8, "aabb": [0, 1]}, r"shape \[2, 3\]"),
        ({"grid_size": 1, "vertices": torch.rand(4, 3)}, "at least 2"),
        ({"grid_size": 8, "vertices": torch.zeros(0, 3)}, "without vertices"),
        ({"grid_size": 8, "vertices": torch.zeros(4, 3)}, "coincide"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        resolve_grid(**kwargs)


def test_frames_invert_each_other():
    grid = resolve_grid(None, (4, 8, 16), [[-1, 0, 1], [1, 3, 2]])
    coords = torch.tensor([[0, 0, 0], [3, 7, 15]], dtype=torch.int32)
    local = torch.tensor([[0.25, 0.5, 0.75], [1.0, 0.0, 0.5]])
    torch.testing.assert_close(box_to_local(local_to_box(local, coords, grid), coords, grid), local)
    torch.testing.assert_close(
        local_to_world(local, coords, grid) - local_to_box(local, coords, grid), grid.aabb[[0, 0]]
    )
