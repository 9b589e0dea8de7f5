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

import cv2
import numpy as np
import torch
import trimesh

from trellis2.representations import AlphaMode, MeshWithPbrMaterial, PbrMaterial, Texture, TextureWrapMode

from .color import linear_to_srgb
from .texel_atlas import CLAMP, NUM_CHANNELS, REPEAT, TexelAtlas, build_atlas

__all__ = ["NORMALISED_EXTENT", "Asset", "corner_normals", "load_asset"]

logger = logging.getLogger(__name__)

NORMALISED_EXTENT = 0.99999
OPAQUE, MASK, BLEND = 0, 1, 2
_DEFAULT_TEXEL = (0.8, 0.8, 0.8, 1.0, 0.0, 0.5)  # a face without a material
_Z_UP_SUFFIXES = (".ply", ".stl")


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
    scale: float  # world = source (Z up) * scale + offset
    offset: np.ndarray  # [3] float64

    def to_mesh(self) -> MeshWithPbrMaterial:
        """The asset as a mesh with materials on the CPU, for the renderers; vertex colours are left out."""
        materials = []
        wraps = {CLAMP: TextureWrapMode.CLAMP_TO_EDGE, REPEAT: TextureWrapMode.REPEAT}
        for row in range(len(self.alpha_mode)):
            pixels = self.atlas.level(row, 0)
            wrap = wraps.get(int(self.atlas.wrap[row, 0]), TextureWrapMode.MIRRORED_REPEAT)
            texture = partial(Texture, wrap_mode=wrap)
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
                )
            )
        uv = torch.from_numpy(self.corners[:, 6:8].transpose(2, 0, 1) * [1, -1] + [0, 1]).float()  # v runs downwards
        vertices, faces = torch.from_numpy(self.vertices), torch.from_numpy(self.faces)
        return MeshWithPbrMaterial(vertices, faces, torch.from_numpy(self.material_ids), uv, materials)

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
    suffix = ""
    if isinstance(source, (str, Path)):
        suffix = Path(source).suffix.lower()
        source = trimesh.load_scene(str(source), process=False)
    if isinstance(source, trimesh.Trimesh):
        source = trimesh.Scene(source)
    if not isinstance(source, trimesh.Scene):
        raise TypeError(f"source must be a path, a trimesh.Scene or a trimesh.Trimesh, got {type(source).__name__}")
    z_up = up == "z" or (up == "auto" and suffix in _Z_UP_SUFFIXES)

    merged = _Merged(crease_angle, max_texture_size)
    for node in source.graph.nodes_geometry:
        transform, name = source.graph[node]
        geometry = source.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            merged.add(geometry, np.asarray(transform, np.float64), z_up)
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
        self.material_of: dict[int, int] = {}
        self.materials: list[tuple[np.ndarray, tuple[int, int], bool, int, float]] = []
        self.keep: list[Any] = []  # keeps materials alive while their id() is a key

    def add(self, mesh: trimesh.Trimesh, transform: np.ndarray, z_up: bool) -> None:
        if not z_up:
            transform = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]) @ transform
        vertices = np.asarray(mesh.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
        faces = np.asarray(mesh.faces, np.int64)
        mirrored = np.linalg.det(transform[:3, :3]) < 0
        if mirrored:
            faces = faces[:, ::-1]
        if "vertex_normals" in mesh._cache:
            turned = np.asarray(mesh.vertex_normals, np.float64) @ np.linalg.pinv(transform[:3, :3])
            turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
            normals = turned[faces]
        else:
            normals = corner_normals(vertices, faces, self.crease_angle)
        visual = mesh.visual
        uv = getattr(visual, "uv", None)
        has_uv = uv is not None and len(uv) == len(mesh.vertices)
        self.uvs.append(np.asarray(uv, np.float32)[faces] if has_uv else np.zeros((len(faces), 3, 2), np.float32))
        self.colors.append(_vertex_colors(mesh, faces))
        self.ids.append(np.full(len(faces), self._material_row(getattr(visual, "material", None), has_uv), np.int32))
        self.vertices.append(vertices)
        self.faces.append(faces + self.num_vertices)
        self.normals.append(normals.astype(np.float32))
        self.num_vertices += len(vertices)

    def _material_row(self, material: Any, has_uv: bool) -> int:
        key = 0 if material is None else id(material) * 2 + int(has_uv)
        if key not in self.material_of:
            self.material_of[key] = len(self.materials)
            self.keep.append(material)
            self.materials.append(_read_material(material, has_uv, self.max_texture_size))
        return self.material_of[key]

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
        images, wraps, nearest, modes, cutoffs = zip(*self.materials)
        return Asset(
            vertices=vertices,
            faces=faces,
            corners=np.ascontiguousarray(corners.transpose(1, 2, 0), np.float32),
            face_normals=np.ascontiguousarray(flat.T, np.float32),
            colors=None if colors is None else np.ascontiguousarray(colors.transpose(1, 2, 0), np.float32),
            material_ids=np.concatenate(self.ids),
            atlas=build_atlas(images, wraps, nearest),
            alpha_mode=np.asarray(modes, np.int32),
            alpha_cutoff=np.asarray(cutoffs, np.float32),
            scale=scale,
            offset=offset,
        )


def corner_normals(vertices: np.ndarray, faces: np.ndarray, crease_angle: float) -> np.ndarray:
    """Unit shading normals `[F, 3, 3]`: around a corner, area-weighted mean of the faces bent by less than the angle.

    Vertices at one position count as one, so seams of the texture stay smooth. `crease_angle` in degrees.
    """
    edge1, edge2 = vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    areas = np.cross(edge1, edge2)
    units = areas / np.maximum(np.linalg.norm(areas, axis=1, keepdims=True), 1e-20)
    _, point = np.unique(np.round(vertices, 9), axis=0, return_inverse=True)
    point = point.reshape(-1)[faces].reshape(-1)  # [F*3] position id of each corner
    face_of = np.repeat(np.arange(len(faces)), 3)
    order = np.argsort(point, kind="stable")
    sorted_point, sorted_face = point[order], face_of[order]
    start = np.searchsorted(sorted_point, point, side="left")
    degree = np.searchsorted(sorted_point, point, side="right") - start
    result = np.zeros((len(point), 3))
    limit = np.cos(np.radians(crease_angle))
    for k in range(int(degree.max())):  # k-th neighbour of every corner that has one
        rows = np.flatnonzero(degree > k)
        other = sorted_face[start[rows] + k]
        same = (units[face_of[rows]] * units[other]).sum(1) >= limit
        result[rows[same]] += areas[other[same]]
    length = np.linalg.norm(result, axis=1, keepdims=True)
    result = np.where(length > 1e-20, result / np.maximum(length, 1e-20), units[face_of])
    return result.reshape(-1, 3, 3)


def _vertex_colors(mesh: trimesh.Trimesh, faces: np.ndarray) -> np.ndarray | None:
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
    values[:, :3] = _to_linear(values[:, :3])
    return values[faces]


def _read_material(material: Any, has_uv: bool, limit: int) -> tuple[np.ndarray, tuple[int, int], bool, int, float]:
    """Texture [H, W, 6] with its factors applied, wrap modes, nearest flag, alpha mode, alpha cutoff."""
    if material is None:
        return np.full((1, 1, NUM_CHANNELS), _DEFAULT_TEXEL, np.float32), (REPEAT, REPEAT), False, OPAQUE, 0.5
    if not isinstance(material, trimesh.visual.material.PBRMaterial):
        material = _from_simple(material)
        if material is None:
            return _read_material(None, has_uv, limit)
    base = _pixels(material.baseColorTexture, "RGBA", limit) if has_uv else None
    metal_rough = _pixels(material.metallicRoughnessTexture, "RGB", limit) if has_uv else None
    sizes = [image.shape[:2] for image in (base, metal_rough) if image is not None] or [(1, 1)]
    height, width = max(s[0] for s in sizes), max(s[1] for s in sizes)
    texture = np.ones((height, width, NUM_CHANNELS), np.float32)
    if base is not None:
        base = cv2.resize(base, (width, height), interpolation=cv2.INTER_LINEAR)
        texture[..., :3], texture[..., 3] = _to_linear(base[..., :3]), base[..., 3]
    if metal_rough is not None:
        metal_rough = cv2.resize(metal_rough, (width, height), interpolation=cv2.INTER_LINEAR)
        texture[..., 4], texture[..., 5] = metal_rough[..., 2], metal_rough[..., 1]
    texture *= np.asarray([*_factor(material.baseColorFactor), *_scalars(material)], np.float32)
    mode = {"MASK": MASK, "BLEND": BLEND}.get(str(material.alphaMode).upper(), OPAQUE)
    if mode == OPAQUE:
        texture[..., 3] = 1.0
    cutoff = 0.5 if material.alphaCutoff is None else float(material.alphaCutoff)
    return np.clip(texture, 0, 1), (REPEAT, REPEAT), False, mode, cutoff


def _from_simple(material: Any) -> Any:
    """A Wavefront material as metallic-roughness: dielectric, roughness 0.5; None if it says nothing."""
    image = getattr(material, "image", None)
    if (
        image is not None
        and image.size == (2, 2)
        and (np.asarray(image) == trimesh.visual.color.DEFAULT_COLOR[0]).all(axis=(0, 1))[:3].all()
    ):
        image = None  # what trimesh puts where a file has texture coordinates but no material
    diffuse = np.asarray(getattr(material, "diffuse", None) if image is None else (255, 255, 255, 255))
    plain = diffuse.ndim == 0 or (image is None and (diffuse[:3] == trimesh.visual.color.DEFAULT_COLOR[:3]).all())
    if plain:
        return None
    factor = diffuse.astype(np.float32) / np.float32(255)
    factor[:3] = _to_linear(factor[:3])
    mode = "BLEND" if len(factor) == 4 and factor[3] < 1 else "OPAQUE"
    return trimesh.visual.material.PBRMaterial(
        baseColorTexture=image,
        baseColorFactor=factor,
        metallicFactor=0.0,
        roughnessFactor=0.5,
        alphaMode=mode,
    )


def _factor(value: Any) -> np.ndarray:
    """Linear RGBA factor; trimesh keeps it as uint8 or float."""
    if value is None:
        return np.ones(4, np.float32)
    given = np.asarray(value)
    factor = given.astype(np.float32) / np.float32(255 if given.dtype.kind in "iu" else 1)
    return factor if len(factor) == 4 else np.append(factor[:3], 1.0)


def _scalars(material: Any) -> tuple[float, float]:
    metallic = 1.0 if material.metallicFactor is None else float(material.metallicFactor)
    roughness = 1.0 if material.roughnessFactor is None else float(material.roughnessFactor)
    return metallic, roughness


def _pixels(image: Any, mode: str, limit: int) -> np.ndarray | None:
    """PIL image to float32 [H, W, C] in [0, 1], reduced to at most `limit` pixels a side."""
    if image is None:
        return None
    pixels: Any = np.asarray(image.convert(mode), np.float32) / 255
    height, width = pixels.shape[:2]
    shrink = limit / max(height, width)
    if shrink < 1:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return pixels


def _to_linear(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)
