"""The whole way from an image to assets, with untrained networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trellis2.pipelines import Trellis2ImageTo3DPipeline, from_pretrained
from trellis2.pipelines.errors import PipelineConfigError, PipelineLoadError, StageError
from trellis2.pipelines.noise import NoiseSource
from trellis2.representations import MeshWithVoxel

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline(pipeline_dir: Path) -> Trellis2ImageTo3DPipeline:
    return Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))


def run(pipeline: Trellis2ImageTo3DPipeline, image: Image.Image, **kwargs: Any) -> Any:
    return pipeline.run(image, verbose=False, **kwargs)


def same(a: MeshWithVoxel, b: MeshWithVoxel) -> bool:
    return (
        torch.equal(a.vertices, b.vertices)
        and torch.equal(a.faces, b.faces)
        and torch.equal(a.coords, b.coords)
        and torch.equal(a.attrs, b.attrs)
    )


def test_image_becomes_a_mesh_with_attributes(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    (mesh,) = run(pipeline, picture)
    assert isinstance(mesh, MeshWithVoxel)
    assert mesh.faces.shape[0] > 100
    assert mesh.vertices.abs().max() <= 0.6
    assert mesh.voxel_size == 1 / 32
    assert mesh.voxel_shape == (1, 6, 32, 32, 32)
    assert mesh.layout["roughness"] == slice(4, 5)
    assert mesh.coords.min() >= 0
    assert mesh.coords.max() < 32
    assert torch.isfinite(mesh.query_vertex_attrs()).all()


def test_same_seed_same_asset_and_another_seed_another(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image
) -> None:
    torch.manual_seed(0)
    (a,) = run(pipeline, picture, seed=3)
    torch.manual_seed(99)
    (b,) = run(pipeline, picture, seed=3)
    (c,) = run(pipeline, picture, seed=4)
    assert same(a, b)
    assert not same(a, c)


def test_samples_of_a_batch_are_single_runs_with_following_seeds(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image
) -> None:
    for kind in ("32", "64_cascade"):
        options = {"pipeline_type": kind, "max_num_tokens": 1}  # the lowest rung of the cascade
        batch = run(pipeline, picture, seed=7, num_samples=2, **options)
        singles = [run(pipeline, picture, seed=seed, **options)[0] for seed in (7, 8)]
        assert len(batch) == 2
        assert all(same(a, b) for a, b in zip(batch, singles))


def test_image_changes_the_asset(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    pixels = np.asarray(picture).copy()
    pixels[:, :, :3] = pixels[:, :, [2, 0, 1]]
    (a,), (b,) = run(pipeline, picture), run(pipeline, Image.fromarray(pixels))
    assert not same(a, b)


def test_stage_methods_take_a_batch(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    cond = pipeline.get_cond([pipeline.preprocess_image(picture)], 32)
    assert cond["cond"].shape == cond["neg_cond"].shape
    assert not cond["neg_cond"].any()
    noise = NoiseSource([7, 8])
    coords = pipeline.sample_sparse_structure(cond, 8, 2, noise=noise, verbose=False)
    flow = pipeline.models["shape_slat_flow_model"]
    slat = pipeline.sample_shape_slat(cond, flow, coords, noise=noise, verbose=False)
    assert len(slat) == 2
    single_noise = NoiseSource([8])
    single = pipeline.sample_sparse_structure(cond, 8, 1, noise=single_noise, verbose=False)
    assert torch.equal(coords[coords[:, 0] == 1][:, 1:], single[:, 1:])
    alone = pipeline.sample_shape_slat(cond, flow, single, noise=single_noise, verbose=False)
    assert torch.allclose(slat[1].feats, alone.feats, atol=1e-4)
    meshes, subs = pipeline.decode_shape_slat(slat, 32)
    assert len(meshes) == 2
    assert [s.feats.shape[1] for s in subs] == [8, 8]


def test_stage_methods_without_a_source_follow_the_global_seed(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image
) -> None:
    cond = pipeline.get_cond([pipeline.preprocess_image(picture)], 32)
    coords = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        coords.append(pipeline.sample_sparse_structure(cond, 8, verbose=False))
    assert torch.equal(coords[0], coords[1])
    assert coords[0].shape != coords[2].shape or not torch.equal(coords[0], coords[2])


def test_latents_decode_to_the_same_asset(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    (mesh,), (shape, tex, resolution) = run(pipeline, picture, return_latent=True)
    assert resolution == 32
    assert torch.equal(shape.coords, tex.coords)
    assert same(mesh, pipeline.decode_latent(shape, tex, resolution)[0])


def test_batch_of_latents_decodes_to_the_same_assets(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    kwargs = {"num_samples": 2, "return_latent": True}
    meshes, (shape, tex, resolution) = run(pipeline, picture, **kwargs)
    decoded = pipeline.decode_latent(shape, tex, [resolution, resolution])
    assert all(same(a, b) for a, b in zip(meshes, decoded))
    with pytest.raises(ValueError, match="resolution must have 2 entries"):
        pipeline.decode_latent(shape, tex, [32])


@pytest.mark.parametrize(("limit", "resolution"), [(10**6, 64), (1, 32)])
def test_cascade_follows_the_token_limit(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, limit: int, resolution: int
) -> None:
    kwargs = {"pipeline_type": "64_cascade", "max_num_tokens": limit, "return_latent": True}
    (mesh,), (shape, _, got) = run(pipeline, picture, **kwargs)
    assert got == resolution
    assert mesh.voxel_size == 1 / resolution
    assert shape.coords[:, 1:].max() < resolution // 4


def test_steps_are_reported_in_order_and_can_cancel(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    seen: list[tuple[str, int, int]] = []
    run(pipeline, picture, progress=lambda stage, i, n, x_0: seen.append((stage, i, n)))
    stages = ("sparse structure", "shape SLat", "texture SLat")
    assert seen == [(stage, i, 2) for stage in stages for i in (0, 1)]

    class Cancelled(Exception):
        pass

    def cancel(stage: str, i: int, n: int, x_0: Any) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        run(pipeline, picture, progress=cancel)


def test_sampler_parameters_override_the_file(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    seen: list[int] = []
    run(
        pipeline,
        picture,
        shape_slat_sampler_params={"steps": 5},
        progress=lambda stage, i, n, x_0: seen.append(n) if stage == "shape SLat" else None,
    )
    assert seen == [5] * 5


@pytest.mark.parametrize("low_vram", [True, False])
def test_memory_policy_does_not_change_the_result(
    pipeline_dir: Path, pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, low_vram: bool
) -> None:
    other = Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))
    other.low_vram = low_vram
    other.to("cpu")
    assert same(run(other, picture)[0], run(pipeline, picture)[0])


def test_networks_load_when_they_are_needed(pipeline_dir: Path, picture: Image.Image) -> None:
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))
    assert pipeline.models.loaded() == {}
    run(pipeline, picture)
    assert set(pipeline.models.loaded()) == set(pipeline.pipeline_type().models)
    assert not any(model.training for model in pipeline.models.values())
    eager = Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir), lazy=False)
    assert set(eager.models.loaded()) == set(eager.models)


def test_opaque_image_goes_through_the_remover(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    flat = Image.new("RGBA", (64, 64), (245, 245, 245, 255))
    flat.alpha_composite(picture)
    assert flat.getchannel("A").getextrema() == (255, 255)
    cut = pipeline.preprocess_image(flat)
    assert cut.mode == "RGB"
    assert abs(cut.width - pipeline.preprocess_image(picture).width) <= 6
    assert np.asarray(cut)[0, 0].max() < 40


def test_module_function_picks_the_class(pipeline_dir: Path) -> None:
    assert isinstance(from_pretrained(str(pipeline_dir)), Trellis2ImageTo3DPipeline)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"pipeline_type": "4096"}, "unknown pipeline_type '4096', choose from: 32, 64_cascade"),
        ({"num_samples": 0}, "num_samples must be"),
        ({"seed": -1}, "seed must be"),
        ({"max_num_tokens": 0}, "max_num_tokens"),
        ({"tex_slat_sampler_params": {"step": 3}}, "did you mean 'steps'"),
        ({"shape_slat_sampler_params": {"steps": 0}}, "steps must be"),
    ],
)
def test_bad_arguments_are_refused(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, kwargs: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        run(pipeline, picture, **kwargs)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (Image.new("RGBA", (64, 64)), "fully transparent"),
        (Image.new("RGB", (1, 1)), "1 x 1 pixels"),
        (Image.new("LA", (64, 64), (100, 0)), "fully transparent"),
    ],
)
def test_bad_images_are_refused(pipeline: Trellis2ImageTo3DPipeline, image: Image.Image, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        run(pipeline, image)


def test_image_that_is_no_image_is_refused(pipeline: Trellis2ImageTo3DPipeline) -> None:
    with pytest.raises(TypeError, match="must be a PIL image"):
        run(pipeline, np.zeros((64, 64, 3)))  # type: ignore[arg-type]


def patched(source: Path, target: Path, change: Any) -> Path:
    """A copy of a pipeline folder whose `args` went through `change`."""
    shutil.copytree(source, target)
    content = json.loads((target / "pipeline.json").read_text())
    change(content["args"])
    (target / "pipeline.json").write_text(json.dumps(content))
    return target


def test_missing_and_damaged_weights_are_named(pipeline_dir: Path, tmp_path: Path, picture: Image.Image) -> None:
    folder = patched(pipeline_dir, tmp_path / "a", lambda args: None)
    weights = folder / "ckpts" / "shape_slat_decoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"shape_slat_decoder\.safetensors is not a complete"):
        run(Trellis2ImageTo3DPipeline.from_pretrained(str(folder)), picture)
    weights.unlink()
    with pytest.raises(PipelineLoadError, match=r"model file not found: .*shape_slat_decoder\.safetensors"):
        Trellis2ImageTo3DPipeline.from_pretrained(str(folder))
    (folder / "ckpts" / "shape_slat_decoder.json").unlink()
    with pytest.raises(PipelineLoadError, match="'ckpts/shape_slat_decoder' not found"):
        Trellis2ImageTo3DPipeline.from_pretrained(str(folder))


def test_unknown_configuration_key_is_named(pipeline_dir: Path, tmp_path: Path) -> None:
    folder = patched(pipeline_dir, tmp_path / "a", lambda args: args.update(tex_sampler={}))
    with pytest.raises(PipelineConfigError, match=r"pipeline\.json: args: unknown key 'tex_sampler'"):
        Trellis2ImageTo3DPipeline.from_pretrained(str(folder))


def test_wrong_pipeline_class_is_named(pipeline_dir: Path) -> None:
    with pytest.raises(PipelineConfigError, match="describes a Trellis2TexturingPipeline"):
        Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir), "texturing_pipeline.json")


def test_type_without_its_networks_is_refused(pipeline_dir: Path, tmp_path: Path, picture: Image.Image) -> None:
    folder = patched(pipeline_dir, tmp_path / "a", lambda args: args["models"].pop("tex_slat_decoder"))
    with pytest.raises(PipelineConfigError, match="needs models that are not there: tex_slat_decoder"):
        run(Trellis2ImageTo3DPipeline.from_pretrained(str(folder)), picture)


def test_type_whose_grids_do_not_fit_is_refused(pipeline_dir: Path, tmp_path: Path, picture: Image.Image) -> None:
    folder = patched(pipeline_dir, tmp_path / "a", lambda args: args["pipeline_types"]["32"].update(ss_resolution=4))
    with pytest.raises(PipelineConfigError, match="ss_resolution 4 times the decoder's factor 4"):
        run(Trellis2ImageTo3DPipeline.from_pretrained(str(folder)), picture)


@pytest.fixture
def fresh(untrained: ModuleType, pipeline_dir: Path) -> Trellis2ImageTo3DPipeline:
    """A pipeline whose networks a test may spoil."""
    return Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir), lazy=False)


@torch.no_grad()
def test_empty_structure_is_reported(fresh: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    fresh.models["sparse_structure_decoder"].out_layer[2].bias.fill_(-100)
    with pytest.raises(StageError, match="sparse structure: no object was found"):
        run(fresh, picture)


@torch.no_grad()
@pytest.mark.parametrize(
    ("key", "stage"),
    [
        ("sparse_structure_flow_model", "sparse structure"),
        ("shape_slat_flow_model", "shape SLat"),
        ("tex_slat_flow_model", "texture SLat"),
        ("tex_slat_decoder", "texture decoder"),
    ],
)
def test_values_that_are_not_finite_name_their_stage(
    fresh: Trellis2ImageTo3DPipeline, picture: Image.Image, key: str, stage: str
) -> None:
    model = fresh.models[key]
    layer = model.output_layer if key.endswith("decoder") else model.out_layer
    layer.weight.fill_(float("nan"))
    with pytest.raises(StageError, match=f"^{stage}: the network gave values that are not finite"):
        run(fresh, picture)


@torch.no_grad()
def test_surface_without_faces_is_reported(fresh: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    fresh.models["shape_slat_decoder"].output_layer.bias[3:6] = -100
    with pytest.raises(StageError, match="shape decoder: the surface is empty"):
        run(fresh, picture)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["32", "64_cascade"])
def test_decoder_that_subdivides_nothing_is_reported(
    fresh: Trellis2ImageTo3DPipeline, picture: Image.Image, kind: str
) -> None:
    for name, value in fresh.models["shape_slat_decoder"].named_parameters():
        if name.endswith("to_subdiv.bias"):
            value.fill_(-100)
    with pytest.raises(StageError, match="empty"):
        run(fresh, picture, pipeline_type=kind)


def test_networks_see_the_same_crop_in_training_and_in_use(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image
) -> None:
    from trellis2.datasets.cond_image import crop_condition

    soft = np.asarray(picture).copy()
    soft[8:14, 20:40] = (10, 200, 100, 150)
    used = pipeline.preprocess_image(Image.fromarray(soft)).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(used), crop_condition(soft, 32, "inference"))


def test_pipeline_of_a_hub_repository_loads_and_fetches_networks_when_needed(
    pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch, picture: Image.Image, pipeline: Trellis2ImageTo3DPipeline
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    fetched: list[str] = []

    def download(repo_id: str, filename: str, **options: Any) -> str:
        assert repo_id == "org/small"
        assert options["revision"] == "main"
        fetched.append(filename)
        return str(pipeline_dir / filename)

    def metadata(url: str, **options: Any) -> SimpleNamespace:
        assert url.startswith("https://huggingface.co/org/small/resolve/main/ckpts/")
        return SimpleNamespace(size=1)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    remote = Trellis2ImageTo3DPipeline.from_pretrained("org/small", revision="main")
    assert fetched == ["pipeline.json", "ckpts/image_encoder.json", "ckpts/image_encoder.safetensors"]
    assert same(run(remote, picture)[0], run(pipeline, picture)[0])
    assert f"ckpts/{pipeline.pipeline_type().tex_model}.safetensors" in fetched


@pytest.mark.gpu
@pytest.mark.parametrize(("low_vram", "stream"), [(True, False), (False, False), (True, True)])
def test_cuda_gives_the_same_asset(
    pipeline_dir: Path, pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, low_vram: bool, stream: bool
) -> None:
    other = Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))
    other.low_vram, other.stream_weights = low_vram, stream
    other.cuda()
    (a,), (shape_a, tex_a, resolution) = run(pipeline, picture, return_latent=True)
    (b,), (shape_b, _, _) = run(other, picture, return_latent=True)
    assert b.device.type == "cuda"
    # cells whose logit is almost zero may differ (convolutions on CUDA use TF32), the bulk may not
    cells_a, cells_b = ({tuple(c) for c in s.coords.tolist()} for s in (shape_a, shape_b))
    assert len(cells_a & cells_b) >= 0.9 * len(cells_a | cells_b)
    decoded = other.decode_latent(shape_a, tex_a, resolution)[0]
    assert decoded.device.type == "cuda"
    assert torch.equal(decoded.coords.cpu(), a.coords)
    assert torch.allclose(decoded.attrs.cpu(), a.attrs, atol=2e-2)
    assert abs(decoded.faces.shape[0] - a.faces.shape[0]) <= 0.02 * a.faces.shape[0]
    resting = {p.device.type for m in other.models.loaded().values() for p in m.parameters()}
    assert resting == ({"cpu"} if low_vram else {"cuda"})
