"""Dumps to voxels: the flexible dual grid of the shape, and the material attributes on the same voxels.

Both follow the published toolkit: bounding box centred, longest side 0.99999, uint8 by truncation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from data_toolkit.files import atomic_write

__all__ = [
    "ALIGNED",
    "dual_grid",
    "normalise_objects",
    "pbr_voxels",
    "save_dual_grid",
    "save_pbr_voxels",
    "voxel_count",
]

EXTENT = 0.99999  # < 1: a surface exactly on the upper side of the box would be lost
AABB = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
PBR_ATTRIBUTES = ("base_color", "metallic", "roughness", "alpha")
Codec = Literal["none", "deflate", "lzma", "zstd"]
ALIGNED = "the voxels of shape and material differ"
_DEFAULT_MATERIAL: dict[str, Any] = {
    "baseColorFactor": [0.8, 0.8, 0.8],
    "alphaFactor": 1.0,
    "metallicFactor": 0.0,
    "roughnessFactor": 0.5,
    "alphaMode": "OPAQUE",
    "alphaCutoff": 0.5,
    "baseColorTexture": None,
    "alphaTexture": None,
    "metallicTexture": None,
    "roughnessTexture": None,
}


def normalise_objects(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects with faces, their vertices centred and scaled together.

    Raises ValueError if there are none, or the vertices are not finite or have no extent.
    """
    kept = [o for o in objects if np.size(o["vertices"]) and np.size(o["faces"])]
    if not kept:
        raise ValueError("the dump has no object with faces")
    low = np.min([np.min(o["vertices"], 0) for o in kept], 0)
    high = np.max([np.max(o["vertices"], 0) for o in kept], 0)
    extent = float((high - low).max())
    if not np.isfinite(extent) or extent <= 0:
        raise ValueError(f"the dump must have a finite, positive extent, got bounds {low} to {high}")
    centre, scale = (low + high) / 2, EXTENT / extent
    out = []
    for o in kept:
        vertices = (np.asarray(o["vertices"], np.float32) - centre.astype(np.float32)) * np.float32(scale)
        if np.abs(vertices).max() > 0.5:
            raise ValueError("normalised vertices left the unit box")
        out.append({**o, "vertices": vertices})
    return out


def dual_grid(objects: list[dict[str, Any]], resolution: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised objects to (coords int32 [N, 3], dual vertices uint8 [N, 3], edge flags uint8 [N, 1])."""
    from o_voxel.convert import mesh_to_flexible_dual_grid

    base, faces = 0, []
    for o in objects:
        faces.append(np.asarray(o["faces"], np.int64) + base)
        base += len(o["vertices"])
    coords, dual, flags = mesh_to_flexible_dual_grid(
        torch.from_numpy(np.concatenate([o["vertices"] for o in objects])),
        torch.from_numpy(np.concatenate(faces)),
        grid_size=resolution,
        aabb=AABB,
        face_weight=1.0,
        boundary_weight=0.2,
        regularization_weight=1e-2,
    )
    local = dual.numpy() * resolution - coords.numpy()
    if len(local) == 0:
        raise ValueError("the mesh crosses no voxel edge")
    if local.min() < -1e-3 or local.max() > 1 + 1e-3:
        raise ValueError(f"dual vertices left their voxels: {local.min()} to {local.max()}")
    vertices = (np.clip(local, 0, 1) * 255).astype(np.uint8)
    packed = (flags.numpy().astype(np.uint8) * np.array([1, 2, 4], np.uint8)).sum(1, dtype=np.uint8)[:, None]
    return coords.numpy(), vertices, packed


def pbr_voxels(
    materials: list[dict[str, Any]],
    objects: list[dict[str, Any]],
    resolution: int,
    quirks: Literal["published"] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Normalised objects to (coords int32 [N, 3], uint8 attributes).

    By default colour factors count as linear and base colour is mixed in linear light; `quirks="published"` multiplies
    stored numbers, which the published checkpoints were trained on.
    """
    from o_voxel.convert import blender_dump_to_volumetric_attr

    table = []
    for m in materials:
        promote = m["alphaTexture"] is not None and m["alphaMode"] == "OPAQUE"
        table.append({**m, "alphaMode": "BLEND"} if promote else m)
    table.append(_DEFAULT_MATERIAL)
    fixed = []
    for o in objects:
        ids = np.asarray(o["mat_ids"], np.int32)
        if ids.min() < -1 or ids.max() >= len(materials):
            raise ValueError(f"material indices must lie in [-1, {len(materials)}), got {ids.min()} to {ids.max()}")
        fixed.append({**o, "mat_ids": np.where(ids == -1, len(materials), ids).astype(np.int32)})
    coords, attributes = blender_dump_to_volumetric_attr(
        {"materials": table, "objects": fixed}, grid_size=resolution, aabb=AABB, mip_level_offset=0.0, quirks=quirks
    )
    return coords.numpy(), {name: attributes[name].numpy() for name in PBR_ATTRIBUTES}


def _save(path: Path, coords: np.ndarray, attributes: dict[str, np.ndarray], resolution: int, codec: Codec) -> None:
    from o_voxel.io import write_vxz

    level = {"zstd": 3, "deflate": 4}.get(codec)
    atomic_write(
        path,
        lambda file: write_vxz(
            file, coords, attributes, compression=codec, compression_level=level, num_threads=1,
            metadata={"grid_size": resolution}, checksum=True,
        ),
    )  # fmt: skip


def save_dual_grid(
    path: Path, coords: np.ndarray, vertices: np.ndarray, flags: np.ndarray, resolution: int, codec: Codec = "zstd"
) -> None:
    """Write `vertices` (3) and `intersected` (1) as published; `codec` "lzma" is what published readers' files use."""
    _save(path, coords, {"vertices": vertices, "intersected": flags}, resolution, codec)


def save_pbr_voxels(
    path: Path, coords: np.ndarray, attributes: dict[str, np.ndarray], resolution: int, codec: Codec = "zstd"
) -> None:
    """Write base_color, metallic, roughness, alpha in this order."""
    _save(path, coords, {name: attributes[name] for name in PBR_ATTRIBUTES}, resolution, codec)


def voxel_count(path: Path) -> int | None:
    """Number of voxels of a complete `.vxz` file; None if it is missing, malformed or truncated."""
    from o_voxel.io import read_vxz_info

    try:
        info = read_vxz_info(str(path))
        with open(path, "rb") as file:
            start = int.from_bytes(file.read(8)[4:8], "big")
        if path.stat().st_size != start + int(info["compressed_size"]):
            return None
        return int(info["num_voxel"])
    except (OSError, ValueError, KeyError):
        return None
