"""Camera conventions: where things land in the picture."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.renderers.cameras import (
    extrinsics_look_at,
    image_rays,
    intrinsics_from_fov,
    intrinsics_to_projection,
    orbit_eye,
)

UP = torch.tensor([0.0, 0.0, 1.0])
ORIGIN = torch.zeros(3)


def test_yaw_zero_camera_sits_on_plus_y_with_published_axes():
    eye = orbit_eye(0.0, 0.0, 2.0)
    assert torch.allclose(eye, torch.tensor([0.0, 2.0, 0.0]), atol=1e-6)
    rows = extrinsics_look_at(eye, ORIGIN, UP)[:3, :3]
    assert torch.allclose(rows, torch.tensor([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]), atol=1e-6)
    assert torch.allclose(orbit_eye(math.pi / 2, 0.0, 2.0), torch.tensor([2.0, 0, 0]), atol=1e-6)


def test_projection_puts_up_at_row_zero_and_plus_x_on_the_right_of_a_camera_on_minus_y():
    extrinsics = extrinsics_look_at(orbit_eye(math.pi, 0.0, 2.0), ORIGIN, UP)
    matrix = intrinsics_to_projection(intrinsics_from_fov(math.radians(40)), 0.1, 10) @ extrinsics
    up = matrix @ torch.tensor([0.0, 0, 0.3, 1])
    right = matrix @ torch.tensor([0.3, 0, 0, 1])
    assert up[1] / up[3] < 0 and abs(up[0] / up[3]) < 1e-6  # row 0 is y = -1
    assert right[0] / right[3] > 0
    assert torch.isclose(right[3], torch.tensor(2.0))  # w is the camera depth


def test_projection_maps_near_and_far_to_minus_one_and_one():
    projection = intrinsics_to_projection(intrinsics_from_fov(1.0), 0.5, 4.0)
    for z, expected in ((0.5, -1.0), (4.0, 1.0)):
        clip = projection @ torch.tensor([0.0, 0.0, z, 1.0])
        assert abs(float(clip[2] / clip[3]) - expected) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    yaw=st.floats(-7, 7),
    pitch=st.floats(-1.57, 1.57),
    cx=st.floats(0.3, 0.7),
    cy=st.floats(0.3, 0.7),
    depth=st.floats(0.5, 3),
)
def test_rays_invert_projection_for_any_camera_and_principal_point(yaw, pitch, cx, cy, depth):
    intrinsics = intrinsics_from_fov(0.8).double()
    intrinsics[0, 2], intrinsics[1, 2] = cx, cy
    extrinsics = extrinsics_look_at(orbit_eye(yaw, pitch, 2.0).double(), ORIGIN.double(), UP.double())
    origin, directions = image_rays(extrinsics, intrinsics, 6)
    point = origin + directions * depth
    clip = torch.cat([point, torch.ones(6, 6, 1)], -1) @ (intrinsics_to_projection(intrinsics, 0.1, 10) @ extrinsics).T
    ndc = clip[..., :2] / clip[..., 3:]
    centres = (2 * torch.arange(6).double() + 1) / 6 - 1
    assert torch.allclose(ndc[..., 0], centres.expand(6, 6), atol=1e-5)
    assert torch.allclose(ndc[..., 1], centres[:, None].expand(6, 6), atol=1e-5)


@pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
def test_looking_straight_down_or_up_is_a_rotation(pitch):
    rotation = extrinsics_look_at(torch.tensor([0, 0, 2 * math.sin(pitch)]), ORIGIN, UP)[:3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-6)
    assert abs(float(torch.linalg.det(rotation)) - 1) < 1e-5


def test_bad_cameras_are_refused():
    with pytest.raises(ValueError, match="eye and target"):
        extrinsics_look_at(ORIGIN, ORIGIN, UP)
    with pytest.raises(ValueError, match="fov_x"):
        intrinsics_from_fov(math.pi)
    with pytest.raises(ValueError, match="near"):
        intrinsics_to_projection(torch.eye(3), 2.0, 1.0)
