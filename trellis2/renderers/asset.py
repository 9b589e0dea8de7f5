"""Ordinary textured assets (GLB, OBJ, PLY, ...) made ready for fast rendering on a CPU.

All nodes are merged with their transforms, turned from glTF's Y-up to the Z-up world, (x, y, z) -> (x, -z, y), and
normalised so that the bounding box is centred at the origin with longest side 0.99999.
V vertices, F faces, M materials.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import trimesh

from trellis2.representations import (
    AlphaMode,
    MeshWithPbrMaterial,
    PbrMaterial,
    Texture,
    TextureFilterMode,
    TextureWrapMode,
)

from .asset_gltf import GltfPart, read_gltf
from .asset_material import DEFAULT_MATERIAL, OPAQUE, AssetMaterial, material_of_trimesh, to_linear
from .color import linear_to_srgb
from .corner_normals import corner_normals
from .texel_atlas import CLAMP, REPEAT, TexelAtlas, build_atlas

__all__ = ["NORMALISED_EXTENT", "Asset", "load_asset"]

logger = logging.getLogger(__name__)

NORMALISED_EXTENT = 0.99999
_Z_UP_SUFFIXES = (".ply", ".stl")
_GLTF_SUFFIXES = (".glb", ".gltf")
_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Asset:
    """A merged, normalised asset with its materials."""

    vertices: np.ndarray  # [V, 3] float32, world (Z up)
    faces: np.ndarray  # [F, 3] int32
    corners: np.ndarray  # [3, 8, F] float32 by corner: position 3, normal 3, uv 2
    face_normals: np.ndarray  # [3, F] float32 unit, by winding; 0 for a face without area
    colors: np.ndarray | None  # [3, 4, F] float32 linear vertex colours, or None if there are none
    material_ids: np.ndarray  # [F] int32, row of the tables below
    atlas: TexelAtlas  # textures times factors, M materials
    alpha_mode: np.ndarray  # [M] int32, 0 opaque, 1 mask, 2 blend
    alpha_cutoff: np.ndarray  # [M] float32
    normal_maps: tuple[tuple[np.ndarray | None, float], ...]  # M times tangent-space [H, W, 3] and its scale
    emissive: tuple[np.ndarray | None, ...]  # M times linear [H, W, 3]
    scale: float  # world = source (Z up) * scale + offset
    offset: np.ndarray  # [3] float64

    def to_mesh(self) -> MeshWithPbrMaterial:
        """The asset as a mesh with materials, shading normals and vertex colours on the CPU, for the renderers."""
        materials = []
        wraps = {CLAMP: TextureWrapMode.CLAMP_TO_EDGE, REPEAT: TextureWrapMode.REPEAT}
        for row in range(len(self.alpha_mode)):
            pixels = self.atlas.level(row, 0)
            wrap = wraps.get(int(self.atlas.wrap[row, 0]), TextureWrapMode.MIRRORED_REPEAT)
            filter_mode = TextureFilterMode.CLOSEST if self.atlas.nearest[row] else TextureFilterMode.LINEAR
            texture = partial(Texture, filter_mode=filter_mode, wrap_mode=wrap)
            (relief, relief_scale), glow = self.normal_maps[row], self.emissive[row]
            base = linear_to_srgb(torch.from_numpy(pixels[..., 0:3].copy()))
            alpha, metallic, roughness = (torch.from_numpy(pixels[..., i : i + 1].copy()) for i in (3, 4, 5))
            materials.append(
                PbrMaterial(
                    base_color_texture=texture(base),
                    metallic_texture=texture(metallic),
                    roughness_texture=texture(roughness),
                    alpha_texture=texture(alpha),
                    alpha_mode=AlphaMode(int(self.alpha_mode[row])),
                    alpha_cutoff=float(self.alpha_cutoff[row]),
                    normal_texture=None if relief is None else texture(torch.from_numpy(relief)),
                    normal_scale=relief_scale,
                    emissive_texture=None if glow is None else texture(torch.from_numpy(glow)),
                    emissive_factor=(0.0, 0.0, 0.0) if glow is None else (1.0, 1.0, 1.0),
                )
            )
        uv = torch.from_numpy(self.corners[:, 6:8].transpose(2, 0, 1) * [1, -1] + [0, 1]).float()  # v runs downwards
        vertices, faces = torch.from_numpy(self.vertices), torch.from_numpy(self.faces)
        normals = torch.from_numpy(np.ascontiguousarray(self.corners[:, 3:6].transpose(2, 0, 1)))
        tints = None if self.colors is None else torch.from_numpy(np.ascontiguousarray(self.colors.transpose(2, 0, 1)))
        ids = torch.from_numpy(self.material_ids)
        return MeshWithPbrMaterial(vertices, faces, ids, uv, materials, normals, tints)

    @cached_property
    def is_opaque(self) -> bool:
        """Whether one depth layer shows everything."""
        return bool((self.alpha_mode[np.unique(self.material_ids)] == OPAQUE).all())


def load_asset(
    source: str | Path | trimesh.Scene | trimesh.Trimesh,
    *,
    up: Literal["auto", "y", "z"] = "auto",
    crease_angle: float = 40.0,
    max_texture_size: int = 1024,
) -> Asset:
    """Load and merge an asset.

    `up` is the source's up axis; "auto" takes Z for .ply and .stl files and Y otherwise. Shading normals come from the
    file; where it has none they are smoothed over edges bent by less than `crease_angle` degrees. Textures larger than
    `max_texture_size` are reduced. Raises ValueError if there is no triangle or a coordinate is not finite.
    """
    if up not in ("auto", "y", "z"):
        raise ValueError(f"up must be 'auto', 'y' or 'z', got {up!r}")
    merged = _Merged(crease_angle, max_texture_size)
    suffix = Path(source).suffix.lower() if isinstance(source, (str, Path)) else ""
    z_up = up == "z" or (up == "auto" and suffix in _Z_UP_SUFFIXES)
    if isinstance(source, (str, Path)):
        if not Path(source).is_file():
            raise FileNotFoundError(f"no asset at {source}")
        if suffix in _GLTF_SUFFIXES:
            for part in read_gltf(source, max_texture_size):
                merged.add_gltf(part, z_up)
            return merged.finish()
        source = trimesh.load_scene(str(source), process=False)
    if isinstance(source, trimesh.Trimesh):
        source = trimesh.Scene(source)
    if not isinstance(source, trimesh.Scene):
        raise TypeError(f"source must be a path, a trimesh.Scene or a trimesh.Trimesh, got {type(source).__name__}")
    for node in source.graph.nodes_geometry:
        transform, name = source.graph[node]
        geometry = source.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            merged.add_trimesh(geometry, np.asarray(transform, np.float64), z_up)
    return merged.finish()


class _Merged:
    """Collects the meshes of a scene."""

    def __init__(self, crease_angle: float, max_texture_size: int) -> None:
        self.crease_angle = crease_angle
        self.max_texture_size = max_texture_size
        self.vertices: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.normals: list[np.ndarray] = []
        self.uvs: list[np.ndarray] = []
        self.colors: list[np.ndarray | None] = []
        self.ids: list[np.ndarray] = []
        self.num_vertices = 0
        self.row_of: dict[int, int] = {}
        self.materials: list[AssetMaterial] = []
        self.keep: list[Any] = []  # keeps materials alive while their id() is a key

    def add_gltf(self, part: GltfPart, z_up: bool) -> None:
        turn = np.eye(3) if z_up else _TO_Z_UP
        row = self._row(part.material_key, part.material or DEFAULT_MATERIAL)
        normals = None if part.normals is None else (part.normals @ turn.T)[part.faces]
        self._add(part.positions @ turn.T, part.faces, normals, part.uv, part.colors, row)

    def add_trimesh(self, mesh: trimesh.Trimesh, transform: np.ndarray, z_up: bool) -> None:
        linear, shift = transform[:3, :3], transform[:3, 3]
        if not z_up:
            linear, shift = _TO_Z_UP @ linear, _TO_Z_UP @ shift
        faces = np.asarray(mesh.faces, np.int64)
        if np.linalg.det(linear) < 0:
            faces = faces[:, ::-1]
        normals = None
        if "vertex_normals" in mesh._cache:
            turned = np.asarray(mesh.vertex_normals, np.float64) @ np.linalg.pinv(linear)
            normals = (turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12))[faces]
        uv = getattr(mesh.visual, "uv", None)
        uv = None if uv is None or len(uv) != len(mesh.vertices) else np.asarray(uv)
        material = getattr(mesh.visual, "material", None)
        key = 0 if material is None else id(material) * 2 + int(uv is not None)
        self.keep.append(material)
        if key not in self.row_of:
            self._row(key, material_of_trimesh(material, uv is not None, self.max_texture_size))
        vertices = np.asarray(mesh.vertices, np.float64) @ linear.T + shift
        self._add(vertices, faces, normals, uv, _vertex_colors(mesh), self.row_of[key])

    def _row(self, key: int, material: AssetMaterial) -> int:
        if key not in self.row_of:
            self.row_of[key] = len(self.materials)
            self.materials.append(material)
        return self.row_of[key]

    def _add(
        self,
        vertices: np.ndarray,  # [V, 3] float64, Z up
        faces: np.ndarray,  # [F, 3] int64
        normals: np.ndarray | None,  # [F, 3, 3]
        uv: np.ndarray | None,  # [V, 2]
        colors: np.ndarray | None,  # [V, 4] linear
        row: int,
    ) -> None:
        if normals is None:
            normals = corner_normals(
                torch.from_numpy(vertices), torch.from_numpy(faces.copy()), self.crease_angle
            ).numpy()
        self.uvs.append(np.zeros((len(faces), 3, 2), np.float32) if uv is None else uv.astype(np.float32)[faces])
        self.colors.append(None if colors is None else colors.astype(np.float32)[faces])
        self.ids.append(np.full(len(faces), row, np.int32))
        self.vertices.append(vertices)
        self.faces.append(faces + self.num_vertices)
        self.normals.append(normals.astype(np.float32))
        self.num_vertices += len(vertices)

    def finish(self) -> Asset:
        if not self.faces:
            raise ValueError("source must hold at least one triangle mesh")
        vertices = np.concatenate(self.vertices)
        if not np.isfinite(vertices).all():
            raise ValueError("source has vertices that are not finite")
        low, high = vertices.min(0), vertices.max(0)
        extent = float((high - low).max())
        if extent <= 0:
            raise ValueError("source must have a bounding box of positive size")
        scale = NORMALISED_EXTENT / extent
        offset = -0.5 * (low + high) * scale
        vertices = (vertices * scale + offset).astype(np.float32)
        faces = np.concatenate(self.faces).astype(np.int32)
        flat = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-20)
        corners = np.concatenate([vertices[faces], np.concatenate(self.normals), np.concatenate(self.uvs)], axis=2)
        colors = None
        if any(part is not None for part in self.colors):
            colors = np.concatenate(
                [np.ones((len(f), 3, 4), np.float32) if c is None else c for c, f in zip(self.colors, self.faces)]
            )
        atlas = build_atlas(
            [m.texture for m in self.materials], [m.wrap for m in self.materials], [m.nearest for m in self.materials]
        )
        return Asset(
            vertices=vertices,
            faces=faces,
            corners=np.ascontiguousarray(corners.transpose(1, 2, 0), np.float32),
            face_normals=np.ascontiguousarray(flat.T, np.float32),
            colors=None if colors is None else np.ascontiguousarray(colors.transpose(1, 2, 0), np.float32),
            material_ids=np.concatenate(self.ids),
            atlas=atlas,
            alpha_mode=np.asarray([m.alpha_mode for m in self.materials], np.int32),
            alpha_cutoff=np.asarray([m.alpha_cutoff for m in self.materials], np.float32),
            normal_maps=tuple((m.normal_map, m.normal_scale) for m in self.materials),
            emissive=tuple(m.emissive for m in self.materials),
            scale=scale,
            offset=offset,
        )


def _vertex_colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """Linear RGBA [V, 4], if the mesh has colours."""
    visual: Any = mesh.visual
    colors = visual.vertex_colors if getattr(visual, "kind", None) in ("vertex", "face") else None
    if colors is None and "color" in getattr(visual, "vertex_attributes", {}):
        colors = visual.vertex_attributes["color"]
    if colors is None or len(colors) != len(mesh.vertices):
        return None
    values = np.asarray(colors)
    values = values.astype(np.float32) / 255 if values.dtype.kind in "iu" else values.astype(np.float32)
    if values.shape[1] == 3:
        values = np.concatenate([values, np.ones_like(values[:, :1])], axis=1)
    values = np.clip(values, 0, 1)
    values[:, :3] = to_linear(values[:, :3])
    return values
