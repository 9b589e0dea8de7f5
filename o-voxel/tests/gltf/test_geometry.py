"""Geometry of glTF files: every way the format can store and place a triangle."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from o_voxel.convert.gltf_input import read_gltf
from o_voxel.gltf import GltfFile

SQUARE = np.array([[-0.4, -0.4, 0.03], [0.4, -0.4, 0.03], [0.4, 0.4, 0.03], [-0.4, 0.4, 0.03]])
UVS = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])


def read(gltf):
    return read_gltf(GltfFile.parse(gltf.glb()))


def corners(gltf):
    return read(gltf).triangles


def test_node_transforms_multiply_down_the_tree(gltf):
    mesh = gltf.quad()
    leaf = gltf.node(mesh=mesh, translation=[1, 0, 0])
    half = np.sqrt(0.5)
    gltf.node(children=[leaf], rotation=[0, 0, half, half], scale=[2, 2, 2])
    expected = (SQUARE + [1, 0, 0]) * 2 @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    assert np.allclose(corners(gltf)[0], expected[[0, 1, 2]], atol=1e-6)


def test_matrix_nodes_are_column_major_and_mirrors_flip_the_winding(gltf):
    mesh = gltf.quad()
    gltf.node(mesh=mesh, matrix=[-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 0, 0, 1])
    triangle = corners(gltf)[0]
    assert np.allclose(triangle[::-1], (SQUARE * [-1, 1, 1] + [5, 0, 0])[[0, 1, 2]])
    assert np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])[2] > 0


def test_a_shared_mesh_appears_once_per_node(gltf):
    mesh = gltf.quad()
    for x in (0, 2, 4):
        gltf.node(mesh=mesh, translation=[x, 0, 0])
    assert sorted(corners(gltf)[:, 0, 0].round(3)) == [-0.4, -0.4, 1.6, 1.6, 3.6, 3.6]


def test_only_the_default_scene_is_read(gltf):
    mesh = gltf.quad()
    gltf.node(mesh=mesh)
    gltf.node(mesh=mesh, translation=[9, 0, 0])
    gltf.doc["scenes"] = [{"nodes": [1]}, {"nodes": [0]}]
    gltf.doc["scene"] = 1
    assert corners(gltf)[:, :, 0].max() < 1


def test_gpu_instances(gltf):
    mesh = gltf.quad()
    half = np.sqrt(0.5)
    attributes = {
        "TRANSLATION": gltf.accessor([[1, 0, 0], [0, 3, 0]]),
        "ROTATION": gltf.accessor([[0, 0, 0, 1], [0, 0, half, half]]),
        "SCALE": gltf.accessor([[1, 1, 1], [2, 2, 2]]),
    }
    gltf.node(mesh=mesh, scale=[10, 10, 10], extensions={"EXT_mesh_gpu_instancing": {"attributes": attributes}})
    gltf.doc["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    first, second = corners(gltf)[[0, 2]]
    turn = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    assert np.allclose(first, 10 * (SQUARE + [1, 0, 0])[[0, 1, 2]], atol=1e-5)
    assert np.allclose(second, 10 * (2 * SQUARE @ turn + [0, 3, 0])[[0, 1, 2]], atol=1e-5)


def test_skins_follow_joints_and_ignore_the_node(gltf):
    """Two vertices on joint 0 (at rest), one half-way, one on joint 1, which stands 1 higher than in the bind pose."""
    bind = np.stack([np.eye(4), np.eye(4)])
    bind[1, 1, 3] = -0.5  # the inverse of a bind position of y = 0.5
    joints = [gltf.node(), gltf.node(translation=[0, 1.5, 0])]
    attributes = {
        "JOINTS_0": gltf.accessor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]], "uint8"),
        "WEIGHTS_0": gltf.accessor([[1, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [1, 0, 0, 0]]),
    }
    mesh = gltf.quad(attributes=attributes)
    gltf.doc["skins"] = [{
        "joints": joints, "inverseBindMatrices": gltf.accessor(bind.transpose(0, 2, 1).reshape(2, 16))
    }]  # fmt: skip
    gltf.node(mesh=mesh, skin=0, translation=[100, 100, 100])
    expected = SQUARE + np.array([[0, 0, 0], [0, 0, 0], [0, 0.5, 0], [0, 1.0, 0]])
    assert np.allclose(corners(gltf), expected[[[0, 1, 2], [0, 2, 3]]], atol=1e-6)


def test_quantised_skin_weights_are_normalised(gltf):
    joints = [gltf.node(translation=[1, 0, 0])]
    attributes = {
        "JOINTS_0": gltf.accessor(np.zeros((4, 4)), "uint16"),
        "WEIGHTS_0": gltf.accessor(np.tile([100, 0, 0, 0], (4, 1)), "uint8", normalized=True),
    }
    mesh = gltf.quad(attributes=attributes)
    gltf.doc["skins"] = [{"joints": joints}]
    gltf.node(mesh=mesh, skin=0)
    assert np.allclose(corners(gltf)[0], (SQUARE + [1, 0, 0])[[0, 1, 2]])


@pytest.mark.parametrize("owner", ["mesh", "node"])
def test_morph_targets_at_their_default_weights(gltf, owner):
    lift = {"POSITION": gltf.accessor(np.tile([0, 0, 1.0], (4, 1)))}
    shift = {"POSITION": gltf.accessor(np.tile([1.0, 0, 0], (4, 1)))}
    mesh = gltf.quad(targets=[lift, shift])
    gltf.doc["meshes"][mesh]["weights"] = [0.25, 0.0] if owner == "mesh" else [1.0, 1.0]
    gltf.node(mesh=mesh, **({"weights": [0.25, 0.0]} if owner == "node" else {}))
    assert np.allclose(corners(gltf)[0], (SQUARE + [0, 0, 0.25])[[0, 1, 2]])


def test_strips_and_fans(gltf):
    points = gltf.accessor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    strip = {"attributes": {"POSITION": points}, "mode": 5}
    fan = {"attributes": {"POSITION": points}, "indices": gltf.accessor([0, 1, 3, 2], "uint8"), "mode": 6}
    lines = {"attributes": {"POSITION": points}, "mode": 1}
    gltf.doc["meshes"] = [{"primitives": [strip, fan, lines]}]
    gltf.node(mesh=0)
    triangles = corners(gltf)
    assert len(triangles) == 4
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    assert (normals[:, 2] > 0).all()
    assert np.isclose(normals[:, 2].sum(), 4)  # each covers the unit square


def test_sparse_quantised_and_interleaved_accessors(gltf):
    mesh = gltf.quad()
    primitive = gltf.doc["meshes"][mesh]["primitives"][0]
    rows = np.zeros((4, 8), np.int16)
    rows[:, 2:5] = SQUARE * 1000
    view = gltf.view(rows.tobytes(), byteStride=16)
    gltf.doc["accessors"].append(
        {"bufferView": view, "byteOffset": 4, "componentType": 5122, "count": 4, "type": "VEC3", "sparse": {
            "count": 1, "indices": {"bufferView": gltf.view(b"\x02"), "componentType": 5121},
            "values": {"bufferView": gltf.view(np.array([[7, 8, 9]], np.int16).tobytes())}}}
    )  # fmt: skip
    primitive["attributes"]["POSITION"] = len(gltf.doc["accessors"]) - 1
    gltf.node(mesh=mesh)
    expected = SQUARE * 1000
    expected[2] = 7, 8, 9
    assert np.allclose(corners(gltf)[0], expected[[0, 1, 2]], atol=1e-3)


def test_zero_accessor_with_sparse_values_only(gltf):
    mesh = gltf.quad()
    gltf.doc["accessors"].append({"componentType": 5126, "count": 4, "type": "VEC3", "sparse": {
        "count": 2, "indices": {"bufferView": gltf.view(np.array([1, 2], np.uint32).tobytes()), "componentType": 5125},
        "values": {"bufferView": gltf.view(np.array([[1, 0, 0], [0, 1, 0]], np.float32).tobytes())}}})  # fmt: skip
    gltf.doc["meshes"][mesh]["primitives"][0]["attributes"]["POSITION"] = len(gltf.doc["accessors"]) - 1
    gltf.node(mesh=mesh)
    assert corners(gltf)[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_normals_turn_with_the_surface_and_are_flat_where_absent(gltf):
    tilted = np.array([0.0, 0.6, 0.8])
    mesh = gltf.quad(attributes={"NORMAL": gltf.accessor(np.tile(tilted, (4, 1)))})
    gltf.node(mesh=mesh, scale=[1, 4, 1])
    gltf.node(mesh=gltf.quad(), rotation=[np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    normals = read(gltf).normals
    expected = tilted / [1, 4, 1]
    assert np.allclose(normals[0, 0], expected / np.linalg.norm(expected), atol=1e-6)
    assert np.allclose(normals[2, 0], [0, -1, 0], atol=1e-6)


def test_text_files_with_data_uris_and_side_files(gltf, tmp_path):
    gltf.node(mesh=gltf.quad())
    expected = corners(gltf)
    gltf.doc["buffers"] = [{"byteLength": len(gltf.binary)}]
    doc = json.loads(json.dumps(gltf.doc))
    body = base64.b64encode(gltf.binary).decode()
    doc["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{body}"
    (tmp_path / "a.gltf").write_text(json.dumps(doc))
    doc["buffers"][0]["uri"] = "the%20side.bin"
    (tmp_path / "b.gltf").write_text(json.dumps(doc))
    (tmp_path / "the side.bin").write_bytes(gltf.binary)
    for name in ("a.gltf", "b.gltf"):
        assert np.array_equal(read_gltf(tmp_path / name).triangles, expected)
    doc["buffers"][0]["uri"] = "../outside.bin"
    (tmp_path / "c.gltf").write_text(json.dumps(doc))
    with pytest.raises(ValueError, match="outside its folder"):
        read_gltf(tmp_path / "c.gltf")


def test_draco_meshopt_and_basis_are_named_unless_there_is_a_fallback(gltf):
    draco = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
    mesh = gltf.quad(extensions=draco)
    gltf.node(mesh=mesh)
    gltf.doc["extensionsUsed"] = ["KHR_draco_mesh_compression"]
    assert len(corners(gltf)) == 2  # the accessors have data of their own
    del gltf.doc["accessors"][0]["bufferView"]
    with pytest.raises(ValueError, match="KHR_draco_mesh_compression is not supported"):
        read(gltf)
    for name in ("EXT_meshopt_compression", "KHR_texture_basisu", "KHR_draco_mesh_compression"):
        gltf.doc["extensionsRequired"] = [name]
        with pytest.raises(ValueError, match=f"{name} is not supported"):
            read(gltf)
    gltf.doc["extensionsRequired"] = ["VENDOR_new_geometry"]
    with pytest.raises(ValueError, match="VENDOR_new_geometry"):
        read(gltf)


def test_an_empty_scene_gives_no_triangles(gltf):
    source = read(gltf)
    assert source.triangles.shape == (0, 3, 3)
    assert source.materials == []
