"""Materials of glTF files: what each feature does to the voxels, native and reference."""

from __future__ import annotations

import numpy as np
import pytest

from o_voxel._native import native_module
from o_voxel.convert import textured_mesh_to_volumetric_attr
from o_voxel.convert.gltf_input import read_gltf
from o_voxel.convert.materials import linear_to_srgb
from o_voxel.convert.specular_glossiness import convert_specular_glossiness
from o_voxel.gltf import GltfFile

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
UVS = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])  # of the square's corners, v down
COUNT = 32
needs_native = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")
BACKENDS = [pytest.param("native", marks=needs_native), "reference"]

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
QUADRANTS = np.kron(np.array([[RED, GREEN], [BLUE, WHITE]]), np.ones((8, 8, 1)))  # 16 x 16, red top left


def convert(gltf, backend, **options):
    source = GltfFile.parse(gltf.glb())
    return textured_mesh_to_volumetric_attr(source, grid_size=COUNT, aabb=UNIT, backend=backend, **options)


def color_at(result, x, y, key="base_color"):
    """Attribute of the voxel of the square at (x, y) in [-0.5, 0.5]."""
    coords, attrs = result
    cell = np.floor((np.array([x, y]) + 0.5) * COUNT)
    row = np.flatnonzero((coords.numpy()[:, :2] == cell).all(1))
    assert len(row) >= 1
    return attrs[key][row[0]].numpy().astype(int)


def corners_of(result):
    """Base colours at the four quarters: left top, right top, left bottom, right bottom."""
    return [tuple(color_at(result, x, y)) for x, y in ((-0.2, 0.2), (0.2, 0.2), (-0.2, -0.2), (0.2, -0.2))]


def textured(gltf, texture_fields=None, sampler=None, uvs=None, **material):
    info = {"index": gltf.image(QUADRANTS, **(sampler or {})), **(texture_fields or {})}
    gltf.node(mesh=gltf.quad(uvs or {0: UVS}, {"pbrMetallicRoughness": {"baseColorTexture": info}, **material}))


@pytest.mark.parametrize("backend", BACKENDS)
def test_image_is_upright(gltf, backend):
    textured(gltf)
    assert corners_of(convert(gltf, backend)) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ({"offset": [0.5, 0.0]}, [GREEN, RED, WHITE, BLUE]),
        ({"scale": [1.0, -1.0]}, [BLUE, WHITE, RED, GREEN]),
        ({"rotation": np.pi / 2, "offset": [0.0, 1.0]}, [BLUE, RED, WHITE, GREEN]),
        ({"texCoord": 1}, [WHITE, BLUE, GREEN, RED]),
    ],
)
def test_texture_transform(gltf, backend, transform, expected):
    """Rotation by 90 degrees: (u, v) reads the image at (v, 1 - u), so the image appears turned clockwise."""
    textured(gltf, {"extensions": {"KHR_texture_transform": transform}}, uvs={0: UVS, 1: 1 - UVS})
    gltf.doc["extensionsRequired"] = ["KHR_texture_transform"]
    assert corners_of(convert(gltf, backend)) == expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("wraps", "expected"),
    [
        ((10497, 10497), [RED, GREEN, BLUE, WHITE]),
        ((33648, 10497), [GREEN, RED, WHITE, BLUE]),
        ((10497, 33648), [BLUE, WHITE, RED, GREEN]),
        ((33071, 10497), [GREEN, GREEN, WHITE, WHITE]),
        ((33071, 33648), [WHITE, WHITE, GREEN, GREEN]),
    ],
)
def test_wrap_modes_of_both_axes(gltf, backend, wraps, expected):
    textured(gltf, sampler={"wrapS": wraps[0], "wrapT": wraps[1]}, uvs={0: UVS + 1})
    assert corners_of(convert(gltf, backend)) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_slot_reads_its_own_uv_set(gltf, backend):
    """Base colour upright from set 1, metallic-roughness turned by 180 degrees from set 0, emissive moved."""
    packed = np.zeros((16, 16, 3))
    packed[:, :, 2] = QUADRANTS[:, :, 0]  # metallic: red or white
    packed[:, :, 1] = QUADRANTS[:, :, 2]  # roughness: blue or white
    material = {
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": gltf.image(QUADRANTS), "texCoord": 1},
            "metallicRoughnessTexture": {"index": gltf.image(packed)},
        },
        "emissiveFactor": [1, 1, 1],
        "emissiveTexture": {
            "index": gltf.image(QUADRANTS), "extensions": {"KHR_texture_transform": {"offset": [0.5, 0]}}
        },
    }  # fmt: skip
    gltf.node(mesh=gltf.quad({0: 1 - UVS, 1: UVS}, material))
    assert read_gltf(GltfFile.parse(gltf.glb())).uvs.shape == (2, 3, 3, 2)
    result = convert(gltf, backend)
    assert corners_of(result) == [RED, GREEN, BLUE, WHITE]
    places = ((-0.2, 0.2), (0.2, 0.2), (-0.2, -0.2), (0.2, -0.2))
    assert [color_at(result, x, y, "metallic")[0] for x, y in places] == [255, 0, 0, 255]
    assert [color_at(result, x, y, "roughness")[0] for x, y in places] == [255, 255, 0, 0]
    assert [tuple(color_at(result, x, y, "emissive")) for x, y in places] == [BLUE, WHITE, RED, GREEN]


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearest_magnification_keeps_hard_texels(gltf, backend):
    """2 x 2 texels over about 26 voxels: linear filtering blends across the middle, nearest does not."""
    small = np.array([[RED, GREEN], [RED, GREEN]])
    for sampler, hard in (({"magFilter": 9728}, True), ({"magFilter": 9728, "minFilter": 9728}, True), ({}, False)):
        gltf.doc["nodes"].clear()
        gltf.node(mesh=gltf.quad({0: UVS}, {"pbrMetallicRoughness": {
            "baseColorTexture": {"index": gltf.image(small, **sampler)}}}))  # fmt: skip
        colours = convert(gltf, backend)[1]["base_color"].numpy()
        mixed = ((colours[:, 0] > 20) & (colours[:, 1] > 20)).mean()
        assert (mixed < 0.1) == hard


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearest_magnification_still_averages_when_minified(gltf, backend):
    checker = np.indices((512, 512)).sum(0)[:, :, None] % 2 * np.full(3, 255)
    for sampler, spread in (({"magFilter": 9728}, False), ({"magFilter": 9728, "minFilter": 9728}, True)):
        gltf.doc["nodes"].clear()
        gltf.node(mesh=gltf.quad({0: UVS * 0.998 + 0.0007}, {"pbrMetallicRoughness": {
            "baseColorTexture": {"index": gltf.image(checker, **sampler)}}}))  # fmt: skip
        colours = convert(gltf, backend)[1]["base_color"].numpy().astype(int)
        grey = round(float(linear_to_srgb(np.array(0.5))) * 255)
        assert (np.abs(colours - grey).max() > 40) == spread


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_materials_vertex_colours_and_factors(gltf, backend):
    left = np.tile([0.5, 0.25, 1.0, 1.0], (4, 1))
    mesh = gltf.quad({}, {"pbrMetallicRoughness": {
        "baseColorFactor": [1, 1, 0.5, 1], "metallicFactor": 0.2, "roughnessFactor": 0.4},
    }, attributes={"COLOR_0": gltf.accessor(left)})  # fmt: skip
    other = gltf.quad()  # the default material
    gltf.node(mesh=mesh, scale=[0.5, 1, 1], translation=[-0.21, 0, 0])
    gltf.node(mesh=other, scale=[0.5, 1, 1], translation=[0.21, 0, 0])
    result = convert(gltf, backend)
    expected = np.rint(linear_to_srgb(np.array([0.5, 0.25, 0.5])) * 255)
    assert np.abs(color_at(result, -0.3, 0.1) - expected).max() <= 1
    assert abs(color_at(result, -0.3, 0.1, "metallic")[0] - 51) <= 1
    assert abs(color_at(result, -0.3, 0.1, "roughness")[0] - 102) <= 1
    assert tuple(color_at(result, 0.3, 0.1)) == WHITE
    assert color_at(result, 0.3, 0.1, "metallic")[0] == 255  # glTF's default factor


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"alphaMode": "BLEND"}, (64, 128)),
        ({"alphaMode": "MASK", "alphaCutoff": 0.4}, (0, 255)),
        ({"alphaMode": "MASK"}, (0, 255)),
        ({"alphaMode": "MASK", "alphaCutoff": 0.2}, (255, 255)),
        ({}, (255, 255)),
    ],
)
def test_alpha_modes(gltf, backend, fields, expected):
    pixels = np.full((16, 16, 4), 255)
    pixels[:, :8, 3], pixels[:, 8:, 3] = 64, 128
    info = {"index": gltf.image(pixels)}
    gltf.node(mesh=gltf.quad({0: UVS}, {"pbrMetallicRoughness": {"baseColorTexture": info}, **fields}))
    result = convert(gltf, backend)
    assert [color_at(result, x, 0.1, "alpha")[0] for x in (-0.2, 0.2)] == [expected[0], expected[1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_emissive_strength_and_unlit(gltf, backend):
    strong = {"extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 2.0}}}
    gltf.node(mesh=gltf.quad({}, {"emissiveFactor": [0.25, 0.1, 0], **strong}), scale=[0.5, 1, 1],
              translation=[-0.21, 0, 0])  # fmt: skip
    gltf.node(mesh=gltf.quad({}, {"extensions": {"KHR_materials_unlit": {}}, "emissiveFactor": [1, 1, 1]}),
              scale=[0.5, 1, 1], translation=[0.21, 0, 0])  # fmt: skip
    result = convert(gltf, backend)
    expected = np.rint(linear_to_srgb(np.array([0.5, 0.2, 0.0])) * 255)
    assert np.abs(color_at(result, -0.3, 0.1, "emissive") - expected).max() <= 1
    assert color_at(result, 0.3, 0.1, "emissive").tolist() == [0, 0, 0]
    assert color_at(result, 0.3, 0.1, "metallic")[0] == 0
    assert color_at(result, 0.3, 0.1, "roughness")[0] == 255


@pytest.mark.parametrize("backend", BACKENDS)
def test_normal_map_and_its_scale(gltf, backend):
    """A map that tilts towards +u; scale 0 switches it off, and a quarter turn of the UVs turns it too."""
    flat = np.full((4, 4, 3), (218, 128, 218))  # (0.71, 0, 0.71)
    for fields, expected in (
        ({}, [0.707, 0, 0.707]),
        ({"scale": 0.0}, [0, 0, 1.0]),
        ({"extensions": {"KHR_texture_transform": {"rotation": np.pi / 2}}}, [0, -0.707, 0.707]),
    ):
        gltf.doc["nodes"].clear()
        gltf.node(mesh=gltf.quad({0: UVS}, {"normalTexture": {"index": gltf.image(flat), **fields}}))
        normal = color_at(convert(gltf, backend), 0.1, 0.1, "normal") / 127.5 - 1
        assert np.abs(normal - expected).max() < 0.02, fields


def test_webp_images_and_missing_uv_sets(gltf, caplog):
    textured(gltf, {"texCoord": 3})
    assert len(set(map(tuple, convert(gltf, "auto")[1]["base_color"].tolist()))) == 1  # one point of the image
    assert "TEXCOORD_3" in caplog.text
    texture = gltf.image(QUADRANTS, kind="WEBP")
    source = gltf.doc["textures"][texture].pop("source")
    gltf.doc["textures"][texture]["extensions"] = {"EXT_texture_webp": {"source": source}}
    gltf.doc["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": texture}
    assert color_at(convert(gltf, "auto"), -0.2, 0.2)[0] > 200
    gltf.doc["textures"][texture]["extensions"] = {"KHR_texture_basisu": {"source": source}}
    with pytest.raises(ValueError, match="KHR_texture_basisu"):
        convert(gltf, "auto")


@pytest.mark.parametrize(
    ("diffuse", "specular", "glossiness", "color", "metallic", "roughness"),
    [
        ((0.2, 0.4, 0.6), (0.04, 0.04, 0.04), 0.25, (0.2, 0.4, 0.6), 0.0, 0.75),  # a dielectric stays
        ((0.0, 0.0, 0.0), (1.0, 0.8, 0.3), 1.0, (1.0, 0.8, 0.3), 1.0, 0.0),  # a metal's colour is its reflection
    ],
)
def test_specular_glossiness(diffuse, specular, glossiness, color, metallic, roughness):
    result = convert_specular_glossiness(np.array([*diffuse, 0.5]), np.array(specular), glossiness, None, None)
    assert np.allclose(result.base_color[0, 0], color, atol=0.03)
    assert np.isclose(result.metallic[0, 0], metallic, atol=0.03)
    assert np.isclose(result.roughness[0, 0], roughness)
    assert result.alpha[0, 0] == 0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_specular_glossiness_textures(gltf, backend):
    gloss = np.full((4, 4, 4), (0, 0, 0, 51))
    extension = {"diffuseTexture": {"index": gltf.image(QUADRANTS)}, "specularFactor": [0, 0, 0],
                 "specularGlossinessTexture": {"index": gltf.image(gloss)}}  # fmt: skip
    gltf.node(mesh=gltf.quad({0: UVS}, {"extensions": {"KHR_materials_pbrSpecularGlossiness": extension}}))
    result = convert(gltf, backend)
    assert np.abs(np.array(corners_of(result)) - [RED, GREEN, BLUE, WHITE]).max() <= 6
    assert color_at(result, 0.1, 0.1, "roughness")[0] == 204
    assert color_at(result, 0.1, 0.1, "metallic")[0] == 0
