"""Assets read from glTF: relief and light of their own."""

from __future__ import annotations

import io
import json
import math
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from trellis2.renderers import EnvMap, PbrMeshRenderer
from trellis2.renderers.asset import load_asset
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov
from trellis2.renderers.color import tone_map


def _one_quad_glb(path, material, images):
    """A quad facing +Z of glTF with upright texture coordinates and one material."""

    positions = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
    index = np.array([0, 1, 2, 0, 2, 3], np.uint16)
    blobs = [positions.tobytes(), uv.tobytes(), index.tobytes()]
    for pixels in images:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        blobs.append(buffer.getvalue())
    views, data = [], b""
    for blob in blobs:
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(blob)})
        data += blob + b"\0" * (-len(blob) % 4)
    doc = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_materials_emissive_strength"],
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [material],
        "textures": [{"source": i} for i in range(len(images))],
        "images": [{"bufferView": 3 + i, "mimeType": "image/png"} for i in range(len(images))],
        "buffers": [{"byteLength": len(data)}],
        "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [-1, -1, 0], "max": [1, 1, 0]},
            {"bufferView": 1, "componentType": 5126, "count": 4, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
    }
    text = json.dumps(doc).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    path.write_bytes(struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body)


def _front(path):
    mesh = load_asset(path).to_mesh()
    extrinsics = extrinsics_look_at(torch.tensor([0.0, -2.0, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    options = {"resolution": 16, "near": 0.5, "far": 5.0, "ao_samples": 0}
    env = EnvMap(torch.zeros(16, 32, 3))
    return PbrMeshRenderer(options).render(mesh, extrinsics, intrinsics_from_fov(math.radians(20)), env)


def test_normal_maps_of_gltf_bend_the_shading_normal_right_and_up(tmp_path):
    for pixel, expected in (((192, 128, 238), (1, 0)), ((128, 192, 238), (0, 1))):
        material = {"normalTexture": {"index": 0}}
        _one_quad_glb(tmp_path / "a.glb", material, [np.full((4, 4, 3), pixel, np.uint8)])
        normal = _front(tmp_path / "a.glb").normal[:, 8, 8] * 2 - 1  # red right, green up, blue to the viewer
        assert normal[:2].tolist() == pytest.approx([0.5 * e for e in expected], abs=0.02)
        assert float(normal[2]) == pytest.approx(0.87, abs=0.02)
    material = {"normalTexture": {"index": 0, "scale": 0.0}}
    _one_quad_glb(tmp_path / "a.glb", material, [np.full((4, 4, 3), (192, 128, 238), np.uint8)])
    assert (_front(tmp_path / "a.glb").normal[:, 8, 8] * 2 - 1).tolist() == pytest.approx([0, 0, 1], abs=0.02)


def test_emission_of_gltf_shines_without_light(tmp_path):
    material = {
        "emissiveFactor": [1.0, 0.5, 0.0],
        "emissiveTexture": {"index": 0},
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 2.0}},
    }
    _one_quad_glb(tmp_path / "a.glb", material, [np.full((4, 4, 3), 188, np.uint8)])  # 0.5 linear
    shown = _front(tmp_path / "a.glb").shaded[:, 8, 8]
    assert torch.allclose(shown, tone_map(torch.tensor([1.0, 0.5, 0.0])), atol=0.01)
    _one_quad_glb(tmp_path / "dark.glb", {}, [])
    assert (_front(tmp_path / "dark.glb").shaded == 0).all()
