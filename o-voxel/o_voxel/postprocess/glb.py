"""Writing one textured mesh as a binary glTF 2.0 file."""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from o_voxel.mesh.normals import numpy_normalize

if TYPE_CHECKING:
    import trimesh

__all__ = ["ImageFormat", "glb_bytes", "save_glb"]

ImageFormat = Literal["png", "jpeg", "webp"]

GENERATOR = "o_voxel"
MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
FLOAT, UINT16, UINT32 = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


class _Buffer:
    """The binary chunk under construction: views aligned to four bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, payload: bytes, target: int | None = None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        entry: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(payload)}
        if target is not None:
            entry["target"] = target
        self.data += payload
        self.views.append(entry)
        return len(self.views) - 1

    def accessor(self, array: np.ndarray, component: int, kind: str, target: int, *, bounds: bool = False) -> int:
        entry: dict[str, Any] = {
            "bufferView": self.view(np.ascontiguousarray(array).tobytes(), target),
            "componentType": component,
            "count": len(array) if kind != "SCALAR" else array.size,
            "type": kind,
        }
        if bounds:
            entry["min"], entry["max"] = array.min(axis=0).tolist(), array.max(axis=0).tolist()
        self.accessors.append(entry)
        return len(self.accessors) - 1


def _encode_image(image: Image.Image, image_format: ImageFormat, quality: int) -> tuple[bytes, str]:
    """Compressed image and its MIME type; images with alpha stay PNG where JPEG was asked for."""
    if image_format == "jpeg" and image.mode == "RGBA":
        image_format = "png"
    stream = io.BytesIO()
    if image_format == "png":
        image.save(stream, "PNG", compress_level=6)
    elif image_format == "jpeg":
        image.convert("RGB").save(stream, "JPEG", quality=quality, subsampling=0)
    else:
        image.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue(), f"image/{image_format}"


def glb_bytes(
    asset: trimesh.Trimesh, *, image_format: ImageFormat = "png", quality: int = 92, name: str = "asset"
) -> bytes:
    """The asset as GLB: positions, unit normals, UVs, one PBR material with embedded textures.

    asset: a mesh whose visual has `uv` [V, 2] (v up, as trimesh keeps it) and a `PBRMaterial` with a base-colour and a
    metallic-roughness texture, and maybe an emissive one. "webp" needs readers that know EXT_texture_webp; "jpeg"
    applies to textures without alpha. Raises ValueError on an empty mesh, an unknown format, or a visual without UVs
    and PBR material.
    """
    if image_format not in ("png", "jpeg", "webp"):
        raise ValueError(f"image_format must be 'png', 'jpeg' or 'webp', got {image_format!r}")
    uv = getattr(asset.visual, "uv", None)
    material: Any = getattr(asset.visual, "material", None)
    if uv is None or not hasattr(material, "baseColorTexture"):
        raise ValueError("asset must have UVs and a PBR material: use the result of to_glb")
    if len(asset.faces) == 0:
        raise ValueError("asset must have faces, got none")
    position = np.asarray(asset.vertices, dtype=np.float32)
    normal = numpy_normalize(np.asarray(asset.vertex_normals, dtype=np.float64))
    normal[~(np.abs(np.linalg.norm(normal, axis=1) - 1) < 1e-3)] = (0.0, 1.0, 0.0)  # vertices without a proper face
    texcoord = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1).astype(np.float32)  # glTF: v down
    small = len(position) < 65535
    index = np.asarray(asset.faces).astype(np.uint16 if small else np.uint32).reshape(-1)

    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.accessor(position, FLOAT, "VEC3", ARRAY_BUFFER, bounds=True),
        "NORMAL": buffer.accessor(normal.astype(np.float32), FLOAT, "VEC3", ARRAY_BUFFER),
        "TEXCOORD_0": buffer.accessor(texcoord, FLOAT, "VEC2", ARRAY_BUFFER),
    }
    indices = buffer.accessor(index, UINT16 if small else UINT32, "SCALAR", ELEMENT_ARRAY_BUFFER)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
    }
    pbr: dict[str, Any] = {
        "metallicFactor": float(1.0 if material.metallicFactor is None else material.metallicFactor),
        "roughnessFactor": float(1.0 if material.roughnessFactor is None else material.roughnessFactor),
    }
    images: list[dict[str, Any]] = []
    textures: list[dict[str, Any]] = []
    entry: dict[str, Any] = {"name": "material", "pbrMetallicRoughness": pbr}
    for key in ("baseColorTexture", "metallicRoughnessTexture", "emissiveTexture"):
        image = getattr(material, key)
        if image is None:
            continue
        payload, mime = _encode_image(image, image_format, quality)
        images.append({"name": key, "mimeType": mime, "bufferView": buffer.view(payload)})
        texture: dict[str, Any] = {"sampler": 0}
        if mime == "image/webp":
            texture["extensions"] = {"EXT_texture_webp": {"source": len(images) - 1}}
            document["extensionsUsed"] = document["extensionsRequired"] = ["EXT_texture_webp"]
        else:
            texture["source"] = len(images) - 1
        textures.append(texture)
        (entry if key == "emissiveTexture" else pbr)[key] = {"index": len(textures) - 1}
    if material.emissiveFactor is not None:
        entry["emissiveFactor"] = [float(value) for value in material.emissiveFactor]
    mode = material.alphaMode or "OPAQUE"
    if mode != "OPAQUE":
        entry["alphaMode"] = mode
    if mode == "MASK":
        entry["alphaCutoff"] = float(0.5 if material.alphaCutoff is None else material.alphaCutoff)
    if material.doubleSided:
        entry["doubleSided"] = True
    document["materials"] = [entry]
    if textures:
        document["samplers"] = [
            {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
        ]
        document["textures"], document["images"] = textures, images
    document["accessors"], document["bufferViews"] = buffer.accessors, buffer.views
    buffer.data += b"\0" * (-len(buffer.data) % 4)
    document["buffers"] = [{"byteLength": len(buffer.data)}]
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(buffer.data)
    if total >= 2**32:
        raise ValueError(f"a GLB file holds less than 4 GiB, this asset needs {total} bytes: use smaller textures")
    return b"".join(
        [
            struct.pack("<III", MAGIC, 2, total),
            struct.pack("<II", len(text), JSON_CHUNK),
            text,
            struct.pack("<II", len(buffer.data), BIN_CHUNK),
            bytes(buffer.data),
        ]
    )


def save_glb(
    asset: trimesh.Trimesh,
    path: str | os.PathLike[str],
    *,
    image_format: ImageFormat = "png",
    quality: int = 92,
) -> Path:
    """Write `glb_bytes(asset)` to `path`: first under a temporary name beside it, then renamed.

    Raises ValueError unless the path ends in .glb.
    """
    target = Path(path)
    if target.suffix.lower() != ".glb":
        raise ValueError(f"path must end in .glb, got {str(target)!r}")
    payload = glb_bytes(asset, image_format=image_format, quality=quality, name=target.stem)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
