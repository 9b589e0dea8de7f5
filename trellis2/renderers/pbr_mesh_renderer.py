"""Previews of assets with metallic-roughness attributes under image-based lighting.

R = resolution, S = R * ssaa, n covered samples of a depth layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trellis2.representations import MeshWithPbrMaterial, MeshWithVoxel, PbrMaterial

from .ambient_occlusion import ambient_occlusion
from .cameras import image_rays, transform_points
from .color import tone_map
from .corner_normals import corner_normals
from .env_map import EnvMap
from .layers import ATTRIBUTES, Layers
from .materials import MaterialTable, apply_relief, make_material_table
from .options import AttrDict, make_options
from .surface import (
    View,
    camera_normal_to_color,
    check_view,
    face_normals,
    hits_of,
    interpolate_corners,
    interpolate_hits,
    moved_vertices,
    peel,
    pixel_mean,
    project,
)

__all__ = ["PbrMeshRenderer"]

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
_GEOMETRY_BUFFERS = ("normal", "mask", "base_color", "metallic", "roughness", "alpha", "clay", "opacity")


class PbrMeshRenderer:
    """Split-sum lighting, depth-peeled transparency, screen-space ambient occlusion and a filmic tone map.

    Options: `resolution` R (required), `near`, `far` (camera depth, required), `ssaa` samples a pixel side,
    `peel_layers` (at most; stops as soon as everything visible is opaque), `transfer` "srgb" | "gamma2.2" of base
    colours and pictures, `normal_convention` "opengl" | "published", `crease_angle` in degrees below which edges are
    shaded smoothly (0: flat faces; a mesh with normals of its own keeps those), `ao_samples`, and `bg_color` (display
    RGB in [0, 1]) behind shaded pictures. `device`, if given, is where the work is done and results stay; otherwise
    that is the mesh's device.
    """

    def __init__(
        self, rendering_options: Mapping[str, Any] | None = None, device: torch.device | str | None = None
    ) -> None:
        self.rendering_options = make_options(_DEFAULTS, rendering_options)
        self.device = None if device is None else torch.device(device)
        self._corner_normals: tuple[Tensor, Tensor, Tensor] | None = None  # vertices, faces, [F, 3, 3]
        self._moved: tuple[Any, Tensor, Tensor, Any] | None = None  # given mesh, vertices, faces, moved mesh
        self._voxel_index: tuple[Tensor, Any] | None = None
        self._material_table: tuple[list[PbrMaterial], MaterialTable] | None = None

    @torch.no_grad()
    def render(
        self,
        mesh: MeshWithVoxel | MeshWithPbrMaterial,
        extrinsics: Tensor,  # [4, 4]
        intrinsics: Tensor,  # [3, 3]
        envmap: EnvMap | Mapping[str, EnvMap],
        use_envmap_bg: bool = False,
        transformation: Tensor | None = None,  # [4, 4], moves the mesh first
        buffers: Sequence[str] | None = None,
    ) -> AttrDict:
        """Render one view.

        Returns `shaded` [3, R, R] (or `shaded_<name>` for a mapping of environments), `normal` [3, R, R], `mask`
        [R, R], `base_color` [3, R, R], `metallic`, `roughness`, `alpha` [R, R] of the nearest surface, `clay` [R, R]
        (unoccluded share, 0 on the background) and `opacity` [R, R] (transparent layers added up). All float32 in
        [0, 1]; background 0, normal 0.5. Occlusion darkens diffuse light only. Surfaces are two-sided.
        `buffers` picks some of these by name, which saves the work for the others; `rgba` (`rgba_<name>`) [4, R, R],
        the picture with straight alpha, is made on demand only.
        """
        if not isinstance(mesh, (MeshWithVoxel, MeshWithPbrMaterial)):
            raise TypeError(f"mesh must be a MeshWithVoxel or MeshWithPbrMaterial, got {type(mesh).__name__}")
        options = self.rendering_options
        resolution, ssaa = _positive(options, "resolution"), _positive(options, "ssaa")
        if options.near is None or options.far is None:
            raise ValueError("rendering options near and far must be set")
        surrounds = {"": envmap} if isinstance(envmap, EnvMap) else {f"_{name}": e for name, e in envmap.items()}
        wanted = _wanted_buffers(buffers, list(surrounds))
        if self.device is not None:
            mesh = self._on_device(mesh, self.device)
        lit = {k: e.to(mesh.device) for k, e in surrounds.items() if {f"shaded{k}", f"rgba{k}"} & set(wanted)}
        view = check_view(extrinsics, intrinsics, options.near, options.far, resolution * ssaa, mesh.device)
        layers = Layers(view, lit, options.transfer)
        if mesh.vertices.shape[0] and mesh.faces.shape[0]:
            self._draw(mesh, view, transformation, layers)
        return self._finish(layers, view, lit, use_envmap_bg, wanted)

    def _draw(
        self,
        mesh: MeshWithVoxel | MeshWithPbrMaterial,
        view: View,
        transformation: Tensor | None,
        out: Layers,
    ) -> None:
        options = self.rendering_options
        vertices, faces = moved_vertices(mesh.vertices, transformation), mesh.faces
        clip = project(vertices, view)
        flat = face_normals(vertices, faces)
        smooth = self._smooth_normals(mesh, transformation)
        count = _positive(options, "peel_layers")
        table = self._materials(mesh) if isinstance(mesh, MeshWithPbrMaterial) else None
        if table is not None and table.opaque:
            count = 1
        with_db = table is not None and table.textured
        for rast, rast_db in peel(clip, faces, view.size, count, with_db):
            hits = hits_of(rast, options.ssaa, faces.shape[0], out.open_samples(), rast_db)
            if not len(hits.sample):
                break
            point = interpolate_hits(vertices, faces, hits)
            normal = flat[hits.face]
            away = ((point - view.eye) * normal).sum(-1, keepdim=True) > 0
            normal = torch.where(away, -normal, normal)
            shading = normal
            if smooth is not None:
                shading = _towards(F.normalize(interpolate_corners(smooth, hits), dim=-1), normal)
            emission = None
            if isinstance(mesh, MeshWithPbrMaterial):
                assert table is not None
                attrs = table.evaluate(mesh, hits)
                if attrs.shape[1] > 6:
                    sides = torch.cat([1 - 2 * away.float()] * 2 + [torch.ones_like(away, dtype=torch.float32)], dim=1)
                    relief = attrs[:, 6:9] * sides
                    shading = _towards(apply_relief(shading, relief, vertices, mesh, hits), normal)
                    emission = attrs[:, 9:12]
                    attrs = attrs[:, :6]
            else:
                source = point if transformation is None else interpolate_hits(mesh.vertices, faces, hits)
                attrs = self._voxel_attributes(mesh, source)
            out.add(hits.sample, point, shading, attrs.float().clamp(0, 1), emission)
            if count == 1 or not out.is_open(hits.sample):
                break

    def _on_device(
        self, mesh: MeshWithVoxel | MeshWithPbrMaterial, device: torch.device
    ) -> MeshWithVoxel | MeshWithPbrMaterial:
        """The mesh on `device`, kept for the next frame: what is made from its parts is found by their identity."""
        kept = self._moved
        if kept is None or kept[0] is not mesh or kept[1] is not mesh.vertices or kept[2] is not mesh.faces:
            kept = (mesh, mesh.vertices, mesh.faces, mesh.to(device))
            self._moved = kept
        return kept[3]

    def _materials(self, mesh: MeshWithPbrMaterial) -> MaterialTable:
        """Look-up tables of the materials, kept for the next frame of the same mesh."""
        if self._material_table is None or self._material_table[0] is not mesh.materials:
            self._material_table = (mesh.materials, make_material_table(mesh.materials, mesh.device))
        return self._material_table[1]

    def _voxel_attributes(self, mesh: MeshWithVoxel, point: Tensor) -> Tensor:
        """Base colour, metallic, roughness, alpha `[n, 6]` at untransformed points."""
        from o_voxel.sampling import VoxelIndex

        if mesh.coords is None or mesh.attrs is None or not len(mesh.coords):
            return point.new_zeros(len(point), 6)
        if self._voxel_index is None or self._voxel_index[0] is not mesh.coords:  # kept for the next frame
            batched = torch.cat([torch.zeros_like(mesh.coords[:, :1]), mesh.coords], dim=1)
            self._voxel_index = (mesh.coords, VoxelIndex(batched, mesh.voxel_shape))
        columns = [i for name in ATTRIBUTES for i in range(mesh.attrs.shape[1])[mesh.layout[name]]]
        plain = columns == list(range(mesh.attrs.shape[1]))
        feats = mesh.attrs.float() if plain else mesh.attrs.float()[:, columns]
        grid = ((point - mesh.origin) / mesh.voxel_size)[None].contiguous()
        return self._voxel_index[1].sample(feats, grid)[0]

    def _smooth_normals(
        self, mesh: MeshWithVoxel | MeshWithPbrMaterial, transformation: Tensor | None
    ) -> Tensor | None:
        """Corner normals `[F, 3, 3]`: the mesh's own, else by the crease angle, kept for the next frame; or None."""
        normals = mesh.corner_normals if isinstance(mesh, MeshWithPbrMaterial) else None
        angle = float(self.rendering_options.crease_angle)
        if normals is None and angle > 0:
            kept = self._corner_normals
            if kept is None or kept[0] is not mesh.vertices or kept[1] is not mesh.faces:
                kept = (mesh.vertices, mesh.faces, corner_normals(mesh.vertices, mesh.faces, angle))
                self._corner_normals = kept
            normals = kept[2]
        if normals is None or transformation is None:
            return normals
        # Normals turn by the inverse transpose.
        inverse = torch.linalg.inv(transformation.detach().cpu().double()[:3, :3]).T.to(normals)
        return transform_points(normals.reshape(-1, 3), inverse).reshape(-1, 3, 3)

    def _finish(
        self,
        layers: Layers,
        view: View,
        environments: Mapping[str, EnvMap],
        use_envmap_bg: bool,
        wanted: Sequence[str],
    ) -> AttrDict:
        options = self.rendering_options
        resolution, ssaa = options.resolution, options.ssaa

        def picture(samples: Tensor) -> Tensor:  # [S * S, C] -> [R, R, C]
            return pixel_mean(samples, ssaa).reshape(resolution, resolution, -1)

        opacity = picture(layers.opacity)
        out = AttrDict()
        unoccluded = opacity  # not used unless one of these is wanted
        if environments or "clay" in wanted:
            depth, normal = layers.front(ssaa)
            size = (resolution, resolution)
            samples = int(options.ao_samples)
            normal = normal.reshape(*size, 3)
            hidden = ambient_occlusion(depth.reshape(size), normal, view.projection, num_samples=samples)
            unoccluded = 1 - hidden[..., None]
        for name, environment in environments.items():
            light = picture(layers.radiance[name])  # diffuse, specular
            radiance = torch.addcmul(light[..., 3:], light[..., :3], unoccluded)
            if f"rgba{name}" in wanted:
                straight = tone_map(radiance / opacity.clamp_min(1e-6), options.transfer)
                out[f"rgba{name}"] = torch.cat([straight, opacity], dim=-1).clamp_(0, 1).permute(2, 0, 1)
            if f"shaded{name}" in wanted:
                out[f"shaded{name}"] = self._over_background(radiance, opacity, view, environment, use_envmap_bg)
        if "clay" in wanted:
            out.clay = (unoccluded * picture(layers.mask))[..., 0]
        attributes = picture(layers.attributes)
        for name, part in ATTRIBUTES.items():
            if name in wanted:
                out[name] = (
                    attributes[..., part].permute(2, 0, 1) if name == "base_color" else attributes[..., part][..., 0]
                )
        if "normal" in wanted:
            surface = camera_normal_to_color(layers.first_normal, options.normal_convention)
            out.normal = picture(torch.where(layers.mask > 0, surface, 0.5)).permute(2, 0, 1)
        if "mask" in wanted:
            out.mask = picture(layers.mask)[..., 0]
        if "opacity" in wanted:
            out.opacity = opacity[..., 0]
        return AttrDict((name, out[name]) for name in wanted)

    def _over_background(
        self, radiance: Tensor, opacity: Tensor, view: View, environment: EnvMap, use_envmap_bg: bool
    ) -> Tensor:
        """Display colours [3, R, R] of premultiplied `radiance [R, R, 3]` with `opacity [R, R, 1]`."""
        options = self.rendering_options
        if use_envmap_bg:
            behind = environment.sample(image_rays(view.extrinsics, view.intrinsics, options.resolution)[1])
            shaded = tone_map(torch.addcmul(radiance, 1 - opacity, behind), options.transfer)
        elif any(options.bg_color):
            straight = tone_map(radiance / opacity.clamp_min(1e-6), options.transfer)
            shaded = straight * opacity + (1 - opacity) * straight.new_tensor(list(options.bg_color))
        else:
            shaded = tone_map(radiance, options.transfer)
        return shaded.clamp_(0, 1).permute(2, 0, 1)


def _wanted_buffers(buffers: Sequence[str] | None, environments: Sequence[str]) -> list[str]:
    """Names of the buffers to make; ValueError for unknown ones."""
    shaded = [f"shaded{name}" for name in environments]
    if buffers is None:
        return [*shaded, *_GEOMETRY_BUFFERS]
    known = [*shaded, *(f"rgba{name}" for name in environments), *_GEOMETRY_BUFFERS]
    missing = [name for name in buffers if name not in known]
    if missing:
        raise ValueError(f"no buffers {missing}, choose from: {', '.join(known)}")
    return list(buffers)


def _towards(smooth: Tensor, flat: Tensor) -> Tensor:
    """Interpolated normals on the side of the viewer-facing flat ones; flat where interpolation cancelled out."""
    side = torch.where((smooth * flat).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    return torch.where((smooth * smooth).sum(-1, keepdim=True) > 0.5, smooth * side, flat)


def _positive(options: AttrDict, name: str) -> int:
    value = options[name]
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"rendering option {name} must be a positive integer, got {value!r}")
    return value
