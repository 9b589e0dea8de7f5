"""Files of every format, read back: geometry, axes, units, colours, extras, levels; bad input; nothing half written."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from o_voxel.gltf import GltfFile, mesh_instances, triangle_primitives
from o_voxel.postprocess import glb_bytes, save_asset, to_glb
from o_voxel.postprocess.formats_plain import vertex_colors
from o_voxel.postprocess.png import png_bytes
from o_voxel.postprocess.textured import textured_mesh

FORMATS = ("glb", "gltf", "obj", "ply", "stl", "3mf", "usdz")


@pytest.fixture(scope="module")
def asset(make_asset: Callable[..., dict[str, Any]]) -> trimesh.Trimesh:
    """A box of 0.2 x 0.4 x 0.8 (z up), colour = position, with holes in its alpha."""
    box = trimesh.creation.box(extents=[0.2, 0.4, 0.8])
    box = box.subdivide().subdivide()
    arguments = make_asset(np.asarray(box.vertices), np.asarray(box.faces), lambda p: (p[:, 2] < 0.2).astype(float))
    return to_glb(**{**arguments, "texture_size": 128, "decimation_target": 200})


@pytest.mark.parametrize("kind", FORMATS)
def test_two_writes_are_the_same_bytes(asset: trimesh.Trimesh, tmp_path: Path, kind: str) -> None:
    sets = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        written = save_asset(asset, tmp_path / folder / f"box.{kind}")
        assert written[0] == tmp_path / folder / f"box.{kind}"
        assert sorted(written) == sorted((tmp_path / folder).iterdir())  # and no temporary file
        sets.append({path.name: path.read_bytes() for path in written})
    assert sets[0] == sets[1]


def test_obj_reads_back(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    files = save_asset(asset, tmp_path / "box.obj", licence="CC0-1.0")
    names = {path.name for path in files}
    assert {"box.obj", "box.mtl", "box_baseColor.png", "box_roughness.png", "box_metallic.png"} <= names
    loaded = trimesh.load(tmp_path / "box.obj", force="mesh", process=False)
    assert len(loaded.faces) == len(asset.faces)
    np.testing.assert_allclose(loaded.bounds, asset.bounds, atol=1e-6)
    np.testing.assert_allclose(loaded.volume, asset.volume, rtol=1e-5)
    text = (tmp_path / "box.obj").read_text()
    assert "# CC0-1.0" in text and "mtllib box.mtl" in text
    material = (tmp_path / "box.mtl").read_text()
    for line in material.splitlines():
        if line.startswith(("map_", "norm")):
            assert (tmp_path / line.split()[-1]).is_file()
    rough = np.asarray(Image.open(tmp_path / "box_roughness.png"))
    np.testing.assert_array_equal(rough, np.asarray(asset.visual.material.metallicRoughnessTexture)[..., 1])


def test_ply_has_the_colour_of_the_texture(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    save_asset(asset, tmp_path / "box.ply")
    loaded = trimesh.load(tmp_path / "box.ply", process=False)
    np.testing.assert_allclose(loaded.vertices, asset.vertices, atol=1e-6)
    np.testing.assert_array_equal(loaded.faces, asset.faces)
    world = np.stack([loaded.vertices[:, 0], -loaded.vertices[:, 2], loaded.vertices[:, 1]], 1)
    error = np.abs(np.asarray(loaded.visual.vertex_colors)[:, :3] / 255.0 - (world + 0.5))
    assert error.mean() < 0.02
    assert (vertex_colors(textured_mesh(asset))[:, 3] < 255).any()  # alpha too


@pytest.mark.parametrize("kind", ["stl", "3mf"])
def test_print_formats_are_closed_z_up_and_in_millimetres(asset: trimesh.Trimesh, tmp_path: Path, kind: str) -> None:
    path = save_asset(asset, tmp_path / f"box.{kind}", metres=0.08)[0]
    if kind == "stl":
        loaded = trimesh.load(path)  # welds
    else:
        loaded = read_3mf(path)
    np.testing.assert_allclose(loaded.extents, [20, 40, 80], rtol=1e-4)
    assert loaded.is_watertight and loaded.is_winding_consistent
    assert loaded.volume == pytest.approx(20 * 40 * 80, rel=1e-3)


def read_3mf(path: Path) -> trimesh.Trimesh:
    import xml.etree.ElementTree as ElementTree

    core = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"
    with zipfile.ZipFile(path) as archive:
        model = ElementTree.fromstring(archive.read("3D/3dmodel.model"))
        kinds = archive.read("[Content_Types].xml").decode()
        target = ElementTree.fromstring(archive.read("_rels/.rels"))[0].get("Target")
        texture = np.asarray(Image.open(io.BytesIO(archive.read("3D/Textures/color.png"))))
        assert archive.testzip() is None
    assert model.get("unit") == "millimeter" and target == "/3D/3dmodel.model" and 'Extension="model"' in kinds
    assert texture.shape[:2] == (128, 128)
    vertices = [[float(v.get(k, "")) for k in "xyz"] for v in model.iter(f"{core}vertex")]
    triangles = list(model.iter(f"{core}triangle"))
    group = next(element for element in model.iter() if element.tag.endswith("texture2dgroup"))
    assert {t.get("pid") for t in triangles} == {group.get("id")}
    assert max(int(t.get(k, "")) for t in triangles for k in ("p1", "p2", "p3")) < len(group)
    faces = [[int(t.get(k, "")) for k in ("v1", "v2", "v3")] for t in triangles]
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    shift = next(model.iter(f"{core}item")).get("transform", "").split()
    assert float(shift[11]) + mesh.bounds[0][2] == pytest.approx(0, abs=1e-3)  # stands on the plate
    return mesh


def test_usdz_is_an_aligned_uncompressed_archive(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    path = save_asset(asset, tmp_path / "box.usdz", licence='made "here"')[0]
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names[0] == "asset.usda" and archive.testzip() is None
        for entry in archive.infolist():
            name, extra = struct.unpack_from("<HH", raw, entry.header_offset + 26)
            assert entry.compress_type == zipfile.ZIP_STORED
            assert (entry.header_offset + 30 + name + extra) % 64 == 0
        layer = archive.read("asset.usda").decode()
    for texture in [line.split("@")[1] for line in layer.splitlines() if "inputs:file" in line]:
        assert texture in names
    assert layer.count("{") == layer.count("}") and 'upAxis = "Y"' in layer and 'made \\"here\\"' in layer
    for connected in [line.split("<")[1].split(">")[0] for line in layer.splitlines() if ".connect" in line]:
        shader, output = connected.removeprefix("/Asset/Material/").split(".")
        block = layer.split(f'def Shader "{shader}"')[1].split("}")[0]
        assert output in block, connected


@pytest.mark.skipif(importlib.util.find_spec("pxr") is None, reason="needs usd-core")
def test_usdz_opens_in_usd(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    from pxr import Usd, UsdGeom, UsdShade

    path = save_asset(asset, tmp_path / "box.usdz")[0]
    stage = Usd.Stage.Open(str(path))
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Asset/Surface"))
    np.testing.assert_allclose(np.array(mesh.GetPointsAttr().Get()), asset.vertices, atol=1e-6)
    assert len(mesh.GetFaceVertexCountsAttr().Get()) == len(asset.faces)
    material = UsdShade.MaterialBindingAPI(mesh.GetPrim()).ComputeBoundMaterial()[0]
    shader, _, _ = material.ComputeSurfaceSource()
    assert {i.GetBaseName() for i in shader.GetInputs()} >= {
        "diffuseColor",
        "roughness",
        "metallic",
        "normal",
        "opacity",
    }


def test_gltf_files_say_what_the_glb_says(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    files = save_asset(asset, tmp_path / "my box.gltf", licence="CC-BY-4.0", metres=2.0)
    document = json.loads((tmp_path / "my box.gltf").read_text())
    assert document["buffers"][0]["uri"] == "my_box.bin" and {p.suffix for p in files} == {".gltf", ".bin", ".png"}
    assert document["asset"]["copyright"] == "CC-BY-4.0" and document["asset"]["generator"] == "o_voxel"
    extras = document["asset"]["extras"]
    assert extras["licence"] == "CC-BY-4.0" and extras["metres"] == 2.0
    assert extras["settings"]["profile"] == "game" and extras["settings"]["texture_size"] == 128
    loaded = trimesh.load(tmp_path / "my box.gltf", force="mesh", process=False)
    assert np.max(loaded.extents) == pytest.approx(2.0) and len(loaded.faces) == len(asset.faces)
    file = GltfFile.load(tmp_path / "my box.gltf")
    (instance,) = mesh_instances(file)
    (primitive,) = triangle_primitives(file, instance)
    assert len(primitive.faces) == len(asset.faces)


def test_occlusion_shares_the_image_of_roughness(asset: trimesh.Trimesh) -> None:
    document = parse_glb(glb_bytes(asset))
    (material,) = document["materials"]
    assert material["occlusionTexture"] == material["pbrMetallicRoughness"]["metallicRoughnessTexture"]
    assert len(document["images"]) == 3  # base colour, occlusion-roughness-metal, normals
    assert material["alphaMode"] == "MASK"


def test_only_what_lets_light_through_blends(make_asset: Callable, tmp_path: Path, validate_glb: Callable) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    arguments = make_asset(
        np.asarray(ball.vertices), np.asarray(ball.faces), lambda p: np.where(p[:, 2] > 0.2, 0.4, 1.0)
    )
    asset = to_glb(**arguments)
    path = save_asset(asset, tmp_path / "ball.glb")[0]
    document = parse_glb(path.read_bytes())
    modes = [material.get("alphaMode", "OPAQUE") for material in document["materials"]]
    assert modes == ["OPAQUE", "BLEND"] and len(document["images"]) == 3
    counts = [
        document["accessors"][primitive["indices"]]["count"] // 3 for primitive in document["meshes"][0]["primitives"]
    ]
    assert sum(counts) == len(asset.faces) and 0.15 < counts[1] / sum(counts) < 0.4  # the cap above 0.2
    issues = validate_glb(path)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues
    forced = to_glb(**arguments, alpha_mode="BLEND")
    assert len(parse_glb(glb_bytes(forced))["materials"]) == 1


def parse_glb(payload: bytes) -> dict[str, Any]:
    length = struct.unpack_from("<I", payload, 12)[0]
    return json.loads(payload[20 : 20 + length])


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_textures_survive_their_compression(asset: trimesh.Trimesh, tmp_path: Path, image_format: Any) -> None:
    path = save_asset(asset, tmp_path / "box.gltf", image_format=image_format, quality=95)[0]
    document = json.loads(path.read_text())
    material = asset.visual.material
    for image in document["images"]:
        name = image["name"].removeprefix("box_")
        read = np.asarray(Image.open(tmp_path / image["uri"]).convert("RGBA")).astype(int)
        given = np.asarray(getattr(material, name).convert("RGBA")).astype(int)
        lossless = image["mimeType"] == "image/png" or (image_format == "webp" and name != "baseColorTexture")
        shown = given[..., 3] > 0
        assert np.abs(read - given)[shown].mean() <= (0 if lossless else 2.5), name
        assert image["mimeType"] == ("image/png" if image_format == "jpeg" and name == "baseColorTexture" else
                                     f"image/{image_format}")  # this base colour has alpha  # fmt: skip


def test_levels_in_one_file_share_textures(asset: trimesh.Trimesh, tmp_path: Path, validate_glb: Callable) -> None:
    path = save_asset(asset, tmp_path / "box.glb", lods=[asset, asset], lod_layout="msft")[0]
    document = parse_glb(path.read_bytes())
    assert document["nodes"][0]["extensions"]["MSFT_lod"]["ids"] == [1, 2]
    assert len(document["images"]) == 3 and len(document["materials"]) == 1 and len(document["meshes"]) == 3
    assert document["scenes"] == [{"nodes": [0]}]
    issues = validate_glb(path)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues


def test_levels_beside_the_file(asset: trimesh.Trimesh, tmp_path: Path) -> None:
    files = save_asset(asset, tmp_path / "box.stl", lods=[asset])
    assert [path.name for path in files] == ["box.stl", "box_lod1.stl"]


@pytest.mark.skipif(importlib.util.find_spec("DracoPy") is None, reason="needs DracoPy")
def test_draco_reads_back(asset: trimesh.Trimesh, tmp_path: Path, validate_glb: Callable) -> None:
    import DracoPy

    path = save_asset(asset, tmp_path / "box.glb", compression="draco")[0]
    payload = path.read_bytes()
    document = parse_glb(payload)
    (primitive,) = document["meshes"][0]["primitives"]
    packed = primitive["extensions"]["KHR_draco_mesh_compression"]
    view = document["bufferViews"][packed["bufferView"]]
    start = 28 + struct.unpack_from("<I", payload, 12)[0] + view["byteOffset"]
    found = DracoPy.decode(payload[start : start + view["byteLength"]])
    accessor = document["accessors"][primitive["attributes"]["POSITION"]]
    assert len(found.faces) == len(asset.faces) and len(found.points) == accessor["count"]
    assert document["accessors"][primitive["indices"]]["count"] == found.faces.size
    np.testing.assert_allclose(found.points.min(0), accessor["min"], atol=1e-6)
    np.testing.assert_allclose([found.points.min(0), found.points.max(0)], asset.bounds, atol=1e-4)
    assert {part["unique_id"] for part in found.attributes} == set(packed["attributes"].values())
    issues = validate_glb(path)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues


def test_draco_says_what_is_missing(asset: trimesh.Trimesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "DracoPy", None)  # an import fails then
    with pytest.raises(ImportError, match="pip install DracoPy"):
        save_asset(asset, tmp_path / "box.glb", compression="draco")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.fbx", {}, "format must be one of glb"),
        ("a", {}, "format must be one of glb"),
        ("a.glb", {"format": "max"}, "format must be one of glb"),
        ("a.glb", {"image_format": "gif"}, "image_format must be"),
        ("a.glb", {"quality": 0}, "quality must be an int"),
        ("a.usdz", {"image_format": "webp"}, 'image_format must be "png" or "jpeg" for usdz'),
        ("a.stl", {"compression": "draco"}, "compression must be None for stl"),
        ("a.glb", {"compression": "zip"}, "compression must be None or"),
        ("a.glb", {"metres": -1.0}, "metres must be positive"),
        ("a.glb", {"lod_layout": "levels"}, "lod_layout must be one of"),
    ],
)
def test_bad_arguments_are_refused(
    asset: trimesh.Trimesh, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save_asset(asset, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_other_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"asset must be a trimesh\.Trimesh"):
        save_asset([1], tmp_path / "a.glb")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="asset must have UVs and a PBR material"):
        save_asset(trimesh.creation.box(), tmp_path / "a.glb")


def test_a_failed_write_changes_nothing(
    asset: trimesh.Trimesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    (tmp_path / "box.obj").write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_asset(asset, tmp_path / "box.obj")
    assert [p.name for p in tmp_path.iterdir()] == ["box.obj"] and (tmp_path / "box.obj").read_text() == "old"


@pytest.mark.parametrize("shape", [(1, 1, 4), (64, 5, 3), (130, 3, 1), (65, 70, 2), (200, 300, 3)])
def test_png_reads_back_and_does_not_depend_on_threads(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    pixels = (np.cumsum(rng.integers(0, 3, shape), axis=1) + rng.integers(0, 9, shape)).astype(np.uint8)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as three:
        payload = png_bytes(pixels, one)
        assert payload == png_bytes(pixels, three)
        with pytest.raises(ValueError, match="pixels must be uint8"):
            png_bytes(pixels.astype(np.uint16), one)
    image = Image.open(io.BytesIO(payload))
    image.load()
    np.testing.assert_array_equal(np.asarray(image).reshape(shape), pixels)
