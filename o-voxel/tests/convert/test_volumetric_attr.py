"""Textured surfaces -> voxel attributes: published vectors, native against reference, known colours, bad input."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from o_voxel._native import native_module
from o_voxel.convert import (
    blender_dump_to_volumetric_attr,
    mesh_to_flexible_dual_grid,
    textured_mesh_to_volumetric_attr,
)
from o_voxel.convert.materials import Texture, linear_to_srgb, srgb_to_linear
from o_voxel.convert.mip_levels import mip_levels
from o_voxel.reference.volumetric_attr import clipped_area
from o_voxel.serialize import encode_seq

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
KEYS = ["base_color", "metallic", "roughness", "emissive", "alpha", "normal"]
needs_native = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")
BACKENDS = [pytest.param("native", marks=needs_native), "reference"]


@pytest.fixture(scope="module")
def trimesh_data(vectors_dir):
    return np.load(vectors_dir / "o_voxel" / "attr_trimesh.npz")


@pytest.fixture(scope="module")
def blender_data(vectors_dir):
    return np.load(vectors_dir / "o_voxel" / "attr_blender.npz")


def patch(data, mode):
    material = trimesh.visual.material.PBRMaterial(
        baseColorFactor=data["base_color_factor_u8"],
        baseColorTexture=Image.fromarray(data["base_color_rgba"]),
        metallicRoughnessTexture=Image.fromarray(data["metallic_roughness_rgb"]),
        normalTexture=Image.fromarray(data["normal_rgb"]),
        metallicFactor=float(data["metallic_factor"]),
        roughnessFactor=float(data["roughness_factor"]),
        emissiveFactor=data["emissive_factor"],
        alphaMode=mode,
        alphaCutoff=float(data["alpha_cutoff"]),
    )
    mesh = trimesh.Trimesh(data["vertices"], data["faces"], vertex_normals=data["vertex_normals"], process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=data["uv"], material=material)
    return mesh


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def blender_dump(data, interpolation, extension, mode):
    def texture(name):
        return {"image": png(data[name]), "interpolation": interpolation, "extension": extension}

    empty = dict.fromkeys(("baseColorTexture", "alphaTexture", "metallicTexture", "roughnessTexture"))
    textured = {
        "baseColorFactor": [0.8, 0.5, 1.0], "alphaFactor": 0.9, "metallicFactor": 0.6, "roughnessFactor": 0.5,
        "alphaMode": mode, "alphaCutoff": 0.4, "baseColorTexture": texture("base_color"),
        "alphaTexture": texture("alpha"), "metallicTexture": texture("metallic"),
        "roughnessTexture": texture("roughness"),
    }  # fmt: skip
    plain = {
        "baseColorFactor": [0.25, 0.5, 0.75, 1.0], "alphaFactor": 0.4, "metallicFactor": 0.1, "roughnessFactor": 0.2,
        "alphaMode": mode, "alphaCutoff": 0.5, **empty,
    }  # fmt: skip
    first = {key: data[key] for key in ("vertices", "faces", "normals", "uvs")} | {"mat_ids": data["mat_ids_obj0"]}
    second = dict(first, vertices=data["vertices"] + np.float32([0, 0, 0.25]), uvs=None)
    second["mat_ids"] = np.ones(len(data["faces"]), np.int32)
    return {"materials": [textured, plain], "objects": [first, second]}


def assert_matches(coords, attrs, data, prefix):
    order = torch.argsort(encode_seq(coords))
    assert np.array_equal(coords[order].numpy(), data["coords"])
    assert list(attrs) == KEYS
    for key in KEYS:
        assert attrs[key].dtype == torch.uint8
        if f"{prefix}/{key}" in data.files:
            difference = np.abs(attrs[key][order].numpy().astype(int) - data[f"{prefix}/{key}"])
            assert difference.max() <= 1, key


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["OPAQUE", "MASK", "BLEND"])
@pytest.mark.parametrize("offset", ["0", "1.5", "-20"])
def test_published_trimesh_vectors(trimesh_data, mode, offset, backend):
    got = textured_mesh_to_volumetric_attr(
        patch(trimesh_data, mode), None, 16, UNIT, float(offset), quirks="published", backend=backend
    )
    assert_matches(*got, trimesh_data, f"{mode}_mip{offset}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name",
    [
        "Linear_REPEAT_OPAQUE",
        "Linear_REPEAT_MASK",
        "Linear_REPEAT_BLEND",
        "Linear_EXTEND_BLEND",
        "Linear_MIRROR_BLEND",
        "Closest_REPEAT_BLEND",
        "Closest_EXTEND_BLEND",
        "Closest_MIRROR_BLEND",
    ],
)
def test_published_blender_vectors(blender_data, name, backend):
    dump = blender_dump(blender_data, *name.split("_"))
    got = blender_dump_to_volumetric_attr(dump, None, 16, UNIT, quirks="published", backend=backend)
    assert_matches(*got, blender_data, name)


@pytest.mark.gpu
@pytest.mark.parametrize("quirks", [None, "published"])
@pytest.mark.parametrize("mode", ["OPAQUE", "MASK", "BLEND"])
def test_vectors_on_cuda_give_the_bits_of_the_cpu(trimesh_data, blender_data, mode, quirks):
    calls = [
        partial(textured_mesh_to_volumetric_attr, patch(trimesh_data, mode), None, 16, UNIT, offset, quirks=quirks)
        for offset in (0, 1.5, -20)
    ]
    for interpolation, extension in (("Linear", "REPEAT"), ("Closest", "EXTEND"), ("Linear", "MIRROR")):
        dump = blender_dump(blender_data, interpolation, extension, mode)
        calls.append(partial(blender_dump_to_volumetric_attr, dump, None, 16, UNIT, quirks=quirks))
    for call in calls:
        coords, expected = call()
        got_coords, got = call(device="cuda")
        assert got_coords.is_cuda and torch.equal(got_coords.cpu(), coords)
        for key in KEYS:
            assert torch.equal(got[key].cpu(), expected[key]), key


@needs_native
@pytest.mark.parametrize("mode", ["OPAQUE", "MASK", "BLEND"])
def test_native_equals_reference_on_textures(trimesh_data, blender_data, mode):
    calls = [
        partial(textured_mesh_to_volumetric_attr, patch(trimesh_data, mode), None, 16, UNIT, 0.5),
        partial(textured_mesh_to_volumetric_attr, patch(trimesh_data, mode), None, (5, 9, 30), UNIT, -1.0),
    ]
    for interpolation, extension in (("Linear", "CLIP"), ("Closest", "CLIP"), ("Smart", "MIRROR")):
        dump = blender_dump(blender_data, interpolation, extension, mode)
        calls.append(partial(blender_dump_to_volumetric_attr, dump, None, 16, UNIT))
    for call in calls:
        coords, attrs = call(backend="native")
        expected_coords, expected = call(backend="reference")
        assert torch.equal(coords, expected_coords)
        for key in KEYS:
            difference = (attrs[key].int() - expected[key].int()).abs()
            assert int(difference.max()) <= 1 and float((difference > 0).float().mean()) < 0.01, key


@needs_native
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["soup", "grid", "degenerate", "outside"]))
def test_native_equals_reference_on_soups(seed, kind):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    vertices = rng.uniform(-0.6, 0.6, (n, 3, 3))
    if kind == "grid":
        vertices = np.round(vertices * 20) / 20
    elif kind == "degenerate":
        vertices[0, 2] = vertices[0, 0]
    elif kind == "outside":
        vertices *= 100
    mesh = trimesh.Trimesh(vertices.reshape(-1, 3), np.arange(3 * n).reshape(-1, 3), process=False)
    texture = Image.fromarray(rng.integers(0, 256, (5, 7, 4), dtype=np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=texture, alphaMode="BLEND")
    mesh.visual = trimesh.visual.TextureVisuals(uv=rng.uniform(-2, 3, (3 * n, 2)), material=material)
    coords, attrs = textured_mesh_to_volumetric_attr(mesh, None, 10, UNIT, backend="native")
    expected_coords, expected = textured_mesh_to_volumetric_attr(mesh, None, 10, UNIT, backend="reference")
    assert torch.equal(coords, expected_coords)
    grid = mesh_to_flexible_dual_grid(torch.tensor(mesh.vertices), torch.tensor(mesh.faces), None, 10, UNIT)
    assert torch.equal(coords, grid[0])
    for key in ("base_color", "alpha", "metallic"):
        assert int((attrs[key].int() - expected[key].int()).abs().max() if len(coords) else 0) <= 1, key


def quad_mesh(uv=((0, 0), (1, 0), (1, 1), (0, 1)), z=0.03, **material):
    vertices = [[-0.4, -0.4, z], [0.4, -0.4, z], [0.4, 0.4, z], [-0.4, 0.4, z]]
    mesh = trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], process=False)
    visual = trimesh.visual.material.PBRMaterial(**material)
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.array(uv, float), material=visual)
    return mesh


@pytest.mark.parametrize("backend", BACKENDS)
def test_factors_are_linear_and_colours_are_stored_as_srgb(backend):
    mesh = quad_mesh(
        baseColorFactor=[51, 128, 255, 255], metallicFactor=0.2, roughnessFactor=0.7, emissiveFactor=[0, 0.5, 1]
    )
    _, attrs = textured_mesh_to_volumetric_attr(mesh, None, 10, UNIT, backend=backend)
    expected = {
        "base_color": np.rint(255 * linear_to_srgb(np.array([51, 128, 255]) / 255)),
        "metallic": [51],
        "roughness": [round(0.7 * 255)],
        "emissive": np.rint(255 * linear_to_srgb(np.array([0, 0.5, 1]))),
        "alpha": [255],
        "normal": [128, 128, 255],
    }
    for key, value in expected.items():
        assert (attrs[key] == torch.tensor(np.array(value), dtype=torch.uint8)).all(), key


@pytest.mark.parametrize("backend", BACKENDS)
def test_texture_colours_survive_and_land_in_place(backend):
    """A 6 x 1 image: left half red, right half blue; no size rule, no colour shift."""
    image = Image.fromarray(np.repeat(np.array([[[200, 10, 30], [20, 90, 250]]], np.uint8), 3, axis=1))
    coords, attrs = textured_mesh_to_volumetric_attr(
        quad_mesh(baseColorTexture=image, uv=((0.02, 0), (0.98, 0), (0.98, 1), (0.02, 1))),
        None,
        32,
        UNIT,
        -20,
        backend=backend,
    )
    left, right = attrs["base_color"][coords[:, 0] == 9], attrs["base_color"][coords[:, 0] == 22]
    assert (left.int() - torch.tensor([200, 10, 30])).abs().max() <= 1
    assert (right.int() - torch.tensor([20, 90, 250])).abs().max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_image_rows_run_downward(backend):
    """Row 0 of the image is at v = 1."""
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0] = 255
    coords, attrs = textured_mesh_to_volumetric_attr(
        quad_mesh(baseColorTexture=Image.fromarray(pixels)), None, 32, UNIT, -20, backend=backend
    )
    y = coords[:, 1]
    assert (attrs["base_color"][y == 25] > 245).all()
    assert (attrs["base_color"][(y > 8) & (y < 18)] == 0).all()


def test_minified_texture_is_averaged_in_linear_light():
    """A fine black and white board seen from far is half the light, 188 of 255 in sRGB."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(board[:, :, None], 3, axis=2))
    _, attrs = textured_mesh_to_volumetric_attr(quad_mesh(baseColorTexture=image), None, 16, UNIT)
    assert (attrs["base_color"].int() - 188).abs().max() <= 1


def test_transparent_texels_do_not_tint():
    """Two coincident quads, one opaque red, one invisible green: red is seen, at half coverage."""
    parts = [
        quad_mesh(baseColorFactor=[255, 0, 0, 255], alphaMode="BLEND"),
        quad_mesh(baseColorFactor=[0, 255, 0, 0], alphaMode="BLEND"),
    ]
    _, attrs = textured_mesh_to_volumetric_attr(trimesh.Scene(parts), None, 10, UNIT)
    assert (attrs["base_color"][:, 0] >= 254).all() and (attrs["base_color"][:, 1] <= 2).all()
    assert (attrs["alpha"].int() - 128).abs().max() <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_mirrored_chart_keeps_its_normals(backend):
    """A normal map leaning along +u leans the surface along the direction of u, also in a mirrored chart."""
    image = Image.fromarray(np.full((4, 4, 3), (218, 128, 218), np.uint8))
    for uv, sign in ((((0, 0), (1, 0), (1, 1), (0, 1)), 1), (((1, 0), (0, 0), (0, 1), (1, 1)), -1)):
        _, attrs = textured_mesh_to_volumetric_attr(quad_mesh(uv, normalTexture=image), None, 10, UNIT, backend=backend)
        normal = attrs["normal"].float() / 127.5 - 1
        assert (normal[:, 0] * sign > 0.6).all() and (normal[:, 2] > 0.6).all()


def test_scene_transforms_are_applied():
    scene = trimesh.Scene()
    scene.add_geometry(quad_mesh(), transform=trimesh.transformations.translation_matrix([0, 0, 0.3]))
    coords, _ = textured_mesh_to_volumetric_attr(scene, None, 10, UNIT)
    assert set(coords[:, 2].tolist()) == {8}


def test_vertex_colours_and_plain_meshes():
    mesh = quad_mesh()
    rgba = (10, 120, 240, 255)
    for colors in ({"vertex_colors": np.full((4, 4), rgba)}, {"face_colors": np.full((2, 4), rgba)}):
        colored = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, **colors)
        _, attrs = textured_mesh_to_volumetric_attr(colored, None, 10, UNIT)
        assert (attrs["base_color"].int() - torch.tensor(rgba[:3])).abs().max() <= 1
        assert (attrs["metallic"] == 0).all() and (attrs["alpha"] == 255).all()
    plain = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert (textured_mesh_to_volumetric_attr(plain, None, 10, UNIT)[1]["base_color"] == 255).all()
    with pytest.raises(ValueError, match="TextureVisuals"):
        textured_mesh_to_volumetric_attr(colored, None, 10, UNIT, quirks="published")


def test_phong_materials():
    """A diffuse colour is stored as it is; an image takes its place."""
    mesh = quad_mesh()
    for image, expected in ((None, (60, 90, 200)), (Image.new("RGB", (3, 3), (10, 120, 240)), (10, 120, 240))):
        material = trimesh.visual.material.SimpleMaterial(image=image, diffuse=[60, 90, 200, 255])
        mesh.visual = trimesh.visual.TextureVisuals(uv=np.zeros((4, 2)), material=material)
        _, attrs = textured_mesh_to_volumetric_attr(mesh, None, 10, UNIT)
        assert (attrs["base_color"].int() - torch.tensor(expected)).abs().max() <= 1
        assert (attrs["metallic"] == 0).all() and (attrs["roughness"] > 200).all()


def test_file_path(tmp_path):
    path = tmp_path / "quad.glb"
    trimesh.Scene([quad_mesh(baseColorFactor=[255, 0, 0, 255])]).export(path)
    for argument in (path, str(path)):
        _, attrs = textured_mesh_to_volumetric_attr(argument, None, 10, UNIT)
        assert (attrs["base_color"] == torch.tensor([255, 0, 0], dtype=torch.uint8)).all()


def test_clipped_area_of_all_cells_is_the_area():
    rng = np.random.default_rng(0)
    for _ in range(5):
        triangle = rng.uniform(0, 1, (3, 3))
        cells = np.indices((4, 4, 4)).reshape(3, -1).T * 0.25
        area, centroid = clipped_area(np.broadcast_to(triangle, (64, 3, 3)), cells, np.full(3, 0.25))
        normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
        np.testing.assert_allclose(area.sum(), 0.5 * np.linalg.norm(normal), rtol=1e-9)
        np.testing.assert_allclose((centroid * area[:, None]).sum(0) / area.sum(), triangle.mean(0), rtol=1e-9)


def test_triangles_in_grid_planes_are_clipped_whole():
    """Rounding of corners in the plane of a cell face neither loses area nor overflows."""
    rng = np.random.default_rng(1)
    size = np.full(3, np.float64(np.float32(0.1)))
    for axis in range(3):
        triangles = rng.uniform(0, 0.5, (400, 3, 3))
        triangles[:, :, axis] = 3 * size[0] * (1 + rng.integers(-1, 2, (400, 3)) * 1e-16)
        cells = rng.integers(0, 5, (400, 3))
        cells[:, axis] = 3
        area, centroid = clipped_area(triangles, cells * size, size)
        assert (area <= size[0] ** 2 * (1 + 1e-9)).all() and area.max() > 0
        assert (centroid[area > 1e-6] >= cells[area > 1e-6] * size - 1e-9).all()


def test_mip_levels():
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    levels = mip_levels(Texture(image))
    assert [level.shape[:2] for level in levels] == [(6, 5), (3, 2), (1, 1)]
    square = np.array([[0, 1], [1, 1]], np.uint8)[:, :, None]
    assert mip_levels(Texture(square))[1].item() == 1 and mip_levels(Texture(square), published=True)[1].item() == 0
    with pytest.raises(ValueError, match="power-of-two"):
        mip_levels(Texture(image), published=True)
    values = np.linspace(0, 1, 101)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-12)


def set_material(dump, **changes):
    dump["materials"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("objects"), "'materials' and 'objects'"),
        (lambda d: set_material(d, alphaMode="HASHED"), "alphaMode"),
        (lambda d: set_material(d, baseColorFactor=[1.0]), "baseColorFactor"),
        (lambda d: set_material(d, metallicFactor=float("nan")), "finite"),
        (lambda d: set_material(d, alphaTexture={"image": b"no image"}), "alphaTexture.image"),
        (lambda d: set_material(d, alphaTexture=3), "alphaTexture"),
        (lambda d: d["materials"][0]["alphaTexture"].update(extension="WRAP"), "extension"),
        (lambda d: d["materials"][0]["alphaTexture"].update(interpolation="Best"), "interpolation"),
        (lambda d: d["materials"][0].update(alphaTexture=d["materials"][0]["baseColorTexture"]), "8-bit grey"),
        (lambda d: d["materials"][0].pop("roughnessFactor"), "roughnessFactor"),
        (lambda d: d["objects"][0].pop("normals"), "normals"),
        (lambda d: d["objects"][0].update(mat_ids=np.full(50, -1)), "mat_ids"),
        (lambda d: d["objects"][0].update(mat_ids=np.zeros(3, int)), "mat_ids"),
        (lambda d: d["objects"][0].update(uvs=np.zeros((50, 2), np.float32)), "uvs"),
        (lambda d: d["objects"][0].update(faces=np.full((50, 3), 99)), "faces"),
        (lambda d: d["objects"][0].update(vertices=np.full((36, 3), np.inf)), "finite"),
    ],
)
def test_bad_dump_is_refused(blender_data, change, message):
    dump = blender_dump(blender_data, "Linear", "REPEAT", "BLEND")
    change(dump)
    with pytest.raises(ValueError, match=message):
        blender_dump_to_volumetric_attr(dump, None, 16, UNIT)


def test_bad_mesh_is_refused(tmp_path):
    with pytest.raises(TypeError, match="mesh must be"):
        textured_mesh_to_volumetric_attr(3, None, 16, UNIT)
    with pytest.raises(ValueError, match="voxel_size or grid_size"):
        textured_mesh_to_volumetric_attr(quad_mesh(), None, None, UNIT)
    with pytest.raises(ValueError, match="mip_level_offset"):
        textured_mesh_to_volumetric_attr(quad_mesh(), None, 8, UNIT, float("nan"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_in_the_box(backend):
    coords, attrs = textured_mesh_to_volumetric_attr(quad_mesh(z=7.0), None, 8, UNIT, backend=backend)
    assert coords.shape == (0, 3) and [attrs[k].shape[0] for k in KEYS] == [0] * 6
