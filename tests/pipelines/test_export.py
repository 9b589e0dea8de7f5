"""Putting networks together into a pipeline folder."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from trellis2 import models as zoo
from trellis2.models.loading import read_safetensors
from trellis2.pipelines import Trellis2ImageTo3DPipeline, assemble_pipeline
from trellis2.pipelines.errors import PipelineConfigError
from trellis2.pipelines.export import load_trained, main


@pytest.fixture(scope="module")
def networks(untrained: ModuleType) -> dict[str, Any]:
    return {key: model for key, model in untrained.models(1).items() if key != "shape_slat_encoder"}


def test_folder_holds_half_precision_weights_and_a_complete_file(
    untrained: ModuleType, networks: dict[str, Any], tmp_path: Path
) -> None:
    config = untrained.pipeline_config()
    path = assemble_pipeline(tmp_path, config, networks)
    content = json.loads(path.read_text())
    assert content["args"]["models"]["tex_slat_decoder"] == "ckpts/tex_slat_decoder"
    assert content["args"]["image_cond_model"]["args"]["model"] == "ckpts/image_encoder"
    assert config == untrained.pipeline_config()  # the argument is not changed
    state = read_safetensors(tmp_path / "ckpts" / "tex_slat_decoder.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert not list(tmp_path.rglob("*.tmp"))
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(tmp_path), lazy=False)
    for key, model in pipeline.models.items():
        for (name, value), other in zip(model.state_dict().items(), networks[key].state_dict().values()):
            assert torch.allclose(value.float(), other.float(), atol=2e-3, rtol=2e-3), (key, name)


def test_paths_are_copied(untrained: ModuleType, networks: dict[str, Any], tmp_path: Path) -> None:
    zoo.save_pretrained(networks["tex_slat_decoder"], tmp_path / "trained" / "dec")
    mixed = {**networks, "tex_slat_decoder": tmp_path / "trained" / "dec"}
    assemble_pipeline(tmp_path / "out", untrained.pipeline_config(), mixed, torch.float32)
    a = read_safetensors(tmp_path / "out" / "ckpts" / "tex_slat_decoder.safetensors")
    b = networks["tex_slat_decoder"].state_dict()
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_bad_configuration_writes_nothing(untrained: ModuleType, networks: dict[str, Any], tmp_path: Path) -> None:
    config = untrained.pipeline_config()
    config["args"]["tex_slat_sampler"] = {"name": "Euler"}
    with pytest.raises(PipelineConfigError, match="unknown sampler"):
        assemble_pipeline(tmp_path / "out", config, networks)
    with pytest.raises(PipelineConfigError, match="must have a name"):
        assemble_pipeline(tmp_path / "out", {"name": "Other", "args": {}}, networks)
    assert not (tmp_path / "out").exists()


def test_weights_beyond_half_precision_are_refused(untrained: ModuleType, tmp_path: Path) -> None:
    networks = untrained.models(2)
    with torch.no_grad():
        networks["tex_slat_flow_model"].out_layer.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"tex_slat_flow_model: weight out_layer\.bias is not finite or too large"):
        assemble_pipeline(tmp_path, untrained.pipeline_config(), networks)
    assert not (tmp_path / "pipeline.json").exists()


def recipe(untrained: ModuleType, networks: dict[str, Any], folder: Path) -> Path:
    """Training configurations, checkpoints, and the recipe that names them."""
    models = {}
    for key, model in networks.items():
        zoo.save_pretrained(model, folder / key)
        spec = json.loads((folder / f"{key}.json").read_text())
        (folder / f"{key}_config.json").write_text(json.dumps({"models": {"role": spec}}))
        torch.save(model.state_dict(), folder / f"{key}.pt")
        models[key] = {
            "config": str(folder / f"{key}_config.json"),
            "role": "role",
            "weights": str(folder / f"{key}.pt"),
        }
    path = folder / "recipe.json"
    path.write_text(json.dumps({"pipeline": untrained.pipeline_config(), "models": models}))
    return path


def test_command_line_builds_a_pipeline_from_checkpoints(
    untrained: ModuleType, networks: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(untrained, networks, tmp_path)
    assert main([str(path), str(tmp_path / "out")]) == 0
    assert "7 networks" in capsys.readouterr().out
    Trellis2ImageTo3DPipeline.from_pretrained(str(tmp_path / "out"), lazy=False)


def test_command_line_names_what_is_wrong_in_one_line(
    untrained: ModuleType, networks: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(untrained, networks, tmp_path)
    (tmp_path / "tex_slat_decoder.pt").unlink()
    assert main([str(path), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "tex_slat_decoder.pt" in error
    assert error.count("\n") == 1


def test_unknown_role_and_wrong_weights_are_refused(
    untrained: ModuleType, networks: dict[str, Any], tmp_path: Path
) -> None:
    recipe(untrained, networks, tmp_path)
    with pytest.raises(ValueError, match="has no model 'denoiser', only: role"):
        load_trained(tmp_path / "tex_slat_decoder_config.json", "denoiser", tmp_path / "tex_slat_decoder.pt")
    with pytest.raises(ValueError, match="do not fit"):
        load_trained(tmp_path / "tex_slat_decoder_config.json", "role", tmp_path / "tex_slat_flow_model.pt")
