"""The small image encoder and the choice of condition models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from trellis2 import models
from trellis2.models import ImageEncoder, build_image_cond_model

SMALL = {"image_size": 32, "patch_size": 8, "channels": 24, "num_blocks": 2, "num_heads": 2}


def _image(size=(50, 40), mode="RGB", seed=0):
    channels = {"RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels, mode)


def test_tokens_of_pictures_and_tensors():
    model = ImageEncoder(**SMALL)
    tokens = model([_image(), _image(mode="RGBA")])
    assert tokens.shape == (2, 17, 24)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 17), atol=1e-5, rtol=0)
    resized = _image().resize((32, 32), Image.Resampling.LANCZOS)
    tensor = torch.from_numpy(np.asarray(resized, np.float32) / 255).permute(2, 0, 1)[None]
    torch.testing.assert_close(model(tensor), tokens[:1], atol=1e-5, rtol=1e-4)


def test_default_size():
    model = ImageEncoder(num_blocks=1)
    assert model(torch.rand(1, 3, 128, 128)).shape == (1, 257, 256)
    assert model.device == torch.device("cpu")


def test_positions_span_the_same_range_at_another_size():
    model = ImageEncoder(**SMALL)
    model.image_size = 64
    assert model([_image()]).shape == (1, 65, 24)
    small, large = model._positions(4, 4), model._positions(8, 8)
    torch.testing.assert_close(model._positions(4, 4)[0, 5], model.position(torch.tensor([[1, 1]]))[0])
    assert small.shape[1] == 16 and large.shape[1] == 64
    assert model(torch.rand(1, 3, 16, 48)).shape == (1, 13, 24)


def test_gradients_reach_pixels_and_weights():
    model = ImageEncoder(**SMALL)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    (model(images) * torch.randn(24)).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_runs_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        tokens = ImageEncoder(**SMALL)(torch.rand(1, 3, 32, 32))
    assert tokens.isfinite().all()


def test_other_channel_counts():
    assert ImageEncoder(**SMALL, in_channels=4)(torch.rand(1, 4, 32, 32)).shape == (1, 17, 24)


def test_bad_images_are_named():
    model = ImageEncoder(**SMALL)
    with pytest.raises(ValueError, match=r"images must be \[B, 3"):
        model(torch.rand(3, 32, 32))
    with pytest.raises(ValueError, match="multiples of 8"):
        model(torch.rand(1, 3, 30, 32))
    with pytest.raises(TypeError, match="PIL"):
        model(["picture.png"])
    with pytest.raises(ValueError, match="divisible by patch_size"):
        ImageEncoder(image_size=30)


def test_condition_model_from_arguments_and_from_a_file(tmp_path, monkeypatch):
    model = ImageEncoder(**SMALL)
    models.save_pretrained(model, tmp_path / "ckpts" / "image_encoder")
    spec = {"name": "ImageEncoder", "args": {"model": "ckpts/image_encoder"}}
    loaded = build_image_cond_model(spec, root=tmp_path)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    torch.testing.assert_close(loaded([_image()]), model.eval()([_image()]))
    monkeypatch.chdir(tmp_path)
    assert build_image_cond_model(spec).image_size == 32
    assert build_image_cond_model({"name": "ImageEncoder", "args": SMALL}).channels == 24
    assert build_image_cond_model({**spec, "args": {**spec["args"], "image_size": 64}}).image_size == 64


def test_condition_model_errors(tmp_path):
    with pytest.raises(ValueError, match="got 'Clip'"):
        build_image_cond_model({"name": "Clip", "args": {}})
    with pytest.raises(FileNotFoundError):
        build_image_cond_model({"name": "ImageEncoder", "args": {"model": "nothing"}}, root=tmp_path)
    models.save_pretrained(models.SparseStructureEncoder(1, 2, 1, [4]), tmp_path / "other")
    with pytest.raises(ValueError, match="must hold an ImageEncoder"):
        build_image_cond_model({"name": "ImageEncoder", "args": {"model": "other"}}, root=tmp_path)
