"""GLB export: shape, budget, colours, material, file, bad input."""

from __future__ import annotations

import io
import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from o_voxel import mesh as M
from o_voxel.postprocess import glb_bytes, save_glb, to_glb
from o_voxel.postprocess.material import choose_alpha_mode

STAGES = ["clean", "shells", "orient", "smooth", "simplify", "check"]
STAGES += ["unwrap", "bake", "normals", "occlusion", "material"]
Make = Callable[..., dict[str, Any]]
Validate = Callable[[Path], dict[str, Any]]


def read_glb(payload: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, total = struct.unpack_from("<III", payload)
    assert (magic, version, total) == (0x46546C67, 2, len(payload))
    length, kind = struct.unpack_from("<II", payload, 12)
    assert kind == 0x4E4F534A and length % 4 == 0
    return json.loads(payload[20 : 20 + length]), payload[28 + length :]


def z_up(points: np.ndarray) -> np.ndarray:
    """glTF (x, y, z) back to world (x, -z, y)."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


@pytest.fixture(scope="module")
def exported(ball: dict[str, Any]) -> tuple[trimesh.Trimesh, Any]:
    return to_glb(**ball, report=True)


def test_surface_is_closed_outward_and_within_budget(exported: tuple) -> None:
    asset, report = exported
    assert 1980 <= len(asset.faces) <= 2000
    assert report.output.watertight and report.output.euler == 2 and not report.double_sided
    welded = trimesh.Trimesh(
        *M.merge_close_vertices(np.asarray(asset.vertices), np.asarray(asset.faces)), process=False
    )
    assert welded.is_watertight and welded.is_winding_consistent
    assert welded.volume == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=0.02)
    normals = np.asarray(asset.vertex_normals)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (normals * np.asarray(asset.vertices)).sum(1).min() > 0.38
    assert list(report.seconds) == [*STAGES, "measure"]


def test_axes_are_y_up_with_front_at_plus_z(make_asset: Make) -> None:
    v = trimesh.creation.box(extents=[0.2, 0.4, 0.8])
    asset = to_glb(**make_asset(np.asarray(v.vertices), np.asarray(v.faces)))
    np.testing.assert_allclose(np.ptp(np.asarray(asset.vertices), axis=0), [0.2, 0.8, 0.4], atol=1e-6)
    assert asset.volume == pytest.approx(0.064, rel=1e-4)  # a rotation, not a mirror


def test_texture_shows_the_colour_at_each_surface_point(exported: tuple) -> None:
    asset, report = exported
    image = np.asarray(asset.visual.material.baseColorTexture).astype(np.float64) / 255
    assert image.shape == (256, 256, 3)
    rng = np.random.default_rng(0)
    face = rng.integers(0, len(asset.faces), 4000)
    weight = rng.dirichlet(np.ones(3), 4000)[:, :, None]
    corner = np.asarray(asset.faces)[face]
    point = z_up((np.asarray(asset.vertices)[corner] * weight).sum(1))
    uv = (np.asarray(asset.visual.uv)[corner] * weight).sum(1)
    texel = np.clip((np.stack([uv[:, 0], 1 - uv[:, 1]], 1) * 256).astype(int), 0, 255)
    error = np.abs(image[texel[:, 1], texel[:, 0]] - (point + 0.5))
    assert error.mean() < 0.006 and error.max() < 0.04
    rough = np.asarray(asset.visual.material.metallicRoughnessTexture)
    assert np.abs(rough[..., 1].astype(int) - 191).max() <= 1 and np.abs(rough[..., 2].astype(int) - 64).max() <= 1
    assert rough[..., 0].min() >= 250  # nothing shades a ball


def test_values_do_not_darken_where_voxels_are_missing(ball: dict[str, Any]) -> None:
    thin = dict(ball)
    keep = torch.from_numpy(np.random.default_rng(0).random(len(ball["coords"])) < 0.3)
    thin["coords"], thin["attr_volume"] = ball["coords"][keep], torch.ones_like(ball["attr_volume"][keep])
    asset = to_glb(**thin)
    assert np.asarray(asset.visual.material.baseColorTexture).min() == 255


def test_far_away_voxels_still_give_the_nearest_colour(ball: dict[str, Any]) -> None:
    one = dict(ball)
    one["coords"] = torch.tensor([[0, 0, 0], [47, 47, 47]], dtype=torch.int32)
    one["attr_volume"] = torch.tensor([[1.0, 0, 0, 0, 0, 1], [0, 1.0, 0, 0, 0, 1]])
    asset = to_glb(**one)
    centre = np.asarray(asset.visual.uv)[np.asarray(asset.faces)].mean(1)
    texel = np.clip((np.stack([centre[:, 0], 1 - centre[:, 1]], 1) * 256).astype(int), 0, 255)
    colours = np.asarray(asset.visual.material.baseColorTexture)[texel[:, 1], texel[:, 0]]
    assert np.unique(colours, axis=0).tolist() == [[0, 255, 0], [255, 0, 0]]


def test_thin_wall_keeps_its_two_colours(make_asset: Make) -> None:
    # A plate half a voxel thick, red above and green below, thinned out by decimation.
    plate = trimesh.creation.box(extents=[0.8, 0.8, 0.012])
    for _ in range(4):
        plate = plate.subdivide()
    arguments = make_asset(np.asarray(plate.vertices), np.asarray(plate.faces))
    z = (arguments["coords"][:, 2].float() + 0.5) / 48 - 0.5
    red, green = (z > 0).float(), (z < 0).float()
    zero = torch.zeros_like(z)
    arguments["attr_volume"] = torch.stack([red, green, zero, zero, zero, zero + 1], 1)
    arguments["decimation_target"] = 300
    asset = to_glb(**arguments)
    image = np.asarray(asset.visual.material.baseColorTexture).astype(np.float64)
    centre = np.asarray(asset.visual.uv)[np.asarray(asset.faces)].mean(1)
    texel = np.clip((np.stack([centre[:, 0], 1 - centre[:, 1]], 1) * 256).astype(int), 0, 255)
    colour = image[texel[:, 1], texel[:, 0]]
    up = np.asarray(asset.face_normals)[:, 1]
    assert (colour[up > 0.9, 0] > colour[up > 0.9, 1]).all() and (colour[up < -0.9, 1] > colour[up < -0.9, 0]).all()


@pytest.mark.parametrize(
    ("alpha", "mode", "bands"),
    [
        (lambda p: np.ones(len(p)), "OPAQUE", 3),
        (lambda p: (p[:, 2] > 0).astype(float), "MASK", 4),
        (lambda p: np.full(len(p), 0.5), "BLEND", 4),
    ],
)
def test_alpha_mode_follows_the_surface(make_asset: Make, alpha: Callable, mode: str, bands: int) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    asset, report = to_glb(**make_asset(np.asarray(ball.vertices), np.asarray(ball.faces), alpha), report=True)
    assert report.alpha_mode == asset.visual.material.alphaMode == mode
    assert len(asset.visual.material.baseColorTexture.getbands()) == bands
    document, _ = read_glb(glb_bytes(asset))
    assert document["materials"][0].get("alphaMode", "OPAQUE") == mode


@pytest.mark.parametrize("mode", ["OPAQUE", "MASK", "BLEND"])
def test_every_alpha_mode_passes_the_validator(
    exported: tuple, validate_glb: Validate, tmp_path: Path, mode: str
) -> None:
    asset = exported[0].copy()
    asset.visual.material.alphaMode = mode
    asset.visual.material.alphaCutoff = 0.5 if mode == "MASK" else None
    issues = validate_glb(save_glb(asset, tmp_path / "a.glb"))
    assert issues["messages"] == []


def test_alpha_mode_can_be_forced(ball: dict[str, Any]) -> None:
    asset = to_glb(**ball, alpha_mode="BLEND", double_sided=True)
    assert asset.visual.material.alphaMode == "BLEND" and asset.visual.material.doubleSided


def test_alpha_statistics() -> None:
    assert choose_alpha_mode(np.array([])) == "OPAQUE"
    assert choose_alpha_mode(np.full(1000, 0.97)) == "OPAQUE"
    assert choose_alpha_mode(np.r_[np.ones(999), 0.0]) == "OPAQUE"  # one stray texel
    assert choose_alpha_mode(np.r_[np.ones(900), np.zeros(80), np.full(20, 0.5)]) == "MASK"
    assert choose_alpha_mode(np.r_[np.ones(500), np.full(500, 0.4)]) == "BLEND"


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_file_passes_the_khronos_validator(
    exported: tuple, validate_glb: Validate, tmp_path: Path, image_format: Any
) -> None:
    issues = validate_glb(save_glb(exported[0], tmp_path / "ball.glb", image_format=image_format))
    assert issues["messages"] == []
    exported[0].export(tmp_path / "plain.glb")  # the published way to write
    issues = validate_glb(tmp_path / "plain.glb")
    # That writer has no TANGENT: readers make the tangents themselves, by the rule they were made by for the map.
    codes = {message["code"] for message in issues["messages"] if message["severity"] <= 1}
    assert codes == {"MESH_PRIMITIVE_GENERATED_TANGENT_SPACE"}, issues


def test_file_content(exported: tuple) -> None:
    asset, _ = exported
    document, data = read_glb(glb_bytes(asset, name="ball"))
    (primitive,) = document["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "TANGENT"}
    views = document["bufferViews"]
    assert all(view["byteOffset"] % 4 == 0 for view in views)
    accessor = document["accessors"][primitive["attributes"]["POSITION"]]
    position = np.frombuffer(data, np.float32, accessor["count"] * 3, views[accessor["bufferView"]]["byteOffset"])
    position = position.reshape(-1, 3)
    assert accessor["min"] == position.min(0).tolist() and accessor["max"] == position.max(0).tolist()
    accessor = document["accessors"][primitive["attributes"]["TEXCOORD_0"]]
    uv = np.frombuffer(data, np.float32, accessor["count"] * 2, views[accessor["bufferView"]]["byteOffset"])
    np.testing.assert_allclose(uv.reshape(-1, 2)[:, 1], 1 - np.asarray(asset.visual.uv)[:, 1], atol=1e-6)
    (material,) = document["materials"]
    assert "alphaMode" not in material and "doubleSided" not in material
    image = views[document["images"][0]["bufferView"]]
    decoded = Image.open(io.BytesIO(data[image["byteOffset"] : image["byteOffset"] + image["byteLength"]]))
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(asset.visual.material.baseColorTexture))
    loaded = trimesh.load(io.BytesIO(glb_bytes(asset)), file_type="glb", force="mesh", process=False)
    np.testing.assert_allclose(loaded.vertices, asset.vertices, atol=1e-6)
    np.testing.assert_allclose(loaded.visual.uv, asset.visual.uv, atol=1e-6)


def test_webp_is_declared(exported: tuple) -> None:
    document, _ = read_glb(glb_bytes(exported[0], image_format="webp"))
    assert document["extensionsRequired"] == ["EXT_texture_webp"]
    assert all("source" not in texture for texture in document["textures"])


def test_many_vertices_use_wide_indices(exported: tuple) -> None:
    asset = exported[0].copy()
    count = 70000 // len(asset.vertices) + 1
    n = len(asset.vertices)
    big = trimesh.Trimesh(
        np.tile(asset.vertices, (count, 1)),
        np.concatenate([asset.faces + i * n for i in range(count)]),
        vertex_normals=np.tile(asset.vertex_normals, (count, 1)),
        visual=trimesh.visual.TextureVisuals(uv=np.tile(asset.visual.uv, (count, 1)), material=asset.visual.material),
        process=False,
    )
    document, data = read_glb(glb_bytes(big))
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["indices"]]
    assert accessor["componentType"] == 5125
    index = np.frombuffer(
        data, np.uint32, accessor["count"], document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    )
    assert index.max() == len(big.vertices) - 1


def test_failed_write_leaves_nothing(exported: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "a.glb"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_glb(exported[0], path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.glb"]
    with pytest.raises(ValueError, match=r"path must end in \.glb"):
        save_glb(exported[0], tmp_path / "a.gltf")


def test_export_repeats_exactly(ball: dict[str, Any]) -> None:
    assert glb_bytes(to_glb(**ball)) == glb_bytes(to_glb(**ball))


def test_open_sheets_stay_open_but_for_printing(make_asset: Make) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    half = np.asarray(ball.faces)[np.asarray(ball.vertices)[np.asarray(ball.faces)].mean(1)[:, 2] < 0.1]
    arguments = make_asset(np.asarray(ball.vertices), half)
    _, sheet = to_glb(**arguments, remesh=True, report=True)
    assert sheet.double_sided and sheet.output.boundary_edges > 0 and "remesh" in sheet.seconds
    _, shell = to_glb(**arguments, profile="print", report=True)
    assert not shell.double_sided and shell.output.watertight and "remesh" in shell.seconds
    assert shell.problems == () and "normals" not in shell.seconds and shell.volume > 0


def test_game_profile_drops_what_nobody_sees(make_asset: Make) -> None:
    outer = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    inner = trimesh.creation.icosphere(subdivisions=3, radius=0.2)
    speck = trimesh.creation.icosphere(subdivisions=0, radius=0.004)
    speck.apply_translation([0.45, 0.45, 0.45])
    scene = trimesh.util.concatenate([outer, inner, speck])
    arguments = make_asset(np.asarray(scene.vertices), np.asarray(scene.faces))
    asset, report = to_glb(**arguments, report=True)
    assert report.hidden_faces == len(inner.faces) and report.output.num_components == 1
    assert np.linalg.norm(np.asarray(asset.vertices), axis=1).min() > 0.39
    _, raw = to_glb(**arguments, profile="raw", report=True)
    assert raw.hidden_faces == 0 and raw.output.num_components == 3


def test_cracks_are_closed(ball: dict[str, Any]) -> None:
    torn = dict(ball)
    torn["faces"] = ball["faces"][torch.from_numpy(np.random.default_rng(0).random(len(ball["faces"])) > 0.01)]
    assert to_glb(**torn, report=True)[1].output.watertight


def test_stages_are_logged_when_verbose(ball: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="o_voxel.postprocess"):
        to_glb(**ball)
        assert caplog.records == []
        to_glb(**ball, verbose=True)
    assert [r.getMessage().split(":")[0] for r in caplog.records] == STAGES


def test_missing_attributes_get_defaults(ball: dict[str, Any]) -> None:
    plain = dict(ball, attr_volume=ball["attr_volume"][:, :3], attr_layout={"base_color": slice(0, 3)})
    material = to_glb(**plain).visual.material
    rough = np.asarray(material.metallicRoughnessTexture)
    assert (rough[..., 1] == 255).all() and (rough[..., 2] == 0).all() and material.alphaMode == "OPAQUE"


def test_voxel_size_means_the_same_as_grid_size(ball: dict[str, Any]) -> None:
    by_size = {k: v for k, v in ball.items() if k != "grid_size"}
    assert glb_bytes(to_glb(**by_size, voxel_size=1 / 48)) == glb_bytes(to_glb(**ball))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"vertices": torch.zeros(0, 3)}, ValueError, "faces must lie in"),
        ({"faces": torch.zeros(0, 3, dtype=torch.int32)}, ValueError, "the mesh must not be empty"),
        ({"vertices": torch.full((2562, 3), float("nan"))}, ValueError, "vertices must be finite"),
        ({"vertices": torch.zeros(2562, 3)}, ValueError, "no proper face"),
        ({"vertices": torch.full((2562, 3), 99.0)}, ValueError, "vertices must lie within 4 boxes"),
        ({"smooth": -1}, ValueError, "smooth must be an int"),
        ({"faces": torch.full((1, 3), 99999, dtype=torch.int32)}, ValueError, "faces must lie in"),
        ({"attr_volume": torch.zeros(0, 6)}, ValueError, "attr_volume must have shape"),
        ({"coords": torch.zeros(3, 3, dtype=torch.int32)}, ValueError, "coords must have shape"),
        ({"attr_layout": {"metallic": slice(3, 4)}}, ValueError, "attr_layout must name base_color"),
        ({"attr_layout": {"base_color": slice(4, 9)}}, ValueError, "must be a slice of 3"),
        ({"aabb": [[0.5] * 3, [-0.5] * 3]}, ValueError, "aabb must be"),
        ({"grid_size": None}, ValueError, "one of voxel_size and grid_size"),
        ({"grid_size": 8}, ValueError, "coords must lie in the grid"),
        ({"voxel_size": -0.1}, ValueError, "voxel_size must be"),
        ({"decimation_target": 0}, ValueError, "decimation_target must be an int"),
        ({"texture_size": 20000}, ValueError, "texture_size must be an int"),
        ({"profile": "film"}, ValueError, "profile must be one of"),
        ({"alpha_mode": "CUTOUT"}, ValueError, "alpha_mode must be"),
        ({"remesh_project": 2.0}, ValueError, "remesh_project must lie"),
        ({"mesh_cluster_threshold_cone_half_angle_rad": 0.0}, ValueError, "mesh_cluster_threshold"),
        ({"vertices": [[0.0, 0, 0]]}, TypeError, "vertices must be"),
    ],
)
def test_bad_arguments_are_refused(
    ball: dict[str, Any], change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        to_glb(**{**ball, **change})


def test_export_works_without_the_native_core(make_asset: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import o_voxel._native

    monkeypatch.setattr(o_voxel._native, "native_module", lambda: None)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.4)
    arguments = make_asset(np.asarray(ball.vertices), np.asarray(ball.faces))
    arguments.update(decimation_target=100, texture_size=32, unwrap_method="charts", ambient_occlusion=False)
    asset, report = to_glb(**arguments, report=True)
    assert len(asset.faces) == 100 and report.output.watertight


def test_a_single_triangle_is_an_asset(make_asset: Make) -> None:
    v = np.array([[0, 0, 0], [0.3, 0, 0], [0, 0.3, 0]])
    asset, report = to_glb(**make_asset(v, np.array([[0, 1, 2]])), report=True)
    assert len(asset.faces) == 1 and report.double_sided


def test_triangle_soup_ends_within_the_budget(make_asset: Make) -> None:
    v = np.random.default_rng(0).random((3000, 3)) * 0.9 - 0.45
    arguments = make_asset(v, np.arange(3000).reshape(-1, 3))
    arguments.update(decimation_target=700, texture_size=64)
    asset, report = to_glb(**arguments, report=True)
    assert len(asset.faces) <= 700 and report.double_sided


def test_impossible_budget_is_an_error(ball: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing is left at"):
        to_glb(**{**ball, "decimation_target": 1})


@pytest.mark.parametrize("options", [{}, {"remesh": True}, {"profile": "raw"}, {"profile": "print"}, {"smooth": 0}])
def test_progress_counts_the_stages(ball: dict[str, Any], options: dict[str, Any]) -> None:
    calls: list[tuple[str, int, int]] = []
    to_glb(**ball, **options, progress=lambda *call: calls.append(call))
    names, done, counts = zip(*calls)
    assert list(done) == list(range(len(calls))) and set(counts) == {len(calls) - 1}
    assert names[0] == "clean" and names[-2:] == ("material", "") and len(set(names)) == len(names)


def test_progress_can_end_the_export(ball: dict[str, Any]) -> None:
    def stop(stage: str, done: int, count: int) -> None:
        if stage == "unwrap":
            raise InterruptedError(f"{done} of {count}")

    with pytest.raises(InterruptedError, match="of 11"):
        to_glb(**ball, progress=stop)
