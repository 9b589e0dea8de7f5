"""glTF scenes as textured triangles: every material feature that voxel attributes can hold.

Each texture slot may have its own UV set and KHR_texture_transform; each distinct pair becomes one UV channel of the
triangles, with the transform already applied. Letters: T triangles, K UV channels.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from o_voxel.convert.materials import ALPHA_MODES, Material, Texture, TexturedTriangles
from o_voxel.convert.specular_glossiness import convert_specular_glossiness
from o_voxel.gltf import GltfFile, TextureUse, TrianglePrimitive, decode_pixels, mesh_instances, texture_use
from o_voxel.gltf.fields import object_field, vector_field
from o_voxel.gltf.primitives import triangle_primitives

__all__ = ["read_gltf"]

logger = logging.getLogger(__name__)

_MAX_TRIANGLES = 1 << 28
_SLOT_CHANNELS = {  # slot -> (channels of the RGBA image, stored as sRGB)
    "base_color": (slice(0, 3), True),
    "alpha": (slice(3, 4), False),
    "metallic": (slice(2, 3), False),
    "roughness": (slice(1, 2), False),
    "emissive": (slice(0, 3), True),
    "normal": (slice(0, 3), False),
}


class _Materials:
    """Materials of a document, read on first use; textures that share an image share its pixels."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.materials: list[Material] = []
        self.channels: list[list[TextureUse]] = []  # per material: one use per UV channel
        self._rows: dict[int | None, int] = {}
        self._pixels: dict[int, np.ndarray] = {}
        self._textures: dict[tuple[Any, ...], Texture] = {}

    def row(self, index: int | None) -> int:
        """Row in `materials` of a document's material; None is the default material."""
        if index not in self._rows:
            self._rows[index] = len(self.materials)
            self.channels.append([])
            self.materials.append(self._read({} if index is None else self.file.item("materials", index)))
        return self._rows[index]

    def pixels(self, image: int) -> np.ndarray:
        """RGBA uint8 [H, W, 4] of an image."""
        if image not in self._pixels:
            self._pixels[image] = decode_pixels(self.file, image)
        return self._pixels[image]

    def _texture(self, slot: str, use: TextureUse, pixels: np.ndarray | None = None) -> Texture:
        columns, srgb = _SLOT_CHANNELS[slot]
        filter_ = "linear" if not use.nearest else "nearest_mip" if use.mipmaps else "nearest"
        key = (use.image, columns.start, columns.stop, srgb, filter_, use.wrap, id(pixels) if pixels is not None else 0)
        if key not in self._textures:
            source = self.pixels(use.image) if pixels is None else pixels
            image = np.ascontiguousarray(source[:, :, columns])
            self._textures[key] = Texture(image, filter=filter_, wrap=use.wrap, srgb=srgb)
        return self._textures[key]

    def _channel(self, use: TextureUse) -> int:
        """UV channel of the material being read whose coordinates are those of `use`."""
        known = self.channels[-1]
        for k, other in enumerate(known):
            if (other.uv_set, other.uv_matrix) == (use.uv_set, use.uv_matrix):
                return k
        known.append(use)
        return len(known) - 1

    def _read(self, entry: dict[str, Any]) -> Material:
        extensions = object_field(entry, "extensions")
        material = Material()
        mode = entry.get("alphaMode", "OPAQUE")
        if not isinstance(mode, str) or mode not in ALPHA_MODES:
            raise ValueError(f"glTF: alphaMode must be one of {', '.join(ALPHA_MODES)}, got {str(mode)[:40]!r}")
        material.alpha_mode = mode
        material.alpha_cutoff = float(vector_field(entry, "alphaCutoff", (0.5,))[0])

        def use(slots: tuple[str, ...], owner: dict[str, Any], key: str) -> TextureUse | None:
            info = object_field(owner, key)
            if not info:
                return None
            found = texture_use(self.file, info)
            for slot in slots:
                if slot != "alpha" or mode != "OPAQUE":
                    material.textures[slot] = self._texture(slot, found)
                    material.uv_channels[slot] = self._channel(found)
            return found

        glossy = extensions.get("KHR_materials_pbrSpecularGlossiness")
        pbr = object_field(entry, "pbrMetallicRoughness")
        if isinstance(glossy, dict):
            self._read_glossy(glossy, material)
        else:
            red, green, blue, alpha = vector_field(pbr, "baseColorFactor", (1.0, 1.0, 1.0, 1.0)).tolist()
            material.base_color, material.alpha = (red, green, blue), alpha
            material.metallic = float(vector_field(pbr, "metallicFactor", (1.0,))[0])
            material.roughness = float(vector_field(pbr, "roughnessFactor", (1.0,))[0])
            use(("base_color", "alpha"), pbr, "baseColorTexture")
            if "KHR_materials_unlit" not in extensions:
                use(("metallic", "roughness"), pbr, "metallicRoughnessTexture")
        if "KHR_materials_unlit" in extensions:
            material.metallic, material.roughness = 0.0, 1.0
            return material
        strength = object_field(extensions, "KHR_materials_emissive_strength")
        factor = vector_field(entry, "emissiveFactor", (0.0, 0.0, 0.0))
        factor = factor * vector_field(strength, "emissiveStrength", (1.0,))[0]
        material.emissive = (float(factor[0]), float(factor[1]), float(factor[2]))
        if factor.any():
            use(("emissive",), entry, "emissiveTexture")
        normal = object_field(entry, "normalTexture")
        if normal:
            found = texture_use(self.file, normal)
            scale = float(vector_field(normal, "scale", (1.0,))[0])
            pixels = None if scale == 1 else _scaled_normals(self.pixels(found.image), scale)
            material.textures["normal"] = self._texture("normal", found, pixels)
            material.uv_channels["normal"] = self._channel(found)
        return material

    def _read_glossy(self, glossy: dict[str, Any], material: Material) -> None:
        """KHR_materials_pbrSpecularGlossiness as metallic-roughness, per texel of the diffuse texture."""
        infos = [object_field(glossy, key) for key in ("diffuseTexture", "specularGlossinessTexture")]
        uses = [texture_use(self.file, info) if info else None for info in infos]
        result = convert_specular_glossiness(
            vector_field(glossy, "diffuseFactor", (1.0,) * 4),
            vector_field(glossy, "specularFactor", (1.0,) * 3),
            float(vector_field(glossy, "glossinessFactor", (1.0,))[0]),
            *(None if found is None else self.pixels(found.image) for found in uses),
        )
        lead = next((found for found in uses if found is not None), None)
        if lead is None:
            red, green, blue = result.base_color[0, 0].tolist()
            material.base_color, material.alpha = (red, green, blue), float(result.alpha[0, 0])
            material.metallic, material.roughness = float(result.metallic[0, 0]), float(result.roughness[0, 0])
            return
        packed = result.packed()
        for slot in ("base_color", "alpha", "metallic", "roughness"):
            if slot != "alpha" or material.alpha_mode != "OPAQUE":
                columns = slice(0, 3) if slot == "base_color" else slice(3, 4)
                image = np.ascontiguousarray(packed[slot][:, :, columns] if slot == "base_color" else packed[slot])
                material.textures[slot] = Texture(image, filter="linear", wrap=lead.wrap, srgb=slot == "base_color")
                material.uv_channels[slot] = self._channel(lead)


def _scaled_normals(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Normal map [H, W, 4] with x and y scaled (normalTexture.scale)."""
    out = pixels.astype(np.float64)
    out[:, :, :2] = np.clip((out[:, :, :2] / 127.5 - 1) * scale, -1, 1) * 127.5 + 127.5
    return np.rint(out).astype(np.uint8)


def _corner_uvs(part: TrianglePrimitive, uses: list[TextureUse]) -> list[np.ndarray]:
    """UVs [F, 3, 2] of each channel, v up."""
    out = []
    for use in uses:
        if use.uv_set in part.uvs:
            uv = use.transform(part.uvs[use.uv_set])
        else:
            logger.warning("a material uses TEXCOORD_%d, which a primitive lacks; zeros are used", use.uv_set)
            uv = use.transform(np.zeros((len(part.positions), 2)))
        corner = uv[part.faces]
        out.append(np.stack([corner[..., 0], 1 - corner[..., 1]], -1).astype(np.float32))
    return out


def read_gltf(source: str | os.PathLike[str] | GltfFile) -> TexturedTriangles:
    """Collect the triangles and materials of a glTF scene, in the file's axes (Y up).

    Read: node transforms, EXT_mesh_gpu_instancing, skins and morph targets at the rest pose, strips and fans, sparse
    and quantised accessors, COLOR_0, any number of UV sets, samplers (wrap per axis, magnification filter), the
    metallic-roughness model with alpha modes and cut-off, emissive (with KHR_materials_emissive_strength), normal maps
    with their scale, KHR_texture_transform, KHR_materials_unlit (metallic 0, roughness 1, not emissive),
    KHR_materials_pbrSpecularGlossiness (converted), PNG, JPEG and WebP images. A primitive without material is white,
    metallic 1, roughness 1, as glTF says; without normals it is flat. Occlusion maps and other extensions are ignored.

    Raises ValueError on malformed files and on Draco, meshopt and Basis compression without fallback.
    """
    file = source if isinstance(source, GltfFile) else GltfFile.load(source)
    name = "" if isinstance(source, GltfFile) else f"{Path(source)}: "
    try:
        return _collect(file)
    except ValueError as error:
        raise ValueError(f"{name}{error}") from error


def _collect(file: GltfFile) -> TexturedTriangles:
    materials = _Materials(file)
    triangles, normals, uvs, colors, ids = [], [], [], [], []
    total = 0
    for instance in mesh_instances(file):
        for part in triangle_primitives(file, instance):
            total += len(part.faces)
            if total > _MAX_TRIANGLES:
                raise ValueError(f"the scene has more than {_MAX_TRIANGLES} triangles")
            row = materials.row(part.material)
            triangles.append(part.positions[part.faces].astype(np.float32))
            normals.append(part.corner_normals().astype(np.float32))
            uvs.append(_corner_uvs(part, materials.channels[row]))
            colors.append(None if part.colors is None else part.colors[part.faces].astype(np.float32))
            ids.append(np.full(len(part.faces), row, np.int32))
    width = max([len(channels) for channels in uvs], default=0)
    packed = np.zeros((total, 3, max(width, 1), 2), np.float32)
    start = 0
    for channels, part_ids in zip(uvs, ids):
        for k, channel in enumerate(channels):
            packed[start : start + len(part_ids), :, k] = channel
        start += len(part_ids)
    if any(c is not None for c in colors):
        filled = [np.ones((len(i), 3, 4), np.float32) if c is None else c for c, i in zip(colors, ids)]
        corner_colors = np.concatenate(filled)
    else:
        corner_colors = np.zeros((0, 3, 4), np.float32)
    empty = np.zeros((0, 3, 3), np.float32)
    return TexturedTriangles(
        triangles=np.concatenate([empty, *triangles]),
        normals=np.concatenate([empty, *normals]),
        uvs=packed[:, :, 0] if width <= 1 else packed,
        colors=corner_colors,
        material_ids=np.concatenate([np.zeros(0, np.int32), *ids]),
        materials=materials.materials,
    )
