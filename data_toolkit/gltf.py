"""Reader of glTF 2.0 (.glb, .gltf) geometry and metallic-roughness materials, without Blender.

Every accessor, view and buffer is bounds-checked; buffers and images outside the file must be `data:` URIs or files
beside it. Source: glTF 2.0 specification, KHR_texture_transform, KHR_materials_unlit.
"""

from __future__ import annotations

import base64
import json
import struct
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["GltfFile", "TrianglePrimitive"]

_COMPONENTS: dict[int, Any] = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_UNSUPPORTED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu")
_MAX_ELEMENTS = 1 << 26


class TrianglePrimitive:
    """Triangles of one primitive in the world of the scene (Y up)."""

    def __init__(self, positions: np.ndarray, faces: np.ndarray, normals: np.ndarray | None, uvs: dict[int, np.ndarray],
                 material: int | None, colored: bool) -> None:  # fmt: skip
        self.positions = positions  # [V, 3] float64
        self.faces = faces  # [F, 3] int64
        self.normals = normals  # [V, 3] float64 unit, or None
        self.uvs = uvs  # set number -> [V, 2] float64, v down as in the file
        self.material = material  # index into the document's materials
        self.colored = colored  # carries COLOR_0


class GltfFile:
    """A parsed document with access to nodes, accessors and images."""

    def __init__(self, doc: dict[str, Any], binary: bytes | None, folder: Path | None) -> None:
        self.doc = doc
        self._binary = binary
        self._folder = folder
        self._buffers: dict[int, bytes] = {}
        required = doc.get("extensionsRequired", [])
        for name in _UNSUPPORTED:
            if name in required:
                raise ValueError(f"glTF extension {name} is not supported; convert the file without it")

    @classmethod
    def load(cls, path: str | Path) -> GltfFile:
        """Read a .glb or .gltf file."""
        path = Path(path)
        return cls.parse(path.read_bytes(), path.parent)

    @classmethod
    def parse(cls, data: bytes, folder: Path | None = None) -> GltfFile:
        """Read from memory; `folder` is where relative URIs may point. Raises ValueError on malformed data."""
        if data[:4] != b"glTF":
            try:
                doc = json.loads(data.decode("utf-8"))
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise ValueError(f"not a glTF file: {error}") from error
            return cls(_object(doc), None, folder)
        if len(data) < 20:
            raise ValueError("truncated GLB header")
        _, version, total = struct.unpack_from("<III", data)
        if version != 2 or total > len(data):
            raise ValueError(f"GLB must be version 2 and complete, got version {version}, {len(data)} of {total} bytes")
        chunks: dict[int, bytes] = {}
        at = 12
        while at + 8 <= total:
            size, kind = struct.unpack_from("<II", data, at)
            if at + 8 + size > total:
                raise ValueError("a GLB chunk runs past the end of the file")
            chunks.setdefault(kind, data[at + 8 : at + 8 + size])
            at += 8 + size + (-size % 4)
        if 0x4E4F534A not in chunks:
            raise ValueError("GLB has no JSON chunk")
        try:
            doc = json.loads(chunks[0x4E4F534A].decode("utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"GLB has a malformed JSON chunk: {error}") from error
        return cls(_object(doc), chunks.get(0x004E4942), folder)

    def _item(self, kind: str, index: Any) -> dict[str, Any]:
        items = self.doc.get(kind, [])
        if not isinstance(index, int) or not 0 <= index < len(items):
            raise ValueError(f"glTF refers to {kind}[{index}], there are {len(items)}")
        return _object(items[index])

    def _uri(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            return base64.b64decode(body) if head.endswith("base64") else urllib.parse.unquote_to_bytes(body)
        if self._folder is None:
            raise ValueError(f"glTF refers to {uri!r} but was not read from a folder")
        folder = self._folder.resolve()
        path = (folder / urllib.parse.unquote(uri)).resolve()
        if not path.is_relative_to(folder):
            raise ValueError(f"glTF refers to {uri!r}, which lies outside its folder")
        return path.read_bytes()

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            entry = self._item("buffers", index)
            if "uri" in entry:
                self._buffers[index] = self._uri(entry["uri"])
            elif index == 0 and self._binary is not None:
                self._buffers[index] = self._binary
            else:
                raise ValueError(f"buffers[{index}] has no data")
        return self._buffers[index]

    def _view(self, index: int) -> tuple[bytes, int]:
        """Bytes and stride (0 if tightly packed) of a buffer view."""
        entry = self._item("bufferViews", index)
        data = self._buffer(entry.get("buffer", 0))
        start, size = int(entry.get("byteOffset", 0)), int(entry["byteLength"])
        if start < 0 or size < 0 or start + size > len(data):
            raise ValueError(f"bufferViews[{index}] lies outside its buffer")
        return data[start : start + size], int(entry.get("byteStride", 0))

    def accessor(self, index: int) -> np.ndarray:
        """Values [count, width]; normalised integers become floats."""
        entry = self._item("accessors", index)
        kind, component, count = entry.get("type"), entry.get("componentType"), int(entry.get("count", 0))
        if kind not in _WIDTHS or component not in _COMPONENTS or not 0 <= count <= _MAX_ELEMENTS:
            raise ValueError(f"accessors[{index}] has an unknown type or size: {kind}, {component}, {count}")
        width, dtype = _WIDTHS[kind], np.dtype(_COMPONENTS[component]).newbyteorder("<")
        values = np.zeros((count, width), dtype)
        if "bufferView" in entry:
            data, stride = self._view(entry["bufferView"])
            values = _strided(data, int(entry.get("byteOffset", 0)), stride, count, width, dtype, index)
        if "sparse" in entry:
            sparse, n = entry["sparse"], int(entry["sparse"]["count"])
            idx_type = np.dtype(_COMPONENTS[sparse["indices"]["componentType"]]).newbyteorder("<")
            data, _ = self._view(sparse["indices"]["bufferView"])
            rows = _strided(data, int(sparse["indices"].get("byteOffset", 0)), 0, n, 1, idx_type, index)[:, 0]
            data, _ = self._view(sparse["values"]["bufferView"])
            if n and int(rows.max()) >= count:
                raise ValueError(f"accessors[{index}] has sparse indices past its end")
            values = values.copy()
            values[rows] = _strided(data, int(sparse["values"].get("byteOffset", 0)), 0, n, width, dtype, index)
        if entry.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float64) / np.iinfo(dtype).max, -1.0)
        return values

    def image_bytes(self, index: int) -> bytes:
        """Encoded bytes of an image."""
        entry = self._item("images", index)
        if "bufferView" in entry:
            return self._view(entry["bufferView"])[0]
        return self._uri(entry["uri"])

    def instances(self) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
        """(name, world matrix [4, 4], mesh) of each node of the scene that has a mesh, depth first."""
        scenes = self.doc.get("scenes", [])
        nodes = self.doc.get("nodes", [])
        if scenes:
            roots = self._item("scenes", self.doc.get("scene", 0)).get("nodes", [])
        else:
            children = {c for n in nodes for c in n.get("children", [])}
            roots = [i for i in range(len(nodes)) if i not in children]
        out, seen = [], set()
        stack = [(i, np.eye(4)) for i in reversed(roots)]
        while stack:
            index, parent = stack.pop()
            if index in seen:
                raise ValueError(f"nodes[{index}] has two parents")
            seen.add(index)
            node = self._item("nodes", index)
            matrix = parent @ _local_matrix(node)
            if "mesh" in node:
                out.append((str(node.get("name", f"node_{index}")), matrix, self._item("meshes", node["mesh"])))
            stack += [(c, matrix) for c in reversed(node.get("children", []))]
        return out

    def primitives(self, mesh: dict[str, Any], matrix: np.ndarray) -> list[TrianglePrimitive]:
        """The triangles of a mesh under a world matrix; points and lines are left out."""
        out = []
        for entry in mesh.get("primitives", []):
            attributes = entry.get("attributes", {})
            if entry.get("mode", 4) not in (4, 5, 6) or "POSITION" not in attributes:
                continue
            if "KHR_draco_mesh_compression" in entry.get("extensions", {}):
                raise ValueError(
                    "glTF extension KHR_draco_mesh_compression is not supported; convert the file without it"
                )
            local = self.accessor(attributes["POSITION"]).astype(np.float64)
            if not np.isfinite(local).all():
                raise ValueError("POSITION holds values that are not finite")
            flat = (
                self.accessor(entry["indices"])[:, 0].astype(np.int64) if "indices" in entry else np.arange(len(local))
            )
            faces = _triangles(flat, entry.get("mode", 4))
            if len(faces) and int(faces.max()) >= len(local):
                raise ValueError(f"an index points past the {len(local)} vertices of its primitive")
            linear = matrix[:3, :3]
            if np.linalg.det(linear) < 0:
                faces = faces[:, ::-1]
            normals = None
            if "NORMAL" in attributes:
                normals = self.accessor(attributes["NORMAL"]).astype(np.float64) @ np.linalg.pinv(linear)
                length = np.linalg.norm(normals, axis=1, keepdims=True)
                normals = np.where(length > 1e-12, normals / np.maximum(length, 1e-12), [0.0, 1.0, 0.0])
                if len(normals) != len(local):
                    raise ValueError("NORMAL and POSITION have different lengths")
            uvs = {}
            for k in (0, 1):
                if f"TEXCOORD_{k}" in attributes:
                    uvs[k] = self.accessor(attributes[f"TEXCOORD_{k}"]).astype(np.float64)
                    if len(uvs[k]) != len(local):
                        raise ValueError(f"TEXCOORD_{k} and POSITION have different lengths")
            positions = local @ linear.T + matrix[:3, 3]
            out.append(
                TrianglePrimitive(positions, faces, normals, uvs, entry.get("material"), "COLOR_0" in attributes)
            )
        return out


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"glTF: expected a JSON object, got {type(value).__name__}")
    return value


def _strided(data: bytes, offset: int, stride: int, count: int, width: int, dtype: np.dtype, index: int) -> np.ndarray:
    item = width * dtype.itemsize
    step = stride or item
    if offset < 0 or step < item or (count and offset + step * (count - 1) + item > len(data)):
        raise ValueError(f"accessors[{index}] lies outside its buffer view")
    if step == item:
        return np.frombuffer(data, dtype, count * width, offset).reshape(count, width)
    rows = np.lib.stride_tricks.as_strided(np.frombuffer(data, np.uint8)[offset:], (count, item), (step, 1))
    return np.ascontiguousarray(rows).view(dtype).reshape(count, width)


def _triangles(flat: np.ndarray, mode: int) -> np.ndarray:
    """Indices -> [F, 3] for lists (4), strips (5) and fans (6)."""
    if mode == 4:
        return flat[: len(flat) // 3 * 3].reshape(-1, 3)
    n = max(len(flat) - 2, 0)
    i = np.arange(n)
    if mode == 6:
        return np.stack([np.broadcast_to(flat[:1], (n,)), flat[i + 1], flat[i + 2]], 1)
    odd = i % 2 == 1
    return np.stack([flat[i], np.where(odd, flat[i + 2], flat[i + 1]), np.where(odd, flat[i + 1], flat[i + 2])], 1)


def _local_matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    m = np.eye(4)
    m[:3, :3] = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]) * np.array(node.get("scale", (1.0, 1.0, 1.0)), float)  # fmt: skip
    m[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return m
