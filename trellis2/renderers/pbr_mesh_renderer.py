"""Previews of assets with metallic-roughness attributes under image-based lighting.

R = resolution, S = R * ssaa, n covered samples of a depth layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trellis2.representations import AlphaMode, MeshWithPbrMaterial, MeshWithVoxel

from .ambient_occlusion import ambient_occlusion
from .asset import corner_normals
from .cameras import image_rays
from .color import decode, tone_map
from .env_map import EnvMap
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
    peel,
    project,
)

__all__ = ["PbrMeshRenderer"]

_OPAQUE = 0.975  # accumulated opacity beyond which nothing behind is drawn; decoded solids come close to 1
_DEFAULTS: dict[str, Any] = {
    "resolution": None,
    "near": None,
    "far": None,
    "ssaa": 1,
    "peel_layers": 8,
    "transfer": "srgb",
    "normal_convention": "opengl",
    "crease_angle": 0.0,
    "ao_samples": 32,
    "bg_color": (0.0, 0.0, 0.0),
}
_ATTRIBUTES = ("base_color", "metallic", "roughness", "alpha")


class PbrMeshRenderer:
    """Split-sum lighting, depth-peeled transparency, screen-space ambient occlusion and a filmic tone map.

    Options: `resolution` R (required), `near`, `far` (camera depth, required), `ssaa` samples a pixel side,
    `peel_layers` (at most; stops as soon as everything visible is opaque), `transfer` "srgb" | "gamma2.2" of base
    colours and pictures, `normal_convention` "opengl" | "published", `crease_angle` in degrees below which edges are
    shaded smoothly (0: flat faces), `ao_samples`, and `bg_color` (display RGB in [0, 1]) behind shaded pictures.
    `device`, if given, is where the work is done and results stay; otherwise that is the mesh's device.
    """

    def __init__(
        self, rendering_options: Mapping[str, Any] | None = None, device: torch.device | str | None = None
    ) -> None:
        self.rendering_options = make_options(_DEFAULTS, rendering_options)
        self.device = None if device is None else torch.device(device)
        self._corner_normals: tuple[Tensor, Tensor, Tensor] | None = None  # vertices, faces, [F, 3, 3]

    @torch.no_grad()
    def render(
        self,
        mesh: MeshWithVoxel | MeshWithPbrMaterial,
        extrinsics: Tensor,  # [4, 4]
        intrinsics: Tensor,  # [3, 3]
        envmap: EnvMap | Mapping[str, EnvMap],
        use_envmap_bg: bool = False,
        transformation: Tensor | None = None,  # [4, 4], moves the mesh first
    ) -> AttrDict:
        """Render one view.

        Returns `shaded` [3, R, R] (or `shaded_<name>` for a mapping of environments), `normal` [3, R, R], `mask`
        [R, R], `base_color` [3, R, R], `metallic`, `roughness`, `alpha` [R, R] of the nearest surface, `clay` [R, R]
        (unoccluded share, 0 on the background) and `opacity` [R, R] (transparent layers added up). All float32 in
        [0, 1]; background 0, normal 0.5. Occlusion darkens diffuse light only. Surfaces are two-sided.
        """
        if not isinstance(mesh, (MeshWithVoxel, MeshWithPbrMaterial)):
            raise TypeError(f"mesh must be a MeshWithVoxel or MeshWithPbrMaterial, got {type(mesh).__name__}")
        options = self.rendering_options
        resolution, ssaa = _positive(options, "resolution"), _positive(options, "ssaa")
        if options.near is None or options.far is None:
            raise ValueError("rendering options near and far must be set")
        if self.device is not None:
            mesh = mesh.to(self.device)
        environments = (
            {"shaded": envmap} if isinstance(envmap, EnvMap) else {f"shaded_{k}": e for k, e in envmap.items()}
        )
        environments = {name: env.to(mesh.device) for name, env in environments.items()}
        size = resolution * ssaa
        view = check_view(extrinsics, intrinsics, options.near, options.far, size, mesh.device)
        buffers = _Buffers(size, list(environments), mesh.device)
        if mesh.vertices.shape[0] and mesh.faces.shape[0]:
            self._draw(mesh, view, environments, transformation, buffers)
        return self._finish(buffers, view, environments, use_envmap_bg, resolution, ssaa)

    def _draw(
        self,
        mesh: MeshWithVoxel | MeshWithPbrMaterial,
        view: View,
        environments: Mapping[str, EnvMap],
        transformation: Tensor | None,
        out: _Buffers,
    ) -> None:
        options = self.rendering_options
        vertices = mesh.vertices
        if transformation is not None:
            moved = transformation.to(vertices)
            vertices = vertices @ moved[:3, :3].T + moved[:3, 3]
        faces = mesh.faces
        clip = project(vertices, view)
        flat = face_normals(vertices, faces)
        smooth = self._smooth_normals(vertices, faces) if options.crease_angle > 0 else None
        density = None
        layers = _positive(options, "peel_layers")
        if isinstance(mesh, MeshWithPbrMaterial):
            density = face_uv_density(clip, faces, mesh.uv_coords, view.size)
            if all(material.alpha_mode == AlphaMode.OPAQUE for material in mesh.materials):
                layers = 1
        for layer, rast in enumerate(peel(clip, faces, view.size, layers)):
            hits = hits_of(rast)
            if not len(hits.pixel):
                break
            if layer:
                visible = out.opacity[hits.pixel, 0] < _OPAQUE
                hits = Hits(hits.pixel[visible], hits.face[visible], hits.weights[visible], hits.depth[visible])
            corners = faces[hits.face].long()  # [n, 3]
            point = interpolate_hits(vertices[corners], hits.weights)
            normal = flat[hits.face]
            facing = torch.where(((point - view.eye) * normal).sum(-1, keepdim=True) > 0, -1.0, 1.0)
            normal = normal * facing
            shading = normal
            if smooth is not None:
                shading = _towards(F.normalize(interpolate_hits(smooth[hits.face], hits.weights), dim=-1), normal)
            if isinstance(mesh, MeshWithVoxel):
                source = point if transformation is None else interpolate_hits(mesh.vertices[corners], hits.weights)
                values = mesh.query_attrs(source)
                attrs = torch.cat([values[:, mesh.layout[name]] for name in _ATTRIBUTES], dim=1)
            else:
                assert density is not None
                attrs = evaluate_materials(mesh, hits.face, hits.weights, density)
            attrs = attrs.float().clamp(0, 1)
            out.add_layer(hits.pixel, point, shading, attrs, view, environments, options.transfer, first=layer == 0)
            if not (out.opacity[hits.pixel] < _OPAQUE).any():
                break

    def _smooth_normals(self, vertices: Tensor, faces: Tensor) -> Tensor:
        """Corner normals `[F, 3, 3]`, kept for the next frame of the same mesh."""
        kept = self._corner_normals
        if kept is None or kept[0] is not vertices or kept[1] is not faces:
            angle = float(self.rendering_options.crease_angle)
            normals = corner_normals(vertices.double().cpu().numpy(), faces.long().cpu().numpy(), angle)
            kept = (vertices, faces, torch.from_numpy(normals).to(vertices))
            self._corner_normals = kept
        return kept[2]

    def _finish(
        self,
        buffers: _Buffers,
        view: View,
        environments: Mapping[str, EnvMap],
        use_envmap_bg: bool,
        resolution: int,
        ssaa: int,
    ) -> AttrDict:
        options = self.rendering_options
        size = view.size

        def reduce(flat: Tensor) -> Tensor:  # [S * S, C] -> [R, R, C]
            return box_downsample(flat.reshape(size, size, -1), ssaa)

        mask = reduce(buffers.mask)
        nearest, sample = _nearest_samples(buffers.depth[:, 0], resolution, ssaa)
        front = buffers.normal[sample].reshape(resolution, resolution, 3)
        occlusion = ambient_occlusion(nearest, front, view.projection, num_samples=int(options.ao_samples))[..., None]
        opacity = reduce(buffers.opacity)
        out = AttrDict()
        for name, environment in environments.items():
            radiance = reduce(buffers.diffuse[name]) * (1 - occlusion) + reduce(buffers.specular[name])
            if use_envmap_bg:
                directions = image_rays(view.extrinsics, view.intrinsics, size)[1]
                radiance = radiance + reduce((1 - buffers.opacity) * environment.sample(directions).reshape(-1, 3))
            shaded = tone_map(radiance, options.transfer)
            if not use_envmap_bg and any(options.bg_color):
                shaded = shaded + (1 - opacity).clamp(0, 1) * shaded.new_tensor(list(options.bg_color))
            out[name] = shaded.clamp(0, 1).permute(2, 0, 1)
        surface = camera_normal_to_color(buffers.first_normal, options.normal_convention)
        out.normal = reduce(torch.where(buffers.mask > 0, surface, 0.5)).permute(2, 0, 1)
        out.mask = mask[..., 0]
        attributes = reduce(buffers.attributes)
        out.base_color = attributes[..., 0:3].permute(2, 0, 1)
        out.metallic, out.roughness, out.alpha = attributes[..., 3], attributes[..., 4], attributes[..., 5]
        out.clay = ((1 - occlusion) * mask)[..., 0]
        out.opacity = opacity[..., 0]
        return out


class _Buffers:
    """Accumulated images, flat `[S * S, C]` float32."""

    def __init__(self, size: int, names: list[str], device: torch.device) -> None:
        def zeros(channels: int) -> Tensor:
            return torch.zeros((size * size, channels), device=device)

        self.opacity, self.mask, self.best = zeros(1), zeros(1), zeros(1)
        self.first_normal, self.normal = zeros(3), zeros(3)
        self.attributes = zeros(6)
        self.depth = torch.full((size * size, 1), torch.inf, device=device)  # camera z of the leading layer
        self.diffuse = {name: zeros(3) for name in names}
        self.specular = {name: zeros(3) for name in names}

    def add_layer(
        self,
        pixel: Tensor,
        point: Tensor,
        normal: Tensor,
        attrs: Tensor,
        view: View,
        environments: Mapping[str, EnvMap],
        transfer: Any,
        first: bool,
    ) -> None:
        """Composite one layer behind what is there; `attrs [n, 6]` in [0, 1]."""
        rotation = view.extrinsics[:3, :3]
        camera_normal = normal @ rotation.T
        z = point @ rotation[2] + view.extrinsics[2, 3]
        if first:
            self.mask[pixel] = 1.0
            self.attributes[pixel] = attrs
            self.first_normal[pixel] = camera_normal
        albedo = decode(attrs[:, 0:3], transfer)
        ks = torch.stack([torch.zeros_like(attrs[:, 4]), attrs[:, 4], attrs[:, 3]], dim=1)
        weight = (1 - self.opacity[pixel]) * attrs[:, 5:6]
        for name, environment in environments.items():
            diffuse, specular = environment.shade_parts(point, normal, albedo, ks, view.eye)
            self.diffuse[name][pixel] += weight * diffuse
            self.specular[name][pixel] += weight * specular
        leading = weight[:, 0] > self.best[pixel, 0]
        chosen = pixel[leading]
        self.best[chosen] = weight[leading]
        self.depth[chosen, 0] = z[leading]
        self.normal[chosen] = camera_normal[leading]
        self.opacity[pixel] += weight


def _nearest_samples(depth: Tensor, resolution: int, ssaa: int) -> tuple[Tensor, Tensor]:
    """Nearest depth `[R, R]` and flat sample index `[R * R]` of every pixel."""
    if ssaa == 1:
        return depth.reshape(resolution, resolution), torch.arange(len(depth), device=depth.device)
    cells = depth.reshape(resolution, ssaa, resolution, ssaa).permute(0, 2, 1, 3).reshape(resolution**2, ssaa**2)
    value, chosen = cells.min(dim=1)
    pixel = torch.arange(resolution**2, device=depth.device)
    row = torch.div(pixel, resolution, rounding_mode="floor") * ssaa + torch.div(chosen, ssaa, rounding_mode="floor")
    column = (pixel % resolution) * ssaa + chosen % ssaa
    return value.reshape(resolution, resolution), row * (resolution * ssaa) + column


def _towards(smooth: Tensor, flat: Tensor) -> Tensor:
    """Interpolated normals on the side of the viewer-facing flat ones; flat where interpolation cancelled out."""
    side = torch.where((smooth * flat).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return torch.where((smooth * smooth).sum(-1, keepdim=True) > 0.5, smooth * side, flat)


def _positive(options: AttrDict, name: str) -> int:
    value = options[name]
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"rendering option {name} must be a positive integer, got {value!r}")
    return value
