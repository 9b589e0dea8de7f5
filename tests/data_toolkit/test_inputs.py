"""Reading assets, dumps and tables; the published golden values; bad input."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import pickle

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from o_voxel.gltf import GltfFile
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from data_toolkit import build_metadata, download, dump_pbr
from data_toolkit.datasets import Folder
from data_toolkit.dumps import load_dump, save_dump
from data_toolkit.gltf_dump import dump_asset, dump_gltf
from data_toolkit.procedural import generate_asset
from data_toolkit.runner import select
from data_toolkit.steps.generated import same_voxels
from data_toolkit.steps.views import published_cameras
from data_toolkit.steps.voxels import dual_grid, normalise_objects, pbr_voxels
from data_toolkit.tables import fill, make_table, read_table, write_table


def _cube(material: PBRMaterial | None = None, transform: np.ndarray | None = None) -> bytes:
    box = trimesh.creation.box()
    box.unmerge_vertices()
    if material is not None:
        box.visual = TextureVisuals(uv=np.tile([[0.2, 0.9]], (len(box.vertices), 1)), material=material)
    scene = trimesh.Scene()
    scene.add_geometry(box, transform=transform)
    return scene.export(file_type="glb")


def _edit(glb: bytes, change) -> bytes:
    """The same GLB with a changed JSON chunk."""
    size = int.from_bytes(glb[12:16], "little")
    doc = json.loads(glb[20 : 20 + size])
    change(doc)
    text = json.dumps(doc).encode()
    text += b" " * (-len(text) % 4)
    rest = glb[20 + size :]
    total = 20 + len(text) + len(rest)
    return glb[:8] + total.to_bytes(4, "little") + len(text).to_bytes(4, "little") + glb[16:20] + text + rest


def _material(dump) -> dict:
    return dump["materials"][int(dump["objects"][0]["mat_ids"][0])]


@pytest.mark.parametrize(("resolution", "voxels"), [(32, 5768), (64, 23816)])
def test_golden_cube_without_material(resolution, voxels):
    dump = dump_gltf(
        GltfFile.parse(_edit(_cube(), lambda d: [p.pop("material", None) for p in d["meshes"][0]["primitives"]]))
    )
    assert set(dump["objects"][0]["mat_ids"]) == {-1}
    objects = normalise_objects(dump["objects"])
    coords, attributes = pbr_voxels(dump["materials"], objects, resolution, quirks="published")
    assert len(coords) == voxels
    assert (np.unique(attributes["base_color"], axis=0) == [[204, 204, 204]]).all()
    assert set(attributes["metallic"].ravel()) == {0}
    assert set(attributes["roughness"].ravel()) == {127}
    assert set(attributes["alpha"].ravel()) == {255}
    grid, vertices, flags = dual_grid(objects, resolution)
    assert same_voxels(coords, grid, resolution)
    assert vertices.min() == 0
    assert vertices.max() == 254
    assert flags.max() <= 7


def test_golden_cube_with_factors():
    material = PBRMaterial(metallicFactor=0.3, roughnessFactor=0.7)

    def factors(doc):
        doc["materials"][0].setdefault("pbrMetallicRoughness", {})["baseColorFactor"] = [0.5, 0.25, 0.75, 0.4]

    dump = dump_gltf(GltfFile.parse(_edit(_cube(material), factors)))
    coords, attributes = pbr_voxels(dump["materials"], normalise_objects(dump["objects"]), 32, quirks="published")
    assert len(coords) == 5768
    assert np.abs(attributes["base_color"].astype(int) - [127, 63, 191]).max() <= 1
    assert np.abs(attributes["metallic"].astype(int) - 76).max() <= 1
    assert np.abs(attributes["roughness"].astype(int) - 178).max() <= 1
    assert attributes["alpha"].min() == 255  # OPAQUE: alpha of the factor is ignored


def test_colours_are_mixed_in_linear_light_by_default():
    """A linear factor of 0.5 is stored as its sRGB value, 188, unless the published rule is asked for."""

    def factors(doc):
        doc["materials"][0].setdefault("pbrMetallicRoughness", {})["baseColorFactor"] = [0.5, 0.5, 0.5, 1.0]

    dump = dump_gltf(GltfFile.parse(_edit(_cube(PBRMaterial()), factors)))
    objects = normalise_objects(dump["objects"])
    assert abs(int(pbr_voxels(dump["materials"], objects, 16)[1]["base_color"][0, 0]) - 187) <= 1
    assert abs(int(pbr_voxels(dump["materials"], objects, 16, "published")[1]["base_color"][0, 0]) - 127) <= 1


def test_textured_material_follows_the_blender_table():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[0] = (10, 20, 30, 40)  # top row
    packed = Image.fromarray(np.full((4, 4, 3), (10, 100, 200), np.uint8))
    material = PBRMaterial(
        baseColorTexture=Image.fromarray(pixels), metallicRoughnessTexture=packed, metallicFactor=0.3,
        roughnessFactor=0.7, alphaMode="BLEND",
    )  # fmt: skip

    def change(doc):
        doc["materials"][0].setdefault("pbrMetallicRoughness", {})["baseColorFactor"] = [0.5, 0.25, 0.75, 0.6]
        doc["samplers"] = [{"magFilter": 9728, "wrapS": 33648, "wrapT": 33648}]
        for texture in doc["textures"]:
            texture["sampler"] = 0

    entry = _material(dump_gltf(GltfFile.parse(_edit(_cube(material), change))))
    assert entry["baseColorFactor"] == [0.5, 0.25, 0.75]
    assert (entry["alphaFactor"], entry["metallicFactor"], entry["roughnessFactor"]) == (0.6, 0.3, 0.7)
    assert entry["alphaMode"] == "BLEND"
    assert (entry["baseColorTexture"]["interpolation"], entry["baseColorTexture"]["extension"]) == ("Closest", "MIRROR")
    images = {k: np.asarray(Image.open(io.BytesIO(entry[k]["image"]))) for k in entry if k.endswith("Texture")}
    assert images["baseColorTexture"].shape == (4, 4, 3)
    assert images["baseColorTexture"][3, 0].tolist() == [10, 20, 30]  # stored bottom row first
    assert images["alphaTexture"][3, 0] == 40
    assert images["metallicTexture"][0, 0] == 200
    assert images["roughnessTexture"][0, 0] == 100


@pytest.mark.parametrize(
    ("mode", "alpha", "cutoff", "expected"),
    [("OPAQUE", 0.4, 0.5, ("OPAQUE", 1.0)), ("BLEND", 0.4, 0.5, ("BLEND", 0.4)), ("MASK", 0.6, 0.7, ("BLEND", 0.0)),
     ("MASK", 0.8, 0.7, ("OPAQUE", 1.0))],
)  # fmt: skip
def test_alpha_without_texture(mode, alpha, cutoff, expected):
    def change(doc):
        doc["materials"][0].update(alphaMode=mode, alphaCutoff=cutoff)
        doc["materials"][0].setdefault("pbrMetallicRoughness", {})["baseColorFactor"] = [1, 1, 1, alpha]

    entry = _material(dump_gltf(GltfFile.parse(_edit(_cube(PBRMaterial()), change))))
    assert (entry["alphaMode"], entry["alphaFactor"]) == expected


def test_unlit_and_texture_transform():
    image = Image.fromarray(np.zeros((4, 4, 3), np.uint8))

    def change(doc):
        doc["materials"][0]["extensions"] = {"KHR_materials_unlit": {}}
        texture = doc["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
        texture["extensions"] = {"KHR_texture_transform": {"offset": [0.5, 0.25], "scale": [2, 2]}}

    glb = _cube(PBRMaterial(baseColorTexture=image, metallicFactor=0.9))
    plain, moved = (dump_gltf(GltfFile.parse(g)) for g in (glb, _edit(glb, change)))
    assert _material(moved)["metallicFactor"] == 0.0
    assert _material(moved)["roughnessFactor"] == 1.0
    u, v = plain["objects"][0]["uvs"][0, 0]
    assert moved["objects"][0]["uvs"][0, 0] == pytest.approx([u * 2 + 0.5, 1 - ((1 - v) * 2 + 0.25)], abs=1e-5)


def test_axes_nodes_and_mirrored_scale():
    matrix = np.diag([-1.0, 2.0, 3.0, 1.0])
    matrix[:3, 3] = (10, 20, 30)
    obj = dump_gltf(GltfFile.parse(_cube(PBRMaterial(), matrix)))["objects"][0]
    centre = (obj["vertices"].min(0) + obj["vertices"].max(0)) / 2
    assert centre == pytest.approx([10, -30, 20])  # (x, y, z) -> (x, -z, y)
    assert np.ptp(obj["vertices"], axis=0) == pytest.approx([1, 3, 2])
    a, b, c = (obj["vertices"][obj["faces"][:, i]] - centre for i in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6 == pytest.approx(6, rel=1e-5)  # still points outwards
    assert (np.einsum("ij,ij->i", obj["normals"][:, 0], a) > 0).all()


def test_front_of_a_generated_asset_is_minus_y():
    """The duck's beak, its only orange part in front, points to -Y in the Z-up world."""
    model = generate_asset(1, "duck")
    dump = dump_gltf(GltfFile.parse(model.glb()))
    beak = next(
        i
        for i, p in enumerate(model.primitives)
        if np.abs(p.material.base[0, 0, :3].astype(int) - [242, 115, 26]).max() < 3
    )
    obj = dump["objects"][0]
    faces = obj["faces"][obj["mat_ids"] == beak]
    assert obj["vertices"][faces].reshape(-1, 3).mean(0)[1] < -0.2
    assert abs(obj["vertices"][faces].reshape(-1, 3).mean(0)[0]) < 0.02


@pytest.mark.parametrize("cut", [3, 15, 40, 400, -5])
def test_truncated_glb_is_refused(cut):
    with pytest.raises(ValueError, match=r"GLB|glTF|outside|chunk|buffer"):
        dump_gltf(GltfFile.parse(_cube()[:cut]))


@given(st.binary(min_size=1, max_size=8), st.integers(0, 4000))
@settings(max_examples=60, deadline=None)
def test_damaged_glb_never_crashes_in_another_way(noise, at):
    data = bytearray(_GLB)
    at %= len(data) - len(noise)
    data[at : at + len(noise)] = noise
    with contextlib.suppress(ValueError):
        dump_gltf(GltfFile.parse(bytes(data)))


_GLB = _cube(PBRMaterial(baseColorTexture=Image.fromarray(np.zeros((2, 2, 3), np.uint8))))


def test_uris_outside_the_folder_are_refused(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\0" * 64)
    (tmp_path / "in").mkdir()
    doc = {"asset": {"version": "2.0"}, "buffers": [{"uri": "../secret.bin", "byteLength": 64}],
           "bufferViews": [{"buffer": 0, "byteLength": 36}],
           "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
           "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "nodes": [{"mesh": 0}]}  # fmt: skip
    path = tmp_path / "in" / "a.gltf"
    path.write_text(json.dumps(doc))
    with pytest.raises(ValueError, match="outside its folder"):
        dump_asset(path)


def test_compressed_gltf_is_named():
    with pytest.raises(ValueError, match="KHR_draco_mesh_compression"):
        GltfFile.parse(_edit(_cube(), lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"])))


@pytest.mark.parametrize("suffix", ["npz", "pickle"])
def test_dump_round_trip(tmp_path, suffix):
    dump = dump_gltf(GltfFile.parse(generate_asset(4).glb()))
    save_dump(tmp_path / f"a.{suffix}", dump)
    back = load_dump(tmp_path / f"a.{suffix}")
    assert back["materials"] == dump["materials"]
    for a, b in zip(dump["objects"], back["objects"]):
        assert a.keys() == b.keys()
        for key in ("vertices", "faces", "normals", "uvs", "mat_ids"):
            assert a[key].dtype == b[key].dtype
            assert (a[key] == b[key]).all()


class _Evil:
    def __reduce__(self):
        return print, ("pwned",)


@pytest.mark.parametrize("payload", [_Evil(), {"objects": [_Evil()]}, {"objects": np.array([_Evil()], dtype=object)}])
def test_pickles_with_code_are_refused(tmp_path, capsys, payload):
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(payload, protocol=4))
    with pytest.raises(ValueError, match="not allowed"):
        load_dump(path)
    assert "pwned" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.pickle", "a.npz"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04N.", b"garbage"])
def test_damaged_dumps_are_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=name):
        load_dump(tmp_path / name)


def test_empty_and_flat_dumps_are_refused():
    with pytest.raises(ValueError, match="no object"):
        normalise_objects([{"vertices": np.zeros((0,)), "faces": np.zeros((0,))}])
    point = {"vertices": np.zeros((3, 3), np.float32), "faces": np.array([[0, 1, 2]])}
    with pytest.raises(ValueError, match="positive extent"):
        normalise_objects([point])
    with pytest.raises(ValueError, match="positive extent"):
        normalise_objects([{**point, "vertices": np.full((3, 3), np.nan, np.float32)}])


def test_published_cameras_match_the_reference_numbers():
    squares = np.full(16, 0.1)
    views = published_cameras((0.0, 0.0), squares, 16)
    expected = {0: (0, -1.570796), 1: (3.141593, -0.848062), 2: (1.570796, -0.523599), 3: (4.712389, -0.252680),
                4: (0.785398, 0), 8: (0.392699, 0.339837), 15: (5.890486, 1.159658)}  # fmt: skip
    for i, (yaw, pitch) in expected.items():
        assert views[i]["yaw"] == pytest.approx(yaw, abs=1e-6)
        assert views[i]["pitch"] == pytest.approx(pitch, abs=1e-6)
    shifted = published_cameras((0.5, 0.25), squares, 16)
    for i, (yaw, pitch) in {0: (1.570796, -1.065436), 1: (4.712389, -0.675132), 15: (7.461283, 1.281109)}.items():
        assert (shifted[i]["yaw"], shifted[i]["pitch"]) == pytest.approx((yaw, pitch), abs=1e-6)
    assert math.sin(views[0]["fov"] / 2) * views[0]["radius"] == pytest.approx(math.sqrt(3) / 2)


_KEYS = [f"{i:064x}" for i in range(4)]
_rows = st.dictionaries(
    st.sampled_from(_KEYS), st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "1", "x,y", '"'])), max_size=4
)


@given(_rows, _rows)
@settings(max_examples=60, deadline=None)
def test_fill_follows_combine_first(a, b):
    import pandas

    tables = [{k: {"sha256": k, **row} for k, row in t.items()} for t in (a, b)]
    ours = fill(*tables)
    frames = [pandas.DataFrame(list(t.values()), columns=["sha256", *"abc"]).set_index("sha256") for t in tables]
    frames = [f.replace("", None).astype(object) for f in frames]
    theirs = frames[0].combine_first(frames[1])
    assert set(ours) == set(theirs.index)
    for sha, row in ours.items():
        for column in "abc":
            cell = theirs.loc[sha, column]
            assert (row.get(column) or None) == (None if pandas.isna(cell) else cell)


def test_tables_round_trip_and_refuse_nonsense(tmp_path):
    table = make_table([{"sha256": _KEYS[0], "a": 1, "text": 'say "a, b"\nc'}, {"sha256": _KEYS[1], "b": None}])
    write_table(tmp_path / "t.csv", table)
    back = read_table(tmp_path / "t.csv")
    assert back[_KEYS[0]]["text"] == 'say "a, b"\nc'
    assert back[_KEYS[1]]["b"] == ""
    with pytest.raises(ValueError, match="sha256"):
        make_table([{"sha256": "short"}])
    (tmp_path / "bad.csv").write_text("\n")
    with pytest.raises(ValueError, match="no column sha256"):
        read_table(tmp_path / "bad.csv")


def test_aesthetic_filter_and_shards():
    table = make_table([{"sha256": k, "aesthetic_score": s} for k, s in zip(_KEYS, (4, 5, "", 6))])
    args = argparse.Namespace(rank=0, world_size=1, instances=None, filter_low_aesthetic_score=5.0, skip_failed=False)
    assert [r["sha256"] for r in select(table, args, lambda r: True)] == [_KEYS[1], _KEYS[3]]


def test_folder_adaptor_brings_its_own_assets(tmp_path, data_dir, capsys):
    source, root = tmp_path / "mine", tmp_path / "root"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "milk truck.glb").write_bytes((data_dir / "meshes" / "CesiumMilkTruck.glb").read_bytes())
    (source / "spot.obj").write_bytes((data_dir / "meshes" / "spot.obj").read_bytes())
    (source / "notes.txt").write_text("no mesh")
    base = ["Folder", "--root", str(root)]
    with pytest.raises(SystemExit):
        build_metadata.main(base)
    assert "--source_dir" in capsys.readouterr().err
    assert build_metadata.main([*base, "--source_dir", str(source)]) == 0
    assert download.main(base) == 0
    build_metadata.main(base)
    table = read_table(root / "raw" / "metadata.csv")
    assert len(table) == 2
    assert dump_pbr.main([*base, "--max_workers", "1"]) == 0
    for sha in table:
        dump = load_dump(root / "pbr_dumps" / f"{sha}.npz")
        objects = normalise_objects(dump["objects"])
        coords, attributes = pbr_voxels(dump["materials"], objects, 32)
        assert same_voxels(coords, dual_grid(objects, 32)[0], 32)
        assert attributes["alpha"].max() == 255
    rows = Folder.get_metadata(source_dir=source)
    (root / table[rows[0]["sha256"]]["local_path"]).unlink()
    assert len(Folder.download(rows, root, check_only=True)) == 1
