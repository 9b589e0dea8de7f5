"""Pictures of voxel assets: turntable frames and contact sheets, drawn by the voxel renderer on any machine."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from o_voxel.asset import VoxelAsset
from o_voxel.mesh import vertex_normals
from o_voxel.rasterize import VoxelRenderer

__all__ = ["Channel", "contact_sheet", "look_at", "render_asset", "voxel_normals"]

Channel = Literal["shaded", "base_color", "normal", "metallic", "roughness", "emissive", "alpha"]
_LIGHT = (-0.35, 0.5, 0.8)  # from the object to the light: left, above and beside the camera (right, up, backward)
_OPAQUE = 128  # least alpha of voxels that are drawn with their colour
_BACKGROUND = 0.94


def look_at(yaw: float, pitch: float, distance: float, fov: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Camera on a sphere around the origin, Z up: extrinsics [4, 4] (OpenCV axes) and normalised intrinsics [3, 3].

    Angles in radians; yaw 0 stands on -Y, in front of the object, and grows towards +X.
    """
    direction = np.array(
        [math.sin(yaw) * math.cos(pitch), -math.cos(yaw) * math.cos(pitch), math.sin(pitch)], np.float64
    )
    forward = -direction
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= max(float(np.linalg.norm(right)), 1e-9)
    rotation = np.stack([right, np.cross(forward, right), forward])
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation, -rotation @ (direction * distance)
    focal = 0.5 / math.tan(fov / 2)
    intrinsics = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1.0]])
    return (
        torch.tensor(extrinsics, dtype=torch.float32, device=device),
        torch.tensor(intrinsics, dtype=torch.float32, device=device),
    )


def voxel_normals(asset: VoxelAsset) -> Tensor:
    """Unit normals [N, 3], zero where unknown: of the stored material, else of the dual surface (either side)."""
    if "normal" in asset.attrs:
        normal = asset.attrs["normal"].float() / 127.5 - 1
        return torch.nn.functional.normalize(normal, dim=1)
    if "intersected" in asset.attrs and "dual_vertices" in asset.attrs:
        vertices, faces = asset.to_mesh()
        return torch.as_tensor(vertex_normals(vertices, faces), dtype=torch.float32)
    return torch.zeros(len(asset.coords), 3)


def _channel(asset: VoxelAsset, channel: Channel) -> Tensor:
    """Values [N, 3] in 0..1 of a channel, before shading."""
    if channel in ("shaded", "base_color"):
        return asset.pbr[:, 0:3]
    if channel == "normal":
        return voxel_normals(asset) / 2 + 0.5
    if channel not in asset.attrs:
        raise ValueError(f"the voxels have no {channel!r}, only {sorted(asset.attrs)}")
    return (asset.attrs[channel].float() / 255).expand(-1, 3)


def render_asset(
    asset: VoxelAsset,
    views: int = 4,
    size: int = 384,
    channel: Channel = "shaded",
    pitch: float = math.radians(20),
    fov: float = math.radians(30),
) -> list[np.ndarray]:  # `views` images uint8 [size, size, 3]
    """Turntable frames, the first from the front.

    `shaded` and `base_color` leave out voxels that are more transparent than opaque. Raises ValueError on an empty
    asset or a channel it does not have.
    """
    if len(asset.coords) == 0:
        raise ValueError("there are no voxels to draw")
    color = _channel(asset, channel)
    normal = voxel_normals(asset) if channel == "shaded" else torch.zeros_like(color)
    centers = asset.centers()
    if channel in ("shaded", "base_color") and "alpha" in asset.attrs:
        seen = asset.attrs["alpha"][:, 0] >= _OPAQUE
        if bool(seen.any()):
            color, normal, centers = color[seen], normal[seen], centers[seen]
    middle = (centers.amin(0) + centers.amax(0)) / 2
    radius = float((centers - middle).norm(dim=1).max()) + float(asset.grid.voxel_size.max())
    distance = radius / math.sin(fov / 2) * 1.02
    renderer = VoxelRenderer({"resolution": size, "ssaa": 2, "near": distance * 1e-3, "far": distance * 10})
    frames = []
    for k in range(views):
        extrinsics, intrinsics = look_at(2 * math.pi * k / views, pitch, distance, fov, centers.device)
        shown = color
        if channel == "shaded":
            rotation = extrinsics[:3, :3]
            light = torch.tensor(_LIGHT) @ torch.stack([rotation[0], -rotation[1], -rotation[2]])
            facing = (normal @ rotation[2]) > 0
            turned = torch.where(facing[:, None], -normal, normal)
            known = normal.norm(dim=1) > 0.5
            lambert = torch.where(known, (turned @ light).clamp(min=0) / float(light.norm()), torch.tensor(0.75))
            shown = color * (0.35 + 0.65 * lambert)[:, None]
        out = renderer.render(centers - middle, shown.contiguous(), asset.grid.voxel_size, extrinsics, intrinsics)
        image = out.attr + _BACKGROUND * (1 - out.alpha)
        frames.append((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    return frames


def contact_sheet(frames: list[np.ndarray], columns: int | None = None) -> np.ndarray:
    """Equal images [H, W, 3] side by side in rows, uint8; about as wide as high unless `columns` is given."""
    if not frames:
        raise ValueError("contact_sheet needs at least one frame")
    columns = columns or (len(frames) if len(frames) <= 4 else math.ceil(math.sqrt(len(frames))))
    blank = np.full_like(frames[0], round(_BACKGROUND * 255))
    padded = frames + [blank] * (-len(frames) % columns)
    rows = [np.concatenate(padded[i : i + columns], 1) for i in range(0, len(padded), columns)]
    return np.concatenate(rows, 0)
