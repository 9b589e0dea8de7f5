"""The weight-free cut-out: finds subjects, is deterministic, never empty; other removers fall back to it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from trellis2.pipelines.rembg import BiRefNet, GrabCut, build_matting
from trellis2.utils.image import limit_size, load_image


def scene(background: str, seed: int = 0) -> tuple[Image.Image, np.ndarray]:
    """A two-coloured object on a background; and where it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :200]
    inside = ((x - 95) / 50) ** 2 + ((y - 80) / 38) ** 2 < 1
    inside |= (abs(x - 95) < 12) & (y > 30) & (y < 60)
    image = {
        "white": np.full((160, 200, 3), 250.0),
        "dark": np.full((160, 200, 3), 20.0),
        "gradient": np.stack([90 + y * 0.6, 120 + x * 0.3, 200 - y * 0.5], axis=2),
        "table": np.where((y > 100)[:, :, None], np.array([150.0, 120, 90]), np.array([225.0, 225, 230])),
    }[background].copy()
    image[inside & (x < 100)] = (200, 40, 30)
    image[inside & (x >= 100)] = (40, 120, 60)
    image += rng.normal(0, 2.5, image.shape)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), inside


def overlap(cut: Image.Image, truth: np.ndarray) -> float:
    mask = np.asarray(cut)[:, :, 3] > 127
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize("background", ["white", "dark", "gradient", "table"])
def test_object_is_cut_out(background: str) -> None:
    image, truth = scene(background)
    before = np.asarray(image).copy()
    cut = GrabCut()(image)
    assert cut.mode == "RGBA"
    assert cut.size == image.size
    assert overlap(cut, truth) > 0.9
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), before)


def test_real_object_on_a_new_background_is_cut_out(data_dir: Path) -> None:
    image = limit_size(load_image(data_dir / "images" / "object_T.png"), 512)
    truth = np.asarray(image)[:, :, 3] > 127
    back = Image.new("RGBA", image.size, (235, 235, 240, 255))
    back.alpha_composite(image)
    assert overlap(GrabCut()(back.convert("RGB")), truth) > 0.95


def test_same_picture_same_mask() -> None:
    image, _ = scene("gradient")
    assert np.array_equal(np.asarray(GrabCut()(image)), np.asarray(GrabCut()(image)))


@pytest.mark.parametrize("kind", ["flat", "noise", "tiny", "line"])
def test_mask_is_never_empty(kind: str) -> None:
    rng = np.random.default_rng(1)
    pixels = {
        "flat": np.full((50, 70, 3), 128, np.uint8),
        "noise": rng.integers(0, 255, (60, 60, 3), dtype=np.uint8),
        "tiny": rng.integers(0, 255, (3, 5, 3), dtype=np.uint8),
        "line": np.full((2, 300, 3), 9, np.uint8),
    }[kind]
    assert np.asarray(GrabCut()(Image.fromarray(pixels)))[:, :, 3].max() == 255


def test_mask_has_the_size_of_a_large_image() -> None:
    image, truth = scene("white")
    large = image.resize((1000, 800), Image.Resampling.BICUBIC)
    cut = GrabCut()(large)
    assert cut.size == (1000, 800)
    wide = np.asarray(Image.fromarray(truth).resize((1000, 800)))
    assert overlap(cut, wide) > 0.9


def test_remover_without_weights_falls_back_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        remover = build_matting("BiRefNet", {"model_name": "briaai/RMBG-2.0"})
    assert isinstance(remover, GrabCut)
    assert "BiRefNet is not available" in caplog.text


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown rembg_model 'U2Net'"):
        build_matting("U2Net", {})
    with pytest.raises(ValueError, match="working_size"):
        GrabCut(working_size=4)
    with pytest.raises(ValueError, match="iterations"):
        GrabCut(iterations=0)


class FakeSegmenter(torch.nn.Module):
    """Answers with two maps; the last one says that the left half is subject."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.seen: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        self.seen = x
        left = torch.full((1, 1, *x.shape[2:]), -20.0)
        left[..., : x.shape[3] // 2] = 20.0
        return [-left, left]


def test_birefnet_uses_the_last_map_at_the_size_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    model = FakeSegmenter()
    monkeypatch.setattr(
        transformers,
        "AutoModelForImageSegmentation",
        SimpleNamespace(from_pretrained=lambda *a, **k: model),
        raising=False,
    )
    remover = BiRefNet("some/model", image_size=64, trust_remote_code=True)
    image = Image.new("RGB", (100, 50), (124, 116, 104))  # the mean colour
    cut = remover(image)
    alpha = np.asarray(cut)[:, :, 3]
    assert cut.size == (100, 50)
    assert alpha[:, :45].min() == 255
    assert alpha[:, 55:].max() == 0
    assert image.mode == "RGB"
    assert model.seen is not None
    assert model.seen.shape == (1, 3, 64, 64)
    assert model.seen.abs().max() < 0.02  # normalised by mean and deviation


def test_birefnet_does_not_run_downloaded_code_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRELLIS2_TRUST_REMOTE_CODE", raising=False)
    with pytest.raises(OSError, match="runs code from its repository"):
        BiRefNet("some/model")
