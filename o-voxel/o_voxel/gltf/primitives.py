"""Triangles of glTF meshes in scene space: indices and strips, morph targets, skins, normals, UV sets, colours.

Source: glTF 2.0, section 3.7 (geometry).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from o_voxel.gltf.document import GltfFile
from o_voxel.gltf.fields import object_field, object_list, vector_field
from o_voxel.gltf.nodes import MeshInstance

__all__ = ["TrianglePrimitive", "triangle_primitives"]

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_LARGEST = 1e38


@dataclass(frozen=True)
class TrianglePrimitive:
    """Triangles of one primitive in the scene (Y up). V vertices, F faces."""

    positions: np.ndarray  # [V, 3] float64
    faces: np.ndarray  # [F, 3] int64
    normals: np.ndarray | None  # [V, 3] float64 unit, or None: flat shading
    uvs: dict[int, np.ndarray]  # set number -> [V, 2] float64, v down as in the file
    colors: np.ndarray | None  # [V, 4] float64 linear RGBA, or None
    material: int | None  # index into the document's materials

    def corner_normals(self) -> np.ndarray:
        """Unit normals [F, 3, 3] of the corners, flat where the file has none."""
        if self.normals is not None:
            return self.normals[self.faces]
        a, b, c = (self.positions[self.faces[:, i]] for i in range(3))
        flat = np.cross(b - a, c - a)
        flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
        return np.repeat(flat[:, None], 3, 1)


def _triangles(flat: np.ndarray, mode: int) -> np.ndarray:
    """Indices -> [F, 3] for lists, strips and fans."""
    if mode == _TRIANGLES:
        return flat[: len(flat) // 3 * 3].reshape(-1, 3)
    n = max(len(flat) - 2, 0)
    i = np.arange(n)
    if mode == _FAN:
        return np.stack([np.broadcast_to(flat[:1], (n,)), flat[i + 1], flat[i + 2]], 1)
    odd = i % 2 == 1
    return np.stack([flat[i], np.where(odd, flat[i + 2], flat[i + 1]), np.where(odd, flat[i + 1], flat[i + 2])], 1)


def _attribute(file: GltfFile, index: Any, name: str, widths: tuple[int, ...], count: int | None) -> np.ndarray:
    values = file.accessor(index).astype(np.float64)
    if values.shape[1] not in widths or (count is not None and len(values) != count):
        raise ValueError(f"{name} must be [{count if count is not None else 'V'}, {widths}], got {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds values that are not finite")
    return values


def _morph(
    file: GltfFile, entry: dict[str, Any], name: str, values: np.ndarray, weights: list[Any], count: int
) -> np.ndarray:
    """`values` [V, C] plus the weighted deltas of the morph targets that have the attribute."""
    for target, weight in zip(object_list(entry, "targets"), weights):
        share = float(vector_field({"weight": weight}, "weight", (0.0,))[0])
        if share == 0 or name not in target:
            continue
        delta = _attribute(file, target[name], f"morph target {name}", (2, 3, 4), count)
        width = min(values.shape[1], delta.shape[1])
        values = values.copy()
        values[:, :width] += share * delta[:, :width]
    return values


def _skin_matrices(file: GltfFile, attributes: dict[str, Any], joints: np.ndarray, count: int) -> np.ndarray:
    """Blended matrices [V, 4, 4] of a skinned primitive; weights are normalised."""
    blended, total = np.zeros((count, 4, 4)), np.zeros(count)
    file.charge(blended.nbytes)
    k = 0
    while f"JOINTS_{k}" in attributes and f"WEIGHTS_{k}" in attributes:
        rows = _attribute(file, attributes[f"JOINTS_{k}"], f"JOINTS_{k}", (4,), count).astype(np.int64)
        weights = _attribute(file, attributes[f"WEIGHTS_{k}"], f"WEIGHTS_{k}", (4,), count)
        used = weights != 0
        if (weights < 0).any() or (rows[used] < 0).any() or (rows[used] >= len(joints)).any():
            raise ValueError(f"JOINTS_{k} must index the {len(joints)} joints, with weights of at least 0")
        rows[~used] = 0
        for c in range(4):
            blended += weights[:, c, None, None] * joints[rows[:, c]]
        total += weights.sum(1)
        k += 1
    if k == 0:
        raise ValueError("a skinned primitive must have JOINTS_0 and WEIGHTS_0")
    free = total <= 0
    blended[free], total[free] = joints[0], 1.0
    return blended / total[:, None, None]


def _transform_normals(normals: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3] under linear maps [V or 1, 3, 3], by the cofactor matrix: flattened geometry is fine."""
    r0, r1, r2 = linear[:, 0], linear[:, 1], linear[:, 2]
    cofactor = np.stack([np.cross(r1, r2), np.cross(r2, r0), np.cross(r0, r1)], 1)
    side = np.where((r0 * cofactor[:, 0]).sum(1) < 0, -1.0, 1.0)
    out = (cofactor @ normals[:, :, None])[:, :, 0] * side[:, None]
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 1e-300, out / np.maximum(length, 1e-300), [0.0, 1.0, 0.0])


def _colors(values: np.ndarray) -> np.ndarray:
    rgba = np.ones((len(values), 4))
    rgba[:, : values.shape[1]] = np.clip(values, 0, 1)
    return rgba


def _primitive(file: GltfFile, entry: dict[str, Any], instance: MeshInstance) -> TrianglePrimitive | None:
    attributes = object_field(entry, "attributes")
    mode = entry.get("mode", _TRIANGLES)
    if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in attributes:
        return None
    if "KHR_draco_mesh_compression" in object_field(entry, "extensions"):
        accessor = file.item("accessors", attributes["POSITION"])
        if "bufferView" not in accessor:  # otherwise there is an uncompressed fallback
            raise ValueError("glTF extension KHR_draco_mesh_compression is not supported; convert the file without it")
    local = _attribute(file, attributes["POSITION"], "POSITION", (3,), None)
    count = len(local)
    local = _morph(file, entry, "POSITION", local, instance.weights, count)
    if "indices" in entry:
        flat = file.accessor(entry["indices"])[:, 0].astype(np.int64)
    else:
        flat = np.arange(count)
    faces = _triangles(flat, mode)
    if len(faces) and (int(faces.max()) >= count or int(faces.min()) < 0):
        raise ValueError(f"an index points past the {count} vertices of its primitive")
    file.charge(faces.size * 8 * 4)

    if instance.joints is None:
        matrices = instance.matrix[None]
    else:
        matrices = _skin_matrices(file, attributes, instance.joints, count)
    linear = matrices[:, :3, :3]
    positions = (linear @ local[:, :, None])[:, :, 0] + matrices[:, :3, 3]
    if not (np.abs(positions) < _LARGEST).all():
        raise ValueError("POSITION leaves the range of float32 under its transform")
    if len(linear) and np.median(np.linalg.det(linear)) < 0:
        faces = faces[:, ::-1]
    normals = None
    if "NORMAL" in attributes:
        normals = _attribute(file, attributes["NORMAL"], "NORMAL", (3,), count)
        normals = _transform_normals(_morph(file, entry, "NORMAL", normals, instance.weights, count), linear)
    uvs = {}
    for name, index in attributes.items():
        match = re.fullmatch(r"TEXCOORD_([0-9]{1,3})", name)
        if match:
            values = _attribute(file, index, name, (2,), count)
            uvs[int(match[1])] = _morph(file, entry, name, values, instance.weights, count)
    colors = None
    if "COLOR_0" in attributes:
        values = _attribute(file, attributes["COLOR_0"], "COLOR_0", (3, 4), count)
        colors = _colors(_morph(file, entry, "COLOR_0", values, instance.weights, count))
    material = entry.get("material")
    if material is not None:
        file.item("materials", material)
    return TrianglePrimitive(positions, faces, normals, uvs, colors, material)


def triangle_primitives(file: GltfFile, instance: MeshInstance) -> Iterator[TrianglePrimitive]:
    """The triangles of a mesh instance, one item per primitive; points, lines and empty primitives are left out.

    Raises ValueError on malformed geometry.
    """
    for entry in object_list(instance.mesh, "primitives"):
        primitive = _primitive(file, entry, instance)
        if primitive is not None and len(primitive.faces):
            yield primitive
