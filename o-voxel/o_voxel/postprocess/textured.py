"""One textured mesh as the writers of file formats want it, taken from a trimesh object.

V vertices, F faces. Y up, facing +Z; UVs with v down the rows, as in glTF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from o_voxel.mesh.normals import numpy_normalize

if TYPE_CHECKING:
    import trimesh

__all__ = ["TEXTURES", "TexturedMesh", "textured_mesh"]

TEXTURES = ("baseColorTexture", "metallicRoughnessTexture", "emissiveTexture", "normalTexture", "occlusionTexture")


@dataclass(frozen=True)
class TexturedMesh:
    """Geometry and one metallic-roughness material."""

    positions: np.ndarray  # [V, 3] float64
    normals: np.ndarray  # [V, 3] float64, unit
    uvs: np.ndarray  # [V, 2] float64
    faces: np.ndarray  # [F, 3] int64
    images: Mapping[str, Image.Image]  # by the names in `TEXTURES`; one object may serve two
    tangents: np.ndarray | None = None  # [V, 4] float32
    base_color_factor: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    metallic_factor: float = 1.0
    roughness_factor: float = 1.0
    emissive_factor: tuple[float, ...] | None = None
    alpha_mode: str = "OPAQUE"
    alpha_cutoff: float = 0.5
    double_sided: bool = False
    translucent: np.ndarray | None = None  # [F] bool, the faces that BLEND is for; None: all
    extras: Mapping[str, Any] = field(default_factory=dict)  # how the asset was made; plain JSON values

    def parts(self) -> list[TexturedMesh]:
        """The mesh, or where only some faces blend, the opaque ones and those: viewers sort what blends."""
        if self.alpha_mode != "BLEND" or self.translucent is None:
            return [self]
        solid = self._select(~self.translucent)
        parts = [replace(solid, alpha_mode="OPAQUE"), self._select(self.translucent)]
        return [part for part in parts if len(part.faces)]

    def _select(self, chosen: np.ndarray) -> TexturedMesh:
        """Some faces with their vertices."""
        rows, faces = np.unique(self.faces[chosen], return_inverse=True)
        return replace(
            self,
            positions=self.positions[rows],
            normals=self.normals[rows],
            uvs=self.uvs[rows],
            faces=faces.reshape(-1, 3),
            tangents=None if self.tangents is None else self.tangents[rows],
            translucent=None,
        )

    def pixels(self, name: str) -> np.ndarray | None:
        """A texture as uint8 [H, W, C], or None."""
        image = self.images.get(name)
        if image is None:
            return None
        if image.mode not in ("L", "RGB", "RGBA"):
            image = image.convert("RGBA")
        array = np.asarray(image)
        return array.reshape(*array.shape[:2], -1)


def textured_mesh(asset: trimesh.Trimesh) -> TexturedMesh:
    """The content of a result of `to_glb`, or of any mesh with UVs and a `PBRMaterial`.

    Normals of vertices without a proper face point up. Raises ValueError on an empty mesh, and on a visual without UVs
    and PBR material; TypeError on other objects.
    """
    import trimesh

    if not isinstance(asset, trimesh.Trimesh):
        raise TypeError(f"asset must be a trimesh.Trimesh, got {type(asset).__name__}")
    uv = getattr(asset.visual, "uv", None)
    material: Any = getattr(asset.visual, "material", None)
    if uv is None or not hasattr(material, "baseColorTexture"):
        raise ValueError("asset must have UVs and a PBR material: use the result of to_glb")
    if len(asset.faces) == 0:
        raise ValueError("asset must have faces, got none")
    normals = numpy_normalize(np.asarray(asset.vertex_normals, dtype=np.float64))
    normals[~(np.abs(np.linalg.norm(normals, axis=1) - 1) < 1e-3)] = (0.0, 1.0, 0.0)
    images = {name: image for name in TEXTURES if (image := getattr(material, name, None)) is not None}
    tangents = asset.vertex_attributes.get("TANGENT")
    translucent = asset.face_attributes.get("translucent")
    emissive = material.emissiveFactor
    color = material.baseColorFactor
    return TexturedMesh(
        positions=np.asarray(asset.vertices, dtype=np.float64),
        normals=normals,
        uvs=np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1),
        faces=np.asarray(asset.faces, dtype=np.int64),
        images=images,
        tangents=None if tangents is None or "normalTexture" not in images else np.asarray(tangents, np.float32),
        base_color_factor=(1.0,) * 4 if color is None else tuple(_unit_factors(color)),
        metallic_factor=_or_one(material.metallicFactor),
        roughness_factor=_or_one(material.roughnessFactor),
        emissive_factor=None if emissive is None else tuple(float(value) for value in emissive),
        alpha_mode=material.alphaMode or "OPAQUE",
        alpha_cutoff=0.5 if material.alphaCutoff is None else float(material.alphaCutoff),
        double_sided=bool(material.doubleSided),
        translucent=None if translucent is None else np.asarray(translucent, bool),
        extras=dict(asset.metadata.get("asset_extras", {})),
    )


def _or_one(value: Any) -> float:
    return 1.0 if value is None else float(value)


def _unit_factors(color: Any) -> list[float]:
    """Colour factors as 0..1, from trimesh's bytes or floats."""
    array = np.asarray(color)
    return [float(v) / 255 if array.dtype == np.uint8 else float(v) for v in array.reshape(-1)]
