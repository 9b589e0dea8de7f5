"""The published layout: what the generator writes, and that all of it loads and runs."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
import trimesh
from PIL import Image
from safetensors import safe_open

from trellis2.models import build_model
from trellis2.pipelines import Trellis2ImageTo3DPipeline, Trellis2TexturingPipeline, published
from trellis2.pipelines.random_checkpoint import WIDTHS, main, make_random_checkpoint, random_network

ONE_STEP = {f"{name}_sampler_params": {"steps": 1} for name in ("sparse_structure", "shape_slat", "tex_slat")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "TRELLIS.2-4B")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Trellis2ImageTo3DPipeline:
    return Trellis2ImageTo3DPipeline.from_pretrained(str(folder))


STATE_DICTS = {
    "sparse_structure_flow_model": "ss_flow_1_3B",
    "sparse_structure_decoder": "ss_vae_decoder_16l8",
    "shape_slat_flow_model_512": "shape_flow_1_3B",
    "shape_slat_flow_model_1024": "shape_flow_1_3B",
    "shape_slat_decoder": "shape_vae_decoder_f16c32",
    "tex_slat_flow_model_512": "tex_flow_1_3B",
    "tex_slat_flow_model_1024": "tex_flow_1_3B",
    "tex_slat_decoder": "tex_vae_decoder_f16c32",
    "shape_slat_encoder": "shape_vae_encoder_f16c32",
}


@pytest.mark.parametrize("key", list(STATE_DICTS))
def test_full_width_has_the_published_keys_and_shapes(vectors_dir: Path, key: str) -> None:
    expected = json.loads((vectors_dir / "models" / f"statedict_{STATE_DICTS[key]}.json").read_text())
    with torch.device("meta"):
        model = build_model(**published.model_configs()[key])
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    wanted = {name: shape for name, (shape, _) in expected.items() if name != "rope_phases"}
    assert shapes == wanted


def test_normalization_is_the_published_one(vectors_dir: Path) -> None:
    expected = json.loads((vectors_dir / "models" / "latent_normalization.json").read_text())
    args = published.pipeline_json()["args"]
    for name in ("shape_slat", "tex_slat"):
        assert args[f"{name}_normalization"] == {k: expected[name][k] for k in ("mean", "std")}
    assert set(published.model_stems()) == set(STATE_DICTS)


def test_tiny_and_full_differ_in_sizes_only() -> None:
    full, tiny = (published.model_configs(WIDTHS[name]) for name in ("full", "tiny"))
    for key, config in full.items():
        assert config["name"] == tiny[key]["name"]
        assert set(config["args"]) == set(tiny[key]["args"])
        for fixed in ("latent_channels", "in_channels", "out_channels", "resolution", "block_type"):
            assert config["args"].get(fixed) == tiny[key]["args"].get(fixed)


def test_every_reference_of_the_pipeline_files_is_there(folder: Path) -> None:
    for name in ("pipeline.json", "texturing_pipeline.json"):
        args = json.loads((folder / name).read_text())["args"]
        for stem in args["models"].values():
            assert Path(f"{folder / stem}.json").is_file()
            with safe_open(f"{folder / stem}.safetensors", "pt") as file:
                assert len(list(file.keys())) > 10
        assert (folder / args["image_cond_model"]["args"]["model_name"] / "model.safetensors").is_file()
    assert len(list(folder.rglob("*.safetensors"))) == len(STATE_DICTS) + 1


def test_same_seed_same_weights() -> None:
    a, b, c = (random_network("shape_slat_decoder", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)
    with pytest.raises(ValueError, match="unknown network"):
        random_network("decoder")
    with pytest.raises(ValueError, match="unknown width"):
        make_random_checkpoint("nowhere", "wide")  # type: ignore[arg-type]


def test_structure_is_a_ball_in_the_middle_whatever_the_latent() -> None:
    decoder = random_network("sparse_structure_decoder")
    for latent in torch.randn(2, 1, 8, 16, 16, 16, generator=torch.Generator().manual_seed(3)):
        cells = (decoder(latent)[0, 0] > 0).nonzero()
        assert 40 < len(cells) < 1200
        assert cells.float().mean(0).sub(31.5).abs().max() < 3
        assert cells.min() >= 20
        assert cells.max() <= 43


@pytest.mark.parametrize(
    ("kind", "limit", "resolution"),
    [
        ("512", 49152, 512),
        ("1024", 49152, 1024),
        ("1024_cascade", 49152, 1024),
        ("1536_cascade", 49152, 1536),
        ("1536_cascade", 400, 1024),
    ],
)
def test_every_published_type_runs(
    pipeline: Trellis2ImageTo3DPipeline,
    picture: Image.Image,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    limit: int,
    resolution: int,
) -> None:
    with caplog.at_level(logging.WARNING):
        (latents,) = pipeline.generate(picture, **ONE_STEP, pipeline_type=kind, max_num_tokens=limit)
        mesh = pipeline.decode(latents)
    assert latents.resolution == resolution
    assert latents.shape_slat.coords[:, 1:].max() < resolution // 16
    assert mesh.faces.shape[0] > 10_000
    assert mesh.coords.max() < resolution
    assert torch.isfinite(mesh.attrs).all()
    assert ("resolution lowered from 1536 to 1024" in caplog.text) == (limit == 400)


def test_texturing_pipeline_runs(folder: Path, picture: Image.Image) -> None:

    texturing = Trellis2TexturingPipeline.from_pretrained(str(folder))
    ball = trimesh.creation.icosphere(2)
    result = texturing.run(
        ball, picture, tex_slat_sampler_params={"steps": 1}, resolution=512, texture_size=64, verbose=False
    )
    assert result.visual.material.baseColorTexture.size == (64, 64)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "out"), "--no-encoder", "--rembg", "published"]) == 0
    assert "random weights" in capsys.readouterr().out
    assert not (tmp_path / "out" / "facebook").exists()
    args = json.loads((tmp_path / "out" / "pipeline.json").read_text())["args"]
    assert args["rembg_model"] == {"name": "BiRefNet", "args": {"model_name": "briaai/RMBG-2.0"}}


def test_image_file_to_glb_file(folder: Path, picture: Image.Image, tmp_path: Path) -> None:
    from trellis2.cli.main import main as cli

    picture.save(tmp_path / "disc.png")
    arguments = ["generate", tmp_path / "disc.png", "--pipeline", folder, "--type", "512", "--steps", 1, "--quiet"]
    small = ["--faces", 500, "--texture-size", 64, "--no-remesh", "--profile", "raw", "-o", tmp_path]
    assert cli([str(a) for a in (*arguments, *small)]) == 0
    scene = trimesh.load(tmp_path / "disc.glb")
    meshes = list(scene.geometry.values())  # clear and solid parts may be apart
    assert 50 < sum(len(mesh.faces) for mesh in meshes) <= 500
    assert all(mesh.visual.material.baseColorTexture.size == (64, 64) for mesh in meshes)
