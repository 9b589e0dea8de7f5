"""Voxels drawn as opaque boxes, nearest first.

N voxels, C channels, H rows, W columns. Cameras follow OpenCV: x right, y down, z forward; intrinsics are normalised by
the image size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from o_voxel._device import as_tensor, cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.reference.voxel_render import render_voxels_reference

__all__ = ["AttrDict", "VoxelRenderer", "intrinsics_to_projection"]

_PUBLISHED_CULL_DEPTH = 0.2
_DEFAULTS = {
    "resolution": None,  # int (square) or (H, W)
    "near": 0.1,
    "far": 10.0,
    "ssaa": 1,
    "depth_type": "ray",  # "ray": distance along the ray; "z": camera depth
}


class AttrDict(dict[str, Any]):
    """A dictionary whose keys read and write as attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def intrinsics_to_projection(intrinsics: Tensor, near: float, far: float) -> Tensor:
    """Perspective matrix [4, 4] of normalised intrinsics [3, 3]: clip w is camera depth, z/w runs from 0 to 1.

    y/w grows with the image row. P12 = 1 - 2 cy is the published value; for a principal point off centre the exact one
    would be 2 cy - 1.
    """
    projection = torch.zeros(4, 4, dtype=intrinsics.dtype, device=intrinsics.device)
    projection[0, 0] = 2 * intrinsics[0, 0]
    projection[1, 1] = 2 * intrinsics[1, 1]
    projection[0, 2] = 2 * intrinsics[0, 2] - 1
    projection[1, 2] = 1 - 2 * intrinsics[1, 2]
    projection[2, 2] = far / (far - near)
    projection[2, 3] = near * far / (near - far)
    projection[3, 2] = 1
    return projection


def _downsample(image: Tensor, factor: int) -> Tensor:
    """Anti-aliased bilinear reduction of [C, H, W]."""
    size = (image.shape[1] // factor, image.shape[2] // factor)
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


def _pixel_centres(height: int, width: int) -> Tensor:
    """(column, row, 1) of the pixel centres, float64 [H, W, 3]."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)], -1).double()


def _edge_lengths(voxel_size: float | Sequence[float] | Tensor) -> Tensor:
    edges = torch.as_tensor(voxel_size, dtype=torch.float64).detach().cpu().reshape(-1)
    if edges.numel() == 1:
        edges = edges.expand(3)
    if edges.shape != (3,) or not bool((edges.isfinite() & (edges > 0)).all()):
        raise ValueError(f"voxel_size must be one or three positive lengths, got {voxel_size}")
    return edges.clone()


class VoxelRenderer:
    """Draws voxels as opaque axis-aligned boxes; each pixel shows the first box its centre ray enters.

    Options (`rendering_options`, attribute access): `resolution` int or (H, W), `near` and `far` camera depths, `ssaa`
    super-sampling factor, `depth_type` "ray" or "z".
    """

    def __init__(self, rendering_options: Mapping[str, Any] | None = None) -> None:
        options = dict(rendering_options or {})
        unknown = sorted(set(options) - set(_DEFAULTS))
        if unknown:
            raise ValueError(f"unknown rendering options {unknown}, choose from {sorted(_DEFAULTS)}")
        self.rendering_options = AttrDict({**_DEFAULTS, **options})

    def _size(self) -> tuple[int, int, int]:
        resolution, ssaa = self.rendering_options.resolution, self.rendering_options.ssaa
        size = [resolution, resolution] if isinstance(resolution, int) else list(resolution or ())
        if len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size):
            raise ValueError(f"rendering_options.resolution must be set to a size or (H, W), got {resolution}")
        if not isinstance(ssaa, int) or ssaa < 1 or max(size) * ssaa > 32768:
            raise ValueError(f"rendering_options.ssaa must be a positive integer with size * ssaa <= 32768, got {ssaa}")
        return size[0] * ssaa, size[1] * ssaa, ssaa

    def render(
        self,
        position: Tensor,  # [N, 3] float, voxel centres in world space
        attrs: Tensor,  # [N, C] float
        voxel_size: float | Sequence[float] | Tensor,  # edge length, or one for each axis
        extrinsics: Tensor,  # [4, 4] world to camera
        intrinsics: Tensor,  # [3, 3]
        *,
        quirks: Literal["none", "published"] = "none",
        backend: Backend = "auto",
    ) -> AttrDict:
        """Render `attr [C, H, W]`, `depth [H, W]`, `alpha [H, W]`, zeros where no voxel is seen.

        Runs on the device of `position`, in float32. `attr` is differentiable in `attrs`; nothing else is. Hits of a
        pixel compare by float32 depth, then by row, so that every backend draws the same picture. Depth is measured
        where the ray enters the box (or crosses the near plane inside it); with `ssaa` > 1 colour and alpha are
        averaged, depth over the covered part only. `quirks="published"`: order by depth of the box centres, drop boxes
        whose centre is within 0.2 of the camera, ignore near, far and the principal point, average depth over the
        background too.
        Raises TypeError or ValueError on wrong types, shapes and options.
        """
        height, width, ssaa = self._size()
        options = self.rendering_options
        if quirks not in ("none", "published"):
            raise ValueError(f"quirks must be 'none' or 'published', got {quirks!r}")
        if options.depth_type not in ("ray", "z"):
            raise ValueError(f"rendering_options.depth_type must be 'ray' or 'z', got {options.depth_type!r}")
        if position.ndim != 2 or position.shape[1] != 3:
            raise ValueError(f"position must have shape [N, 3], got {list(position.shape)}")
        if attrs.ndim != 2 or attrs.shape[0] != position.shape[0] or not attrs.dtype.is_floating_point:
            rows = position.shape[0]
            raise ValueError(f"attrs must be floating point [{rows}, C], got {attrs.dtype} {list(attrs.shape)}")
        if extrinsics.shape != (4, 4) or intrinsics.shape != (3, 3):
            shapes = f"{list(extrinsics.shape)} and {list(intrinsics.shape)}"
            raise ValueError(f"extrinsics and intrinsics must be [4, 4] and [3, 3], got {shapes}")
        published = quirks == "published"
        near, far = (0.0, 1e30) if published else (float(options.near), float(options.far))
        if not published and not 0 < near < far:
            raise ValueError(f"near and far must satisfy 0 < near < far, got {near}, {far}")
        view, lens = (m.detach().cpu().double().numpy().copy() for m in (extrinsics, intrinsics))
        if published:
            lens[0, 2] = lens[1, 2] = 0.5
        # Pixel (px, py) -> camera ray with z = 1 -> world.
        to_pixel = np.diag([width, height, 1.0]) @ lens
        to_ray, to_world = np.linalg.inv(to_pixel), np.linalg.inv(view[:3, :3])
        pixel_to_ray = to_world @ to_ray  # [3, 3]
        origin = -to_world @ view[:3, 3]
        half = _edge_lengths(voxel_size) / 2
        cull = _PUBLISHED_CULL_DEPTH if published else float("-inf")
        near = max(near, 1e-6)
        native = native_module() if resolve_backend(backend) == "native" else None
        if native is not None:
            camera = [*origin, *pixel_to_ray.T.flat, *view[:3].flat, *to_pixel[:2].flat, near, far, cull]
            arguments = half.tolist(), camera, published, height, width
            points = position.detach().float().contiguous()
            if points.is_cuda and cuda_core("voxel_rendering", points.device) is not None:
                memory = native.render_voxels_cuda(points, *arguments, launch(points.device))
            else:
                memory = native.render_voxels(points.cpu(), *arguments)
            index = as_tensor(memory[0], torch.int32, (height, width))
            depth = as_tensor(memory[1], torch.float32, (height, width))
        else:
            points = position.detach().to("cpu", torch.float32).double()
            index, depth = render_voxels_reference(
                points,
                half,
                torch.from_numpy(origin),
                _pixel_centres(height, width).reshape(-1, 3) @ torch.from_numpy(pixel_to_ray).T,
                points @ torch.from_numpy(view[2, :3]) + view[2, 3],
                near=near,
                far=far,
                cull_depth=cull,
                order_by_centre=published,
            )
            index, depth = index.reshape(height, width), depth.reshape(height, width)
        index, depth = index.to(attrs.device).long(), depth.to(attrs.device)
        if options.depth_type == "ray":
            depth = depth * self._ray_lengths(to_ray, height, width, attrs.device)
        return self._resolve(index, depth, attrs, ssaa, published)

    @staticmethod
    def _ray_lengths(to_ray: np.ndarray, height: int, width: int, device: torch.device) -> Tensor:
        """Length [H, W] of the camera rays with z = 1; to_ray [3, 3]: pixel to ray."""
        columns = torch.arange(width, dtype=torch.float64, device=device) + 0.5
        rows = torch.arange(height, dtype=torch.float64, device=device)[:, None] + 0.5
        x, y = (float(m[0]) * columns + float(m[1]) * rows + float(m[2]) for m in to_ray[:2])
        return (x.square() + y.square() + 1).sqrt().float()

    @staticmethod
    def _resolve(index: Tensor, depth: Tensor, attrs: Tensor, ssaa: int, published: bool) -> AttrDict:
        hit = index >= 0
        if attrs.shape[0]:
            image = torch.where(hit[..., None], attrs[index.clamp(min=0)], 0)  # [H, W, C]
        else:
            image = attrs.new_zeros(*index.shape, attrs.shape[1])
        attr = image.permute(2, 0, 1)  # [H, W, C] -> [C, H, W]
        alpha = hit.to(depth.dtype)
        if ssaa > 1:
            if attr.shape[0]:
                attr = _downsample(attr, ssaa)
            else:
                attr = attr.new_zeros(0, index.shape[0] // ssaa, index.shape[1] // ssaa)
            total = _downsample(depth[None], ssaa)[0]
            alpha = _downsample(alpha[None], ssaa)[0]
            depth = total if published else torch.where(alpha > 0, total / alpha.clamp(min=1e-6), 0)
        return AttrDict(attr=attr, depth=depth, alpha=alpha)
