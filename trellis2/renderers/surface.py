"""From a raster to surface points: what the mesh renderers share.

R = resolution, S = R * ssaa; n covered samples; V vertices, F faces. Samples are numbered pixel by pixel, so that a
picture is the mean over groups of ssaa^2 neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .cameras import intrinsics_to_projection, transform_points

__all__ = [
    "Hits",
    "View",
    "camera_normal_to_color",
    "check_view",
    "face_normals",
    "hits_of",
    "interpolate_corners",
    "interpolate_corners_da",
    "interpolate_hits",
    "moved_vertices",
    "peel",
    "pixel_major",
    "pixel_mean",
    "project",
    "row_major",
    "spread",
    "triangle_id",
]

_EXACT_IDS = 1 << 24
_ID_OFFSET = 0x4A800000


@dataclass(frozen=True)
class View:
    """Camera of one picture."""

    extrinsics: Tensor  # [4, 4] float32
    intrinsics: Tensor  # [3, 3] float32
    projection: Tensor  # [4, 4] float32
    to_clip: Tensor  # [4, 4] float32, projection times extrinsics
    eye: Tensor  # [3] float32, camera centre in world space
    size: int  # samples a side


@dataclass(frozen=True)
class Hits:
    """Covered samples of one depth layer."""

    sample: Tensor  # [n] int64, pixel-major
    face: Tensor  # [n] int64
    rast: Tensor  # [n, 4] float32, row of the raster: u, v, z/w, triangle id
    rast_db: Tensor | None = None  # [n, 4] float32: du/dX, du/dY, dv/dX, dv/dY by sample


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
    intrinsics = intrinsics.detach().to("cpu", torch.float32)
    projection = intrinsics_to_projection(intrinsics, near, far)
    extrinsics = extrinsics.detach().to("cpu", torch.float32)
    to_clip = (projection.double() @ extrinsics.double()).float()
    eye = -(extrinsics[:3, :3].double().T @ extrinsics[:3, 3].double()).float()
    return View(
        extrinsics.to(device), intrinsics.to(device), projection.to(device), to_clip.to(device), eye.to(device), size
    )


def moved_vertices(vertices: Tensor, transformation: Tensor | None) -> Tensor:
    """`vertices [V, 3]` under a `[4, 4]` transformation."""
    if transformation is None:
        return vertices
    matrix = transformation.to(vertices)
    return transform_points(vertices, matrix[:3], matrix[:3, 3])


def project(vertices: Tensor, view: View) -> Tensor:
    """Clip-space positions `[V, 4]` of world `vertices [V, 3]`."""
    return transform_points(vertices, view.to_clip, view.to_clip[:, 3])


def peel(
    clip: Tensor, faces: Tensor, size: int, layers: int, with_db: bool = False
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Rasters `[S, S, 4]`, nearest layer first, and with `with_db` the derivatives of their barycentrics."""
    from o_voxel.rasterize import DepthPeeler, rasterize

    def parts(drawn: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        return (drawn[0][0], drawn[1][0]) if isinstance(drawn, tuple) else (drawn[0], None)

    if layers == 1:
        yield parts(rasterize(clip, faces, (size, size), grad_db=with_db))
        return
    with DepthPeeler(clip, faces, (size, size), grad_db=with_db) as peeler:
        for _ in range(layers):
            yield parts(peeler.rasterize_next_layer())


def pixel_major(image: Tensor, ssaa: int) -> Tensor:
    """`[S, S, ...]` to `[S * S, ...]` with the samples of a pixel side by side: pixel * ssaa^2 + number in it."""
    size, rest = image.shape[0] // ssaa, image.shape[2:]
    if ssaa == 1:
        return image.reshape(-1, *rest)
    cells = image.reshape(size, ssaa, size, ssaa, *rest)
    return cells.transpose(1, 2).reshape(-1, *rest)


def row_major(samples: Tensor, ssaa: int) -> Tensor:
    """The inverse of `pixel_major`: `[S * S, C]` to `[S, S, C]`."""
    resolution = round((samples.shape[0] // ssaa**2) ** 0.5)
    cells = samples.reshape(resolution, resolution, ssaa, ssaa, samples.shape[1])
    return cells.transpose(1, 2).reshape(resolution * ssaa, resolution * ssaa, samples.shape[1])


def hits_of(
    rast: Tensor, ssaa: int, num_faces: int, wanted: Tensor | None = None, rast_db: Tensor | None = None
) -> Hits:
    """Covered samples of a raster `[S, S, 4]`, of those where `wanted [S * S]` bool (pixel-major) is true."""
    from o_voxel.rasterize import triangle_index

    rows = pixel_major(rast, ssaa)
    covered = rows[:, 3] != 0
    sample = torch.nonzero(covered if wanted is None else covered & wanted)[:, 0]
    rows = rows[sample]
    face = rows[:, 3].long() - 1 if num_faces <= _EXACT_IDS else triangle_index(rows)
    return Hits(sample, face, rows, None if rast_db is None else pixel_major(rast_db, ssaa)[sample])


def triangle_id(face: Tensor) -> Tensor:
    """Fourth channel of a raster for triangle indices: `face + 1` as float32, above 2^24 by its bit pattern."""
    exact = (face + 1).float()
    return torch.where(face < _EXACT_IDS, exact, (face + 1 + _ID_OFFSET).int().view(torch.float32))


def interpolate_hits(table: Tensor, faces: Tensor, hits: Hits) -> Tensor:
    """Barycentric mean of a vertex table `[V, C]` at the hits: `[n, C]`."""
    from o_voxel.rasterize import interpolate

    if not len(hits.sample):
        return table.new_zeros(0, table.shape[1])
    return interpolate(table, hits.rast[None, None], faces)[0].reshape(-1, table.shape[1])


def _corner_index(table: Tensor) -> Tensor:
    return torch.arange(table.shape[0] * 3, dtype=torch.int32, device=table.device).reshape(-1, 3)


def interpolate_corners(table: Tensor, hits: Hits) -> Tensor:
    """Barycentric mean of corner values `[F, 3, C]` at the hits: `[n, C]`."""
    return interpolate_hits(table.reshape(-1, table.shape[2]), _corner_index(table), hits)


def interpolate_corners_da(table: Tensor, hits: Hits) -> tuple[Tensor, Tensor | None]:
    """`interpolate_corners`, and for hits with derivatives those of each channel by sample, `[n, 2 C]`."""
    from o_voxel.rasterize import interpolate

    if hits.rast_db is None or not len(hits.sample):
        return interpolate_corners(table, hits), None
    flat = table.reshape(-1, table.shape[2])
    rast, rast_db = hits.rast[None, None], hits.rast_db[None, None]
    value, derivatives = interpolate(flat, rast, _corner_index(table), rast_db, "all")
    return value[0, 0], derivatives[0, 0]


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals `[F, 3]` by winding; 0 for faces without area."""
    a, b, c = (vertices[faces[:, i].long()] for i in range(3))
    return F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-20)


def spread(values: Tensor, sample: Tensor, count: int, fill: float = 0.0) -> Tensor:
    """Samples `[count, C]` with `values [n, C]` at `sample [n]`, `fill` elsewhere."""
    shape = (count, values.shape[1])
    out = values.new_zeros(shape) if fill == 0 else values.new_full(shape, fill)
    out[sample] = values
    return out


def pixel_mean(samples: Tensor, ssaa: int) -> Tensor:
    """Mean over the samples of each pixel: pixel-major `[R * R * ssaa^2, C]` to `[R * R, C]`."""
    per_pixel = ssaa * ssaa
    if per_pixel == 1:
        return samples
    cells = samples.reshape(-1, per_pixel, samples.shape[1])
    total = cells[:, 0].clone()
    for i in range(1, per_pixel):
        total += cells[:, i]
    return total.mul_(1 / per_pixel)


def camera_normal_to_color(normal: Tensor, convention: str) -> Tensor:
    """Viewer-facing normals in OpenCV camera axes `[..., 3]` to colours in [0, 1].

    "opengl": red = right, green = up, blue = towards the viewer. "published": the same with red = left.
    """
    if convention == "opengl":
        return 0.5 + 0.5 * normal * normal.new_tensor([1.0, -1.0, -1.0])
    if convention == "published":
        return 0.5 - 0.5 * normal
    raise ValueError(f"normal_convention must be 'opengl' or 'published', got {convention!r}")
