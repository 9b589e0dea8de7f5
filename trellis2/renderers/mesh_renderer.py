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
    box_downsample,
    camera_normal_to_color,
    check_view,
    face_normals,
    hits_of,
    interpolate_hits,
    project,
    scatter,
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
        vertices = mesh.vertices
        if transformation is not None:
            moved = transformation.to(vertices)
            vertices = vertices @ moved[:3, :3].T + moved[:3, 3]
        clip = project(vertices, view)
        if mesh.vertices.shape[0] and mesh.faces.shape[0]:
            hits = _draw(clip, mesh.faces, size, options.chunk_size)
        else:
            empty = torch.zeros(0, dtype=torch.long, device=mesh.device)
            hits = Hits(empty, empty, vertices.new_zeros(0, 3), vertices.new_zeros(0))
        return self._images(mesh, vertices, clip, view, hits, return_types)

    def _images(
        self, mesh: Mesh, vertices: Tensor, clip: Tensor, view: View, hits: Hits, return_types: Sequence[str]
    ) -> AttrDict:
        options = self.rendering_options
        size, ssaa = view.size, options.ssaa
        corners = mesh.faces[hits.face].long()  # [n, 3]
        point = interpolate_hits(vertices[corners], hits.weights)
        coverage = box_downsample(scatter(torch.ones_like(point[:, :1]), hits.pixel, size), ssaa)  # [R, R, 1]

        def image(values: Tensor) -> Tensor:  # [n, C] -> [R, R, C], mean over covered samples
            return box_downsample(scatter(values, hits.pixel, size), ssaa) / coverage.clamp_min(1e-6)

        out = AttrDict()
        for name in return_types:
            if name == "mask":
                out.mask = coverage[..., 0]
            elif name == "depth":
                out.depth = image((point @ view.extrinsics[2, :3] + view.extrinsics[2, 3])[:, None])[..., 0]
            elif name == "coord":
                out.coord = image(point).permute(2, 0, 1)
            elif name == "normal":
                normal = face_normals(vertices, mesh.faces)[hits.face]
                away = ((point - view.eye) * normal).sum(-1, keepdim=True) > 0
                normal = torch.where(away, -normal, normal) @ view.extrinsics[:3, :3].T
                colors = camera_normal_to_color(normal, options.normal_convention)
                out.normal = box_downsample(scatter(colors, hits.pixel, size, fill=0.5), ssaa).permute(2, 0, 1)
            else:
                out.update(self._attributes(mesh, clip, view, hits, corners, image))
        return out

    @staticmethod
    def _attributes(mesh: Mesh, clip: Tensor, view: View, hits: Hits, corners: Tensor, image: Any) -> dict[str, Tensor]:
        if isinstance(mesh, MeshWithPbrMaterial):
            density = face_uv_density(clip, mesh.faces, mesh.uv_coords, view.size)
            values = evaluate_materials(mesh, hits.face, hits.weights, density)
        elif isinstance(mesh, MeshWithVoxel):
            values = mesh.query_attrs(interpolate_hits(mesh.vertices[corners], hits.weights))
        elif mesh.vertex_attrs is None:
            raise ValueError("return type 'attr' needs a mesh with vertex_attrs, voxels or materials")
        else:
            return {"attr": image(interpolate_hits(mesh.vertex_attrs.float()[corners], hits.weights)).permute(2, 0, 1)}
        picture = image(values).permute(2, 0, 1)
        return {name: picture[part] for name, part in mesh.layout.items()}


def _draw(clip: Tensor, faces: Tensor, size: int, chunk_size: int | None) -> Hits:
    """Visible samples; chunks of faces are merged by depth and keep their index in the whole mesh."""
    from o_voxel.rasterize import rasterize

    if chunk_size is None or chunk_size >= faces.shape[0]:
        return hits_of(rasterize(clip, faces, (size, size))[0].reshape(-1, 4))
    if chunk_size < 1:
        raise ValueError(f"rendering option chunk_size must be positive, got {chunk_size}")
    face = torch.full((size * size,), -1, dtype=torch.long, device=clip.device)
    depth = torch.full((size * size,), torch.inf, device=clip.device)
    weights = torch.zeros((size * size, 3), device=clip.device)
    for start in range(0, faces.shape[0], chunk_size):
        hits = hits_of(rasterize(clip, faces[start : start + chunk_size].contiguous(), (size, size))[0].reshape(-1, 4))
        closer = hits.depth <= depth[hits.pixel]
        pixel = hits.pixel[closer]
        face[pixel], depth[pixel] = hits.face[closer] + start, hits.depth[closer]
        weights[pixel] = hits.weights[closer]
    pixel = torch.nonzero(face >= 0)[:, 0]
    return Hits(pixel, face[pixel], weights[pixel], depth[pixel])
