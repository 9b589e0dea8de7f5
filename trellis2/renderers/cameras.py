"""Cameras: extrinsics, intrinsics, projection and image rays.

World: right-handed, Z up. Extrinsics `[4, 4]` map world to camera: OpenCV axes (x right, y down, z forward).
Intrinsics `[3, 3]` are normalised: the image is one unit wide and one unit high, so a centred camera has cx = cy = 0.5.
Angles of a turntable camera: yaw 0 puts the camera on +Y, yaw pi/2 on +X; a positive pitch looks down on the object.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "extrinsics_look_at",
    "image_rays",
    "intrinsics_from_fov",
    "intrinsics_to_projection",
    "orbit_eye",
    "transform_points",
]


def orbit_eye(yaw: float, pitch: float, radius: float) -> Tensor:
    """Camera position `[3]` float32 on a sphere of `radius` about the origin; `yaw` and `pitch` in radians."""
    return torch.tensor(
        [
            radius * math.sin(yaw) * math.cos(pitch),
            radius * math.cos(yaw) * math.cos(pitch),
            radius * math.sin(pitch),
        ],
        dtype=torch.float32,
    )


def extrinsics_look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """World-to-camera matrix `[4, 4]` of a camera at `eye` that looks at `target`; all three are `[3]`.

    A view direction parallel to `up` has no defined roll; then the screen's up becomes the world axis that is most
    perpendicular to the view. Raises ValueError if `eye` and `target` coincide.
    """
    dtype = eye.dtype
    eye, target, up = eye.double(), target.double(), up.double()
    forward = target - eye
    distance = forward.norm()
    if not torch.isfinite(distance) or distance < 1e-12:
        raise ValueError("eye and target must be two different finite points")
    forward = forward / distance
    right = torch.linalg.cross(-up, forward)
    if right.norm() < 1e-6 * up.norm():
        fallback = torch.zeros(3, dtype=torch.float64, device=eye.device)
        fallback[int(forward.abs().argmin())] = 1.0
        right = torch.linalg.cross(-fallback, forward)
    right = right / right.norm()
    down = torch.linalg.cross(forward, right)
    rotation = torch.stack([right, down, forward])
    extrinsics = torch.eye(4, dtype=torch.float64, device=eye.device)
    extrinsics[:3, :3] = rotation
    extrinsics[:3, 3] = -(rotation @ eye)
    return extrinsics.to(dtype)


def intrinsics_from_fov(fov_x: float, fov_y: float | None = None) -> Tensor:
    """Normalised intrinsics `[3, 3]` float32 of a centred camera; fields of view in radians, in (0, pi)."""
    fov_y = fov_x if fov_y is None else fov_y
    for name, value in (("fov_x", fov_x), ("fov_y", fov_y)):
        if not 0.0 < value < math.pi:
            raise ValueError(f"{name} must be in (0, pi) radians, got {value}")
    fx, fy = 0.5 / math.tan(fov_x / 2), 0.5 / math.tan(fov_y / 2)
    return torch.tensor([[fx, 0.0, 0.5], [0.0, fy, 0.5], [0.0, 0.0, 1.0]])


def intrinsics_to_projection(intrinsics: Tensor, near: float, far: float) -> Tensor:
    """Clip-space projection `[4, 4]` of normalised intrinsics: w is the camera depth, z/w runs from -1 to 1.

    The y axis is not flipped: image row 0 of the rasteriser (y = -1) is the top of the picture.
    """
    if not 0.0 < near < far:
        raise ValueError(f"near and far must satisfy 0 < near < far, got {near} and {far}")
    projection = torch.zeros((4, 4), dtype=intrinsics.dtype, device=intrinsics.device)
    projection[0, 0] = 2 * intrinsics[0, 0]
    projection[1, 1] = 2 * intrinsics[1, 1]
    projection[0, 2] = 2 * intrinsics[0, 2] - 1
    projection[1, 2] = 2 * intrinsics[1, 2] - 1
    projection[2, 2] = (far + near) / (far - near)
    projection[2, 3] = 2 * near * far / (near - far)
    projection[3, 2] = 1.0
    return projection


def image_rays(extrinsics: Tensor, intrinsics: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Rays through the pixel centres: origin `[3]` and directions `[resolution, resolution, 3]` in world axes.

    Directions are not normalised: `origin + directions * z` is the point at camera depth `z`.
    """
    rotation, translation = extrinsics[:3, :3], extrinsics[:3, 3]
    centres = (torch.arange(resolution, dtype=extrinsics.dtype, device=extrinsics.device) + 0.5) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).reshape(-1, 3)
    rotation, translation = (m.detach().cpu().double() for m in (rotation, translation))
    to_world = torch.linalg.inv(intrinsics.detach().cpu().double() @ rotation).to(pixels)
    directions = transform_points(pixels, to_world).reshape(resolution, resolution, 3)
    return (-(rotation.T @ translation)).to(pixels), directions


def transform_points(points: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """`points [n, 3] @ matrix[:, :3].T + offset` for `matrix [C, 3]`, in the full precision of the points.

    Matrix products on a GPU may round their factors to 10 bits (TF32), too coarse for positions. Differentiable.
    """
    x, y, z = points[:, 0:1], points[:, 1:2], points[:, 2:3]
    out = torch.addcmul(torch.addcmul(x * matrix[:, 0], y, matrix[:, 1]), z, matrix[:, 2])
    return out if offset is None else out + offset
