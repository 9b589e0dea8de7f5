"""Experiment files: the shipped ones are valid and build; mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from trellis2 import models
from trellis2.trainers.config import apply_overrides, load_experiment, parse_experiment, validate_experiment
from trellis2.trainers.launch import main, model_summary
from trellis2.trainers.loop_config import LoopConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(p for p in CONFIGS.rglob("*.json") if not p.stem.endswith("pipeline"))
PARAMETERS = {
    "ss_flow_img_dit_1_3B_64_bf16": {"denoiser": 1_292_179_976},
    "slat_flow_img2shape_dit_1_3B_512_bf16": {"denoiser": 1_292_253_728},
    "slat_flow_img2shape_dit_1_3B_512_bf16_ft1024": {"denoiser": 1_292_253_728},
    "slat_flow_imgshape2tex_dit_1_3B_512_bf16": {"denoiser": 1_292_302_880},
    "slat_flow_imgshape2tex_dit_1_3B_512_bf16_ft1024": {"denoiser": 1_292_302_880},
    "shape_vae_next_dc_f16c32_fp16": {"encoder": 354_385_392, "decoder": 474_231_463},
    "shape_vae_next_dc_f16c32_fp16_ft_512": {"encoder": 354_385_392, "decoder": 474_231_463},
    "tex_vae_next_dc_f16c32_fp16": {"encoder": 354_385_392, "decoder": 474_216_006},
    "tex_vae_next_dc_f16c32_fp16_ft_512": {"encoder": 354_385_392, "decoder": 474_216_006},
    "ss_vae_conv3d_16l8_fp16": {"encoder": 59_298_192, "decoder": 73_671_201},
}


def test_all_published_configs_are_here():
    assert set(PARAMETERS) <= {p.stem for p in FILES}
    mini = {"ss_vae", "shape_vae", "tex_vae", "image_encoder", "ss_flow", "shape_flow", "tex_flow"}
    assert {p.stem for p in FILES if p.parent.name == "mini"} == mini


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_shipped_config_validates_and_builds_on_meta(path):
    config = load_experiment(path)
    validate_experiment(config)
    runtime = {"loss_type", "lambda_kl", "p_uncond", "t_schedule", "sigma_min", "image_cond_model", "heads"}
    loop_names = set(LoopConfig.__dataclass_fields__)
    loop = LoopConfig(**{k: v for k, v in config.trainer.args.items() if k in loop_names})
    assert loop.per_gpu(1) > 0
    assert all(k in loop_names or k in runtime or k.startswith(("lambda_", "render_", "camera_"))
               for k in config.trainer.args)  # fmt: skip
    for key, spec in config.models.items():
        with torch.device("meta"):
            model = getattr(models, spec.name)(**spec.args)
        count = sum(p.numel() for p in model.parameters())
        if path.stem in PARAMETERS:
            assert count == PARAMETERS[path.stem][key]
        else:
            assert 1e5 < count < 1.2e7
        assert f"Number of parameters: {count}" in model_summary(model)


def test_mini_pipeline_fits_forty_megabytes_in_half_precision():
    kept = {"ss_vae": ["decoder"], "shape_vae": ["decoder"], "tex_vae": ["decoder"], "image_encoder": ["encoder"],
            "ss_flow": ["denoiser"], "shape_flow": ["denoiser"], "tex_flow": ["denoiser"]}  # fmt: skip
    total = 0
    for stage, keys in kept.items():
        config = load_experiment(CONFIGS / "mini" / f"{stage}.json")
        for key in keys:
            with torch.device("meta"):
                model = getattr(models, config.models[key].name)(**config.models[key].args)
            total += sum(p.numel() for p in model.parameters())
    assert 2 * total < 40e6


def test_latent_normalisation_of_the_published_configs(vectors_dir):
    expected = json.loads((vectors_dir / "models" / "latent_normalization.json").read_text())
    shape = load_experiment(CONFIGS / "gen" / "slat_flow_img2shape_dit_1_3B_512_bf16.json").dataset.args
    tex = load_experiment(CONFIGS / "gen" / "slat_flow_imgshape2tex_dit_1_3B_512_bf16_ft1024.json").dataset.args
    for key in ("mean", "std"):
        assert shape["normalization"][key] == pytest.approx(expected["shape_slat"][key], abs=1e-6)
        assert tex["shape_slat_normalization"][key] == pytest.approx(expected["shape_slat"][key], abs=1e-6)
        assert tex["pbr_slat_normalization"][key] == pytest.approx(expected["tex_slat"][key], abs=1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.lamda_kl=1", "unknown key 'lamda_kl'.*did you mean 'lambda_kl'"),
        ("dataset.resolutoin=4", "did you mean 'resolution'"),
        ("models.encoder.chanels=[1]", "did you mean 'channels'"),
        ("trainer.name=SparseStructureVAETrainer", "did you mean 'SparseStructureVaeTrainer'"),
        ("trainer.step=3", "unknown key 'step'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_one(override, message):
    config = load_experiment(CONFIGS / "mini" / "ss_vae.json")
    with pytest.raises(ValueError, match=message):
        validate_experiment(apply_overrides(config, [override]))


def test_bad_top_level_and_overrides():
    good = load_experiment(CONFIGS / "mini" / "ss_vae.json")
    with pytest.raises(ValueError, match="did you mean 'models'"):
        parse_experiment({**good.to_dict(), "model": {}})
    with pytest.raises(ValueError, match="lacks 'dataset'"):
        parse_experiment({"models": good.to_dict()["models"], "trainer": {"name": "x"}})
    with pytest.raises(ValueError, match="path=value"):
        apply_overrides(good, ["trainer.max_steps"])
    with pytest.raises(ValueError, match="did you mean 'encoder'"):
        apply_overrides(good, ["models.encodr.use_fp16=true"])


def test_overrides_reach_nested_values_and_do_not_touch_the_original():
    config = load_experiment(CONFIGS / "mini" / "ss_vae.json")
    changed = apply_overrides(
        config, ["trainer.max_steps=7", "trainer.optimizer.args.lr=0.5", "models.encoder.channels=[4,8]",
                 "dataset.name=SparseStructure", "trainer.elastic.name=LinearMemoryController"]
    )  # fmt: skip
    assert changed.trainer.args["max_steps"] == 7
    assert changed.trainer.args["optimizer"]["args"]["lr"] == 0.5
    assert changed.trainer.args["optimizer"]["args"]["eps"] == 1e-8
    assert changed.models["encoder"].args["channels"] == [4, 8]
    assert changed.trainer.args["elastic"] == {"name": "LinearMemoryController"}
    assert "max_steps" not in config.trainer.args and config.trainer.args["optimizer"]["args"]["lr"] != 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mix_precision_mode": "fp8"}, "mix_precision_mode"),
        ({"mix_precision_dtype": "float8"}, "unknown dtype"),
        ({"optimizer": {"name": "AdamW"}}, "optimizer"),
        ({"ema_rate": [1.5]}, "ema_rate"),
        ({"max_steps": None}, "max_steps or max_minutes"),
        ({"parallel_mode": "fsdp"}, "parallel_mode"),
    ],
)
def test_loop_config_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        LoopConfig(**{"max_steps": 1, "optimizer": {"name": "AdamW", "args": {}}, **change})


def test_batch_must_divide():
    base = {"max_steps": 1, "optimizer": {"name": "AdamW", "args": {}}}
    with pytest.raises(ValueError, match="not divisible by 3 processes"):
        LoopConfig(batch_size=4, **base).per_gpu(3)
    with pytest.raises(ValueError, match="batch_split"):
        LoopConfig(batch_size_per_gpu=4, batch_split=3, **base).per_gpu(1)
    assert LoopConfig(batch_size=8, batch_size_per_gpu=2, **base).per_gpu(4) == 2


def test_fp16_mode_overrides_the_precision_keys():
    config = LoopConfig(max_steps=1, optimizer={"name": "AdamW", "args": {}}, fp16_mode="amp",
                        mix_precision_mode=None, mix_precision_dtype="bfloat16")  # fmt: skip
    assert config.mode == "amp" and config.dtype is torch.float16


def test_exit_codes(tmp_path, mini_args):
    assert main([*mini_args("ss_vae", tmp_path), "--set", "trainer.lamda=1"]) == 2
    assert main(mini_args("ss_vae", tmp_path, "trainer.max_steps=1", "trainer.batch_size=64")) == 1  # too few items
    assert main([*mini_args("ss_vae", tmp_path, "trainer.max_steps=1"), "--ckpt", "newest"]) == 1


def test_tryrun_builds_and_does_not_train(tmp_path, mini_args):
    assert main([*mini_args("shape_flow", tmp_path, "trainer.max_steps=5"), "--tryrun"]) == 0
    assert (tmp_path / "denoiser_model_summary.txt").is_file()
    assert (tmp_path / "config.json").is_file()
    assert not list((tmp_path / "ckpts").iterdir())


def test_rendering_losses_say_what_they_need(tmp_path, mini_args, caplog):
    assert main(mini_args("shape_vae", tmp_path, "trainer.max_steps=1", "trainer.lambda_depth=10")) == 1
    assert "lambda_depth > 0 needs meshes" in caplog.text and "'mesh_dump'" in caplog.text
