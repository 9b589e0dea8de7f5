"""Base colour, metallic and roughness of a glTF material, where one value of the latter two for a whole is enough.

`o_voxel.convert` reads specular-glossiness texel by texel instead.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

from o_voxel.gltf.fields import object_field, vector_field

__all__ = ["AlphaMode", "SurfaceFactors", "surface_factors"]

AlphaMode = Literal["OPAQUE", "MASK", "BLEND"]
_ALPHA_MODES = ("OPAQUE", "MASK", "BLEND")


class SurfaceFactors(NamedTuple):
    """Factors that multiply the textures; a texture is its glTF textureInfo."""

    base_color: tuple[float, float, float, float]  # linear RGBA
    metallic: float
    roughness: float
    base_texture: dict[str, Any] | None
    metallic_roughness_texture: dict[str, Any] | None
    alpha_mode: AlphaMode
    alpha_cutoff: float


def surface_factors(material: dict[str, Any]) -> SurfaceFactors:
    """Read an entry of `materials`.

    KHR_materials_pbrSpecularGlossiness becomes its diffuse part: metallic 0, roughness 1 - glossiness.
    KHR_materials_unlit becomes metallic 0, roughness 1. Raises ValueError naming a field of a wrong kind.
    """
    mode = material.get("alphaMode", "OPAQUE")
    if mode not in _ALPHA_MODES:
        raise ValueError(f"glTF: alphaMode must be one of {', '.join(_ALPHA_MODES)}, got {str(mode)[:40]!r}")
    extensions = object_field(material, "extensions")
    pbr = object_field(material, "pbrMetallicRoughness")
    if "KHR_materials_pbrSpecularGlossiness" in extensions:
        glossy = object_field(extensions, "KHR_materials_pbrSpecularGlossiness")
        color, base = vector_field(glossy, "diffuseFactor", (1.0,) * 4), object_field(glossy, "diffuseTexture")
        metallic, roughness = 0.0, 1.0 - float(vector_field(glossy, "glossinessFactor", (1.0,))[0])
        packed: dict[str, Any] = {}
    else:
        color, base = vector_field(pbr, "baseColorFactor", (1.0,) * 4), object_field(pbr, "baseColorTexture")
        metallic = float(vector_field(pbr, "metallicFactor", (1.0,))[0])
        roughness = float(vector_field(pbr, "roughnessFactor", (1.0,))[0])
        packed = object_field(pbr, "metallicRoughnessTexture")
    if "KHR_materials_unlit" in extensions:
        metallic, roughness, packed = 0.0, 1.0, {}
    return SurfaceFactors(
        cast(tuple[float, float, float, float], tuple(color.tolist())),
        metallic,
        roughness,
        base or None,
        packed or None,
        cast(AlphaMode, mode),
        float(vector_field(material, "alphaCutoff", (0.5,))[0]),
    )
