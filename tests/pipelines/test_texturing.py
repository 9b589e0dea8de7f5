"""Materials for given meshes, with untrained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from trellis2.pipelines import Trellis2TexturingPipeline, from_pretrained
from trellis2.pipelines.texturing_mesh import bake_material, load_mesh, normalize_mesh, usable_uv
from trellis2.representations.layout import PBR_ATTR_LAYOUT

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline(pipeline_dir: Path) -> Trellis2TexturingPipeline:
    return Trellis2TexturingPipeline.from_pretrained(str(pipeline_dir))


def box() -> trimesh.Trimesh:
    mesh = trimesh.creation.box(extents=(1.0, 2.0, 0.5))
    mesh.apply_translation((3, 4, 5))
    return mesh


def quad(uv: list[list[float]]) -> trimesh.Trimesh:
    vertices = [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]]
    visual = trimesh.visual.TextureVisuals(uv=np.array(uv, float))
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


UNIT = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]


def test_mesh_is_centred_scaled_and_turned_z_up() -> None:
    mesh, back = normalize_mesh(box())
    assert mesh.bounds == pytest.approx(np.array([[-0.25, -0.125, -0.5], [0.25, 0.125, 0.5]]), abs=1e-4)
    assert np.abs(mesh.vertices).max() <= 0.5
    y_up = np.stack([mesh.vertices[:, 0], mesh.vertices[:, 2], -mesh.vertices[:, 1]], axis=1)
    assert trimesh.transform_points(y_up, back) == pytest.approx(np.asarray(box().vertices), abs=1e-9)


def test_uvs_survive_normalisation() -> None:
    mesh, _ = normalize_mesh(quad(UNIT))
    assert mesh.visual.uv.tolist() == UNIT


@pytest.mark.parametrize(
    ("mesh", "error", "match"),
    [
        (trimesh.Trimesh(np.zeros((0, 3)), np.zeros((0, 3), int), process=False), ValueError, "must have faces"),
        (trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False), ValueError, "coincide"),
        (trimesh.Trimesh([[0, 0, 0], [1, 0, np.nan], [0, 1, 0]], [[0, 1, 2]], process=False), ValueError, "finite"),
        ("mesh.obj", TypeError, "must be a trimesh mesh or scene, got str"),
    ],
)
def test_bad_meshes_are_refused(mesh: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        normalize_mesh(mesh)


def test_scene_becomes_one_mesh() -> None:
    scene = trimesh.Scene([box(), trimesh.creation.icosphere(subdivisions=1)])
    mesh, _ = normalize_mesh(scene)
    assert len(mesh.faces) == 12 + 80


@pytest.mark.parametrize("suffix", ["stl", "obj", "glb", "ply"])
def test_mesh_files_are_read_with_shared_corners(suffix: str, tmp_path: Path) -> None:
    box().export(tmp_path / f"box.{suffix}")
    mesh, _ = normalize_mesh(load_mesh(tmp_path / f"box.{suffix}"))
    assert (len(mesh.vertices), len(mesh.faces)) == (8, 12)


@pytest.mark.parametrize(
    ("uv", "usable"),
    [
        (UNIT, True),
        ([[0.1, 0.1], [1.9, 0.1], [1.9, 0.9], [0.1, 0.9]], False),  # leaves the unit square
        ([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.9, 0.1]], False),  # both faces on one place
        ([[0.5, 0.5]] * 4, False),  # no room at all
    ],
)
def test_uvs_are_used_if_every_face_has_its_own_place(uv: list[list[float]], usable: bool) -> None:
    assert (usable_uv(quad(uv)) is not None) is usable


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    """Voxels of a 16^3 grid: red where x is below the middle, green above."""
    axis = torch.arange(16)
    coords = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    attrs = torch.zeros(len(coords), 6)
    attrs[coords[:, 0] < 8, 0] = 1
    attrs[coords[:, 0] >= 8, 1] = 1
    attrs[:, 3], attrs[:, 4], attrs[:, 5] = 0.25, 0.75, 1
    return attrs, coords


@pytest.mark.parametrize("uv", ["keep", "unwrap"])
def test_baked_colour_lies_where_the_surface_is(uv: Any) -> None:
    mesh, _ = normalize_mesh(quad(UNIT))
    textured = bake_material(mesh, *halves(), PBR_ATTR_LAYOUT, 16, 128, uv)
    color = np.asarray(textured.visual.material.baseColorTexture)
    assert color.shape == (128, 128, 3)
    left = right = 0
    for face in textured.faces:
        point = textured.vertices[face].mean(axis=0)
        u, v = np.asarray(textured.visual.uv)[face].mean(axis=0)
        texel = color[int((1 - v) * 128), int(u * 128)]
        expected = (255, 0, 0) if point[0] < 0 else (0, 255, 0)
        assert tuple(int(c) for c in texel) == expected
        left, right = left + (point[0] < 0), right + (point[0] > 0)
    assert (left, right) == (1, 1)
    rough = np.asarray(textured.visual.material.metallicRoughnessTexture)
    assert rough[64, 64, 1] == pytest.approx(0.75 * 255, abs=1)
    assert rough[64, 64, 2] == pytest.approx(0.25 * 255, abs=1)
    assert textured.visual.material.alphaMode == "OPAQUE"


def test_kept_uvs_keep_the_vertices() -> None:
    mesh, _ = normalize_mesh(quad(UNIT))
    textured = bake_material(mesh, *halves(), PBR_ATTR_LAYOUT, 16, 64)
    assert textured.visual.uv == pytest.approx(np.array(UNIT))
    assert len(textured.vertices) == 4


def test_bad_bake_arguments_are_refused() -> None:
    mesh, _ = normalize_mesh(box())
    with pytest.raises(ValueError, match="texture_size"):
        bake_material(mesh, *halves(), PBR_ATTR_LAYOUT, 16, 4)
    with pytest.raises(ValueError, match="has no UVs"):
        bake_material(mesh, *halves(), PBR_ATTR_LAYOUT, 16, 64, "keep")
    with pytest.raises(ValueError, match="unknown uv 'own'"):
        bake_material(mesh, *halves(), PBR_ATTR_LAYOUT, 16, 64, "own")  # type: ignore[arg-type]


def test_decoded_voxels_are_the_encoded_ones(pipeline: Trellis2TexturingPipeline, picture: Image.Image) -> None:
    mesh = pipeline.preprocess_mesh(box())
    slat = pipeline.encode_shape_slat(mesh, 32)
    cond = pipeline.get_cond([pipeline.preprocess_image(picture)], 32)
    tex = pipeline.sample_tex_slat(cond, pipeline.models["tex_slat_flow_model"], slat, verbose=False)
    attrs = pipeline.decode_tex_slat(tex)
    cells = np.unique(np.floor((trimesh.sample.sample_surface(mesh, 200, seed=0)[0] + 0.5) * 32), axis=0)
    decoded = {tuple(c) for c in attrs.coords[:, 1:].tolist()}
    near = [any((int(x + d), int(y), int(z)) in decoded for d in (-1, 0, 1)) for x, y, z in cells]
    assert np.mean(near) > 0.95
    assert attrs.feats.shape == (len(decoded), 6)


def test_mesh_is_textured_in_its_place(pipeline: Trellis2TexturingPipeline, picture: Image.Image) -> None:
    kwargs: dict[str, Any] = {"texture_size": 64, "verbose": False}
    textured = pipeline.run(box(), picture, **kwargs)
    assert textured.bounds == pytest.approx(box().bounds, abs=1e-6)
    assert np.asarray(textured.visual.material.baseColorTexture).std() > 0
    unit = pipeline.run(box(), picture, restore_transform=False, **kwargs)
    assert np.abs(unit.vertices).max() == pytest.approx(0.5, abs=1e-4)
    assert len(textured.faces) == 12


def test_textured_mesh_passes_the_khronos_validator(
    pipeline: Trellis2TexturingPipeline, picture: Image.Image, validate_glb: Any, tmp_path: Path
) -> None:
    from o_voxel.postprocess import save_glb

    save_glb(pipeline.run(box(), picture, seed=1, texture_size=64, verbose=False), tmp_path / "box.glb")
    assert validate_glb(tmp_path / "box.glb")["messages"] == []


def test_texture_follows_the_seed(pipeline: Trellis2TexturingPipeline, picture: Image.Image) -> None:
    images = [
        np.asarray(
            pipeline.run(box(), picture, seed=seed, texture_size=32, verbose=False).visual.material.baseColorTexture
        )
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_bad_arguments_are_refused(pipeline: Trellis2TexturingPipeline, picture: Image.Image) -> None:
    with pytest.raises(ValueError, match="resolution must be one of 32, got 1024"):
        pipeline.run(box(), picture, resolution=1024)
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        pipeline.run(box(), picture, tex_slat_sampler_params={"step": 1})
    with pytest.raises(ValueError, match="fully transparent"):
        pipeline.run(box(), Image.new("RGBA", (32, 32)))


def test_module_function_picks_the_class(pipeline_dir: Path) -> None:
    loaded = from_pretrained(str(pipeline_dir), "texturing_pipeline.json")
    assert isinstance(loaded, Trellis2TexturingPipeline)
    assert loaded.default_resolution == 32
