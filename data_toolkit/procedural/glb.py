"""A reproducible GLB writer: the same model gives the same bytes on every machine.

PNG images use stored deflate blocks, because compressed bytes differ between zlib builds.
Source: glTF 2.0 specification (binary container, section 4), PNG specification (ISO/IEC 15948).
"""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np

from data_toolkit.procedural.asset import Primitive

__all__ = ["png_bytes", "write_glb"]

_COLOR_TYPE = {1: 0, 3: 2, 4: 6}


def png_bytes(image: np.ndarray) -> bytes:
    """Encode uint8 [H, W] or [H, W, 1|3|4] as PNG."""
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.shape[2] not in _COLOR_TYPE:
        raise ValueError(f"image must be uint8 with 1, 3 or 4 channels, got {image.dtype} {image.shape}")
    h, w, c = image.shape
    rows = np.zeros((h, 1 + w * c), np.uint8)  # filter byte 0 in front of each row
    rows[:, 1:] = image.reshape(h, -1)
    raw = rows.tobytes()
    stream = [b"\x78\x01"]
    for start in range(0, len(raw), 65535):
        block = raw[start : start + 65535]
        last = start + 65535 >= len(raw)
        stream.append(struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block)
    stream.append(struct.pack(">I", zlib.adler32(raw)))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", w, h, 8, _COLOR_TYPE[c], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(stream)) + chunk(b"IEND", b"")


def write_glb(primitives: list[Primitive], name: str) -> bytes:
    """Serialise a model as one mesh on one node."""
    blob = bytearray()
    views: list[dict] = []
    accessors: list[dict] = []

    def view(data: bytes, target: int | None = None) -> int:
        while len(blob) % 4:
            blob.append(0)
        entry = {"buffer": 0, "byteOffset": len(blob), "byteLength": len(data)}
        if target is not None:
            entry["target"] = target
        views.append(entry)
        blob.extend(data)
        return len(views) - 1

    def accessor(array: np.ndarray, kind: str, component: int, target: int, bounds: bool = False) -> int:
        entry: dict = {
            "bufferView": view(np.ascontiguousarray(array).tobytes(), target),
            "componentType": component,
            "count": array.size if kind == "SCALAR" else len(array),
            "type": kind,
        }
        if bounds:
            entry["min"] = [float(x) for x in array.min(0)]
            entry["max"] = [float(x) for x in array.max(0)]
        accessors.append(entry)
        return len(accessors) - 1

    images: list[dict] = []
    textures: list[dict] = []

    def texture(image: np.ndarray, nearest: bool) -> dict:
        images.append({"bufferView": view(png_bytes(image)), "mimeType": "image/png"})
        textures.append({"source": len(images) - 1, "sampler": 1 if nearest else 0})
        return {"index": len(textures) - 1}

    materials, prims = [], []
    for i, p in enumerate(primitives):
        m = p.material
        pbr: dict = {"baseColorTexture": texture(m.base, m.nearest)}
        if m.mr is None:
            pbr["metallicFactor"], pbr["roughnessFactor"] = round(m.metallic, 4), round(m.roughness, 4)
        else:
            packed = np.zeros((*m.mr.shape[:2], 3), np.uint8)
            packed[..., 1], packed[..., 2] = m.mr[..., 1], m.mr[..., 0]
            pbr["metallicRoughnessTexture"] = texture(packed, False)
        entry: dict = {"name": f"material_{i}", "pbrMetallicRoughness": pbr, "doubleSided": True}
        if m.alpha_mode != "OPAQUE":
            entry["alphaMode"] = m.alpha_mode
        materials.append(entry)
        uv = p.uvs.copy()
        uv[:, 1] = 1 - uv[:, 1]
        short = len(p.positions) < 65535
        faces = p.faces.astype(np.uint16 if short else np.uint32)
        prims.append({
            "attributes": {
                "POSITION": accessor(p.positions, "VEC3", 5126, 34962, True),
                "NORMAL": accessor(p.normals, "VEC3", 5126, 34962),
                "TEXCOORD_0": accessor(uv, "VEC2", 5126, 34962),
            },
            "indices": accessor(faces, "SCALAR", 5123 if short else 5125, 34963),
            "material": i,
        })  # fmt: skip
    doc = {
        "asset": {"version": "2.0", "generator": "trellis2 procedural"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": name}],
        "meshes": [{"name": name, "primitives": prims}],
        "materials": materials,
        "textures": textures,
        "samplers": [
            {"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497},
            {"magFilter": 9728, "minFilter": 9728, "wrapS": 10497, "wrapT": 10497},
        ],
        "images": images,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": 0}],
    }
    while len(blob) % 4:
        blob.append(0)
    doc["buffers"][0]["byteLength"] = len(blob)  # type: ignore[index]
    text = json.dumps(doc, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(blob)
    return b"".join([
        struct.pack("<III", 0x46546C67, 2, total),
        struct.pack("<II", len(text), 0x4E4F534A), text,
        struct.pack("<II", len(blob), 0x004E4942), bytes(blob),
    ])  # fmt: skip
