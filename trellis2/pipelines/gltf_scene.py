"""A glTF scene whose materials are replaced while everything else stays as it is, to the bit.

Accessors are copied byte by byte; nodes, names, animations, skins and cameras are not touched. What goes is the base
colour and metallic-roughness textures of the materials that get new ones.
"""

from __future__ import annotations

import copy
import io
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trellis2.utils.files import write_atomically

from .surfaces import SurfaceGroup

__all__ = ["GltfScene"]

_FLOAT, _UINT32 = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
#: Ways of giving a material its colours that would win over, or contradict, the new textures.
_REPLACED_EXTENSIONS = ("KHR_materials_pbrSpecularGlossiness", "KHR_materials_unlit")
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_DTYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_BYTES = {component: np.dtype(kind).itemsize for component, kind in _DTYPES.items()}

GroupKey = tuple[int | None, bool]  # material, whether its UVs are the file's


class GltfScene:
    """Triangles of a .glb or .gltf file by material, and the file with new textures."""

    def __init__(self, source: str | Path | bytes, unwrap: bool = False) -> None:
        """Read a file, or GLB bytes. `unwrap`: treat all faces as if they had no UVs.

        Raises ValueError for files that are damaged, hold no triangles or are compressed.
        """
        from o_voxel.gltf import GltfFile

        self.file = GltfFile.parse(source) if isinstance(source, bytes) else GltfFile.load(source)
        self.doc: dict[str, Any] = self.file.doc
        self._unwrap = unwrap
        self._faces: dict[GroupKey, list[_Part]] = {}
        self.groups: dict[GroupKey, SurfaceGroup] = {}
        self.corners = self._collect()

    def _collect(self) -> np.ndarray:
        """Fill in the groups from the first instance of every mesh; returns all corners [F, 3, 3] of all instances."""
        from o_voxel.gltf import mesh_instances, triangle_primitives

        parts: dict[GroupKey, list[tuple[np.ndarray, np.ndarray | None]]] = {}
        everything, seen = [], set()
        for instance in mesh_instances(self.file):
            number = next(i for i, mesh in enumerate(self.doc["meshes"]) if mesh is instance.mesh)
            entries = iter(_drawn(self.file, instance.mesh))
            matrices = instance.matrix[None] if instance.joints is None else instance.joints
            mirrored = bool(np.median(np.linalg.det(matrices[:, :3, :3])) < 0)  # the reader turns such faces around
            for primitive in triangle_primitives(self.file, instance):
                corners = primitive.positions[primitive.faces]
                everything.append(corners)
                place = next(entries)
                if (number, place) in seen:
                    continue
                seen.add((number, place))
                uvs = None if self._unwrap else _with_area(primitive.uvs.get(0), primitive.faces)
                key: GroupKey = (primitive.material, uvs is not None)
                parts.setdefault(key, []).append((corners, None if uvs is None else uvs[primitive.faces]))
                self._faces.setdefault(key, []).append(_Part(number, place, primitive.faces, mirrored))
        if not everything:
            raise ValueError("the file must hold a mesh with faces, found none")
        for key, group in parts.items():
            uvs = np.concatenate([u for _, u in group if u is not None]) if key[1] else None
            self.groups[key] = SurfaceGroup(self._name(key[0]), np.concatenate([c for c, _ in group]), uvs)
        return np.concatenate(everything)

    def _name(self, material: int | None) -> str:
        entry = {} if material is None else self.doc["materials"][material]
        return str(entry.get("name") or ("material" if material is None else f"material_{material}"))

    def write(self, path: str | Path, textures: Mapping[GroupKey, Any], image_format: str = "png") -> list[Path]:
        """Write a GLB with a `TextureSet` for every group; groups without UVs must have got them (`group.uvs`)."""
        if Path(path).suffix.lower() != ".glb":
            raise ValueError(f"a glTF scene is written as .glb, got {Path(path).name!r}")
        data = _Rewriter(self).result(textures, image_format)
        write_atomically(path, lambda name: Path(name).write_bytes(data))
        return [Path(path)]


class _Part(NamedTuple):
    """Faces of a group that one primitive draws."""

    mesh: int
    primitive: int
    faces: np.ndarray  # [F, 3] int64
    mirrored: bool  # the corners are in the opposite order of the file's


def _with_area(uvs: np.ndarray | None, faces: np.ndarray) -> np.ndarray | None:
    """The UVs, unless they map every face to nothing."""
    if uvs is None:
        return None
    a, b, c = (uvs[faces[:, i]] for i in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    return uvs if np.nansum(area) > 1e-12 else None


def _drawn(file: Any, mesh: Mapping[str, Any]) -> Iterator[int]:
    """Numbers of the primitives that `triangle_primitives` yields: those with triangles."""
    for i, entry in enumerate(mesh["primitives"]):
        if entry.get("mode", 4) in (4, 5, 6) and "POSITION" in entry["attributes"]:
            corners = file.item("accessors", entry.get("indices", entry["attributes"]["POSITION"]))["count"]
            if corners >= 3:
                yield i


class _Rewriter:
    """The new document and its binary chunk, under construction."""

    def __init__(self, scene: GltfScene) -> None:
        self.scene, self.file = scene, scene.file
        self.doc = copy.deepcopy(scene.doc)
        self.new_views: list[tuple[bytes, int | None]] = []  # appended after the file's own
        self.own_views = len(self.doc.get("bufferViews", []))

    def result(self, textures: Mapping[GroupKey, Any], image_format: str) -> bytes:
        for key, texture_set in textures.items():
            if not key[1]:
                self._add_uvs(key)
            material = self._material(key, texture_set, image_format)
            for part in self.scene._faces[key]:
                self.doc["meshes"][part.mesh]["primitives"][part.primitive]["material"] = material
        self._embed_images()
        self._drop_unused("textures", "images")
        return self._pack()

    # materials -------------------------------------------------------------------------------------------------------

    def _material(self, key: GroupKey, texture_set: Any, image_format: str) -> int:
        """Number of the material of a group with its new textures: the old one changed, or a new one."""
        materials = self.doc.setdefault("materials", [])
        source, kept = key
        twin = source is not None and not kept and (source, True) in self.scene.groups
        if source is None or twin:  # faces without UVs that shared a material with faces that have some
            materials.append(copy.deepcopy(materials[source]) if source is not None else {"name": "material"})
            index = len(materials) - 1
        else:
            index = source
        material = materials[index]
        if not kept:  # pictures drawn for other UVs mean nothing here
            for name in ("normalTexture", "occlusionTexture", "emissiveTexture"):
                material.pop(name, None)
        for name in _REPLACED_EXTENSIONS:
            material.get("extensions", {}).pop(name, None)
        if not material.get("extensions", True):
            del material["extensions"]
        old = material.get("pbrMetallicRoughness", {})
        material["pbrMetallicRoughness"] = {
            **{name: old[name] for name in ("extensions", "extras") if name in old},
            "baseColorTexture": {"index": self._texture(texture_set.images["baseColorTexture"], image_format)},
            "metallicRoughnessTexture": {
                "index": self._texture(texture_set.images["metallicRoughnessTexture"], image_format)
            },
            "metallicFactor": 1.0,
            "roughnessFactor": 1.0,
        }
        material.pop("alphaMode", None)
        material.pop("alphaCutoff", None)
        if texture_set.alpha_mode != "OPAQUE":
            material["alphaMode"] = texture_set.alpha_mode
        return index

    def _texture(self, pixels: np.ndarray, image_format: str) -> int:
        stream = io.BytesIO()
        picture = Image.fromarray(pixels)
        kind = "png" if image_format == "jpeg" and picture.mode == "RGBA" else image_format
        picture.save(stream, kind.upper(), **({} if kind == "png" else {"quality": 92}))
        images, textures = self.doc.setdefault("images", []), self.doc.setdefault("textures", [])
        images.append({"bufferView": self._view(stream.getvalue(), None), "mimeType": f"image/{kind}"})
        source = len(images) - 1
        if kind == "webp":
            textures.append({"extensions": {"EXT_texture_webp": {"source": source}}})
            for name in ("extensionsUsed", "extensionsRequired"):
                if "EXT_texture_webp" not in self.doc.setdefault(name, []):
                    self.doc[name].append("EXT_texture_webp")
        else:
            textures.append({"source": source})
        return len(textures) - 1

    # geometry without UVs --------------------------------------------------------------------------------------------

    def _add_uvs(self, key: GroupKey) -> None:
        """Give the primitives of a group UVs: a vertex of several charts is copied, with all its attributes."""
        uvs, start = self.scene.groups[key].uvs, 0
        if uvs is None:
            raise ValueError(f"surface group {self.scene.groups[key].name!r} must be unwrapped before it is written")
        for part in self.scene._faces[key]:
            primitive = self.doc["meshes"][part.mesh]["primitives"][part.primitive]
            step = -1 if part.mirrored else 1
            own = uvs[start : start + len(part.faces), ::step].reshape(-1, 2).astype(np.float32)
            start += len(part.faces)
            corner = part.faces[:, ::step].reshape(-1, 1)
            table = np.concatenate([corner.astype(np.float64), own], axis=1)
            rows, inverse = np.unique(table, axis=0, return_inverse=True)
            chosen = rows[:, 0].astype(np.int64)
            for attributes in [primitive["attributes"], *primitive.get("targets", [])]:
                for name in [n for n in attributes if n.startswith("TEXCOORD_")]:
                    del attributes[name]
                for name, index in attributes.items():
                    attributes[name] = self._gathered(index, chosen)
            primitive["attributes"]["TEXCOORD_0"] = self._accessor(rows[:, 1:].astype(np.float32), "VEC2", _FLOAT)
            flat = inverse.reshape(-1, 1).astype(np.uint32)
            primitive["indices"] = self._accessor(flat, "SCALAR", _UINT32, _ELEMENT_ARRAY_BUFFER)
            primitive.pop("mode", None)

    def _gathered(self, index: int, rows: np.ndarray) -> int:
        """A new accessor with rows of another, byte for byte."""
        old = self.doc["accessors"][index]
        if "bufferView" not in old or "sparse" in old:
            values = self.file.accessor(index)[rows].astype(np.float32)
            return self._accessor(values, old["type"], _FLOAT)
        element = _WIDTH[old["type"]] * _BYTES[old["componentType"]]
        view, stride = self.file.view(old["bufferView"])
        offset, step = int(old.get("byteOffset", 0)), stride or element
        places = offset + rows[:, None] * step + np.arange(element)
        packed = np.frombuffer(view, np.uint8)[places]
        padded = np.zeros((len(rows), -(-element // 4) * 4), np.uint8)  # rows start at multiples of four bytes
        padded[:, :element] = packed
        number = self._view(padded.tobytes(), _ARRAY_BUFFER)
        entry = {k: v for k, v in old.items() if k not in ("byteOffset", "bufferView", "count")}
        values = np.ascontiguousarray(packed).view(_DTYPES[old["componentType"]])
        for name, extreme in (("min", values.min), ("max", values.max)):
            if name in entry:  # vertices that no face uses are gone
                entry[name] = extreme(axis=0).tolist()
        self.doc["accessors"].append({**entry, "bufferView": number, "count": len(rows)})
        if padded.shape[1] != element:
            self.doc["bufferViews"][number]["byteStride"] = padded.shape[1]
        return len(self.doc["accessors"]) - 1

    def _accessor(self, values: np.ndarray, kind: str, component: int, target: int = _ARRAY_BUFFER) -> int:
        entry: dict[str, Any] = {
            "bufferView": self._view(np.ascontiguousarray(values).tobytes(), target),
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
        if kind == "VEC3":
            entry["min"], entry["max"] = values.min(axis=0).tolist(), values.max(axis=0).tolist()
        self.doc["accessors"].append(entry)
        return len(self.doc["accessors"]) - 1

    def _view(self, data: bytes, target: int | None) -> int:
        self.new_views.append((data, target))
        entry: dict[str, Any] = {"buffer": 0, "byteLength": len(data)}
        if target is not None:
            entry["target"] = target
        self.doc.setdefault("bufferViews", []).append(entry)
        return len(self.doc["bufferViews"]) - 1

    # packing ---------------------------------------------------------------------------------------------------------

    def _embed_images(self) -> None:
        """Pictures in files or data URIs move into the binary chunk."""
        for index, image in enumerate(self.doc.get("images", [])):
            if "uri" in image:
                data = self.file.image_bytes(index)
                image.pop("uri")
                image["bufferView"] = self._view(data, None)
                image.setdefault("mimeType", "image/png" if data[:4] == b"\x89PNG" else "image/jpeg")

    def _drop_unused(self, *kinds: str) -> None:
        """Remove textures that no material uses, then images that no texture uses."""
        for kind in kinds:
            items = self.doc.get(kind, [])
            references = _texture_references if kind == "textures" else _image_references
            used = sorted({holder[name] for holder, name in references(self.doc)})
            places = {old: new for new, old in enumerate(used)}
            for holder, name in references(self.doc):
                holder[name] = places[holder[name]]
            if items:
                self.doc[kind] = [items[i] for i in used]
                if not used:
                    del self.doc[kind]

    def _pack(self) -> bytes:
        """GLB with the buffer views that are still referred to, in their order."""
        holders = list(_holders(self.doc, "bufferView"))
        used = sorted({holder["bufferView"] for holder in holders})
        blob, views = bytearray(), []
        for index in used:
            entry = dict(self.doc["bufferViews"][index])
            if index < self.own_views:
                data: bytes | memoryview = self.file.view(index)[0]
            else:
                data = self.new_views[index - self.own_views][0]
            blob += b"\0" * (-len(blob) % 16)
            entry.update({"buffer": 0, "byteOffset": len(blob), "byteLength": len(data)})
            blob += data
            views.append(entry)
        places = {old: new for new, old in enumerate(used)}
        for holder in holders:
            holder["bufferView"] = places[holder["bufferView"]]
        blob += b"\0" * (-len(blob) % 4)
        self.doc["bufferViews"] = views
        self.doc["buffers"] = [{"byteLength": len(blob)}]
        text = json.dumps(self.doc, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + len(blob)
        head = struct.pack("<III", 0x46546C67, 2, total) + struct.pack("<II", len(text), 0x4E4F534A)
        return head + text + struct.pack("<II", len(blob), 0x004E4942) + bytes(blob)


def _holders(node: Any, name: str) -> Iterator[dict[str, Any]]:
    """All objects below `node` with an integer under `name`."""
    if isinstance(node, dict):
        if isinstance(node.get(name), int):
            yield node
        for key, value in node.items():
            if key != "extras":
                yield from _holders(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _holders(value, name)


def _texture_references(doc: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Places in the materials that name a texture: objects under keys that end in Texture."""
    found: list[tuple[dict[str, Any], str]] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key.endswith("Texture") and isinstance(value, dict) and isinstance(value.get("index"), int):
                    found.append((value, "index"))
                if key != "extras":
                    walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(doc.get("materials", []))
    return found


def _image_references(doc: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Places in the textures that name an image."""
    textures = doc.get("textures", [])
    found = [(texture, "source") for texture in textures if isinstance(texture.get("source"), int)]
    for texture in textures:
        for extension in texture.get("extensions", {}).values():
            if isinstance(extension, dict) and isinstance(extension.get("source"), int):
                found.append((extension, "source"))
    return found
