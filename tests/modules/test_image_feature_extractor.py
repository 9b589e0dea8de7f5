"""The DINOv3 extractor against recorded tokens, and its input contract."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from trellis2.modules.image_feature_extractor import (
    DinoV2FeatureExtractor,
    DinoV3FeatureExtractor,
    images_to_tensor,
)

transformers = pytest.importorskip("transformers")


def _tiny_model(config):
    return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**config))


def _load(model, weights):
    """Load by the published key names; newer releases nest the layers in an inner module."""
    names = {key: key.removeprefix("model.") for key in model.state_dict()}
    assert set(names.values()) >= set(weights)
    model.load_state_dict({key: weights[name] for key, name in names.items() if name in weights}, strict=False)
    return model


def test_dinov3_tokens_match(vectors):
    file = vectors("dinov3_extractor")
    model = _load(_tiny_model(file.spec["model_config"]), file.weights())
    extractor = DinoV3FeatureExtractor("tiny", image_size=file.spec["image_size"], model=model)
    images = [
        Image.fromarray(file["in.image0_rgb_u8"].numpy(), "RGB"),
        Image.fromarray(file["in.image1_rgba_u8"].numpy(), "RGBA"),
    ]
    # Pillow 13 resizes transparent pictures otherwise than earlier ones, and the vector was made with it.
    count = 2 if int(PIL.__version__.split(".")[0]) >= 13 else 1
    for i, resized in enumerate(images_to_tensor(images[:count], 48)):
        expected = file[f"mid.resized{i}_u8"].permute(2, 0, 1)
        assert torch.equal((resized * 255).round().to(torch.uint8), expected)
    as_read = torch.stack([file[f"mid.resized{i}_u8"].permute(2, 0, 1) / 255 for i in range(2)])
    file.close(torch.cat([extractor(images[:count]), extractor(as_read)[count:]]), "out.tokens")
    file.close(extractor(file["in.tensor"]), "out.tensor_tokens")
    assert extractor.to("cpu") is extractor
    assert not any(p.requires_grad for p in extractor.model.parameters())


def test_other_model_classes_are_refused():
    with pytest.raises(TypeError, match="DINOv3ViTLayer"):
        DinoV3FeatureExtractor("x", model=torch.nn.Conv2d(3, 4, 2))(torch.rand(1, 3, 4, 4))


def test_missing_model_names_the_repository(tmp_path):
    with pytest.raises(OSError, match="no such folder"):
        DinoV3FeatureExtractor(str(tmp_path / "nothing"))


class _FakeDino(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = torch.nn.Linear(3, 8)

    def forward(self, x, is_training):
        assert is_training
        return {"x_prenorm": self.patch(x.flatten(2).transpose(1, 2)[:, :5])}


def test_dinov2_normalises_tokens_before_the_final_norm():
    extractor = DinoV2FeatureExtractor("fake", image_size=14, model=_FakeDino())
    tokens = extractor([Image.fromarray(np.zeros((10, 20, 3), np.uint8))])
    assert tokens.shape == (1, 5, 8)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(1, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("bad", [[], "text", [1]])
def test_bad_images_are_refused(bad):
    with pytest.raises(TypeError, match="PIL"):
        images_to_tensor(bad, 16)
