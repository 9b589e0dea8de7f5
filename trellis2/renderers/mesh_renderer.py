"""Geometry and attribute images of meshes (G-buffers), without lighting.

R = resolution, S = R * ssaa, n covered samples, C attribute channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trellis2.representations import Mesh, MeshWithPbrMaterial, MeshWithVoxel

from .cameras import transform_points
from .materials import make_material_table
from .options import AttrDict, make_options
from .surface import (
    Hits,
    View,
    camera_normal_to_color,
    check_view,
    face_normals,
    hits_of,
    interpolate_hits,
    moved_vertices,
    peel,
    pixel_major,
    pixel_mean,
    project,
    row_major,
    spread,
    triangle_id,
)

__all__ = ["MeshRenderer"]

_DEFAULTS: dict[str, Any] = {
    "resolution": None,
    "near": None,
    "far": None,
    "ssaa": 1,
    "chunk_size": None,
    "antialias": False,
    "clamp_barycentric_coords": True,
    "normal_convention": "opengl",
}
_RETURN_TYPES = ("mask", "depth", "normal", "coord", "attr")


class MeshRenderer:
    """Rasterises a mesh to masks, depths, normals, positions and attributes.

    Options: `resolution` R, `near`, `far` (required), `ssaa` samples a pixel side, `chunk_size` faces drawn at a time
    (None: all at once; the picture is the same), `antialias` also blends samples across silhouettes (all but attributes
    of voxels and materials; depth and positions then fade into the background), `normal_convention` "opengl" |
    "published". Barycentrics are always clamped, with or without the published option `clamp_barycentric_coords`.
    `device`, if given, is where the work is done and results stay; otherwise that is the mesh's device.
    """

    def __init__(
        self, rendering_options: Mapping[str, Any] | None = None, device: torch.device | str | None = None
    ) -> None:
        self.rendering_options = make_options(_DEFAULTS, rendering_options)
        self.device = None if device is None else torch.device(device)

    @torch.no_grad()
    def render(
        self,
        mesh: Mesh,
        extrinsics: Tensor,  # [4, 4]
        intrinsics: Tensor,  # [3, 3]
        return_types: Sequence[str] = ("mask", "normal", "depth"),
        transformation: Tensor | None = None,  # [4, 4], moves the mesh first
    ) -> AttrDict:
        """Render one view; one entry per return type.

        `mask` [R, R]; `depth` [R, R] camera z, 0 where empty; `normal` [3, R, R] viewer-facing flat normal as a colour,
        0.5 where empty; `coord` [3, R, R] world position after `transformation`; `attr` [C, R, R] vertex attributes,
        or for a mesh with voxels or materials one entry per name of its layout instead. Depth, position and attributes
        are means over the covered samples of a pixel, so they hold no background; mask and normal are over all.
        """
        unknown = [t for t in return_types if t not in _RETURN_TYPES]
        if unknown:
            raise ValueError(f"unknown return types {unknown}, choose from: {', '.join(_RETURN_TYPES)}")
        options = self.rendering_options
        for name in ("resolution", "near", "far"):
            if options[name] is None:
                raise ValueError(f"rendering option {name} must be set")
        if self.device is not None:
            mesh = mesh.to(self.device)
        size = options.resolution * options.ssaa
        view = check_view(extrinsics, intrinsics, options.near, options.far, size, mesh.device)
        vertices = moved_vertices(mesh.vertices, transformation)
        clip = project(vertices, view)
        with_db = "attr" in return_types and isinstance(mesh, MeshWithPbrMaterial)
        if mesh.vertices.shape[0] and mesh.faces.shape[0]:
            rast, rast_db = _draw(clip, mesh.faces, size, options.chunk_size, with_db)
        else:
            rast, rast_db = vertices.new_zeros(size, size, 4), None
        hits = hits_of(rast, options.ssaa, mesh.faces.shape[0], rast_db=rast_db)
        smooth = None
        if options.antialias and len(hits.sample):
            smooth = partial(_antialias, rast=rast, clip=clip, faces=mesh.faces, ssaa=options.ssaa)
        return self._images(mesh, vertices, view, hits, return_types, smooth)

    def _images(
        self,
        mesh: Mesh,
        vertices: Tensor,
        view: View,
        hits: Hits,
        return_types: Sequence[str],
        smooth: Callable[[Tensor], Tensor] | None,
    ) -> AttrDict:
        options = self.rendering_options
        resolution, ssaa = options.resolution, options.ssaa
        point = interpolate_hits(vertices, mesh.faces, hits)

        def mean(values: Tensor, fill: float = 0.0, exact: bool = False) -> Tensor:  # [n, C] -> [R, R, C]
            samples = spread(values.float(), hits.sample, view.size**2, fill)
            if smooth is not None and not exact:
                samples = smooth(samples)
            return pixel_mean(samples, ssaa).reshape(resolution, resolution, -1)

        covered = mean(torch.ones_like(point[:, :1]), exact=True)  # [R, R, 1]

        def image(values: Tensor) -> Tensor:  # [n, C] -> [C, R, R]
            if smooth is not None:
                return mean(values).permute(2, 0, 1)
            return (mean(values) / covered.clamp_min(1e-6)).permute(2, 0, 1)  # mean over covered samples

        def attribute_image(values: Tensor) -> Tensor:
            return (mean(values, exact=True) / covered.clamp_min(1e-6)).permute(2, 0, 1)

        out = AttrDict()
        for name in return_types:
            if name == "mask":
                out.mask = mean(torch.ones_like(point[:, :1]))[..., 0]
            elif name == "depth":
                out.depth = image(transform_points(point, view.extrinsics[2:3], view.extrinsics[2:3, 3]))[0]
            elif name == "coord":
                out.coord = image(point)
            elif name == "normal":
                normal = face_normals(vertices, mesh.faces)[hits.face]
                away = ((point - view.eye) * normal).sum(-1, keepdim=True) > 0
                normal = transform_points(torch.where(away, -normal, normal), view.extrinsics[:3])
                out.normal = mean(camera_normal_to_color(normal, options.normal_convention), 0.5).permute(2, 0, 1)
            else:
                out.update(_attributes(mesh, hits, image, attribute_image))
        return out


def _attributes(mesh: Mesh, hits: Hits, image: Any, attribute_image: Any) -> dict[str, Tensor]:
    if isinstance(mesh, MeshWithPbrMaterial):
        values = make_material_table(mesh.materials, mesh.device).evaluate(mesh, hits)
    elif isinstance(mesh, MeshWithVoxel):
        values = mesh.query_attrs(interpolate_hits(mesh.vertices, mesh.faces, hits))
    elif mesh.vertex_attrs is None:
        raise ValueError("return type 'attr' needs a mesh with vertex_attrs, voxels or materials")
    else:
        return {"attr": image(interpolate_hits(mesh.vertex_attrs.float(), mesh.faces, hits))}
    picture = attribute_image(values)
    return {name: picture[part] for name, part in mesh.layout.items()}


def _antialias(samples: Tensor, rast: Tensor, clip: Tensor, faces: Tensor, ssaa: int) -> Tensor:
    """Pixel-major samples blended across silhouettes."""
    from o_voxel.rasterize import antialias

    drawn = row_major(samples, ssaa)[None].contiguous()
    return pixel_major(antialias(drawn, rast[None].contiguous(), clip, faces)[0], ssaa)


def _draw(
    clip: Tensor, faces: Tensor, size: int, chunk_size: int | None, with_db: bool
) -> tuple[Tensor, Tensor | None]:
    """Raster `[S, S, 4]` and, if asked for, derivatives of its barycentrics.

    Chunks of faces are merged by depth and keep their index in the whole mesh.
    """
    from o_voxel.rasterize import triangle_index

    if chunk_size is None or chunk_size >= faces.shape[0]:
        return next(peel(clip, faces, size, 1, with_db))
    if chunk_size < 1:
        raise ValueError(f"rendering option chunk_size must be positive, got {chunk_size}")
    whole = clip.new_zeros(size, size, 4)
    whole_db = clip.new_zeros(size, size, 4) if with_db else None
    for start in range(0, faces.shape[0], chunk_size):
        part, part_db = next(peel(clip, faces[start : start + chunk_size].contiguous(), size, 1, with_db))
        closer = ((part[..., 3] != 0) & ((whole[..., 3] == 0) | (part[..., 2] <= whole[..., 2])))[..., None]
        ids = triangle_id(triangle_index(part) + start)
        whole = torch.where(closer, torch.cat([part[..., :3], ids[..., None]], dim=-1), whole)
        if part_db is not None and whole_db is not None:
            whole_db = torch.where(closer, part_db, whole_db)
    return whole, whole_db
