"""Models on disk: round trips, strictness, damaged files, errors that say where to look."""

from __future__ import annotations

import json
import os

import pytest
import torch

from trellis2 import models
from trellis2.models.configurable import init_args
from trellis2.models.loading import read_safetensors

FLOW = {
    "resolution": 4,
    "in_channels": 3,
    "model_channels": 24,
    "cond_channels": 6,
    "out_channels": 3,
    "num_blocks": 1,
    "num_heads": 2,
    "pe_mode": "rope",
    "share_mod": True,
}


def _randomised(model):
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return model


def test_round_trip_keeps_class_arguments_and_weights(tmp_path):
    model = _randomised(models.SparseStructureFlowModel(**FLOW))
    models.save_pretrained(model, tmp_path / "ckpts" / "ss_flow")
    loaded = models.from_pretrained(tmp_path / "ckpts" / "ss_flow")
    assert type(loaded) is models.SparseStructureFlowModel
    assert init_args(loaded) == FLOW
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    inputs = torch.randn(1, 3, 4, 4, 4), torch.tensor([500.0]), torch.randn(1, 2, 6)
    assert torch.equal(model(*inputs), loaded(*inputs))
    document = json.loads((tmp_path / "ckpts" / "ss_flow.json").read_text())
    assert document == {"name": "SparseStructureFlowModel", "args": FLOW}


def test_half_precision_files_load_into_the_constructors_types(tmp_path):
    model = _randomised(models.SLatFlowModel(**FLOW))
    models.save_pretrained(model, tmp_path / "flow", dtype=torch.bfloat16)
    on_disk = read_safetensors(tmp_path / "flow.safetensors")
    assert {v.dtype for v in on_disk.values()} == {torch.bfloat16}
    loaded = models.from_pretrained(str(tmp_path / "flow"))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    half = models.from_pretrained(str(tmp_path / "flow"), dtype="bfloat16")
    types = {k: v.dtype for k, v in half.state_dict().items()}
    assert types["blocks.0.mlp.mlp.0.weight"] == torch.bfloat16
    assert types["input_layer.weight"] == types["blocks.0.modulation"] == torch.float32
    assert torch.equal(half.state_dict()["input_layer.weight"], on_disk["input_layer.weight"].float())


def test_files_hold_no_position_buffers_and_files_with_them_load(tmp_path):
    from safetensors.torch import load_file, save_file

    for mode, buffer in (("rope", "rope_phases"), ("ape", "pos_emb")):
        model = models.SparseStructureFlowModel(**{**FLOW, "pe_mode": mode})
        models.save_pretrained(model, tmp_path / mode)
        state = load_file(tmp_path / f"{mode}.safetensors")
        assert buffer not in state
        state[buffer] = torch.zeros(64, 6)
        save_file(state, tmp_path / f"{mode}.safetensors")
        loaded = models.from_pretrained(tmp_path / mode)
        assert torch.equal(getattr(loaded, buffer), getattr(model, buffer))


def test_missing_and_unexpected_keys_are_listed():
    model = models.SparseStructureFlowModel(**FLOW)
    state = dict(model.state_dict())
    state["extra.weight"] = state.pop("input_layer.weight")
    state["out_layer.bias"] = torch.zeros(9)
    with pytest.raises(ValueError) as error:
        models.load_weights(model, state, source="file x")
    text = str(error.value)
    assert "file x" in text and "1 missing: input_layer.weight" in text
    assert "1 unexpected: extra.weight" in text and "out_layer.bias (9,) instead of (3,)" in text


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_truncated_weights_name_the_file(tmp_path, keep):
    models.save_pretrained(models.SLatFlowModel(**FLOW), tmp_path / "m")
    path = tmp_path / "m.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"m\.safetensors is not a complete safetensors file"):
        models.from_pretrained(tmp_path / "m")


def test_weights_that_are_not_safetensors_are_refused(tmp_path):
    models.save_pretrained(models.SLatFlowModel(**FLOW), tmp_path / "m")
    torch.save({"a": torch.ones(1)}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        models.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must hold"),
        ("[]", "must hold"),
        ('{"name": "SLatFlowModel"}', "must hold"),
        ('{"name": "SLatFlowModel", "args": []}', "args must be an object"),
        ('{"name": "SLatFlow", "args": {}}', "did you mean 'SLatFlowModel'"),
        ('{"name": "SLatFlowModel", "args": {"resolutoin": 4}}', "did you mean 'resolution'"),
    ],
)
def test_damaged_configuration_is_named(tmp_path, text, message):
    models.save_pretrained(models.SLatFlowModel(**FLOW), tmp_path / "m")
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        models.from_pretrained(tmp_path / "m")


def test_local_paths_are_not_taken_for_repositories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for path in ("./a/b/c", "/a/b/c", "runs/a/b", "model", tmp_path / "a"):
        with pytest.raises(FileNotFoundError, match="no model at"):
            models.from_pretrained(path)
    (tmp_path / "half.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"half\.safetensors is not there"):
        models.from_pretrained("half")


def test_hub_failures_name_both_places(monkeypatch):
    import huggingface_hub

    seen = []

    def fail(repo, name, **kwargs):
        seen.append((repo, name))
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(OSError, match="no local org/repo/ckpts/model") as error:
        models.from_pretrained("org/repo/ckpts/model")
    assert "offline" in str(error.value) and "hf auth login" in str(error.value)
    assert seen == [("org/repo", "ckpts/model.json")]


def test_hub_files_are_used(tmp_path, monkeypatch):
    import huggingface_hub

    models.save_pretrained(models.SLatFlowModel(**FLOW), tmp_path / "ckpts" / "m")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name: str(tmp_path / name))
    assert isinstance(models.from_pretrained("org/repo/ckpts/m"), models.SLatFlowModel)


def test_a_failed_save_leaves_the_old_files(tmp_path, monkeypatch):
    from safetensors import torch as safetensors_torch

    model = models.SLatFlowModel(**FLOW)
    models.save_pretrained(model, tmp_path / "m")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(state, name):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(safetensors_torch, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        models.save_pretrained(_randomised(model), tmp_path / "m")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert os.stat(tmp_path / "m.safetensors").st_mode & 0o044


def test_only_models_with_a_configuration_are_saved(tmp_path):
    with pytest.raises(TypeError, match="Linear does not record"):
        models.save_pretrained(torch.nn.Linear(2, 2), tmp_path / "m")


def test_loading_fills_no_random_numbers(tmp_path):
    from trellis2.models.empty_init import EmptyInit

    with EmptyInit():
        assert torch.nn.init.normal_(torch.full((3,), 7.0)).tolist() == [7, 7, 7]
        assert torch.arange(3).tolist() == [0, 1, 2]
        assert torch.nn.init.trunc_normal_(torch.full((3,), 7.0)).abs().max() <= 2  # draws until the values fit
    assert torch.nn.init.normal_(torch.full((3,), 7.0)).tolist() != [7, 7, 7]
    models.save_pretrained(models.SLatFlowModel(**FLOW), tmp_path / "m")
    loaded = models.from_pretrained(tmp_path / "m")
    assert all(p.isfinite().all() for p in loaded.parameters())


@pytest.mark.parametrize("library", ["spconv", "torchsparse"])
def test_convolutions_of_other_libraries_are_translated(library):
    args = {
        "in_channels": 6,
        "model_channels": [8, 16],
        "latent_channels": 2,
        "num_blocks": [1, 1],
        "block_type": ["SparseConvNeXtBlock3d"] * 2,
        "down_block_type": ["SparseResBlockS2C3d"],
        "block_args": [{}, {}],
    }
    model = _randomised(models.SparseUnetVaeEncoder(**args))
    convs = {k for k, v in model.state_dict().items() if v.ndim == 5}
    foreign = {}
    for key, value in model.state_dict().items():
        prefix, leaf = key.rsplit(".", 1)
        if f"{prefix}.weight" not in convs:
            foreign[key] = value
        elif leaf == "weight" and library == "torchsparse":
            kernel = torch.zeros(27, value.shape[4], value.shape[0])
            for k1 in range(3):
                for k2 in range(3):
                    for k3 in range(3):
                        kernel[(k3 * 3 + k2) * 3 + k1] = value[:, k1, k2, k3].T
            foreign[f"{prefix}.conv.kernel"] = kernel
        else:
            foreign[f"{prefix}.conv.{leaf}"] = value
    other = models.SparseUnetVaeEncoder(**args)
    models.load_weights(other, foreign)
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_registry_names_resolve():
    for name in models.MODELS:
        assert getattr(models, name).__name__ == name
        assert models.get_model_class(name) is getattr(models, name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = models.Nothing
    with pytest.raises(ValueError, match="unknown model"):
        models.get_model_class("Nothing")
    assert set(models.__all__) >= set(models.MODELS)
