"""A small reader of the GLB files under test: standard library, NumPy and Pillow only, all primitives in one mesh."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["GlbMesh", "read_glb"]

_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@dataclass(frozen=True)
class GlbMesh:
    """V vertices, F faces; world axes (z up), texture rows downwards."""

    vertices: np.ndarray  # [V, 3] float64
    uv: np.ndarray  # [V, 2] float64
    faces: np.ndarray  # [F, 3] int64
    material_ids: np.ndarray  # [F] int64, row of `materials`
    materials: list[dict[str, Any]]
    images: dict[str, Image.Image]  # by names as baseColorTexture; those of the first material

    @property
    def alpha_modes(self) -> set[str]:
        return {self.materials[i].get("alphaMode", "OPAQUE") for i in np.unique(self.material_ids)}


def read_glb(path: Path) -> GlbMesh:
    """Read the primitives of the first mesh. Raises ValueError on what this project's files do not have."""
    data = path.read_bytes()
    magic, version, total = struct.unpack_from("<III", data)
    if (magic, version, total) != (0x46546C67, 2, len(data)):
        raise ValueError(f"{path} is not a GLB file of its length")
    length = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + length]), memoryview(data)[28 + length :]

    def view(index: int) -> memoryview:
        entry = document["bufferViews"][index]
        start = entry.get("byteOffset", 0)
        if "byteStride" in entry:
            raise ValueError("interleaved buffers are not read here")
        return binary[start : start + entry["byteLength"]]

    def accessor(index: int) -> np.ndarray:
        entry = document["accessors"][index]
        width, start = _WIDTHS[entry["type"]], entry.get("byteOffset", 0)
        flat = np.frombuffer(view(entry["bufferView"]), _TYPES[entry["componentType"]], entry["count"] * width, start)
        return flat.reshape(-1, width)

    # Primitives that share their vertices share an accessor: then the vertices are taken once.
    known: dict[tuple[int, int], int] = {}
    vertices, uv, faces, ids, at = [], [], [], [], 0
    for primitive in document["meshes"][0]["primitives"]:
        keys = primitive["attributes"]["POSITION"], primitive["attributes"]["TEXCOORD_0"]
        if keys not in known:
            known[keys] = at
            points = accessor(keys[0]).astype(np.float64)
            vertices.append(np.stack([points[:, 0], -points[:, 2], points[:, 1]], 1))
            uv.append(accessor(keys[1]).astype(np.float64))
            at += len(points)
        own = accessor(primitive["indices"]).reshape(-1, 3).astype(np.int64)
        faces.append(own + known[keys])
        ids.append(np.full(len(own), primitive.get("material", 0)))
    first = document["materials"][int(ids[0][0])]
    slots = {**first, **first.get("pbrMetallicRoughness", {})}
    images = {}
    for name, slot in slots.items():
        if name.endswith("Texture"):
            source = document["textures"][slot["index"]]["source"]
            images[name] = Image.open(io.BytesIO(view(document["images"][source]["bufferView"])))
    return GlbMesh(
        np.concatenate(vertices), np.concatenate(uv), np.concatenate(faces), np.concatenate(ids),
        document["materials"], images,
    )  # fmt: skip
