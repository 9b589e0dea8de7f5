"""Options of jobs, and the jobs themselves on the bundled pipeline's smallest settings."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from trellis2.serve.requests import CHECKS, GenerateRequest

REPO = Path(__file__).resolve().parents[2]
MINI = str(REPO / "assets" / "models" / "mini")


def test_requests_survive_the_queue():
    for kind, values in (
        ("generate", {"seed": 3, "preview": True, "export": {"format": "stl"}}),
        ("texture", {"uv": "keep"}),
        ("export", {"profile": "raw"}),
    ):
        once = CHECKS[kind](values)
        assert CHECKS[kind](json.loads(json.dumps(once))) == once


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preview": 1}, "preview must be true or false"),
        ({"export": []}, "export must be an object"),
        ({"export": {"format": "exe"}}, "unknown format"),
        ({"num_samples": 4}, "num_samples must be 1"),
        ({"sede": 4}, "seed"),
    ],
)
def test_bad_requests_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        GenerateRequest.from_dict(values)


@pytest.mark.slow
def test_a_generation_and_an_export_on_the_bundled_pipeline(tmp_path):
    from trellis2.pipelines import Trellis2ImageTo3DPipeline  # noqa: F401  (the extra is there, so is the package)
    from trellis2.serve.runner import PipelineRunner

    runner = PipelineRunner("cpu", MINI, preview_size=32)
    stages = []
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    Image.open(REPO / "assets" / "example_image" / "duck.png").save(first / "image_0.png")
    options = {"seed": 1, "steps": 2, "preview": True, "export": None}
    runner.run("generate", first, CHECKS["generate"](options), lambda *step: stages.append(step))
    names = json.loads((first / "results.json").read_text())
    assert names[0] == "latent.safetensors" and len(names) == 1 + 14 * 8
    assert all(Image.open(io.BytesIO((first / name).read_bytes())).size == (32, 32) for name in names[1:])
    assert {stage for stage, _, _ in stages} >= {"sparse structure", "shape SLat", "texture SLat", "preview"}
    (second / "latent.safetensors").write_bytes((first / "latent.safetensors").read_bytes())
    options = CHECKS["export"]({"format": "glb", "faces": 2000, "texture_size": 128})
    runner.run("export", second, options, lambda *step: None)
    assert json.loads((second / "results.json").read_text()) == ["asset.glb", "report.json"]
    report = json.loads((second / "report.json").read_text())
    assert 0 < report["faces"] <= 2000 and (second / "asset.glb").read_bytes()[:4] == b"glTF"
