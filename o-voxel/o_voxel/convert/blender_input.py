"""Reader of the material dumps that the Blender stage of the data toolkit writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from o_voxel.convert.materials import ALPHA_MODES, Material, Texture, TexturedTriangles, decode_image

__all__ = ["read_blender_dump"]

_FILTERS = {"Linear": "linear", "Cubic": "linear", "Smart": "linear", "Closest": "nearest"}
_WRAPS = {"REPEAT": "repeat", "EXTEND": "clamp", "CLIP": "clip", "MIRROR": "mirror"}
_SLOTS = {
    "base_color": "baseColorTexture",
    "alpha": "alphaTexture",
    "metallic": "metallicTexture",
    "roughness": "roughnessTexture",
}


def _choose(table: Mapping[str, str], value: Any, name: str) -> str:
    if value not in table:
        raise ValueError(f"{name} must be one of {', '.join(table)}, got {value!r}")
    return table[value]


def _power_of_two_near(n: int) -> int:
    """The power of two nearest to n, the larger on a tie (12 -> 16)."""
    lower = 1 << (n.bit_length() - 1)
    return lower if n - lower < 2 * lower - n else 2 * lower


def _texture(entry: Any, name: str, color: bool, published: bool) -> Texture:
    if not isinstance(entry, Mapping) or "image" not in entry:
        raise ValueError(f"{name} must be None or a dict with 'image', 'interpolation', 'extension', got {entry!r:.80}")
    image = decode_image(entry["image"], f"{name}.image")
    if published:
        width, height = image.size
        side = _power_of_two_near(max(width, height))
        if (width, height) != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype != np.uint8 or pixels.ndim != (3 if color else 2) or (color and pixels.shape[2] != 3):
        wanted = "8-bit RGB" if color else "8-bit grey"
        raise ValueError(f"{name}.image must be {wanted}, got mode {image.mode}")
    wrap = _choose(_WRAPS, entry.get("extension", "REPEAT"), f"{name}.extension")
    return Texture(
        image=pixels if color else pixels[:, :, None],
        filter=_choose(_FILTERS, entry.get("interpolation", "Linear"), f"{name}.interpolation"),
        wrap="clamp" if published and wrap == "clip" else wrap,
        srgb=color and not published,
    )


def _material(entry: Any, index: int, published: bool) -> Material:
    name = f"materials[{index}]"
    if not isinstance(entry, Mapping):
        raise ValueError(f"{name} must be a dict, got {type(entry).__name__}")
    try:
        color = tuple(float(c) for c in entry["baseColorFactor"])
        factors = [float(entry[key]) for key in ("alphaFactor", "metallicFactor", "roughnessFactor", "alphaCutoff")]
        mode = entry["alphaMode"]
    except KeyError as error:
        raise ValueError(f"{name} must have the key {error}") from error
    if len(color) < 3:
        raise ValueError(f"{name}.baseColorFactor must have at least 3 numbers, got {len(color)}")
    if mode not in ALPHA_MODES:
        raise ValueError(f"{name}.alphaMode must be one of {', '.join(ALPHA_MODES)}, got {mode!r}")
    textures = {
        slot: _texture(entry[key], f"{name}.{key}", slot == "base_color", published)
        for slot, key in _SLOTS.items()
        if entry.get(key) is not None
    }
    return Material(
        base_color=(color[0], color[1], color[2]),
        alpha=factors[0],
        metallic=factors[1],
        roughness=factors[2],
        alpha_mode=mode,
        alpha_cutoff=factors[3],
        textures=textures,
    )


def _corner_array(obj: Mapping[str, Any], key: str, count: int, width: int, name: str) -> np.ndarray:
    array = np.asarray(obj[key], np.float32)
    if array.size == 0 and count == 0:
        return np.zeros((0, 3, width), np.float32)
    if array.shape != (count, 3, width):
        raise ValueError(f"{name}.{key} must have shape [{count}, 3, {width}], got {list(array.shape)}")
    return array


def read_blender_dump(dump: Mapping[str, Any], published: bool = False) -> TexturedTriangles:
    """Collect the triangles and materials of a dump: `{"materials": [...], "objects": [...]}`.

    Dump images are stored bottom row first, so v is mirrored here. Raises ValueError naming the entry that is missing,
    of the wrong shape, or outside its closed set of values.
    """
    if not isinstance(dump, Mapping) or "materials" not in dump or "objects" not in dump:
        raise ValueError("dump must be a dict with 'materials' and 'objects'")
    materials = [_material(entry, i, published) for i, entry in enumerate(dump["materials"])]
    parts: dict[str, list[np.ndarray]] = {"triangles": [], "normals": [], "uvs": [], "material_ids": []}
    for i, obj in enumerate(dump["objects"]):
        name = f"objects[{i}]"
        missing = [key for key in ("vertices", "faces", "normals", "uvs", "mat_ids") if key not in obj]
        if missing:
            raise ValueError(f"{name} must have the key {missing[0]!r}")
        faces = np.asarray(obj["faces"]).reshape(-1, 3)
        vertices = np.asarray(obj["vertices"], np.float32).reshape(-1, 3)
        if len(faces) == 0:
            continue
        if not np.issubdtype(faces.dtype, np.integer) or faces.min() < 0 or faces.max() >= len(vertices):
            raise ValueError(f"{name}.faces must be integers that index its {len(vertices)} vertices")
        ids = np.asarray(obj["mat_ids"]).reshape(-1)
        if len(ids) != len(faces):
            raise ValueError(f"{name}.mat_ids must have length {len(faces)}, got {len(ids)}")
        if ids.min() < 0 or ids.max() >= len(materials):
            raise ValueError(
                f"{name}.mat_ids must lie in [0, {len(materials)}), got {ids.min()} to {ids.max()}; "
                "give faces without material a default one first"
            )
        if obj["uvs"] is None:
            uvs = np.zeros((len(faces), 3, 2), np.float32)
        else:
            uvs = _corner_array(obj, "uvs", len(faces), 2, name).copy()
        uvs[..., 1] = 1 - uvs[..., 1]
        parts["triangles"].append(vertices[faces])
        parts["normals"].append(_corner_array(obj, "normals", len(faces), 3, name))
        parts["uvs"].append(uvs)
        parts["material_ids"].append(ids.astype(np.int32))
    empty = {"triangles": (0, 3, 3), "normals": (0, 3, 3), "uvs": (0, 3, 2), "material_ids": (0,)}
    joined = {
        key: np.concatenate(value) if value else np.zeros(empty[key], np.int32 if key == "material_ids" else np.float32)
        for key, value in parts.items()
    }
    return TexturedTriangles(colors=np.zeros((0, 3, 4), np.float32), materials=materials, **joined)
