"""The benchmarks' own GLB reader against trimesh's, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh
from PIL import Image

BENCHMARKS = str(Path(__file__).resolve().parent.parent.parent / "benchmarks")


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    sys.path.insert(0, BENCHMARKS)
    try:
        import glb_reader
    finally:
        sys.path.remove(BENCHMARKS)
    return glb_reader


def test_a_written_mesh_is_read_back(reader: ModuleType, tmp_path: Path) -> None:
    from o_voxel.postprocess import save_glb

    ball = trimesh.creation.icosphere(subdivisions=2)
    uv = np.random.default_rng(0).random((len(ball.vertices), 2))
    color, rough = Image.new("RGB", (8, 8), (200, 10, 30)), Image.new("RGB", (8, 8), (0, 128, 255))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=color, metallicRoughnessTexture=rough)
    ball.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    path = save_glb(ball, tmp_path / "ball.glb")
    found = reader.read_glb(path)
    x, y, z = np.asarray(ball.vertices).T
    np.testing.assert_allclose(found.vertices, np.stack([x, -z, y], 1), atol=1e-6)
    np.testing.assert_allclose(found.uv, np.stack([uv[:, 0], 1 - uv[:, 1]], 1), atol=1e-6)
    np.testing.assert_array_equal(found.faces, ball.faces)
    assert found.alpha_modes == {"OPAQUE"} and found.images["baseColorTexture"].getpixel((3, 3)) == (200, 10, 30)


def test_a_cut_file_is_refused(reader: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "cut.glb"
    path.write_bytes(b"glTF" + bytes(16))
    with pytest.raises(ValueError, match="not a GLB file of its length"):
        reader.read_glb(path)
