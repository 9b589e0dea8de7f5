"""The weight-free cut-out: finds subjects, is deterministic, never empty; other removers fall back to it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from trellis2.pipelines.config import ModelSpec
from trellis2.pipelines.files import Source
from trellis2.pipelines.loading import LazyMatting
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


def make_graph(path: Path, *, sigmoid: bool = False, half: bool = False, side: int | None = 32) -> Path:
    """A network with two maps: the first says no everywhere; the last one says that what is lighter than the mean is
    subject."""
    helper, kinds = onnx.helper, onnx.TensorProto
    kind = kinds.FLOAT16 if half else kinds.FLOAT
    dtype = np.float16 if half else np.float32
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["grey"], keepdims=1),
        helper.make_node("Mul", ["grey", "gain"], ["logits"]),
        helper.make_node("Sigmoid" if sigmoid else "Identity", ["logits"], ["fine"]),
        helper.make_node("Sub", ["fine", "ten"], ["coarse"]),
    ]
    constants = {"axes": np.array([1]), "gain": np.array(20, dtype), "ten": np.array(100, dtype)}
    size: list[int | str] = ["N", 3, side or "H", side or "W"]
    graph = helper.make_graph(
        nodes,
        "matting",
        [helper.make_tensor_value_info("image", kind, size)],
        [helper.make_tensor_value_info(name, kind, ["N", 1, size[2], size[3]]) for name in ("coarse", "fine")],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def light_on_the_left() -> Image.Image:
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[:, :50] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("sigmoid", "half", "side"), [(False, False, 32), (True, False, 32), (False, True, None)])
def test_birefnet_graph_cuts_out_what_its_last_map_says(
    tmp_path: Path, sigmoid: bool, half: bool, side: int | None
) -> None:
    path = make_graph(tmp_path / "model.onnx", sigmoid=sigmoid, half=half, side=side)
    remover = BiRefNet(str(path), image_size=64)
    assert remover.image_size == (side or 64)
    image = light_on_the_left()
    cut = remover(image)
    alpha = np.asarray(cut)[:, :, 3]
    assert cut.size == (100, 50)
    assert alpha[:, :45].min() == 255
    assert alpha[:, 55:].max() == 0
    assert np.array_equal(np.asarray(cut)[:, :, :3], np.asarray(image))
    assert image.mode == "RGB"
    remover.to("cpu")
    assert np.array_equal(np.asarray(remover(image)), np.asarray(cut))


def test_open_weights_stand_for_the_gated_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(make_graph(tmp_path / "model.onnx"))

    with caplog.at_level(logging.INFO):
        remover = build_matting("BiRefNet", {"model_name": "briaai/RMBG-2.0", "download": download})
    assert isinstance(remover, BiRefNet)
    assert asked == [("onnx-community/BiRefNet-ONNX", "onnx/model.onnx")]
    assert "onnx-community/BiRefNet-ONNX stand for briaai/RMBG-2.0" in caplog.text


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_graph_is_found_in_a_mirror(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    mirror = folder / "onnx-community/BiRefNet-ONNX" if where == "inside" else tmp_path / "BiRefNet-ONNX"
    make_graph(mirror / "onnx" / "model.onnx")
    spec = ModelSpec("BiRefNet", {"model_name": "briaai/RMBG-2.0"})
    remover = LazyMatting(spec, Source(str(folder)))()
    assert isinstance(remover, BiRefNet)
    assert Path(remover.model_name) == mirror


def test_remover_without_weights_falls_back_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def offline(repository: str, name: str) -> str:
        raise ConnectionError("no network")

    def broken(repository: str, name: str) -> str:
        path = tmp_path / "broken.onnx"
        path.write_bytes(b"not a graph")
        return str(path)

    for download, reason in ((offline, "no network"), (broken, "is not a graph")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            remover = build_matting("BiRefNet", {"model_name": "briaai/RMBG-2.0", "download": download})
        assert isinstance(remover, GrabCut)
        assert "BiRefNet is not available" in caplog.text
        assert reason in caplog.text


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


def test_birefnet_with_its_own_code_uses_the_last_map(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_birefnet_does_not_run_downloaded_code_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRELLIS2_TRUST_REMOTE_CODE", raising=False)
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(transformers, "AutoModelForImageSegmentation", None, raising=False)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OSError, match=r"holds no \.onnx file"):
        BiRefNet(str(tmp_path))
