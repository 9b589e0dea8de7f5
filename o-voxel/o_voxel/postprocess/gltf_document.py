"""The glTF 2.0 document of textured meshes: JSON, one binary buffer, compressed images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from o_voxel.postprocess.draco import DracoEncoder
from o_voxel.postprocess.images import EncodedImage
from o_voxel.postprocess.textured import TexturedMesh

__all__ = ["GENERATOR", "GltfParts", "build_gltf"]

GENERATOR = "o_voxel"
FLOAT, UINT16, UINT32 = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071

ImageSink = Callable[[str, EncodedImage], dict[str, Any]]  # (name, image) -> its entry in "images"


@dataclass
class GltfParts:
    """A document under construction; views of `data` are aligned to four bytes."""

    document: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)

    def list(self, name: str) -> list[Any]:
        """A top-level array of the document, made on first use."""
        entries: list[Any] = self.document.setdefault(name, [])
        return entries

    def add(self, name: str, entry: Any) -> int:
        """Append to a top-level array; returns the index."""
        self.list(name).append(entry)
        return len(self.list(name)) - 1

    def use(self, extension: str, *, required: bool) -> None:
        """Declare an extension."""
        for key in ("extensionsUsed", "extensionsRequired") if required else ("extensionsUsed",):
            if extension not in self.list(key):
                self.list(key).append(extension)

    def view(self, payload: bytes, target: int | None = None) -> int:
        """Add bytes to the buffer as a view."""
        self.data += b"\0" * (-len(self.data) % 4)
        entry: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(payload)}
        if target is not None:
            entry["target"] = target
        self.data += payload
        return self.add("bufferViews", entry)

    def accessor(self, array: np.ndarray, component: int, kind: str, target: int, *, bounds: bool = False) -> int:
        """Add an array as a view with its accessor."""
        entry = _accessor_entry(array, component, kind, bounds)
        return self.add("accessors", {"bufferView": self.view(array.tobytes(), target), **entry})

    def image_in_buffer(self, name: str, image: EncodedImage) -> dict[str, Any]:
        """An `ImageSink` that keeps images in the buffer."""
        return {"name": name, "mimeType": image.mime, "bufferView": self.view(image.data)}


def _accessor_entry(array: np.ndarray, component: int, kind: str, bounds: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "componentType": component,
        "count": len(array) if kind != "SCALAR" else array.size,
        "type": kind,
    }
    if bounds:
        entry["min"], entry["max"] = array.min(axis=0).tolist(), array.max(axis=0).tolist()
    return entry


def build_gltf(
    levels: Sequence[TexturedMesh],  # the asset, then its levels of detail
    images: Mapping[int, EncodedImage],  # by the id of each image object of the levels
    *,
    name: str,
    draco: DracoEncoder | None = None,
    image_sink: ImageSink | None = None,
    copyright: str | None = None,
) -> GltfParts:
    """The scene of one node; coarser levels are nodes of their own, tied to it by MSFT_lod.

    `draco` compresses geometry (KHR_draco_mesh_compression).
    `image_sink` stores images elsewhere than in the buffer.
    """
    asset: dict[str, Any] = {"version": "2.0", "generator": GENERATOR}
    if copyright:
        asset["copyright"] = copyright
    if levels[0].extras:
        asset["extras"] = dict(levels[0].extras)
    parts = GltfParts({"asset": asset, "scene": 0, "scenes": [{"nodes": [0]}]})
    textures: dict[int, int] = {}
    for i, mesh in enumerate(levels):
        title = name if i == 0 else f"{name}_lod{i}"
        for key, image in mesh.images.items():
            if id(image) not in textures:
                entry = (image_sink or parts.image_in_buffer)(f"{title}_{key}", images[id(image)])
                textures[id(image)] = _texture(parts, entry)
        primitives = [
            {**_geometry(parts, part, draco), "material": _material(parts, part, textures)} for part in mesh.parts()
        ]
        index = parts.add("meshes", {"name": title, "primitives": primitives})
        parts.add("nodes", {"name": title, "mesh": index})
    if len(levels) > 1:
        parts.use("MSFT_lod", required=False)
        node = parts.list("nodes")[0]
        node["extensions"] = {"MSFT_lod": {"ids": list(range(1, len(levels)))}}
        full = len(levels[0].faces)
        node["extras"] = {"MSFT_screencoverage": [0.5 * len(m.faces) / full for m in levels]}
    parts.data += b"\0" * (-len(parts.data) % 4)
    parts.document["buffers"] = [{"byteLength": len(parts.data)}]
    return parts


def _geometry(parts: GltfParts, mesh: TexturedMesh, draco: DracoEncoder | None) -> dict[str, Any]:
    packed = None if draco is None else draco(mesh)
    mesh = mesh if packed is None else packed.decoded
    arrays: dict[str, tuple[np.ndarray, str]] = {
        "POSITION": (mesh.positions.astype(np.float32), "VEC3"),
        "NORMAL": (mesh.normals.astype(np.float32), "VEC3"),
        "TEXCOORD_0": (mesh.uvs.astype(np.float32), "VEC2"),
    }
    if mesh.tangents is not None:
        arrays["TANGENT"] = (mesh.tangents, "VEC4")
    small = len(mesh.positions) < 65535
    index = mesh.faces.astype(np.uint16 if small else np.uint32).reshape(-1)
    component = UINT16 if small else UINT32
    if packed is None:
        return {
            "attributes": {
                key: parts.accessor(array, FLOAT, kind, ARRAY_BUFFER, bounds=key == "POSITION")
                for key, (array, kind) in arrays.items()
            },
            "indices": parts.accessor(index, component, "SCALAR", ELEMENT_ARRAY_BUFFER),
        }
    parts.use("KHR_draco_mesh_compression", required=True)
    return {
        "attributes": {
            key: parts.add("accessors", _accessor_entry(array, FLOAT, kind, key == "POSITION"))
            for key, (array, kind) in arrays.items()
        },
        "indices": parts.add("accessors", _accessor_entry(index, component, "SCALAR", bounds=False)),
        "extensions": {"KHR_draco_mesh_compression": {"bufferView": parts.view(packed.data), "attributes": packed.ids}},
    }


def _material(parts: GltfParts, mesh: TexturedMesh, textures: Mapping[int, int]) -> int:
    """Index of the mesh's material, the same for levels that agree in it; `textures` are indices by image object."""
    pbr: dict[str, Any] = {"metallicFactor": mesh.metallic_factor, "roughnessFactor": mesh.roughness_factor}
    if any(value != 1.0 for value in mesh.base_color_factor):
        pbr["baseColorFactor"] = list(mesh.base_color_factor)
    title = "translucent" if mesh.alpha_mode == "BLEND" else "material"
    entry: dict[str, Any] = {"name": title, "pbrMetallicRoughness": pbr}
    for key, image in mesh.images.items():
        target = pbr if key in ("baseColorTexture", "metallicRoughnessTexture") else entry
        target[key] = {"index": textures[id(image)]}
    if mesh.emissive_factor is not None:
        entry["emissiveFactor"] = list(mesh.emissive_factor)
    if mesh.alpha_mode != "OPAQUE":
        entry["alphaMode"] = mesh.alpha_mode
    if mesh.alpha_mode == "MASK":
        entry["alphaCutoff"] = mesh.alpha_cutoff
    if mesh.double_sided:
        entry["doubleSided"] = True
    known = parts.list("materials")
    return known.index(entry) if entry in known else parts.add("materials", entry)


def _texture(parts: GltfParts, image: dict[str, Any]) -> int:
    if not parts.list("samplers"):
        parts.add(
            "samplers",
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE},
        )
    source = parts.add("images", image)
    if image["mimeType"] != "image/webp":
        return parts.add("textures", {"sampler": 0, "source": source})
    parts.use("EXT_texture_webp", required=True)
    return parts.add("textures", {"sampler": 0, "extensions": {"EXT_texture_webp": {"source": source}}})
