"""PLY meshes: round trips, foreign files, damage."""

from __future__ import annotations

import numpy as np
import pytest

from trellis2.utils.mesh_utils import read_ply, write_pbr_ply, write_ply

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]], np.float32)
TRIS = np.array([[0, 1, 4], [1, 2, 4]])
QUADS = np.array([[0, 3, 2, 1]])


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_round_trip_with_and_without_colours(tmp_path, ascii, channels):
    path = tmp_path / "a.ply"
    colors = None if channels is None else np.arange(5 * channels, dtype=np.uint8).reshape(5, channels)
    write_ply(path, VERTICES, TRIS, QUADS, colors, ascii=ascii)
    vertices, tris, quads = read_ply(path)
    assert np.array_equal(vertices, VERTICES) and np.array_equal(tris, TRIS) and np.array_equal(quads, QUADS)
    assert vertices.dtype == np.float32 and tris.dtype == quads.dtype == np.int32
    header = path.read_bytes().split(b"end_header")[0].decode()
    assert "format ascii 1.0" in header if ascii else "format binary_little_endian 1.0" in header
    assert "property list uchar int vertex_index" in header
    assert ("property uchar red" in header) == (channels is not None)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_faces_of_one_kind_or_none(tmp_path):
    path = tmp_path / "a.ply"
    for tris, quads in ((TRIS, np.zeros((0, 4))), (np.zeros((0, 3)), QUADS), (np.zeros((0, 3)), np.zeros((0, 4)))):
        write_ply(path, VERTICES, tris, quads)
        _, read_tris, read_quads = read_ply(path)
        assert np.array_equal(read_tris, tris) and np.array_equal(read_quads, quads)


@pytest.mark.parametrize("ascii", [False, True])
def test_pbr_mesh_keeps_its_attributes(tmp_path, ascii):
    from plyfile import PlyData

    path = tmp_path / "a.ply"
    one = np.arange(5, dtype=np.uint8)
    write_pbr_ply(path, VERTICES, TRIS, np.stack([one] * 3, 1), one + 10, one + 20, one + 30, ascii=ascii)
    assert np.array_equal(read_ply(path)[1], TRIS)
    vertex = PlyData.read(str(path))["vertex"]
    assert [p.name for p in vertex.properties] == [
        "x",
        "y",
        "z",
        "red",
        "green",
        "blue",
        "metallic",
        "roughness",
        "alpha",
    ]
    assert vertex["roughness"].tolist() == [20, 21, 22, 23, 24]


def test_larger_polygons_become_fans(tmp_path):
    path = tmp_path / "a.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 5\nproperty double x\nproperty double y\nproperty double z\n"
        "property float confidence\nelement face 1\nproperty list uchar uint vertex_indices\nend_header\n"
        + "".join(f"{i} {i * i} 0 1\n" for i in range(5))
        + "5 0 1 2 3 4\n"
    )
    vertices, tris, quads = read_ply(path)
    assert tris.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]] and len(quads) == 0 and vertices[2, 1] == 4


def test_bad_files_and_arguments_are_refused(tmp_path):
    path = tmp_path / "a.ply"
    write_ply(path, VERTICES, TRIS, QUADS)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="readable"):
        read_ply(path)
    path.write_bytes(b"not a mesh")
    with pytest.raises(ValueError, match="readable"):
        read_ply(path)
    write_ply(path, VERTICES, TRIS + 3, QUADS)
    with pytest.raises(ValueError, match="outside"):
        read_ply(path)
    with pytest.raises(ValueError, match="vertex_colors"):
        write_ply(path, VERTICES, TRIS, QUADS, np.zeros((5, 2), np.uint8))
    with pytest.raises(ValueError, match="one row"):
        write_ply(path, VERTICES, TRIS, QUADS, np.zeros((4, 3), np.uint8))
