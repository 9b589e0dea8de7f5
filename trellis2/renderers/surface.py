"""From a raster to surface points: what the mesh renderers share.

S = resolution * ssaa; n covered samples, kept as flat indices into the S * S image; V vertices, F faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .cameras import intrinsics_to_projection

__all__ = [
    "Hits",
    "View",
    "box_downsample",
    "camera_normal_to_color",
    "check_view",
    "face_normals",
    "hits_of",
    "interpolate_hits",
    "peel",
    "project",
    "scatter",
]


@dataclass(frozen=True)
class View:
    """Camera of one picture."""

    extrinsics: Tensor  # [4, 4] float32
    intrinsics: Tensor  # [3, 3] float32
    projection: Tensor  # [4, 4] float32
    size: int  # samples a side

    @property
    def eye(self) -> Tensor:
        """Camera centre in world space, [3]."""
        return -(self.extrinsics[:3, :3].T @ self.extrinsics[:3, 3])


@dataclass(frozen=True)
class Hits:
    """Covered samples of one depth layer."""

    pixel: Tensor  # [n] int64, flat index
    face: Tensor  # [n] int64
    weights: Tensor  # [n, 3] float32 barycentric
    depth: Tensor  # [n] float32, z/w


def check_view(
    extrinsics: Tensor, intrinsics: Tensor, near: float, far: float, size: int, device: torch.device
) -> View:
    """Validate the matrices and bring them to `device`."""
    if tuple(extrinsics.shape) != (4, 4) or tuple(intrinsics.shape) != (3, 3):
        raise ValueError(
            f"extrinsics and intrinsics must be [4, 4] and [3, 3], got {list(extrinsics.shape)} and "
            f"{list(intrinsics.shape)}"
        )
    if not (torch.isfinite(extrinsics).all() and torch.isfinite(intrinsics).all()):
        raise ValueError("extrinsics and intrinsics must be finite")
    extrinsics, intrinsics = extrinsics.to(device, torch.float32), intrinsics.to(device, torch.float32)
    return View(extrinsics, intrinsics, intrinsics_to_projection(intrinsics, near, far), size)


def project(vertices: Tensor, view: View) -> Tensor:
    """Clip-space positions `[V, 4]` of world `vertices [V, 3]`."""
    matrix = view.projection @ view.extrinsics
    return vertices @ matrix[:, :3].T + matrix[:, 3]


def peel(clip: Tensor, faces: Tensor, size: int, layers: int) -> Iterator[Tensor]:
    """Rasters `[S * S, 4]`, nearest layer first."""
    from o_voxel.rasterize import DepthPeeler, rasterize

    if layers == 1:
        yield rasterize(clip, faces, (size, size))[0].reshape(-1, 4)
        return
    with DepthPeeler(clip, faces, (size, size)) as peeler:
        for _ in range(layers):
            yield peeler.rasterize_next_layer()[0].reshape(-1, 4)


def hits_of(rast: Tensor) -> Hits:
    """Covered samples of a raster `[S * S, 4]`."""
    from o_voxel.rasterize import triangle_index

    pixel = torch.nonzero(rast[:, 3] != 0)[:, 0]
    rows = rast[pixel]
    u, v = rows[:, 0], rows[:, 1]
    face = triangle_index(rows[None, None])[0, 0].long()
    return Hits(pixel, face, torch.stack([u, v, 1 - u - v], dim=1), rows[:, 2])


def interpolate_hits(corner_values: Tensor, weights: Tensor) -> Tensor:
    """Barycentric mean: `[n, 3, C]` by `[n, 3]` -> `[n, C]`."""
    return (corner_values * weights[:, :, None]).sum(1)


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals `[F, 3]` by winding; 0 for faces without area."""
    a, b, c = (vertices[faces[:, i].long()] for i in range(3))
    return F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-20)


def scatter(values: Tensor, pixel: Tensor, size: int, fill: float = 0.0) -> Tensor:
    """Image `[S, S, C]` with `values [n, C]` at flat `pixel [n]`, `fill` elsewhere."""
    image = torch.full((size * size, values.shape[1]), fill, dtype=torch.float32, device=values.device)
    image[pixel] = values.float()
    return image.reshape(size, size, -1)


def box_downsample(image: Tensor, ssaa: int) -> Tensor:
    """Mean over `ssaa x ssaa` samples: `[S, S, C] -> [R, R, C]`."""
    if ssaa == 1:
        return image
    total = image[0::ssaa, 0::ssaa].clone()
    for i in range(1, ssaa * ssaa):
        total += image[i // ssaa :: ssaa, i % ssaa :: ssaa]
    return total / (ssaa * ssaa)


def camera_normal_to_color(normal: Tensor, convention: str) -> Tensor:
    """Viewer-facing normals in OpenCV camera axes `[..., 3]` to colours in [0, 1].

    "opengl": red = right, green = up, blue = towards the viewer. "published": the same with red = left.
    """
    if convention == "opengl":
        return 0.5 + 0.5 * normal * normal.new_tensor([1.0, -1.0, -1.0])
    if convention == "published":
        return 0.5 - 0.5 * normal
    raise ValueError(f"normal_convention must be 'opengl' or 'published', got {convention!r}")
