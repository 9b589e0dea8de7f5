"""Pipeline files: the published one is understood, mistakes are named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from trellis2.pipelines.config import ImageTo3DConfig, TexturingConfig, read_pipeline_json
from trellis2.pipelines.errors import PipelineConfigError
from trellis2.pipelines.pipeline_types import PUBLISHED_TYPES


def sampler(strength: float, rescale: float, interval: list[float], rescale_t: float) -> dict[str, Any]:
    return {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {
            "steps": 12,
            "guidance_strength": strength,
            "guidance_rescale": rescale,
            "guidance_interval": interval,
            "rescale_t": rescale_t,
        },
    }


PUBLISHED: dict[str, Any] = {
    "models": {
        "sparse_structure_flow_model": "ckpts/ss_flow_img_dit_1_3B_64_bf16",
        "sparse_structure_decoder": "microsoft/TRELLIS-image-large/ckpts/ss_dec_conv3d_16l8_fp16",
    },
    "sparse_structure_sampler": sampler(7.5, 0.7, [0.6, 1.0], 5.0),
    "shape_slat_sampler": sampler(7.5, 0.5, [0.6, 1.0], 3.0),
    "tex_slat_sampler": sampler(1.0, 0.0, [0.6, 0.9], 3.0),
    "shape_slat_normalization": {"mean": [0.0] * 32, "std": [5.0] * 32},
    "tex_slat_normalization": {"mean": [0.0] * 32, "std": [2.5] * 32},
    "image_cond_model": {
        "name": "DinoV3FeatureExtractor",
        "args": {"model_name": "facebook/dinov3-vitl16-pretrain-lvd1689m", "image_size": 512},
    },
    "rembg_model": {"name": "BiRefNet", "args": {"model_name": "briaai/RMBG-2.0"}},
    "default_pipeline_type": "1024_cascade",
}


def test_published_arguments_are_understood() -> None:
    config = ImageTo3DConfig.parse(PUBLISHED)
    assert config.low_vram is True
    assert config.default_pipeline_type == "1024_cascade"
    assert config.pipeline_types is PUBLISHED_TYPES
    assert config.shape_slat_sampler.params["guidance_interval"] == [0.6, 1.0]
    assert config.sparse_structure_sampler.build().sigma_min == 1e-5
    assert len(config.tex_slat_normalization.std) == 32


def test_defaults_of_left_out_keys() -> None:
    args = {key: value for key, value in PUBLISHED.items() if key != "default_pipeline_type"}
    assert ImageTo3DConfig.parse(args).default_pipeline_type == "1024_cascade"


def test_texturing_arguments_are_understood() -> None:
    args = {k: v for k, v in PUBLISHED.items() if k not in ("default_pipeline_type",)}
    config = TexturingConfig.parse(args)
    assert config.default_resolution == 1024
    assert set(config.texture_types) == {512, 1024, 1536}


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("low_vrm",), True, "unknown key 'low_vrm', did you mean 'low_vram'"),
        (("low_vram",), "yes", "low_vram must be true or false"),
        (("models",), ["a"], "args.models must be an object"),
        (("models", "sparse_structure_decoder"), 3, "must be a path"),
        (("tex_slat_sampler", "name"), "EulerSampler", "unknown sampler 'EulerSampler'"),
        (("tex_slat_sampler", "args", "sigma"), 1e-5, "unknown key 'sigma', did you mean 'sigma_min'"),
        (("tex_slat_sampler", "args", "sigma_min"), 2.0, "sigma_min must be"),
        (("tex_slat_sampler", "params", "guidance_strenght"), 3, "did you mean 'guidance_strength'"),
        (("tex_slat_sampler", "parms"), {}, "unknown key 'parms', did you mean 'params'"),
        (("shape_slat_normalization", "std"), [0.0] * 32, "std must be positive"),
        (("shape_slat_normalization", "std"), [1.0] * 31, "as long as mean"),
        (("shape_slat_normalization", "mean"), [float("nan")] * 32, "finite numbers"),
        (("shape_slat_normalization", "mean"), None, "must be a list of numbers"),
        (("default_pipeline_type",), "2048", "default_pipeline_type is '2048'"),
        (("image_cond_model",), "DinoV3", "args.image_cond_model must be an object"),
        (("rembg_model", "name"), None, "missing 'name'"),
    ],
)
def test_mistakes_are_named(path: tuple[str, ...], value: Any, match: str) -> None:
    args = copy.deepcopy(PUBLISHED)
    target = args
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(PipelineConfigError, match=match):
        ImageTo3DConfig.parse(args)


@pytest.mark.parametrize("key", ["tex_slat_sampler", "shape_slat_normalization", "image_cond_model", "models"])
def test_missing_keys_are_named(key: str) -> None:
    args = {k: v for k, v in PUBLISHED.items() if k != key}
    with pytest.raises(PipelineConfigError, match=f"missing '{key}'"):
        ImageTo3DConfig.parse(args)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ('{"name": "X"}', "string `name` and an object `args`"),
        (json.dumps({"name": "X", "args": {}, "arg": {}}), "unknown key 'arg', did you mean 'args'"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text(text)
    with pytest.raises(PipelineConfigError, match=match):
        read_pipeline_json(path)
