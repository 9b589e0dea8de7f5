"""Material factors of glTF files."""

from __future__ import annotations

import pytest

from o_voxel.gltf import surface_factors


def test_defaults():
    factors = surface_factors({})
    assert factors.base_color == (1, 1, 1, 1) and (factors.metallic, factors.roughness) == (1, 1)
    assert factors.base_texture is None and factors.metallic_roughness_texture is None
    assert (factors.alpha_mode, factors.alpha_cutoff) == ("OPAQUE", 0.5)


def test_metallic_roughness():
    factors = surface_factors(
        {
            "alphaMode": "MASK",
            "alphaCutoff": 0.25,
            "pbrMetallicRoughness": {
                "baseColorFactor": [0.1, 0.2, 0.3, 0.4],
                "metallicFactor": 0.5,
                "roughnessFactor": 0.25,
                "baseColorTexture": {"index": 1},
                "metallicRoughnessTexture": {"index": 2},
            },
        }
    )
    assert factors.base_color == (0.1, 0.2, 0.3, 0.4) and (factors.metallic, factors.roughness) == (0.5, 0.25)
    assert factors.base_texture == {"index": 1} and factors.metallic_roughness_texture == {"index": 2}
    assert (factors.alpha_mode, factors.alpha_cutoff) == ("MASK", 0.25)


def test_specular_glossiness_wins_and_has_no_metal():
    glossy = {"diffuseFactor": [0.5, 0.5, 0.5, 1.0], "glossinessFactor": 0.75, "diffuseTexture": {"index": 3}}
    factors = surface_factors(
        {
            "pbrMetallicRoughness": {"metallicFactor": 1.0, "metallicRoughnessTexture": {"index": 2}},
            "extensions": {"KHR_materials_pbrSpecularGlossiness": glossy},
        }
    )
    assert factors.base_color == (0.5, 0.5, 0.5, 1.0) and (factors.metallic, factors.roughness) == (0, 0.25)
    assert factors.base_texture == {"index": 3} and factors.metallic_roughness_texture is None


def test_unlit_is_rough_and_keeps_its_colour():
    pbr = {"baseColorTexture": {"index": 0}, "metallicRoughnessTexture": {"index": 1}}
    factors = surface_factors({"pbrMetallicRoughness": pbr, "extensions": {"KHR_materials_unlit": {}}})
    assert (factors.metallic, factors.roughness, factors.metallic_roughness_texture) == (0, 1, None)
    assert factors.base_texture == {"index": 0}


@pytest.mark.parametrize(
    ("material", "message"),
    [
        ({"alphaMode": "GLASS"}, "alphaMode must be one of"),
        ({"pbrMetallicRoughness": []}, "pbrMetallicRoughness must be an object"),
        ({"pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1]}}, "baseColorFactor must be 4 finite numbers"),
        ({"extensions": {"KHR_materials_pbrSpecularGlossiness": 1}}, "must be an object"),
    ],
)
def test_bad_materials_are_named(material, message):
    with pytest.raises(ValueError, match=message):
        surface_factors(material)
