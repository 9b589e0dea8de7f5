"""Where the meshes of a glTF scene stand: node transforms, GPU instances, skins and morph weights at the rest pose.

The rest pose is what a viewer shows before an animation plays: node transforms and morph weights as stored.
Source: glTF 2.0, sections 3.5 (scenes, nodes) and 3.7.3 (skins); EXT_mesh_gpu_instancing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from o_voxel.gltf.document import GltfFile
from o_voxel.gltf.fields import array_field, object_field, object_list, vector_field

__all__ = ["MeshInstance", "mesh_instances"]

_MAX_INSTANCES = 1 << 18


@dataclass(frozen=True)
class MeshInstance:
    """A mesh at one place of the scene."""

    name: str
    mesh: dict[str, Any]
    matrix: np.ndarray  # [4, 4] mesh to scene
    joints: np.ndarray | None  # [J, 4, 4] mesh to scene for each joint of the skin; `matrix` does not apply then
    weights: list[Any]  # morph target weights, may be shorter than the targets


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions [N, 4] (x, y, z, w) -> rotations [N, 3, 3]; not-unit ones are normalised, zero is the identity."""
    length = np.linalg.norm(quaternions, axis=1, keepdims=True)
    unit = np.where(length > 1e-12, quaternions / np.maximum(length, 1e-12), [0.0, 0.0, 0.0, 1.0])
    x, y, z, w = unit.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices [N, 4, 4] of translations [N, 3], quaternions [N, 4] and scales [N, 3], applied scale first."""
    out = np.tile(np.eye(4), (len(translation), 1, 1))
    out[:, :3, :3] = rotation_matrices(rotation) * scale[:, None, :]
    out[:, :3, 3] = translation
    return out


def _local_matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return vector_field(node, "matrix", tuple(np.eye(4).reshape(-1))).reshape(4, 4).T
    translation = vector_field(node, "translation", (0.0, 0.0, 0.0))
    rotation = vector_field(node, "rotation", (0.0, 0.0, 0.0, 1.0))
    scale = vector_field(node, "scale", (1.0, 1.0, 1.0))
    return compose(translation[None], rotation[None], scale[None])[0]


class _Nodes:
    """World matrices of all nodes; every node has at most one parent and no cycles."""

    def __init__(self, file: GltfFile) -> None:
        self.entries = object_list(file.doc, "nodes")
        self.parent = [-1] * len(self.entries)
        for index, node in enumerate(self.entries):
            for child in array_field(node, "children"):
                file.item("nodes", child)
                if self.parent[child] >= 0:
                    raise ValueError(f"nodes[{child}] has two parents")
                self.parent[child] = index
        self._world: dict[int, np.ndarray] = {}

    def world(self, index: int) -> np.ndarray:
        """Matrix [4, 4] node to scene."""
        chain = []
        at = index
        while at >= 0 and at not in self._world:
            chain.append(at)
            if len(chain) > len(self.entries):
                raise ValueError(f"nodes[{index}] is its own ancestor")
            at = self.parent[at]
        matrix = np.eye(4) if at < 0 else self._world[at]
        for node in reversed(chain):
            with np.errstate(over="ignore", invalid="ignore"):
                matrix = matrix @ _local_matrix(self.entries[node])
            if not np.isfinite(matrix).all():
                raise ValueError(f"nodes[{node}] has a transform that is not finite")
            self._world[node] = matrix
        return matrix

    def scene_order(self, roots: list[Any], file: GltfFile) -> list[int]:
        """Nodes below the roots, depth first."""
        order: list[int] = []
        seen: set[int] = set()
        stack = list(reversed(roots))
        while stack:
            index = stack.pop()
            node = file.item("nodes", index)
            if index in seen:
                raise ValueError(f"nodes[{index}] has two parents")
            seen.add(index)
            order.append(index)
            stack += reversed(array_field(node, "children"))
        return order


def _instance_matrices(file: GltfFile, node: dict[str, Any]) -> np.ndarray | None:
    """Matrices [K, 4, 4] of EXT_mesh_gpu_instancing, or None."""
    extension = object_field(node, "extensions").get("EXT_mesh_gpu_instancing")
    if extension is None:
        return None
    if not isinstance(extension, dict):
        raise ValueError("glTF: EXT_mesh_gpu_instancing must be an object")
    attributes = object_field(extension, "attributes")
    parts = {}
    for key, default in (("TRANSLATION", (0.0,) * 3), ("ROTATION", (0.0, 0.0, 0.0, 1.0)), ("SCALE", (1.0,) * 3)):
        if key in attributes:
            values = file.accessor(attributes[key]).astype(np.float64)
            if values.shape[1] != len(default) or not np.isfinite(values).all():
                raise ValueError(f"EXT_mesh_gpu_instancing: {key} must be {len(default)} finite numbers per instance")
            parts[key] = values
        else:
            parts[key] = np.array(default)[None]
    count = max(len(part) for key, part in parts.items() if key in attributes) if attributes else 0
    count = count if any(key in attributes for key in parts) else 0
    if count > _MAX_INSTANCES:
        raise ValueError(f"EXT_mesh_gpu_instancing: more than {_MAX_INSTANCES} instances")
    for key, part in parts.items():
        if key in attributes and len(part) != count:
            raise ValueError("EXT_mesh_gpu_instancing: attributes differ in length")
    broadcast = [np.broadcast_to(part, (count, part.shape[1])) for part in parts.values()]
    return compose(broadcast[0], broadcast[1], broadcast[2])


def _joint_matrices(file: GltfFile, nodes: _Nodes, skin_index: Any) -> np.ndarray:
    """Matrices [J, 4, 4] that take a skinned vertex to the scene."""
    skin = file.item("skins", skin_index)
    joints = array_field(skin, "joints")
    if not joints:
        raise ValueError(f"skins[{skin_index}] has no joints")
    world = []
    for joint in joints:
        file.item("nodes", joint)
        world.append(nodes.world(joint))
    matrices = np.stack(world)
    if "inverseBindMatrices" in skin:
        inverse = file.accessor(skin["inverseBindMatrices"]).astype(np.float64)
        if inverse.shape[1] != 16 or len(inverse) < len(joints) or not np.isfinite(inverse).all():
            raise ValueError(f"skins[{skin_index}] must have one finite inverse bind matrix per joint")
        matrices = matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
    return matrices


def mesh_instances(file: GltfFile) -> Iterator[MeshInstance]:
    """The meshes of the default scene (of all nodes, without one), depth first, one item per instance.

    Raises ValueError on malformed node trees, skins and instances.
    """
    nodes = _Nodes(file)
    if object_list(file.doc, "scenes"):
        roots = array_field(file.item("scenes", file.doc.get("scene", 0)), "nodes")
    else:
        roots = [i for i, parent in enumerate(nodes.parent) if parent < 0]
    for index in nodes.scene_order(roots, file):
        node = nodes.entries[index]
        if "mesh" not in node:
            continue
        name, mesh = str(node.get("name", f"node_{index}")), file.item("meshes", node["mesh"])
        weights = array_field(node, "weights") or array_field(mesh, "weights")
        joints = _joint_matrices(file, nodes, node["skin"]) if "skin" in node else None
        matrix = nodes.world(index)
        instances = _instance_matrices(file, node)
        if instances is None or joints is not None:
            yield MeshInstance(name, mesh, matrix, joints, weights)
            continue
        for k, local in enumerate(instances):
            yield MeshInstance(f"{name}[{k}]", mesh, matrix @ local, None, weights)
