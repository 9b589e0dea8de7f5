"""Assets to dumps (`materials`, `objects`) in the Z-up world, by reading glTF directly.

Follows what Blender's importer gives for the same file, apart from three things it does better: KHR_texture_transform
is applied, only materials that faces use have to be readable, and unlit materials are accepted (metallic 0, roughness
1). Vertex colours are ignored with a warning.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from o_voxel.gltf import (
    GltfFile,
    TextureUse,
    TrianglePrimitive,
    decode_pixels,
    mesh_instances,
    surface_factors,
    texture_use,
    triangle_primitives,
)

from data_toolkit.procedural.glb import png_bytes

__all__ = ["dump_asset", "dump_gltf", "to_glb_bytes"]

logger = logging.getLogger(__name__)
_EXTENSIONS = {"repeat": "REPEAT", "clamp": "EXTEND", "mirror": "MIRROR"}
Dump = dict[str, list[dict[str, Any]]]


def dump_asset(path: str | Path) -> Dump:
    """Dump a .glb, .gltf, .obj, .ply, .stl or .off file. Raises ValueError if there is nothing to dump."""
    path = Path(path)
    if path.suffix.lower() in (".glb", ".gltf"):
        return dump_gltf(GltfFile.load(path))
    return dump_gltf(GltfFile.parse(to_glb_bytes(path)))


def to_glb_bytes(path: Path) -> bytes:
    """Another mesh format as GLB: OBJ is Y up, STL and PLY are Z up; Wavefront materials get roughness 0.5."""
    import trimesh

    scene = trimesh.load_scene(str(path), process=False)
    if path.suffix.lower() in (".stl", ".ply", ".off"):
        scene.apply_transform(np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]))
    for mesh in scene.geometry.values():
        old = getattr(mesh.visual, "material", None)
        if isinstance(old, trimesh.visual.material.SimpleMaterial):
            diffuse = np.asarray(old.diffuse, np.float64) / 255
            mesh.visual.material = trimesh.visual.material.PBRMaterial(
                baseColorTexture=old.image, metallicFactor=0.0, roughnessFactor=0.5,
                baseColorFactor=[1.0, 1.0, 1.0, diffuse[3]] if old.image is not None else diffuse,
                alphaMode="BLEND" if diffuse[3] < 1 else "OPAQUE",
            )  # fmt: skip
    return scene.export(file_type="glb")


def dump_gltf(source: GltfFile) -> Dump:
    """Dump a parsed document: one object per mesh node, materials in the order of first use.

    Raises ValueError if the document is malformed or has no triangles.
    """
    try:
        return _dump(source)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, OSError, SyntaxError) as error:
        raise ValueError(f"malformed glTF: {type(error).__name__}: {error}") from error


def _dump(source: GltfFile) -> Dump:
    reader = _MaterialReader(source)
    objects = []
    for instance in mesh_instances(source):
        parts = list(triangle_primitives(source, instance))
        if any(p.colors is not None for p in parts):
            logger.warning("%s: vertex colours are ignored", instance.name)
        if parts:
            objects.append(_object_entry(parts, reader))
    if not objects:
        raise ValueError("the asset has no triangles")
    return {"materials": reader.materials, "objects": objects}


def _z_up(v: np.ndarray) -> np.ndarray:
    return np.stack([v[..., 0], -v[..., 2], v[..., 1]], -1).astype(np.float32)


def _object_entry(parts: list[TrianglePrimitive], reader: _MaterialReader) -> dict[str, Any]:
    vertices, faces, normals, uvs, ids, base = [], [], [], [], [], 0
    has_uv = any(p.uvs for p in parts)
    for p in parts:
        vertices.append(_z_up(p.positions))
        faces.append((p.faces + base).astype(np.int32))
        base += len(p.positions)
        normals.append(_z_up(p.corner_normals()))
        row, use = reader.row(p.material)
        ids.append(np.full(len(p.faces), row, np.int32))
        if has_uv:
            uv = p.uvs.get(0 if use is None else use.uv_set, np.zeros((len(p.positions), 2)))
            if use is not None:
                uv = use.transform(uv)
            corner = uv[p.faces].astype(np.float32)
            corner[..., 1] = 1 - corner[..., 1]
            uvs.append(corner)
    return {
        "vertices": np.concatenate(vertices),
        "faces": np.concatenate(faces),
        "normals": np.concatenate(normals),
        "uvs": np.concatenate(uvs) if has_uv else None,
        "mat_ids": np.concatenate(ids),
        "matIDs": None,
    }


class _MaterialReader:
    """Translates materials on first use."""

    def __init__(self, source: GltfFile) -> None:
        self.source = source
        self.materials: list[dict[str, Any]] = []
        self._rows: dict[int, tuple[int, TextureUse | None]] = {}
        self._pixels: dict[int, np.ndarray] = {}

    def row(self, index: int | None) -> tuple[int, TextureUse | None]:
        """Row in `materials` or -1, and the texture whose UVs count."""
        if index is None:
            return -1, None
        if index not in self._rows:
            entry, use = self._translate(self.source.item("materials", index))
            self._rows[index] = (len(self.materials), use)
            self.materials.append(entry)
        return self._rows[index]

    def _channels(self, info: dict[str, Any], channels: slice | int) -> dict[str, Any]:
        """Texture entry of a dump: image (bottom row first) of some channels, and the sampler's settings."""
        use = texture_use(self.source, info)
        if use.image not in self._pixels:
            self._pixels[use.image] = decode_pixels(self.source, use.image)[::-1]
        wrap_s, wrap_t = (_EXTENSIONS[wrap] for wrap in use.wrap)
        return {
            "image": png_bytes(np.ascontiguousarray(self._pixels[use.image][..., channels])),
            "interpolation": "Closest" if use.nearest else "Linear",
            "extension": wrap_s if wrap_s == wrap_t else "EXTEND",
        }

    def _translate(self, gltf: dict[str, Any]) -> tuple[dict[str, Any], TextureUse | None]:
        factors = surface_factors(gltf)
        texture, packed = factors.base_texture, factors.metallic_roughness_texture
        mode: str = factors.alpha_mode
        alpha = factors.base_color[3] if mode != "OPAQUE" else 1.0
        if mode == "MASK" and texture is None:  # nothing varies: the test can be done now
            alpha, mode = (1.0, "OPAQUE") if alpha >= factors.alpha_cutoff else (0.0, "BLEND")
        entry = {
            "baseColorFactor": list(factors.base_color[:3]),
            "alphaFactor": alpha,
            "metallicFactor": factors.metallic,
            "roughnessFactor": factors.roughness,
            "alphaMode": mode,
            "alphaCutoff": factors.alpha_cutoff,
            "baseColorTexture": None if texture is None else self._channels(texture, slice(0, 3)),
            "alphaTexture": None if texture is None or mode == "OPAQUE" else self._channels(texture, 3),
            "metallicTexture": None if packed is None else self._channels(packed, 2),
            "roughnessTexture": None if packed is None else self._channels(packed, 1),
        }
        lead = texture if texture is not None else packed
        return entry, None if lead is None else texture_use(self.source, lead)
