"""Pictures for rendering losses: random cameras, geometry and attributes with gradients.

R resolution, V vertices, F faces, C channels. Cameras follow `trellis2.renderers.cameras`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..renderers.cameras import extrinsics_look_at, intrinsics_from_fov, intrinsics_to_projection, transform_points
from ..utils.loss_utils import lpips, ssim

__all__ = [
    "Camera",
    "draw_cameras",
    "picture_terms",
    "read_radius_range",
    "render_geometry",
    "require_lpips",
    "stack_geometry",
]


@dataclass(frozen=True)
class Camera:
    """World to camera and to clip space."""

    extrinsics: Tensor  # [4, 4] float32
    to_clip: Tensor  # [4, 4] float32, projection times extrinsics

    def to(self, device: torch.device | str) -> Camera:
        return Camera(self.extrinsics.to(device), self.to_clip.to(device))

    def clip(self, vertices: Tensor) -> Tensor:
        """Clip-space positions `[V, 4]` of world `vertices [V, 3]`."""
        return transform_points(vertices, self.to_clip, self.to_clip[:, 3])


def read_radius_range(config: Mapping[str, Any] | None) -> tuple[float, float]:
    """`radius_range` of `camera_randomization_config`; ValueError unless 1 < low <= high."""
    unknown = sorted(set(config or {}) - {"radius_range"})
    if unknown:
        raise ValueError(f"unknown keys {unknown} in camera_randomization_config, known: radius_range")
    low, high = (config or {}).get("radius_range", (2, 100))
    if not 1 < low <= high:
        raise ValueError(f"camera_randomization_config.radius_range must satisfy 1 < low <= high, got {[low, high]}")
    return float(low), float(high)


def draw_cameras(count: int, radius_range: tuple[float, float]) -> list[Camera]:
    """Random cameras that frame the sphere of radius 0.5, from PyTorch's generator on the CPU.

    1 / radius^2 is uniform; the direction is uniform on the sphere. The near plane lies anywhere between the front of
    the unit ball and its centre, so that it cuts into the object and inner surfaces are seen as well.
    """
    low, high = radius_range
    cameras = []
    for _ in range(count):
        u, cut = torch.rand(2).tolist()
        radius = (1 / high**2 + u * (1 / low**2 - 1 / high**2)) ** -0.5
        direction = torch.randn(3)
        while float(direction.norm()) < 1e-6:
            direction = torch.randn(3)
        eye = direction / direction.norm() * radius
        near = radius - 1 + cut
        intrinsics = intrinsics_from_fov(2 * math.asin(0.5 / radius))
        extrinsics = extrinsics_look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
        projection = intrinsics_to_projection(intrinsics, near, near + 2)
        cameras.append(Camera(extrinsics, (projection.double() @ extrinsics.double()).float()))
    return cameras


def render_geometry(vertices: Tensor, faces: Tensor, camera: Camera, resolution: int) -> Tensor:
    """`[5, R, R]`: coverage, camera depth (0 where empty), flat normal as (n + 1) / 2 (0.5 where empty).

    Normals are in camera axes and point away from the camera. Edges are antialiased, which carries gradients of
    coverage to `vertices [V, 3]`; depth and normals have theirs inside faces too. Without faces the picture is empty.
    """
    from o_voxel.rasterize import antialias, interpolate, rasterize, triangle_index

    if not len(vertices) or not len(faces):
        empty = vertices.new_zeros(5, resolution, resolution)
        empty[2:] = 0.5
        return empty
    camera = camera.to(vertices.device)
    clip = camera.clip(vertices)
    rast = rasterize(clip, faces, (resolution, resolution))  # [1, R, R, 4]
    covered = (rast[..., 3:] != 0).to(vertices.dtype)
    seen = transform_points(vertices, camera.extrinsics[:3], camera.extrinsics[:3, 3])  # camera space
    depth = interpolate(seen[:, 2:].contiguous(), rast, faces)
    corners = seen[faces.long()]  # [F, 3, 3]
    normal = F.normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=1)
    normal = torch.where((normal * corners[:, 0]).sum(1, keepdim=True) < 0, -normal, normal)
    drawn = normal[triangle_index(rast).clamp_min(0)] * covered
    picture = antialias(torch.cat([covered, depth, drawn], dim=-1), rast, clip, faces)[0]
    return torch.cat([picture[..., :2], picture[..., 2:] * 0.5 + 0.5], dim=-1).permute(2, 0, 1)


def require_lpips(weight: float, name: str = "lambda_lpips") -> None:
    """ValueError if a positive weight asks for LPIPS and the optional package is missing."""
    if weight > 0 and importlib.util.find_spec("lpips") is None:
        raise ValueError(
            f"{name} > 0 needs the package `lpips`, which is not installed; install it (pip install lpips) or train "
            f"without it: set {name} to 0 (for example --set trainer.{name}=0)"
        )


def picture_terms(a: Tensor, b: Tensor, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """`ssim` (1 - SSIM) and `lpips` of pictures `[B, 3, R, R]` in [0, 1], as far as their weights are positive."""
    terms: dict[str, Tensor] = {}
    if weights["ssim"] > 0:
        terms["ssim"] = 1 - ssim(a, b)
    if weights["lpips"] > 0:
        terms["lpips"] = lpips(a, b)
    return terms


def stack_geometry(meshes: Sequence[Any], cameras: Sequence[Camera], resolution: int) -> Tensor:
    """`render_geometry` of one mesh a camera: `[B, 5, R, R]`."""
    return torch.stack([render_geometry(m.vertices, m.faces, c, resolution) for m, c in zip(meshes, cameras)])
