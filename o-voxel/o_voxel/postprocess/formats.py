"""Writing finished assets in any of the formats that engines, editors and printers read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from o_voxel.postprocess import formats_plain, formats_print, formats_usd
from o_voxel.postprocess.files import write_files
from o_voxel.postprocess.glb import glb_payload, gltf_files
from o_voxel.postprocess.images import ImageFormat, check_image_format
from o_voxel.postprocess.textured import TexturedMesh, textured_mesh

if TYPE_CHECKING:
    import trimesh

__all__ = ["AssetFormat", "save_asset"]

AssetFormat = Literal["glb", "gltf", "obj", "ply", "stl", "3mf", "usdz"]

LODS = ("files", "msft")


def save_asset(
    asset: trimesh.Trimesh,
    path: str | os.PathLike[str],
    format: AssetFormat | None = None,
    *,
    image_format: ImageFormat = "png",
    quality: int = 92,
    metres: float | None = None,
    licence: str | None = None,
    compression: Literal["draco"] | None = None,
    lods: Sequence[trimesh.Trimesh] = (),
    lod_layout: Literal["files", "msft"] = "files",
) -> list[Path]:
    """Write a result of `to_glb`; returns the files written, `path` first.

    Formats (None: by the suffix of `path`): "glb"; "gltf" with its buffer and images beside it; "obj" with .mtl and
    textures; "ply" with a colour a vertex; "stl" and "3mf" for printing (Z up, millimetres; 3MF with the base colour as
    texture); "usdz". Files appear only when complete.

    Args:
        image_format, quality: of textures in glb, gltf, obj and usdz: "png" (lossless), "jpeg" (textures with alpha
            stay PNG), "webp" (glb and gltf only; readers must know EXT_texture_webp).
        metres: real length of the longest side of the asset; None takes world units for metres.
        licence: goes into the file where the format has room for it.
        compression: "draco" packs the geometry of glb and gltf; needs the package DracoPy.
        lods: coarser versions, finest first: written beside `path` as NAME_lod1, NAME_lod2, …, or with
            `lod_layout="msft"` (glb, gltf) as levels of the same file by the extension MSFT_lod.

    Raises ValueError on an unknown format or combination, and for assets without faces, UVs or PBR material;
    ImportError where an optional package is missing; OSError if writing fails.
    """
    target = Path(path)
    chosen = format or target.suffix.lower()[1:]
    if chosen not in get_args(AssetFormat):
        raise ValueError(f"format must be one of {', '.join(get_args(AssetFormat))}, got {chosen!r}")
    check_image_format(image_format, quality)
    if image_format == "webp" and chosen in ("obj", "usdz"):
        raise ValueError(f'image_format must be "png" or "jpeg" for {chosen}, got "webp"')
    if compression not in (None, "draco"):
        raise ValueError(f'compression must be None or "draco", got {compression!r}')
    if compression is not None and chosen not in ("glb", "gltf"):
        raise ValueError(f"compression must be None for {chosen}, got {compression!r}")
    if lod_layout not in LODS:
        raise ValueError(f"lod_layout must be one of {', '.join(LODS)}, got {lod_layout!r}")
    if lods and lod_layout == "msft" and chosen not in ("glb", "gltf"):
        raise ValueError(f'lod_layout must be "files" for {chosen}, got "msft"')
    if metres is not None and not 0 < metres < float("inf"):
        raise ValueError(f"metres must be positive or None, got {metres}")
    meshes = [textured_mesh(mesh) for mesh in (asset, *lods)]
    if metres is not None:
        size = meshes[0].positions.max(0) - meshes[0].positions.min(0)
        scale = metres / (float(size.max()) or 1.0)
        meshes = [replace(mesh, positions=mesh.positions * scale) for mesh in meshes]
    notes = {key: value for key, value in (("metres", metres), ("licence", licence)) if value is not None}
    meshes = [replace(mesh, extras={**mesh.extras, **notes}) for mesh in meshes]
    together = lod_layout == "msft" or len(meshes) == 1
    groups = [meshes] if together else [[mesh] for mesh in meshes]
    paths = [target, *(target.with_name(f"{target.stem}_lod{i}{target.suffix}") for i in range(1, len(groups)))]
    files: dict[Path, bytes] = {}
    for place, levels in zip(paths[::-1], groups[::-1]):
        files.update(
            _encode(chosen, levels, place, image_format, quality, draco=compression == "draco", licence=licence)
        )
    write_files(files)
    return [target, *(file for file in files if file != target)]


def _encode(
    kind: str,
    levels: list[TexturedMesh],
    path: Path,
    image_format: ImageFormat,
    quality: int,
    *,
    draco: bool,
    licence: str | None,
) -> dict[Path, bytes]:
    """The files of one asset, the main one last."""
    if kind == "glb":
        payload = glb_payload(
            levels, name=path.stem, image_format=image_format, quality=quality, draco=draco, licence=licence
        )
        return {path: payload}
    if kind == "gltf":
        return gltf_files(levels, path, image_format=image_format, quality=quality, draco=draco, licence=licence)
    mesh = levels[0]
    if kind == "obj":
        return formats_plain.obj_files(mesh, path, image_format=image_format, quality=quality, licence=licence)
    if kind == "ply":
        return {path: formats_plain.ply_bytes(mesh, licence=licence)}
    if kind == "stl":
        return {path: formats_plain.stl_bytes(mesh)}
    if kind == "3mf":
        return {path: formats_print.threemf_bytes(mesh, licence=licence)}
    return {path: formats_usd.usdz_bytes(mesh, image_format=image_format, quality=quality, licence=licence)}
