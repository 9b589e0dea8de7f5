"""Geometry and attribute images of meshes (G-buffers), without lighting.

R = resolution, S = R * ssaa, n covered samples, C attribute channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trellis2.representations import Mesh, MeshWithPbrMaterial, MeshWithVoxel

from .materials import evaluate_materials, face_uv_density
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
    pixel_mean,
    project,
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
    "normal_convention": "opengl",
}
_RETURN_TYPES = ("mask", "depth", "normal", "coord", "attr")


class MeshRenderer:
    """Rasterises a mesh to masks, depths, normals, positions and attributes.

    Options: `resolution` R, `near`, `far` (required), `ssaa` samples a pixel side (the antialiasing), `chunk_size`
    faces drawn at a time (None: all at once; the picture is the same), `normal_convention` "opengl" | "published".
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
        if mesh.vertices.shape[0] and mesh.faces.shape[0]:
            rast = _draw(clip, mesh.faces, size, options.chunk_size)
        else:
            rast = vertices.new_zeros(size, size, 4)
        hits = hits_of(rast, options.ssaa, mesh.faces.shape[0])
        return self._images(mesh, vertices, clip, view, hits, return_types)

    def _images(
        self, mesh: Mesh, vertices: Tensor, clip: Tensor, view: View, hits: Hits, return_types: Sequence[str]
    ) -> AttrDict:
        options = self.rendering_options
        resolution, ssaa = options.resolution, options.ssaa
        point = interpolate_hits(vertices, mesh.faces, hits)

        def mean(values: Tensor, fill: float = 0.0) -> Tensor:  # [n, C] -> [R, R, C]
            samples = spread(values.float(), hits.sample, view.size**2, fill)
            return pixel_mean(samples, ssaa).reshape(resolution, resolution, -1)

        coverage = mean(torch.ones_like(point[:, :1]))  # [R, R, 1]

        def image(values: Tensor) -> Tensor:  # [n, C] -> [C, R, R], mean over covered samples
            return (mean(values) / coverage.clamp_min(1e-6)).permute(2, 0, 1)

        out = AttrDict()
        for name in return_types:
            if name == "mask":
                out.mask = coverage[..., 0]
            elif name == "depth":
                out.depth = image((point @ view.extrinsics[2, :3] + view.extrinsics[2, 3])[:, None])[0]
            elif name == "coord":
                out.coord = image(point)
            elif name == "normal":
                normal = face_normals(vertices, mesh.faces)[hits.face]
                away = ((point - view.eye) * normal).sum(-1, keepdim=True) > 0
                normal = torch.where(away, -normal, normal) @ view.extrinsics[:3, :3].T
                out.normal = mean(camera_normal_to_color(normal, options.normal_convention), 0.5).permute(2, 0, 1)
            else:
                out.update(_attributes(mesh, clip, view, hits, image))
        return out


def _attributes(mesh: Mesh, clip: Tensor, view: View, hits: Hits, image: Any) -> dict[str, Tensor]:
    if isinstance(mesh, MeshWithPbrMaterial):
        density = face_uv_density(clip, mesh.faces, mesh.uv_coords, view.size)
        values = evaluate_materials(mesh, hits, density)
    elif isinstance(mesh, MeshWithVoxel):
        values = mesh.query_attrs(interpolate_hits(mesh.vertices, mesh.faces, hits))
    elif mesh.vertex_attrs is None:
        raise ValueError("return type 'attr' needs a mesh with vertex_attrs, voxels or materials")
    else:
        return {"attr": image(interpolate_hits(mesh.vertex_attrs.float(), mesh.faces, hits))}
    picture = image(values)
    return {name: picture[part] for name, part in mesh.layout.items()}


def _draw(clip: Tensor, faces: Tensor, size: int, chunk_size: int | None) -> Tensor:
    """Raster `[S, S, 4]`; chunks of faces are merged by depth and keep their index in the whole mesh."""
    from o_voxel.rasterize import rasterize, triangle_index

    if chunk_size is None or chunk_size >= faces.shape[0]:
        return rasterize(clip, faces, (size, size))[0].reshape(size, size, 4)
    if chunk_size < 1:
        raise ValueError(f"rendering option chunk_size must be positive, got {chunk_size}")
    whole = clip.new_zeros(size, size, 4)
    for start in range(0, faces.shape[0], chunk_size):
        part = rasterize(clip, faces[start : start + chunk_size].contiguous(), (size, size))[0].reshape(size, size, 4)
        closer = (part[..., 3] != 0) & ((whole[..., 3] == 0) | (part[..., 2] <= whole[..., 2]))
        part[..., 3] = triangle_id(triangle_index(part) + start)
        whole = torch.where(closer[..., None], part, whole)
    return whole
