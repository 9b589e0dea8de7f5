"""Bad input through the command lines: one line that names the cause, a status, no half-written output."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MINI = ROOT / "assets" / "models" / "mini"
Errors = Callable[[], list[str]]


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem + "_for_bad_input", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return _script(ROOT / "example.py")


@pytest.fixture(scope="module")
def example_texturing() -> ModuleType:
    return _script(ROOT / "example_texturing.py")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and bad pictures and meshes."""
    folder = tmp_path_factory.mktemp("inputs")
    pixels = np.zeros((48, 48, 4), np.uint8)
    pixels[8:40, 12:36] = (200, 120, 40, 255)
    Image.fromarray(pixels).save(folder / "good.png")
    (folder / "text.png").write_text("this is not a picture")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGBA", (64, 64)).save(folder / "clear.png")
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "dot.png")
    box = trimesh.creation.box()
    box.export(folder / "box.obj")
    box.export(folder / "box.glb")
    whole = (folder / "box.glb").read_bytes()
    (folder / "cut.glb").write_bytes(whole[: len(whole) // 2])
    (folder / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    (folder / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (folder / "outside.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n")
    (folder / "text.obj").write_text("hello\n")
    return folder


@pytest.fixture(scope="module")
def broken_pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the bundled pipeline: one with truncated weights, one with a misspelt key."""
    folder = tmp_path_factory.mktemp("pipelines")
    for name in ("truncated", "misspelt"):
        shutil.copytree(MINI, folder / name)
    for weights in sorted((folder / "truncated" / "ckpts").glob("tex_dec*.safetensors")):
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    for file in ("pipeline.json", "texturing_pipeline.json"):
        content = json.loads((folder / "misspelt" / file).read_text())
        content["args"]["tex_slat_samplr"] = content["args"].pop("tex_slat_sampler")
        (folder / "misspelt" / file).write_text(json.dumps(content))
    return folder


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str]) -> Errors:
    """The lines on stderr that report an error, after checking that no traceback is among them."""

    def read() -> list[str]:
        text = capsys.readouterr().err
        assert "Traceback" not in text
        return [line for line in text.splitlines() if "error:" in line]

    return read


def _one_line(lines: list[str], match: str) -> None:
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert match in lines[0], lines[0]


@pytest.mark.parametrize(
    ("image", "match"),
    [
        ("text.png", "is not an image"),
        ("cut.png", "cut.png"),
        ("clear.png", "transparent"),
        ("dot.png", "1 x 1"),
        ("none.png", "not found"),
        ("", "folder"),
    ],
)
@pytest.mark.parametrize("texturing", [False, True], ids=["example", "example_texturing"])
def test_images(image, match, texturing, example, example_texturing, inputs, tmp_path, errors):
    output = tmp_path / "out.glb"
    arguments = ["--image", str(inputs / image), "--output", str(output), "--quiet", "--device", "cpu"]
    if texturing:
        assert example_texturing.main([*arguments, "--mesh", str(inputs / "box.obj")]) == 1
    else:
        assert example.main(arguments) == 1
    _one_line(errors(), match)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mesh", "match"),
    [
        ("none.obj", "not found"),
        ("points.obj", "faces"),
        ("nan.obj", "finite"),
        ("outside.obj", "outside.obj"),
        ("text.obj", "text.obj"),
        ("cut.glb", "cut.glb: GLB must be version 2 and complete"),
        ("good.png", "cannot be read"),
    ],
)
def test_meshes(mesh, match, example_texturing, inputs, tmp_path, errors):
    arguments = ["--mesh", str(inputs / mesh), "--image", str(inputs / "good.png"), "--quiet", "--device", "cpu"]
    assert example_texturing.main([*arguments, "--output", str(tmp_path / "out.glb")]) == 1
    _one_line(errors(), match)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("texturing", [False, True], ids=["example", "example_texturing"])
@pytest.mark.parametrize(
    ("pipeline", "match"),
    [
        ("truncated", "tex_dec.safetensors is not a complete"),
        ("misspelt", "did you mean 'tex_slat_sampler'"),
        ("none", "pipeline folder not found"),
    ],
)
def test_pipelines(pipeline, match, texturing, example, example_texturing, inputs, broken_pipelines, tmp_path, errors):
    arguments = ["--pipeline", str(broken_pipelines / pipeline), "--image", str(inputs / "good.png"), "--quiet"]
    arguments += ["--output", str(tmp_path / "out.glb"), "--device", "cpu"]
    if texturing:
        assert example_texturing.main([*arguments, "--mesh", str(inputs / "box.obj")]) == 1
    else:
        assert example.main(arguments) == 1
    _one_line(errors(), match)
    assert list(tmp_path.iterdir()) == []


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., tuple[int, list[str]]]:
    """Run one small stage on fresh data: (exit status, error lines)."""
    data = _script(ROOT / "tests" / "training_data.py").make_dataset(tmp_path / "data")

    def run(*extra: str, stage: str = "tex_vae") -> tuple[int, list[str]]:
        from trellis2.trainers.launch import main

        caplog.clear()
        arguments = ["--config", str(ROOT / "configs" / "mini" / f"{stage}.json"), "--device", "cpu"]
        arguments += ["--output_dir", str(tmp_path / "run"), "--data_dir", str(data), "--auto_retry", "0"]
        for item in (
            "dataset.resolution=32", "models.encoder.model_channels=[8,16,16]", "models.encoder.num_blocks=[0,0,0]",
            "models.decoder.model_channels=[16,16,8]", "models.decoder.num_blocks=[0,0,0]", "trainer.batch_size=2",
            "trainer.max_steps=1", "trainer.max_minutes=null", "trainer.mix_precision_mode=null",
            "trainer.num_snapshot_samples=0",
        ):  # fmt: skip
            arguments += ["--set", item]
        status = main([*arguments, *extra])
        assert not any(r.exc_info for r in caplog.records)  # tracebacks go to a file
        return status, [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]

    return run


def test_training_on_truncated_voxels(train, tmp_path):
    for path in (tmp_path / "data" / "pbr_voxels_32").glob("*.vxz"):
        path.write_bytes(path.read_bytes()[:200])
    status, lines = train()
    assert status == 1
    assert len(lines) == 1
    assert "training failed" in lines[0]
    assert "6 of 6 items cannot be read" in lines[0]
    assert ".vxz: file ends inside its header" in lines[0]
    assert "\n" not in lines[0]
    assert "Traceback" in (tmp_path / "run" / "traceback.txt").read_text()
    assert not list((tmp_path / "run").rglob("*.pt"))


def test_training_from_a_truncated_checkpoint(train, tmp_path):
    assert train()[0] == 0
    (checkpoint,) = (tmp_path / "run" / "ckpts").glob("encoder_step0000001.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    status, lines = train("--ckpt", "1")
    assert status == 1
    assert len(lines) == 1
    assert "encoder_step0000001.pt is damaged" in lines[0]
    assert "\n" not in lines[0]


@pytest.mark.parametrize(
    ("extra", "status", "match"),
    [
        (["--set", "trainer.lamda_kl=1"], 2, "did you mean 'lambda_kl'"),
        (["--set", "dataset.resolutoin=4"], 2, "did you mean 'resolution'"),
        (["--config", "none.json"], 2, "none.json"),
        (["--data_dir", "/nonexistent"], 1, "/nonexistent"),
    ],
)
def test_training_with_wrong_arguments(train, tmp_path, extra, status, match):
    got, lines = train(*extra)
    assert got == status
    assert len(lines) == 1
    assert match in lines[0]
    assert not list(tmp_path.rglob("*.pt"))


# --- data preparation -------------------------------------------------------------------------------------------------


def test_data_scripts_record_bad_meshes(inputs, tmp_path, capsys):
    from data_toolkit import build_metadata, download, dual_grid, dump_mesh
    from data_toolkit.tables import read_table

    source, root = tmp_path / "source", tmp_path / "root"
    source.mkdir()
    for name in ("points.obj", "nan.obj", "cut.glb", "outside.obj"):
        shutil.copy(inputs / name, source / name)
    base = ["Folder", "--root", str(root)]
    assert build_metadata.main([*base, "--source_dir", str(source)]) == 0
    assert download.main(base) == 0
    assert build_metadata.main(base) == 0
    status = dump_mesh.main([*base, "--max_workers", "1"])
    failed = read_table(root / "mesh_dumps" / "failures" / "part_0.csv")
    assert len(failed) + len(list((root / "mesh_dumps").glob("*.npz"))) == 4
    if status == 0:  # what could be dumped must then be refused as a surface
        assert build_metadata.main(base) == 0
        assert dual_grid.main([*base, "--resolution", "16", "--max_workers", "1"]) == 1
        failed |= read_table(root / "dual_grid_16" / "failures" / "part_0.csv")
    assert len(failed) == 4
    assert all(row["reason"] and "\n" not in row["reason"] for row in failed.values())
    assert not list(root.rglob("*.vxz"))
    assert not list(root.rglob("*.tmp"))
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def encoding(tmp_path: Path) -> list[str]:
    """Flags of `encode_shape_latent.py` over fresh data with a small untrained encoder."""
    from trellis2.models import build_model, save_pretrained

    data = _script(ROOT / "tests" / "training_data.py").make_dataset(tmp_path / "data")
    spec = json.loads((ROOT / "configs" / "mini" / "shape_vae.json").read_text())["models"]["encoder"]
    save_pretrained(build_model(spec["name"], spec["args"]), tmp_path / "encoder")
    return ["--root", str(data), "--resolution", "32", "--enc_pretrained", str(tmp_path / "encoder")]


def test_encoding_truncated_voxels(encoding, tmp_path, capsys):
    from data_toolkit import encode_shape_latent
    from data_toolkit.tables import read_table

    for path in (tmp_path / "data" / "dual_grid_32").glob("*.vxz"):
        path.write_bytes(path.read_bytes()[:-7])
    assert encode_shape_latent.main([*encoding, "--device", "cpu"]) == 1
    folder = tmp_path / "data" / "shape_latents" / "encoder_32"
    failed = read_table(folder / "failures" / "part_0.csv")
    assert len(failed) == 6
    assert all(".vxz" in row["reason"] for row in failed.values())
    assert not list(folder.glob("*.npz"))
    assert "Traceback" not in capsys.readouterr().err


def test_encoding_with_truncated_weights(encoding, tmp_path, capsys):
    from data_toolkit import encode_shape_latent

    weights = tmp_path / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(SystemExit) as stop:
        encode_shape_latent.main([*encoding, "--device", "cpu"])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert "encoder.safetensors is not a complete" in lines[-1]


def test_encoding_with_a_truncated_checkpoint(encoding, tmp_path, capsys):
    from data_toolkit import encode_shape_latent

    run = tmp_path / "runs" / "mine"
    (run / "ckpts").mkdir(parents=True)
    shutil.copy(ROOT / "configs" / "mini" / "shape_vae.json", run / "config.json")
    (run / "ckpts" / "encoder_step0000001.pt").write_bytes(b"PK\x03\x04 cut")
    flags = ["--model_root", str(run.parent), "--enc_model", "mine", "--ckpt", "step0000001", "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        encode_shape_latent.main([*encoding, *flags])
    assert stop.value.code == 2
    assert "encoder_step0000001.pt is damaged" in capsys.readouterr().err.splitlines()[-1]


# --- as processes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status", "match"),
    [
        (["example.py", "--image", "none.png"], 1, "error: image file not found"),
        (["example_texturing.py", "--mesh", "none.obj", "--image", "none.png"], 1, "error: mesh file not found"),
        (["train.py", "--config", "none.json", "--output_dir", "run"], 2, "none.json"),
        (["data_toolkit/dual_grid.py", "Folder", "--root", "none", "--resolution", "8"], 2, "metadata.csv not found"),
    ],
    ids=["example", "example_texturing", "train", "data_toolkit"],
)
def test_exit_codes_reach_the_shell(command, status, match, tmp_path):
    script = str(ROOT / command[0])
    done = subprocess.run(
        [sys.executable, script, *command[1:]],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert match in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
