"""A glTF 2.0 document: container (.glb, .gltf), buffers, accessors and encoded images, all bounds-checked.

Nothing outside the file is read but `data:` URIs and files beside it. Source: Khronos, glTF 2.0 specification,
sections 3.6 (buffers, accessors) and 4 (GLB).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import struct
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np

from o_voxel.gltf.fields import array_field, integer_field, object_field, object_list

__all__ = ["MAX_DECODED_BYTES", "GltfFile"]

MAX_DECODED_BYTES = 1 << 33
_COMPONENTS: dict[int, Any] = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_COMPRESSIONS = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
_SUPPORTED = frozenset(
    {
        "EXT_mesh_gpu_instancing",
        "EXT_texture_webp",
        "KHR_materials_emissive_strength",
        "KHR_materials_pbrSpecularGlossiness",
        "KHR_materials_unlit",
        "KHR_mesh_quantization",
        "KHR_texture_transform",
    }
)
_HARMLESS = ("KHR_materials_", "KHR_lights_", "KHR_xmp", "KHR_animation_", "KHR_node_", "EXT_lights_", "KHR_audio")
_MAX_ELEMENTS = 1 << 28
_MAX_OFFSET = 1 << 40
_JSON_CHUNK, _BIN_CHUNK = 0x4E4F534A, 0x004E4942


def _parse_json(text: bytes, what: str) -> dict[str, Any]:
    try:
        doc = json.loads(text.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what}: {error}") from error
    if not isinstance(doc, dict):
        raise ValueError(f"{what}: expected a JSON object, got {type(doc).__name__}")
    return doc


def _split_glb(data: bytes) -> tuple[bytes, bytes | None]:
    """JSON chunk and binary chunk of a GLB."""
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
        if kind in (_JSON_CHUNK, _BIN_CHUNK):
            chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size + (-size % 4)
    if _JSON_CHUNK not in chunks:
        raise ValueError("GLB has no JSON chunk")
    return chunks[_JSON_CHUNK], chunks.get(_BIN_CHUNK)


class GltfFile:
    """A parsed document with bounds-checked access to items, accessors and images.

    `max_bytes` limits the data that all accessors together may unpack to.
    """

    def __init__(
        self,
        doc: dict[str, Any],
        binary: bytes | None = None,
        folder: Path | None = None,
        max_bytes: int = MAX_DECODED_BYTES,
    ) -> None:
        self.doc = doc
        self._binary = binary
        self._folder = folder
        self._buffers: dict[int, bytes] = {}
        self._budget = max_bytes
        for name in array_field(doc, "extensionsRequired"):
            if name in _COMPRESSIONS or name == "KHR_texture_basisu":
                raise ValueError(f"glTF extension {name} is not supported; convert the file without it")
            if name not in _SUPPORTED and not str(name).startswith(_HARMLESS):
                raise ValueError(f"the file requires the unknown glTF extension {str(name)[:60]!r}")

    @classmethod
    def load(cls, path: str | os.PathLike[str], max_bytes: int = MAX_DECODED_BYTES) -> GltfFile:
        """Read a .glb or .gltf file. Raises ValueError on malformed data, naming the file."""
        path = Path(path)
        try:
            return cls.parse(path.read_bytes(), path.parent, max_bytes)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, data: bytes, folder: Path | None = None, max_bytes: int = MAX_DECODED_BYTES) -> GltfFile:
        """Read from memory; `folder` is where relative URIs may point. Raises ValueError on malformed data."""
        if data[:4] != b"glTF":
            return cls(_parse_json(data, "not a glTF file"), None, folder, max_bytes)
        text, binary = _split_glb(data)
        return cls(_parse_json(text, "GLB has a malformed JSON chunk"), binary, folder, max_bytes)

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """Element `index` of a top-level array; ValueError where there is none."""
        items = object_list(self.doc, kind)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(items):
            raise ValueError(f"glTF refers to {kind}[{str(index)[:20]}], there are {len(items)}")
        return items[index]

    def charge(self, num_bytes: int) -> None:
        """Take unpacked data from the file's budget; ValueError when it is used up."""
        self._budget -= num_bytes
        if self._budget < 0:
            raise ValueError("the glTF file unpacks to more data than allowed")

    def _uri(self, uri: Any) -> bytes:
        if not isinstance(uri, str):
            raise ValueError(f"glTF: uri must be a string, got {str(uri)[:60]}")
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            if not head.endswith(";base64"):
                return urllib.parse.unquote_to_bytes(body)
            try:
                return base64.b64decode(body)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"glTF has a malformed data URI: {error}") from error
        name = urllib.parse.unquote(uri)
        if self._folder is None:
            raise ValueError(f"glTF refers to {name[:200]!r} but was not read from a folder")
        try:
            folder = self._folder.resolve()
            path = (folder / name).resolve()
            if not path.is_relative_to(folder):
                raise ValueError(f"glTF refers to {name[:200]!r}, which lies outside its folder")
            return path.read_bytes()
        except OSError as error:
            raise ValueError(f"glTF refers to {name[:200]!r}, which cannot be read: {error.strerror}") from error

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            entry = self.item("buffers", index)
            if "uri" in entry:
                self._buffers[index] = self._uri(entry["uri"])
            elif index == 0 and self._binary is not None:
                self._buffers[index] = self._binary
            elif any(name in object_field(entry, "extensions") for name in _COMPRESSIONS):
                raise ValueError("glTF extension EXT_meshopt_compression is not supported; convert the file without it")
            else:
                raise ValueError(f"buffers[{index}] has no data")
        return self._buffers[index]

    def view(self, index: Any) -> tuple[memoryview, int]:
        """Bytes and stride (0 if tightly packed) of a buffer view."""
        entry = self.item("bufferViews", index)
        data = self._buffer(integer_field(entry, "buffer", 0, 0, 1 << 31))
        start = integer_field(entry, "byteOffset", 0, 0, _MAX_OFFSET)
        size = integer_field(entry, "byteLength", None, 0, _MAX_OFFSET)
        if start + size > len(data):
            raise ValueError(f"bufferViews[{index}] lies outside its buffer")
        return memoryview(data)[start : start + size], integer_field(entry, "byteStride", 0, 0, 1 << 16)

    def accessor(self, index: Any) -> np.ndarray:
        """Values [count, width] of an accessor, sparse entries put in; normalised integers become floats in [-1, 1]."""
        entry = self.item("accessors", index)
        kind, component = entry.get("type"), integer_field(entry, "componentType", None, 0, 1 << 16)
        count = integer_field(entry, "count", None, 0, _MAX_ELEMENTS)
        if not isinstance(kind, str) or kind not in _WIDTHS or component not in _COMPONENTS:
            raise ValueError(f"accessors[{index}] has an unknown type: {str(kind)[:20]}, {component}")
        width, dtype = _WIDTHS[kind], np.dtype(_COMPONENTS[component]).newbyteorder("<")
        self.charge(count * width * 8)
        if "bufferView" in entry:
            data, stride = self.view(entry["bufferView"])
            offset = integer_field(entry, "byteOffset", 0, 0, _MAX_OFFSET)
            values = _strided(data, offset, stride, count, width, dtype, f"accessors[{index}]")
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in entry:
            values = self._put_sparse(values.copy(), object_field(entry, "sparse"), dtype, f"accessors[{index}]")
        if entry.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float64) / np.iinfo(dtype).max, -1.0)
        return values

    def _put_sparse(self, values: np.ndarray, sparse: dict[str, Any], dtype: np.dtype, what: str) -> np.ndarray:
        count = integer_field(sparse, "count", None, 0, len(values))
        where, what_to = object_field(sparse, "indices"), object_field(sparse, "values")
        component = integer_field(where, "componentType", None, 0, 1 << 16)
        if component not in (5121, 5123, 5125):
            raise ValueError(f"{what} has sparse indices of an unknown type")
        idx_type = np.dtype(_COMPONENTS[component]).newbyteorder("<")
        data, _ = self.view(where.get("bufferView"))
        rows = _strided(data, integer_field(where, "byteOffset", 0, 0, _MAX_OFFSET), 0, count, 1, idx_type, what)[:, 0]
        if count and int(rows.max()) >= len(values):
            raise ValueError(f"{what} has sparse indices past its end")
        data, _ = self.view(what_to.get("bufferView"))
        offset = integer_field(what_to, "byteOffset", 0, 0, _MAX_OFFSET)
        values[rows] = _strided(data, offset, 0, count, values.shape[1], dtype, what)
        return values

    def image_bytes(self, index: Any) -> bytes:
        """Encoded bytes of an image."""
        entry = self.item("images", index)
        return bytes(self.view(entry["bufferView"])[0]) if "bufferView" in entry else self._uri(entry.get("uri"))


def _strided(
    data: memoryview, offset: int, stride: int, count: int, width: int, dtype: np.dtype, what: str
) -> np.ndarray:
    """[count, width] values that lie `stride` bytes apart (0: one after the other)."""
    item = width * dtype.itemsize
    step = stride or item
    if step < item or (count and offset + step * (count - 1) + item > len(data)):
        raise ValueError(f"{what} lies outside its buffer view")
    if step == item or count == 0:
        return np.frombuffer(data, dtype, count * width, offset if count else 0).reshape(count, width)
    rows = np.lib.stride_tricks.as_strided(np.frombuffer(data, np.uint8)[offset:], (count, item), (step, 1))
    return np.ascontiguousarray(rows).view(dtype).reshape(count, width)
