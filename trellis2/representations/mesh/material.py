"""Metallic-roughness materials with textures, and meshes that use them.

Letters: V vertices, F faces, H/W texture rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from ..layout import PBR_ATTR_LAYOUT
from .plain import Mesh

__all__ = ["AlphaMode", "MeshWithPbrMaterial", "PbrMaterial", "Texture", "TextureFilterMode", "TextureWrapMode"]


class TextureFilterMode(IntEnum):
    CLOSEST = 0
    LINEAR = 1


class TextureWrapMode(IntEnum):
    CLAMP_TO_EDGE = 0
    REPEAT = 1
    MIRRORED_REPEAT = 2


class AlphaMode(IntEnum):
    OPAQUE = 0
    MASK = 1
    BLEND = 2


class Texture:
    """An image with its sampling rules; row 0 is at v = 0."""

    def __init__(
        self,
        image: Tensor,  # [H, W, C] float, 0…1
        filter_mode: TextureFilterMode = TextureFilterMode.LINEAR,
        wrap_mode: TextureWrapMode = TextureWrapMode.REPEAT,
    ) -> None:
        if image.ndim != 3:
            raise ValueError(f"image must have shape [H, W, C], got {tuple(image.shape)}")
        self.image = image
        self.filter_mode = TextureFilterMode(filter_mode)
        self.wrap_mode = TextureWrapMode(wrap_mode)

    @property
    def device(self) -> torch.device:
        return self.image.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Texture:
        return Texture(self.image.to(device=device, non_blocking=non_blocking), self.filter_mode, self.wrap_mode)


class PbrMaterial:
    """Base colour, metallic, roughness and alpha, each a factor times an optional texture; light of its own; relief.

    `normal_texture` holds tangent-space normals as (n + 1) / 2, x along growing u, y along falling v (glTF);
    `emissive` is linear radiance.
    """

    def __init__(
        self,
        base_color_texture: Texture | None = None,
        base_color_factor: Tensor | Sequence[float] = (1.0, 1.0, 1.0),
        metallic_texture: Texture | None = None,
        metallic_factor: float = 1.0,
        roughness_texture: Texture | None = None,
        roughness_factor: float = 1.0,
        alpha_texture: Texture | None = None,
        alpha_factor: float = 1.0,
        alpha_mode: AlphaMode = AlphaMode.OPAQUE,
        alpha_cutoff: float = 0.5,
        normal_texture: Texture | None = None,
        normal_scale: float = 1.0,
        emissive_texture: Texture | None = None,
        emissive_factor: Tensor | Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        emissive = torch.as_tensor(emissive_factor, dtype=torch.float32).flatten()
        if emissive.numel() != 3:
            raise ValueError(f"emissive_factor must have 3 numbers, got {emissive.numel()}")
        factor = torch.as_tensor(base_color_factor, dtype=torch.float32).flatten()
        if factor.numel() < 3:
            raise ValueError(f"base_color_factor must have at least 3 numbers, got {factor.numel()}")
        self.base_color_texture = base_color_texture
        self.base_color_factor = factor[:3]
        self.metallic_texture = metallic_texture
        self.metallic_factor = float(metallic_factor)
        self.roughness_texture = roughness_texture
        self.roughness_factor = float(roughness_factor)
        self.alpha_texture = alpha_texture
        self.alpha_factor = float(alpha_factor)
        self.alpha_mode = AlphaMode(alpha_mode)
        self.alpha_cutoff = float(alpha_cutoff)
        self.normal_texture = normal_texture
        self.normal_scale = float(normal_scale)
        self.emissive_texture = emissive_texture
        self.emissive_factor = emissive

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PbrMaterial:
        def moved(texture: Texture | None) -> Texture | None:
            return None if texture is None else texture.to(device, non_blocking)

        return PbrMaterial(
            moved(self.base_color_texture),
            self.base_color_factor.to(device=device, non_blocking=non_blocking),
            moved(self.metallic_texture),
            self.metallic_factor,
            moved(self.roughness_texture),
            self.roughness_factor,
            moved(self.alpha_texture),
            self.alpha_factor,
            self.alpha_mode,
            self.alpha_cutoff,
            moved(self.normal_texture),
            self.normal_scale,
            moved(self.emissive_texture),
            self.emissive_factor.to(device=device, non_blocking=non_blocking),
        )


class MeshWithPbrMaterial(Mesh):
    """A mesh whose faces name materials and carry texture coordinates per corner."""

    def __init__(
        self,
        vertices: Tensor,  # [V, 3]
        faces: Tensor,  # [F, 3]
        material_ids: Tensor,  # [F] int, index into materials
        uv_coords: Tensor,  # [F, 3, 2]
        materials: Sequence[PbrMaterial],
        corner_normals: Tensor | None = None,  # [F, 3, 3] unit shading normals
        corner_colors: Tensor | None = None,  # [F, 3, 4] linear RGBA that multiplies the materials
    ) -> None:
        super().__init__(vertices, faces)
        num_faces = self.faces.shape[0]
        if material_ids.shape != (num_faces,):
            raise ValueError(f"material_ids must have shape [{num_faces}], got {tuple(material_ids.shape)}")
        if uv_coords.shape != (num_faces, 3, 2):
            raise ValueError(f"uv_coords must have shape [{num_faces}, 3, 2], got {tuple(uv_coords.shape)}")
        for name, table, shape in (
            ("corner_normals", corner_normals, (num_faces, 3, 3)),
            ("corner_colors", corner_colors, (num_faces, 3, 4)),
        ):
            if table is not None and table.shape != shape:
                raise ValueError(f"{name} must have shape {list(shape)}, got {tuple(table.shape)}")
        self.corner_normals = None if corner_normals is None else corner_normals.float()
        self.corner_colors = None if corner_colors is None else corner_colors.float()
        self.material_ids = material_ids.to(torch.int32)
        self.uv_coords = uv_coords.to(torch.float32)
        self.materials = list(materials)
        self.layout = dict(PBR_ATTR_LAYOUT)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MeshWithPbrMaterial:
        move: dict[str, Any] = {"device": device, "non_blocking": non_blocking}
        return MeshWithPbrMaterial(
            self.vertices.to(**move),
            self.faces.to(**move),
            self.material_ids.to(**move),
            self.uv_coords.to(**move),
            [material.to(device, non_blocking) for material in self.materials],
            None if self.corner_normals is None else self.corner_normals.to(**move),
            None if self.corner_colors is None else self.corner_colors.to(**move),
        )

    def remove_faces(self, face_mask: Tensor) -> None:
        keep = ~self._check_face_mask(face_mask)
        self.material_ids, self.uv_coords = self.material_ids[keep], self.uv_coords[keep]
        self.corner_normals = None if self.corner_normals is None else self.corner_normals[keep]
        self.corner_colors = None if self.corner_colors is None else self.corner_colors[keep]
        super().remove_faces(face_mask)

    def fill_holes(self, max_hole_perimeter: float = 3e-2) -> None:
        """Refused: new faces would have no material and no texture coordinates."""
        raise TypeError("fill_holes works on geometry only; build a Mesh from the vertices and faces first")

    def simplify(self, target: int = 1000000, verbose: bool = False, options: dict[str, float] | None = None) -> None:
        """Refused: collapsed faces would lose their texture coordinates."""
        raise TypeError("simplify works on geometry only; build a Mesh from the vertices and faces first")
