"""Reader of trimesh scenes: world-space triangles with their PBR materials, vertex colours or plain colours."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.color import ColorVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial
from trimesh.visual.texture import TextureVisuals

from o_voxel.convert.materials import ALPHA_MODES, Material, Texture, TexturedTriangles, srgb_to_linear

__all__ = ["read_trimesh"]


def _load_meshes(mesh: Any) -> list[trimesh.Trimesh]:
    """Flatten a path, scene or mesh to world-space meshes, in scene order; node transforms are applied."""
    if isinstance(mesh, (str, os.PathLike)):
        mesh = trimesh.load(os.fspath(mesh), process=False)
    if isinstance(mesh, trimesh.Scene):
        parts = mesh.dump(concatenate=False)
    elif isinstance(mesh, trimesh.Trimesh):
        parts = [mesh]
    else:
        raise TypeError(f"mesh must be a path, trimesh.Trimesh or trimesh.Scene, got {type(mesh).__name__}")
    return [part for part in parts if isinstance(part, trimesh.Trimesh)]


def _color_factor(value: Any, length: int, default: float) -> np.ndarray:
    """Colour factor as floats [length]; bytes are divided by 255, missing channels are `default`."""
    out = np.full(length, default)
    if value is not None:
        array = np.asarray(value)
        scale = 1 / 255.0 if np.issubdtype(array.dtype, np.integer) else 1.0
        array = array.astype(np.float64).reshape(-1)[:length] * scale
        out[: len(array)] = array
    return out


def _scalar(value: Any, default: float) -> float:
    return default if value is None else float(value)


def _pixels(image: Any, mode: str, channels: slice) -> np.ndarray:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.asarray(image))
    if not (image.mode == "RGB" and mode == "RGBA" and channels.stop <= 3):  # adding alpha to drop it is slow
        image = image.convert(mode)
    return np.ascontiguousarray(np.asarray(image)[:, :, channels])


class _Textures:
    """Textures by image and use, so that materials that share an image share its mip levels."""

    def __init__(self, published: bool) -> None:
        self.published = published
        self._made: dict[tuple[int, str, int, int, bool], Texture] = {}

    def get(self, image: Any, mode: str, first: int, last: int, color: bool = False) -> Texture:
        key = (id(image), mode, first, last, color)
        if key not in self._made:
            pixels = _pixels(image, mode, slice(first, last))
            self._made[key] = Texture(pixels, srgb=color and not self.published)
        return self._made[key]


def _pbr_material(source: PBRMaterial, images: _Textures) -> Material:
    factor = _color_factor(source.baseColorFactor, 4, 1.0)
    emissive = _color_factor(source.emissiveFactor, 3, 0.0)
    mode = source.alphaMode if source.alphaMode in ALPHA_MODES else "OPAQUE"
    textures: dict[str, Texture] = {}
    if source.baseColorTexture is not None:
        textures["base_color"] = images.get(source.baseColorTexture, "RGBA", 0, 3, color=True)
        if mode != "OPAQUE":
            textures["alpha"] = images.get(source.baseColorTexture, "RGBA", 3, 4)
    if source.metallicRoughnessTexture is not None:
        textures["metallic"] = images.get(source.metallicRoughnessTexture, "RGB", 2, 3)
        textures["roughness"] = images.get(source.metallicRoughnessTexture, "RGB", 1, 2)
    if source.emissiveTexture is not None:
        textures["emissive"] = images.get(source.emissiveTexture, "RGB", 0, 3, color=True)
    if source.normalTexture is not None:
        textures["normal"] = images.get(source.normalTexture, "RGB", 0, 3)
    return Material(
        base_color=(factor[0], factor[1], factor[2]),
        alpha=factor[3],
        metallic=_scalar(source.metallicFactor, 1.0),
        roughness=_scalar(source.roughnessFactor, 1.0),
        emissive=(emissive[0], emissive[1], emissive[2]),
        alpha_mode=mode,
        alpha_cutoff=_scalar(source.alphaCutoff, 0.5),
        textures=textures,
    )


def _simple_material(source: SimpleMaterial, images: _Textures) -> Material:
    """A Phong material as a rough dielectric. Diffuse bytes are taken as sRGB; an image replaces the diffuse colour."""
    diffuse = _color_factor(source.diffuse, 4, 1.0)
    color = srgb_to_linear(diffuse[:3])
    textures: dict[str, Texture] = {}
    alpha_mode = "BLEND" if diffuse[3] < 1 else "OPAQUE"
    if source.image is not None:
        color = np.ones(3)
        textures["base_color"] = images.get(source.image, "RGBA", 0, 3, color=True)
        alpha = images.get(source.image, "RGBA", 3, 4)
        if alpha.image.min() < 255:
            alpha_mode = "BLEND"
            textures["alpha"] = alpha
    glossiness = max(_scalar(source.glossiness, 0.0), 0.0)
    return Material(
        base_color=(color[0], color[1], color[2]),
        alpha=diffuse[3],
        metallic=0.0,
        roughness=float(np.sqrt(2.0 / (2.0 + glossiness))),
        alpha_mode=alpha_mode,
        textures=textures,
    )


def _gltf_colors(colors: Any, part: trimesh.Trimesh) -> np.ndarray | None:
    """Corner colours [F, 3, 4] of a COLOR_0 attribute, which glTF stores in linear light."""
    if colors is None or len(colors) != len(part.vertices):
        return None
    array = np.asarray(colors)
    if np.issubdtype(array.dtype, np.integer):
        array = array / float(np.iinfo(array.dtype).max)
    rgba = np.ones((len(array), 4))
    rgba[:, : array.shape[1]] = array[:, :4]
    return rgba[np.asarray(part.faces)]


def _visual(
    part: trimesh.Trimesh, images: _Textures, name: str
) -> tuple[Material, np.ndarray | None, np.ndarray | None]:
    """Material, uv [V, 2] or None, and linear corner colours [F, 3, 4] or None of a mesh."""
    visual, published = part.visual, images.published
    if isinstance(visual, TextureVisuals):
        if isinstance(visual.material, PBRMaterial):
            colors = visual.vertex_attributes.get("color") if not published else None
            return _pbr_material(visual.material, images), visual.uv, _gltf_colors(colors, part)
        if published:
            raise ValueError(f"{name} must have a PBRMaterial, got {type(visual.material).__name__}")
        if isinstance(visual.material, SimpleMaterial):
            return _simple_material(visual.material, images), visual.uv, None
        raise ValueError(f"{name} must have a PBRMaterial or SimpleMaterial, got {type(visual.material).__name__}")
    if published:
        raise ValueError(f"{name} must have TextureVisuals, got {type(visual).__name__}")
    material = Material(metallic=0.0)
    if not isinstance(visual, ColorVisuals) or not visual.defined:
        return material, None, None
    if visual.kind == "face":
        rgba = np.repeat(np.asarray(visual.face_colors, np.float64)[:, None] / 255.0, 3, axis=1)
    else:
        rgba = np.asarray(visual.vertex_colors, np.float64)[np.asarray(part.faces)] / 255.0
    if rgba[..., 3].min(initial=1.0) < 1:
        material.alpha_mode = "BLEND"
    return material, None, np.concatenate([srgb_to_linear(rgba[..., :3]), rgba[..., 3:]], axis=2)


def read_trimesh(mesh: Any, published: bool = False) -> TexturedTriangles:
    """Collect world-space triangles and materials; one material per geometry.

    Textures are sampled linearly and repeat: trimesh does not keep the samplers of a file. Raises TypeError if `mesh`
    is no path, mesh or scene, ValueError on a visual that cannot be read.
    """
    parts = _load_meshes(mesh)
    triangles, normals, uvs, colors, ids = [], [], [], [], []
    materials: list[Material] = []
    images = _Textures(published)
    for i, part in enumerate(parts):
        faces = np.asarray(part.faces)
        if len(faces) == 0:
            continue
        material, uv, color = _visual(part, images, f"geometry {i}")
        triangles.append(np.asarray(part.vertices, np.float32)[faces])
        normals.append(np.asarray(part.vertex_normals, np.float32)[faces])
        uvs.append(np.zeros((len(faces), 3, 2), np.float32) if uv is None else np.asarray(uv, np.float32)[faces, :2])
        colors.append(None if color is None else np.asarray(color, np.float32))
        ids.append(np.full(len(faces), len(materials), np.int32))
        materials.append(material)
    total = sum(len(t) for t in triangles)
    filled = [np.zeros((0, 3, 4), np.float32)]
    if any(c is not None for c in colors):
        white = [np.ones((len(t), 3, 4), np.float32) for t in triangles]
        filled = [w if c is None else c for w, c in zip(white, colors, strict=True)]
    if total == 0:
        return TexturedTriangles(
            np.zeros((0, 3, 3), np.float32),
            np.zeros((0, 3, 3), np.float32),
            np.zeros((0, 3, 2), np.float32),
            np.zeros((0, 3, 4), np.float32),
            np.zeros(0, np.int32),
            materials,
        )

    def join(arrays: list[np.ndarray]) -> np.ndarray:
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    return TexturedTriangles(join(triangles), join(normals), join(uvs), join(filled), join(ids), materials)
