"""Textures for the meshes of files: what the file says about geometry stays, to the bit."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trellis2.pipelines import Trellis2TexturingPipeline
from trellis2.pipelines.gltf_scene import GltfScene
from trellis2.pipelines.jobs import TextureOptions, texture
from trellis2.pipelines.obj_scene import ObjScene
from trellis2.pipelines.progress import Cancelled
from trellis2.pipelines.scenes import open_scene, texture_sizes
from trellis2.pipelines.surfaces import SurfaceGroup, bake_group, tiled_corners

torch.set_num_threads(1)
OPTIONS = TextureOptions(texture_size=64, steps=1)


@pytest.fixture(scope="module")
def pipeline(pipeline_dir: Path) -> Trellis2TexturingPipeline:
    return Trellis2TexturingPipeline.from_pretrained(str(pipeline_dir))


def read_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """Document and binary part, also of a .gltf file that holds its one buffer."""
    data = path.read_bytes()
    if path.suffix == ".gltf":
        doc = json.loads(data)
        return doc, base64.b64decode(doc["buffers"][0]["uri"].split(",", 1)[1])
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]


def accessor(glb: tuple[dict[str, Any], bytes], index: int) -> tuple[str, int, bytes]:
    """Type, component type and the rows as bytes."""
    doc, binary = glb
    entry = doc["accessors"][index]
    view = doc["bufferViews"][entry["bufferView"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]
    width *= {5121: 1, 5123: 2, 5125: 4, 5126: 4}[entry["componentType"]]
    start, stride = view.get("byteOffset", 0) + entry.get("byteOffset", 0), view.get("byteStride", width)
    rows = [binary[start + i * stride : start + i * stride + width] for i in range(entry["count"])]
    return entry["type"], entry["componentType"], b"".join(rows)


def corners(glb: tuple[dict[str, Any], bytes], primitive: dict[str, Any], name: str) -> np.ndarray:
    """An attribute at every corner of the triangles."""
    values = np.frombuffer(accessor(glb, primitive["attributes"][name])[2], np.float32)
    _, kind, flat = accessor(glb, primitive["indices"])
    index = np.frombuffer(flat, {5121: np.uint8, 5123: np.uint16, 5125: np.uint32}[kind])
    return values.reshape(-1, 2 if name.startswith("TEXCOORD") else 3)[index]


def fox() -> Path:
    """A skinned, animated mesh without indices that comes with gradio."""
    spec = importlib.util.find_spec("gradio")
    path = Path(spec.origin if spec is not None and spec.origin else "none").parent / "media_assets/models3d/Fox.gltf"
    if not path.is_file():
        pytest.skip("needs Fox.gltf of the package gradio (extra `app`)")
    return path


@pytest.mark.parametrize("name", ["Duck", "CesiumMilkTruck", "AlphaBlendModeTest", "Fox"])
def test_glb_keeps_everything_but_its_materials(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, data_dir: Path, tmp_path: Path, name: str
) -> None:
    source = fox() if name == "Fox" else data_dir / "meshes" / f"{name}.glb"
    target = tmp_path / "out.glb"
    result = texture(pipeline, source, picture, target, OPTIONS)
    before, after = read_glb(source), read_glb(target)
    for key in ("nodes", "scenes", "scene", "cameras", "skins"):
        assert before[0].get(key) == after[0].get(key)
    assert [m.get("name") for m in before[0]["meshes"]] == [m.get("name") for m in after[0]["meshes"]]
    assert [m.get("name") for m in before[0]["materials"]] == [m.get("name") for m in after[0]["materials"]]
    kept = 0
    for mesh, new in zip(before[0]["meshes"], after[0]["meshes"], strict=True):
        for old, primitive in zip(mesh["primitives"], new["primitives"], strict=True):
            if "TEXCOORD_0" not in old["attributes"]:
                for attribute in old["attributes"]:
                    assert np.array_equal(corners(before, old, attribute), corners(after, primitive, attribute))
                continue
            kept += 1
            assert old["material"] == primitive["material"]
            assert set(old["attributes"]) == set(primitive["attributes"])
            for attribute, index in old["attributes"].items():
                assert accessor(before, index) == accessor(after, primitive["attributes"][attribute])
            assert ("indices" in old) == ("indices" in primitive)
            if "indices" in old:
                assert accessor(before, old["indices"]) == accessor(after, primitive["indices"])
    assert kept > 0
    for old, new in zip(before[0].get("skins", []), after[0].get("skins", []), strict=True):
        assert accessor(before, old["inverseBindMatrices"]) == accessor(after, new["inverseBindMatrices"])
    for old, new in zip(before[0].get("animations", []), after[0].get("animations", []), strict=True):
        for a, b in zip(old["samplers"], new["samplers"], strict=True):
            assert accessor(before, a["input"]) == accessor(after, b["input"])
            assert accessor(before, a["output"]) == accessor(after, b["output"])
    used = {p["material"] for m in after[0]["meshes"] for p in m["primitives"]}
    assert result.report["materials"] == len(used)
    for index in used:
        pbr = after[0]["materials"][index]["pbrMetallicRoughness"]
        for slot in ("baseColorTexture", "metallicRoughnessTexture"):
            image = after[0]["images"][after[0]["textures"][pbr[slot]["index"]]["source"]]
            view = after[0]["bufferViews"][image["bufferView"]]
            data = after[1][view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
            assert max(Image.open(io.BytesIO(data)).size) <= 64
    assert len(target.read_bytes()) == struct.unpack("<I", target.read_bytes()[8:12])[0]


def test_glb_results_are_valid(
    pipeline: Trellis2TexturingPipeline,
    picture: Image.Image,
    data_dir: Path,
    tmp_path: Path,
    validate_glb: Callable[[Path], dict[str, Any]],
) -> None:
    for name in ("CesiumMilkTruck", "AlphaBlendModeTest"):
        texture(pipeline, data_dir / "meshes" / f"{name}.glb", picture, tmp_path / "out.glb", OPTIONS)
        old = validate_glb(data_dir / "meshes" / f"{name}.glb")
        issues = validate_glb(tmp_path / "out.glb")
        assert issues["numErrors"] == 0
        assert issues["numWarnings"] <= old["numWarnings"]


def geometry_lines(path: Path) -> list[bytes]:
    return [
        line
        for line in path.read_bytes().splitlines()
        if line.split()[:1] and line.split()[0] in b"v vn vt f o g".split()
    ]


def test_obj_with_uvs_keeps_its_lines(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, data_dir: Path, tmp_path: Path
) -> None:
    source, target = data_dir / "meshes" / "spot.obj", tmp_path / "spot.obj"
    texture(pipeline, source, picture, target, OPTIONS)
    assert geometry_lines(source) == geometry_lines(target)
    material = trimesh.load(target, process=False).visual.material
    assert material.image.size == (64, 64)


@pytest.mark.parametrize("name", ["suzanne", "beetle"])
def test_obj_without_uvs_keeps_vertices_and_faces_and_gets_uvs(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, data_dir: Path, tmp_path: Path, name: str
) -> None:
    source, target = data_dir / "meshes" / f"{name}.obj", tmp_path / "out.obj"
    texture(pipeline, source, picture, target, OPTIONS)
    for kind in (b"v ", b"vn ", b"o ", b"g "):
        assert [x for x in geometry_lines(source) if x.startswith(kind)] == [
            x for x in geometry_lines(target) if x.startswith(kind)
        ]
    before, after = ObjScene(source), ObjScene(target)
    triangles = [np.concatenate([g.corners for g in scene.groups.values()]) for scene in (before, after)]
    assert np.array_equal(*triangles)
    uvs = np.concatenate([g.uvs for g in after.groups.values()])
    assert uvs.min() >= 0
    assert uvs.max() <= 1
    (a, b), (c, d) = (uvs[:, 1] - uvs[:, 0]).T, (uvs[:, 2] - uvs[:, 0]).T
    area = np.abs(a * d - b * c)
    assert (area > 0).mean() > 0.9


def test_obj_as_glb_has_the_same_triangles(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, data_dir: Path, tmp_path: Path
) -> None:
    source = data_dir / "meshes" / "spot.obj"
    texture(pipeline, source, picture, tmp_path / "spot.glb", OPTIONS)
    old, new = (next(iter(s.groups.values())) for s in (ObjScene(source), GltfScene(tmp_path / "spot.glb")))
    assert np.array_equal(old.corners.astype(np.float32), new.corners.astype(np.float32))
    assert np.allclose(old.uvs, new.uvs, atol=1e-7)


def test_colours_land_where_the_voxels_are(tmp_path: Path) -> None:
    """A field that is red on the left and green on the right, baked onto two quads with swapped places in UV space."""
    from o_voxel.postprocess.volume import AttributeVolume

    size = 16
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1).reshape(-1, 3)
    left = torch.from_numpy(grid[:, 0] < size // 2)
    feats = torch.zeros(len(grid), 6)
    feats[left, 0], feats[~left, 1], feats[:, 5] = 1, 1, 1
    layout = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
    coords = torch.from_numpy(grid.astype(np.int32))
    volume = AttributeVolume(feats, coords, layout, np.full(3, -0.5), np.full(3, 1 / size), (size,) * 3)
    quad = np.array([[[0.0, 0, 0], [0.3, 0, 0], [0.3, 0.3, 0]], [[0, 0, 0], [0.3, 0.3, 0], [0, 0.3, 0]]])
    uv = np.array([[[0.0, 1], [0.5, 1], [0.5, 0]], [[0, 1], [0.5, 0], [0, 0]]])
    points = np.concatenate([quad + [0.1, 0, 0], quad - [0.4, 0, 0]])  # right, then left
    uvs = np.concatenate([uv, uv + [0.5, 0]])  # right has the left half of the picture
    for shift in (0, 3, -2):  # a repeating texture
        image = bake_group(SurfaceGroup("x", points, uvs + shift), volume, np.eye(4), 16).images["baseColorTexture"]
        assert (image[:, :7, :3] == [0, 255, 0]).all()
        assert (image[:, 9:, :3] == [255, 0, 0]).all()


def test_faces_over_a_seam_of_a_repeating_texture_are_copied() -> None:
    corners = np.zeros((1, 3, 3))
    uvs = np.array([[[0.5, 0.2], [1.5, 0.2], [0.5, 0.8]]])
    points, moved = tiled_corners(corners, uvs)
    assert len(points) == 2
    assert np.allclose(np.sort(moved[:, 1, 0]), [0.5, 1.5])
    assert len(tiled_corners(corners, np.full((1, 3, 2), np.nan))[0]) == 0
    assert np.array_equal(tiled_corners(corners, np.array([[[0.0, 0], [1, 0], [1, 1]]]))[1], [[[0, 0], [1, 0], [1, 1]]])


@given(st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6))
def test_pieces_of_a_repeated_face_add_up_to_it(values: list[float]) -> None:
    """The parts of all copies inside the unit square have the area of the face."""
    uvs = np.array(values, float).reshape(1, 3, 2)
    corners, moved = tiled_corners(np.zeros((1, 3, 3)), uvs)
    size = 256
    centres = (np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5) / size
    covered = 0.0
    for a, b, c in moved:
        sides = [
            (q[0] - p[0]) * (centres[..., 1] - p[1]) - (q[1] - p[1]) * (centres[..., 0] - p[0])
            for p, q in ((a, b), (b, c), (c, a))
        ]
        covered += float((np.all([s > 0 for s in sides], 0) | np.all([s < 0 for s in sides], 0)).mean())
    (a, b), (c, d) = (uvs[0, 1] - uvs[0, 0]), (uvs[0, 2] - uvs[0, 0])
    assert len(corners) == len(moved)
    assert covered == pytest.approx(abs(a * d - b * c) / 2, abs=0.15)


def test_vertices_that_no_face_uses_do_not_count_in_the_bounds(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, tmp_path: Path
) -> None:
    box = trimesh.creation.box()
    vertices = np.concatenate([[[9.0, 9, 9]], box.vertices])
    trimesh.Trimesh(vertices, box.faces + 1, process=False).export(tmp_path / "in.glb")
    texture(pipeline, tmp_path / "in.glb", picture, tmp_path / "out.glb", OPTIONS)
    doc, _ = glb = read_glb(tmp_path / "out.glb")
    primitive = doc["meshes"][0]["primitives"][0]
    used = doc["accessors"][primitive["attributes"]["POSITION"]]
    points = corners(glb, primitive, "POSITION").reshape(-1, 3)
    assert np.allclose(used["max"], points.max(0))
    assert np.allclose(used["min"], points.min(0))


def test_mirrored_nodes_without_uvs_keep_their_winding(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, tmp_path: Path
) -> None:
    scene = trimesh.Scene()
    matrix = np.diag([-1.0, 1, 1, 1])
    scene.add_geometry(trimesh.creation.icosphere(1), node_name="mirrored", transform=matrix)
    scene.export(tmp_path / "in.glb")
    texture(pipeline, tmp_path / "in.glb", picture, tmp_path / "out.glb", OPTIONS)
    before, after = read_glb(tmp_path / "in.glb"), read_glb(tmp_path / "out.glb")
    assert before[0]["nodes"] == after[0]["nodes"]
    old, new = (glb[0]["meshes"][0]["primitives"][0] for glb in (before, after))
    assert np.array_equal(corners(before, old, "POSITION"), corners(after, new, "POSITION"))


def test_unwrap_replaces_uvs_and_keep_insists_on_them(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, data_dir: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    duck = data_dir / "meshes" / "Duck.glb"
    texture(pipeline, duck, picture, tmp_path / "out.glb", replace(OPTIONS, uv="unwrap"))
    before, after = read_glb(duck), read_glb(tmp_path / "out.glb")
    old, new = (glb[0]["meshes"][0]["primitives"][0] for glb in (before, after))
    assert np.array_equal(corners(before, old, "POSITION"), corners(after, new, "POSITION"))
    assert not np.array_equal(corners(before, old, "TEXCOORD_0"), corners(after, new, "TEXCOORD_0"))
    with pytest.raises(ValueError, match="faces without UVs"):
        open_scene(data_dir / "meshes" / "suzanne.obj", "x.obj", "keep")


def test_cancelled_job_leaves_no_file(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, data_dir: Path, tmp_path: Path
) -> None:
    def stop(stage: str, step: int, total: int) -> None:
        if stage == "texture SLat" and step:
            raise Cancelled(stage)

    with pytest.raises(Cancelled):
        texture(pipeline, data_dir / "meshes" / "Duck.glb", picture, tmp_path / "out.glb", OPTIONS, stop)
    assert list(tmp_path.iterdir()) == []


def test_bad_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    (tmp_path / "wrong.obj").write_text("v 0 0 0\nv 1 0 0\nf 1 2 3\n")
    (tmp_path / "text.glb").write_bytes(b"glTF nothing")
    with pytest.raises(ValueError, match="must hold a mesh with faces"):
        open_scene(tmp_path / "empty.obj", "x.obj")
    with pytest.raises(ValueError, match=r"line 3: index 3 points past the 2 rows"):
        open_scene(tmp_path / "wrong.obj", "x.obj")
    with pytest.raises(ValueError, match=r"text\.glb"):
        open_scene(tmp_path / "text.glb", "x.glb")
    with pytest.raises(ValueError, match=r"written as \.glb"):
        open_scene(tmp_path / "empty.obj", "x.fbx")
    with pytest.raises(FileNotFoundError, match="mesh file not found"):
        open_scene(tmp_path / "nothing.glb", "x.glb")


def test_texture_sizes_follow_the_areas() -> None:
    def square(side: float) -> SurfaceGroup:
        return SurfaceGroup("x", np.array([[[0, 0, 0], [side, 0, 0], [side, side, 0]]], float), None)

    assert texture_sizes({"a": square(8), "b": square(4), "c": square(0.001)}, 1024) == {"a": 1024, "b": 512, "c": 64}
    with pytest.raises(ValueError, match="texture_size"):
        texture_sizes({"a": square(1)}, 8)
