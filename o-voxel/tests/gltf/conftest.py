"""A small writer of glTF documents, so that each test states exactly the bytes it is about."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

_COMPONENTS = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
_KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class GltfBuilder:
    """Collects accessors and images in one binary chunk; the caller fills in the rest of the document."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self.doc: dict[str, Any] = {
            "asset": {"version": "2.0"}, "accessors": [], "bufferViews": [], "nodes": [], "meshes": [],
            "materials": [], "images": [], "textures": [], "samplers": [],
        }  # fmt: skip

    def view(self, data: bytes, **fields: Any) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.doc["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **fields})
        self.binary += data
        return len(self.doc["bufferViews"]) - 1

    def accessor(self, values: Any, dtype: str = "float32", **fields: Any) -> int:
        array = np.atleast_1d(np.asarray(values, dtype))
        table = array.reshape(len(array), -1)
        self.doc["accessors"].append({
            "bufferView": self.view(table.tobytes()), "componentType": _COMPONENTS[dtype], "count": len(table),
            "type": _KINDS[table.shape[1]], **fields,
        })  # fmt: skip
        return len(self.doc["accessors"]) - 1

    def image(self, pixels: np.ndarray, kind: str = "PNG", **sampler: Any) -> int:
        """A texture (image and sampler); returns the texture's index."""
        stream = io.BytesIO()
        Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, kind)
        self.doc["images"].append({"bufferView": self.view(stream.getvalue()), "mimeType": f"image/{kind.lower()}"})
        texture: dict[str, Any] = {"source": len(self.doc["images"]) - 1}
        if sampler:
            self.doc["samplers"].append(sampler)
            texture["sampler"] = len(self.doc["samplers"]) - 1
        self.doc["textures"].append(texture)
        return len(self.doc["textures"]) - 1

    def quad(self, uvs: dict[int, Any] | None = None, material: dict[str, Any] | None = None, **fields: Any) -> int:
        """A mesh: the square [-0.4, 0.4]^2 at z = 0.03; returns its index."""
        corners = np.array([[-0.4, -0.4, 0.03], [0.4, -0.4, 0.03], [0.4, 0.4, 0.03], [-0.4, 0.4, 0.03]])
        attributes = {"POSITION": self.accessor(corners), **fields.pop("attributes", {})}
        for number, values in (uvs or {}).items():
            attributes[f"TEXCOORD_{number}"] = self.accessor(values)
        primitive = {"attributes": attributes, "indices": self.accessor([0, 1, 2, 0, 2, 3], "uint16"), **fields}
        if material is not None:
            self.doc["materials"].append(material)
            primitive["material"] = len(self.doc["materials"]) - 1
        self.doc["meshes"].append({"primitives": [primitive]})
        return len(self.doc["meshes"]) - 1

    def node(self, **fields: Any) -> int:
        self.doc["nodes"].append(fields)
        return len(self.doc["nodes"]) - 1

    def glb(self) -> bytes:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.doc["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps({key: value for key, value in self.doc.items() if value != []}).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + len(self.binary)
        return (
            struct.pack("<III", 0x46546C67, 2, total)
            + struct.pack("<II", len(text), 0x4E4F534A) + text
            + struct.pack("<II", len(self.binary), 0x004E4942) + bytes(self.binary)
        )  # fmt: skip


@pytest.fixture
def gltf() -> GltfBuilder:
    return GltfBuilder()
