"""example.py from the command line: files on success; one line, a status and no files on failure."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_script", ROOT / "example.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def image_file(picture: Image.Image, tmp_path: Path) -> str:
    picture.save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.fixture(scope="module")
def run(pipeline_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The GLB of one run of the script, and what the run printed."""
    folder = tmp_path_factory.mktemp("example")
    picture = Image.new("RGBA", (64, 64))
    picture.paste((230, 140, 40, 255), (14, 10, 50, 54))
    picture.save(folder / "picture.png")
    output = folder / "out" / "asset.glb"
    command = [sys.executable, str(ROOT / "example.py"), "--pipeline", str(pipeline_dir)]
    command += ["--image", str(folder / "picture.png"), "--output", str(output), "--seed", "3", "--device", "cpu"]
    command += ["--faces", "1500", "--texture-size", "128", "--frames", "2", "--video-size", "64"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    return output, done


def test_glb_passes_the_khronos_validator(run: Any, validate_glb: Any) -> None:
    assert validate_glb(run[0])["messages"] == []


def test_glb_and_video_are_written(run: Any) -> None:
    output, done = run
    assert done.returncode == 0, done.stderr
    assert re.search(r"asset\.glb: \d+ faces", done.stdout)
    assert "Sampling sparse structure" in done.stderr  # progress
    assert sorted(p.name for p in output.parent.iterdir()) == ["asset.glb", "asset.mp4"]
    data = output.read_bytes()
    magic, version, length = struct.unpack("<III", data[:12])
    assert (magic, version, length) == (0x46546C67, 2, len(data))
    document = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    # What is see-through in places has a second material for its translucent faces.
    assert 1 <= len(document["materials"]) <= 2
    for material in document["materials"]:
        assert {"baseColorTexture", "metallicRoughnessTexture"} <= set(material["pbrMetallicRoughness"])
    for primitive in document["meshes"][0]["primitives"]:
        assert {"POSITION", "NORMAL", "TEXCOORD_0"} <= set(primitive["attributes"])


def fails(example: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str], match: str) -> None:
    status = example.main([*arguments, "--quiet"])
    error = capsys.readouterr().err.strip().splitlines()
    assert status == 1
    assert error[-1].startswith("error: ")
    assert match in error[-1]
    assert sum(line.startswith("error: ") for line in error) == 1


def written(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.suffix in (".glb", ".mp4", ".tmp"))


def test_bad_images_give_one_line(
    example: ModuleType, pipeline_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGBA", (64, 64)).save(tmp_path / "clear.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    common = ["--pipeline", str(pipeline_dir), "--output", str(tmp_path / "a.glb")]
    for name, match in [
        ("text.png", "is not an image in a known format"),
        ("clear.png", "fully transparent"),
        ("dot.png", "1 x 1 pixels"),
        ("none.png", "image file not found"),
        ("", "is a folder"),
    ]:
        fails(example, capsys, [*common, "--image", str(tmp_path / name)], match)
    assert written(tmp_path) == []


def test_bad_arguments_give_one_line(
    example: ModuleType, pipeline_dir: Path, image_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--image", image_file, "--pipeline", str(pipeline_dir)]
    good = ["--output", str(tmp_path / "a.glb")]
    fails(example, capsys, [*common, "--output", str(tmp_path / "a.obj")], "--output must end in .glb")
    fails(example, capsys, [*common, *good, "--pipeline-type", "9"], "unknown pipeline_type '9'")
    fails(example, capsys, [*common, *good, "--steps", "0"], "steps must be")
    fails(example, capsys, [*common, *good, "--seed", "-1"], "seed must be")
    fails(example, capsys, [*common, *good, "--device", "gpu"], "gpu")
    fails(example, capsys, [*common, *good, "--faces", "-3", "--no-video"], "decimation_target")
    assert written(tmp_path) == []


def test_broken_pipelines_give_one_line(
    example: ModuleType, pipeline_dir: Path, image_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--image", image_file, "--output", str(tmp_path / "a.glb")]
    fails(example, capsys, [*common, "--pipeline", str(tmp_path / "none")], "pipeline folder not found")
    folder = tmp_path / "broken"
    shutil.copytree(pipeline_dir, folder)
    weights = folder / "ckpts" / "tex_slat_decoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    fails(example, capsys, [*common, "--pipeline", str(folder)], "tex_slat_decoder.safetensors is not a complete")
    content = json.loads((folder / "pipeline.json").read_text())
    content["args"]["tex_slat_normalisation"] = content["args"].pop("tex_slat_normalization")
    (folder / "pipeline.json").write_text(json.dumps(content))
    fails(example, capsys, [*common, "--pipeline", str(folder)], "did you mean 'tex_slat_normalization'")
    assert written(tmp_path) == []
