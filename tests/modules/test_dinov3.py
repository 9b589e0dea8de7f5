"""The DINOv3 transformer: against transformers, and weights in every published layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trellis2.modules.dinov3 import DinoV3, DinoV3Config, dinov3_config_from_weights, to_dinov3_keys
from trellis2.modules.dinov3_files import CONVERSIONS, find_dinov3, load_dinov3
from trellis2.modules.image_feature_extractor import DinoV3FeatureExtractor

GATED = "facebook/dinov3-vitl16-pretrain-lvd1689m"
SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}
SIZES["num_register_tokens"] = 4


@pytest.fixture(scope="module")
def model() -> DinoV3:
    torch.manual_seed(0)
    model = DinoV3(DinoV3Config(**SIZES)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(1))


def timm_keys(model: DinoV3, biases: bool = True) -> dict[str, Tensor]:
    """Weights as timm keeps them: fused qkv, biases of q and v apart."""
    own, out = model.state_dict(), {}
    out["cls_token"], out["reg_token"] = own["embeddings.cls_token"], own["embeddings.register_tokens"]
    for kind in ("weight", "bias"):
        out[f"patch_embed.proj.{kind}"] = own[f"embeddings.patch_embeddings.{kind}"]
        out[f"norm.{kind}"] = own[f"norm.{kind}"]
    for i in range(len(model.layer)):
        old, new = f"layer.{i}", f"blocks.{i}"
        parts = [own[f"{old}.attention.{p}_proj.weight"] for p in "qkv"]
        out[f"{new}.attn.qkv.weight"] = torch.cat(parts)
        if biases:
            out[f"{new}.attn.q_bias"] = own[f"{old}.attention.q_proj.bias"]
            out[f"{new}.attn.v_bias"] = own[f"{old}.attention.v_proj.bias"]
        for a, b in (("attention.o_proj", "attn.proj"), ("mlp.up_proj", "mlp.fc1"), ("mlp.down_proj", "mlp.fc2")):
            for kind in ("weight", "bias"):
                out[f"{new}.{b}.{kind}"] = own[f"{old}.{a}.{kind}"]
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                out[f"{new}.{norm}.{kind}"] = own[f"{old}.{norm}.{kind}"]
        out[f"{new}.gamma_1"] = own[f"{old}.layer_scale1.lambda1"]
        out[f"{new}.gamma_2"] = own[f"{old}.layer_scale2.lambda1"]
    return out


def original_keys(model: DinoV3) -> dict[str, Tensor]:
    """Weights as the authors keep them: one qkv bias with a mask, storage tokens, periods of the rotations."""
    out = {k.replace("reg_token", "storage_tokens"): v for k, v in timm_keys(model, biases=False).items()}
    own = model.state_dict()
    for i in range(len(model.layer)):
        q, v = (own[f"layer.{i}.attention.{p}_proj.bias"] for p in "qv")
        out[f"blocks.{i}.attn.qkv.bias"] = torch.cat([q, torch.full_like(q, float("nan")), v])
        out[f"blocks.{i}.attn.qkv.bias_mask"] = torch.ones(3 * len(q))
        for j in (1, 2):
            out[f"blocks.{i}.ls{j}.gamma"] = out.pop(f"blocks.{i}.gamma_{j}")
    out["rope_embed.periods"] = torch.ones(4)
    out["mask_token"] = own["embeddings.mask_token"][0]
    return out


def test_same_tokens_as_transformers(model: DinoV3, images: Tensor) -> None:
    transformers = pytest.importorskip("transformers")
    other = transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**SIZES)).eval()
    names = {name.removeprefix("model."): name for name in other.state_dict()}
    other.load_state_dict({names[key]: value for key, value in model.state_dict().items()})
    ours, theirs = (DinoV3FeatureExtractor("x", model=m)(images) for m in (model, other))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["transformers 4", "transformers 5", "timm", "original"])
def test_every_layout_gives_the_same_tokens(model: DinoV3, images: Tensor, layout: str) -> None:
    state = {
        "transformers 4": lambda: model.state_dict(),
        "transformers 5": lambda: {
            f"model.{k}" if k.startswith("layer.") else k: v for k, v in model.state_dict().items()
        },
        "timm": lambda: timm_keys(model),
        "original": lambda: original_keys(model),
    }[layout]()
    mapped = to_dinov3_keys(state)
    assert set(mapped) == set(model.state_dict())
    other = DinoV3(dinov3_config_from_weights(mapped)).eval()
    assert other.config == model.config
    other.load_state_dict(mapped)
    assert torch.equal(other(images), model(images))


def test_conversion_without_biases_has_zero_biases(model: DinoV3) -> None:
    mapped = to_dinov3_keys(timm_keys(model, biases=False))
    assert not mapped["layer.1.attention.q_proj.bias"].any()
    assert set(mapped) == set(model.state_dict())


@pytest.mark.parametrize("layout", ["transformers", "timm"])
def test_folder_is_loaded(model: DinoV3, images: Tensor, tmp_path: Path, layout: str) -> None:
    save_file(model.state_dict() if layout == "transformers" else timm_keys(model), tmp_path / "model.safetensors")
    config = {"model_type": "dinov3_vit", **SIZES} if layout == "transformers" else {"architecture": "vit_x"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(load_dinov3(str(tmp_path))(images), model(images))


class Gated(Exception):
    pass


Gated.__name__ = "GatedRepoError"


def test_gated_repository_gives_way_to_its_open_conversion(
    model: DinoV3, images: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(timm_keys(model), tmp_path / "model.safetensors")
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append(repository)
        if repository == GATED:
            raise Gated("401")
        return str(tmp_path / name)

    loaded = load_dinov3(GATED, download)
    assert torch.equal(loaded(images), model(images))
    assert asked == [GATED, *CONVERSIONS[GATED]]
    assert "access is gated" in caplog.text
    assert "taking the same weights from timm/" in caplog.text


def test_nothing_to_be_had_says_what_to_do() -> None:
    def download(repository: str, name: str) -> str:
        raise Gated("401") if repository == GATED else ConnectionError("no route to host")

    with pytest.raises(OSError, match=r"access is gated.*no route to host.*hf auth login.*copy its config\.json"):
        find_dinov3(GATED, download)
    with pytest.raises(OSError, match="no such folder"):
        find_dinov3("./nothing")


def test_damaged_weights_are_refused(model: DinoV3, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"has no model\.safetensors"):
        load_dinov3(str(tmp_path))
    file = tmp_path / "model.safetensors"
    state = dict(model.state_dict())
    save_file(state, file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_dinov3(str(tmp_path))
    del state["layer.1.norm2.bias"]
    save_file(state, file)
    with pytest.raises(ValueError, match=r"does not fit.*layer\.1\.norm2\.bias"):
        load_dinov3(str(tmp_path))
    save_file({"x": torch.zeros(2)}, file)
    with pytest.raises(ValueError, match="not the weights of a DINOv3"):
        load_dinov3(str(tmp_path))


def test_sides_must_be_whole_patches(model: DinoV3) -> None:
    with pytest.raises(ValueError, match="divisible by 16"):
        model(torch.zeros(1, 3, 40, 32))
    with pytest.raises(ValueError, match="use_gated_mlp"):
        DinoV3Config(use_gated_mlp=True)
