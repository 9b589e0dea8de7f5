"""Writing textured meshes as glTF 2.0: one binary .glb, or .gltf with its files."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o_voxel.postprocess.draco import draco_encoder
from o_voxel.postprocess.files import beside, write_files
from o_voxel.postprocess.gltf_document import GltfParts, build_gltf
from o_voxel.postprocess.images import EncodedImage, ImageFormat, encode_images
from o_voxel.postprocess.textured import TexturedMesh, textured_mesh

if TYPE_CHECKING:
    import trimesh

__all__ = ["glb_bytes", "glb_payload", "gltf_files", "save_glb"]

MAGIC, JSON_CHUNK, BIN_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942


def glb_payload(
    levels: Sequence[TexturedMesh],
    *,
    name: str,
    image_format: ImageFormat,
    quality: int,
    draco: bool = False,
    licence: str | None = None,
) -> bytes:
    """A GLB of an asset and its coarser levels (MSFT_lod). Raises ValueError from 4 GiB on."""
    encoder = draco_encoder() if draco else None
    parts = build_gltf(levels, _images(levels, image_format, quality), name=name, draco=encoder, copyright=licence)
    return _container(parts)


def _images(levels: Sequence[TexturedMesh], image_format: ImageFormat, quality: int) -> dict[int, EncodedImage]:
    """Every image of the levels once, by the id of its object."""
    unique: dict[int, tuple[str, Any]] = {}
    for level in levels:
        for key, image in level.images.items():
            unique.setdefault(id(image), (key, image))
    named = {f"{i}/{key}": image for i, (key, image) in enumerate(unique.values())}
    encoded = encode_images(named, image_format, quality)
    return dict(zip(unique, encoded.values()))


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _container(parts: GltfParts) -> bytes:
    text = _json(parts.document)
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(parts.data)
    if total >= 2**32:
        raise ValueError(f"a GLB file holds less than 4 GiB, this asset needs {total} bytes: use smaller textures")
    return b"".join(
        [
            struct.pack("<III", MAGIC, 2, total),
            struct.pack("<II", len(text), JSON_CHUNK),
            text,
            struct.pack("<II", len(parts.data), BIN_CHUNK),
            parts.data,
        ]
    )


def gltf_files(
    levels: Sequence[TexturedMesh],
    path: Path,
    *,
    image_format: ImageFormat,
    quality: int,
    draco: bool = False,
    licence: str | None = None,
) -> dict[Path, bytes]:
    """`path` (.gltf), the buffer beside it (.bin) and the images, the document last."""
    files: dict[Path, bytes] = {}

    def sink(title: str, image: EncodedImage) -> dict[str, Any]:
        target = beside(path, f"_{title.removeprefix(path.stem).strip('_')}{image.suffix}")
        files[target] = image.data
        return {"name": title, "mimeType": image.mime, "uri": target.name}

    images = _images(levels, image_format, quality)
    encoder = draco_encoder() if draco else None
    parts = build_gltf(levels, images, name=path.stem, draco=encoder, image_sink=sink, copyright=licence)
    buffer = beside(path, ".bin")
    parts.document["buffers"][0]["uri"] = buffer.name
    files[buffer] = bytes(parts.data)
    files[path] = _json(parts.document)
    return files


def glb_bytes(
    asset: trimesh.Trimesh, *, image_format: ImageFormat = "png", quality: int = 92, name: str = "asset"
) -> bytes:
    """The asset as GLB: positions, unit normals, UVs, tangents, one PBR material with embedded textures.

    asset: a mesh whose visual has `uv` [V, 2] (v up, as trimesh keeps it) and a `PBRMaterial`. "webp" needs readers
    that know EXT_texture_webp; "jpeg" applies to textures without alpha. Raises ValueError on an empty mesh, an unknown
    format, or a visual without UVs and PBR material.
    """
    return glb_payload([textured_mesh(asset)], name=name, image_format=image_format, quality=quality)


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
    write_files({target: glb_bytes(asset, image_format=image_format, quality=quality, name=target.stem)})
    return target
