"""The command line: files and folders, latents, resume after a kill, exit codes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from trellis2.cli.inputs import find_inputs, output_stems, weights_digest
from trellis2.cli.main import main
from trellis2.cli.manifest import Manifest, job_key
from trellis2.cli.runner import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_USAGE, Job, Runner
from trellis2.pipelines.latents import load_latents

torch.set_num_threads(1)
REPO = Path(__file__).resolve().parents[2]
SMALL = ["--faces", "200", "--texture-size", "32", "--no-remesh", "--profile", "raw", "--quiet"]


@pytest.fixture(scope="module")
def pipeline_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained pipeline, as in tests/pipelines."""
    path = REPO / "tests" / "pipelines" / "untrained.py"
    spec = importlib.util.spec_from_file_location("untrained_for_cli", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_untrained_pipeline(tmp_path_factory.mktemp("cli") / "pipeline")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four small pictures and a text file."""
    folder = tmp_path_factory.mktemp("images")
    for i, colour in enumerate([(230, 140, 40), (20, 80, 200), (10, 200, 30), (200, 0, 90)]):
        picture = Image.new("RGBA", (48, 48))
        picture.paste((*colour, 255), (8 + i, 8, 40, 40))
        picture.save(folder / f"{'abcd'[i]}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def run(*arguments: Any) -> int:
    return main([str(a) for a in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "manifest.jsonl"}


def test_latents_can_be_exported_decoded_and_textured_without_generating(
    pipeline_dir: Path, images: Path, tmp_path: Path
) -> None:
    common = ["--pipeline", pipeline_dir, *SMALL]
    made = tmp_path / "made"
    code = run("generate", images / "a.png", "-o", made, "--latents", "--samples", 2, "--seed", 5, *common)
    assert code == 0
    names = ["a_0.glb", "a_0.latents.safetensors", "a_1.glb", "a_1.latents.safetensors"]
    assert sorted(contents(made)) == names
    assert run("export", made, "-o", tmp_path / "again", *common) == 0
    again = contents(tmp_path / "again")
    assert {k: v for k, v in contents(made).items() if k.endswith("glb")} == again
    export = ["export", made / names[1], "-o", tmp_path / "many", "--format", "obj", "ply", "vxz", *common]
    assert run(*export) == 0
    assert {Path(n).suffix for n in contents(tmp_path / "many")} >= {".obj", ".mtl", ".ply", ".vxz"}
    assert run("decode", made / names[1], "-o", tmp_path / "raw", "--pipeline", pipeline_dir, "--quiet") == 0
    assert sorted(contents(tmp_path / "raw")) == ["a_0.ply", "a_0.vxz"]
    texture = ["texture", made / names[1], "--image", images / "b.png", "-o", tmp_path / "tex"]
    assert run(*texture, *common) == 0
    old, new = load_latents(made / names[1]), load_latents(tmp_path / "tex" / names[1])
    assert torch.equal(old.shape_slat.feats, new.shape_slat.feats)
    assert not torch.equal(old.tex_slat.feats, new.tex_slat.feats)
    entry = json.loads((made / "manifest.jsonl").read_text())
    assert [asset["seed"] for asset in entry["assets"]] == [5, 6]
    assert set(entry["outputs"]) == set(names)
    assert entry["settings"]["generate"]["seed"] == 5
    assert {"sparse structure", "texture decoder", "finish", "write"} <= set(entry["timings"])


def test_geometry_only_and_meshes_to_latents(pipeline_dir: Path, images: Path, tmp_path: Path) -> None:
    common = ["--pipeline", pipeline_dir, "--quiet"]
    out = ["-o", tmp_path / "o"]
    plain = ["--no-texture", "--latents", "--profile", "raw", "--no-remesh", "--faces", 200, "--format", "ply"]
    assert run("generate", images / "a.png", *out, *plain, *common) == 0
    assert load_latents(tmp_path / "o" / "a.latents.safetensors").tex_slat is None
    mesh = REPO / "assets" / "example_mesh" / "lamp.glb"
    assert run("encode", mesh, *out, "--resolution", 32, *common) == 0
    latents = load_latents(tmp_path / "o" / "lamp.latents.safetensors")
    assert latents.resolution == 32
    assert run("decode", tmp_path / "o" / "lamp.latents.safetensors", *out, *common) == 0
    assert (tmp_path / "o" / "lamp.ply").is_file()
    both = [mesh, "--image", images / "a.png", "--texture-size", 32, "--steps", 1]
    assert run("texture", *both, *out, *common) == 0
    assert (tmp_path / "o" / "lamp.glb").is_file()


def test_kill_half_way_and_resume_gives_the_same_files(pipeline_dir: Path, images: Path, tmp_path: Path) -> None:
    arguments = ["generate", images, "--latents", "--pipeline", pipeline_dir, "--resume", *SMALL]
    assert run(*arguments, "-o", tmp_path / "whole") == 0
    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "trellis2.cli", *map(str, arguments), "-o", str(broken)]
    process = subprocess.Popen(command, cwd=REPO, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (broken / "a.glb").is_file():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (broken / "a.glb").is_file()
    assert not (broken / "d.glb").is_file()
    for path in broken.glob("*.glb"):  # whatever is there is complete
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert run(*arguments, "-o", broken) == 0
    visible = {name: data for name, data in contents(broken).items() if not name.startswith(".")}
    assert visible == contents(tmp_path / "whole")
    keys = [
        {json.loads(line)["key"] for line in (tmp_path / name / "manifest.jsonl").read_text().splitlines()}
        for name in ("whole", "broken")
    ]
    assert keys[0] == keys[1]


def test_resume_does_what_is_missing_changed_or_asked_differently(
    pipeline_dir: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o"
    small = [a for a in SMALL if a != "--quiet"]
    arguments = ["generate", images / "a.png", images / "b.png", "--pipeline", pipeline_dir, "-o", out, *small]
    assert run(*arguments) == 0
    capsys.readouterr()
    assert run(*arguments, "--resume") == 0
    assert capsys.readouterr().out.count("done before") == 2
    (out / "a.glb").write_bytes(b"spoilt")
    assert run(*arguments, "--resume") == 0
    assert capsys.readouterr().out.count("done before") == 1
    assert (out / "a.glb").stat().st_size > 1000
    assert run(*arguments, "--resume", "--seed", 7) == 0
    assert capsys.readouterr().out.count("done before") == 0


def test_one_bad_input_does_not_stop_the_others(
    pipeline_dir: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    inputs = [tmp_path / "broken.png", images / "a.png"]
    common = ["--pipeline", pipeline_dir, "-o", tmp_path / "o", *SMALL]
    assert run("generate", *inputs, *common) == EXIT_SOME_FAILED
    assert "error: broken:" in capsys.readouterr().err
    assert (tmp_path / "o" / "a.glb").is_file()
    assert run("generate", inputs[0], *common) == EXIT_FAILED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "nothing.png"], "images not found: nothing.png"),
        (["generate", "IMAGES", "--samples", "0"], "num_samples must be a whole number in 1…16, got 0"),
        (["generate", "IMAGES", "--faces", "1"], "faces must be a whole number"),
        (["texture", "IMAGES", "--image", "IMAGES"], "holds no meshes"),
        (["texture", "x.glb", "--image", "y", "--set", "shape.steps=3"], "only texture.PARAMETER"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_loaded(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    named = [str(images) if a == "IMAGES" else a for a in arguments]
    assert run(*named, "-o", tmp_path / "o", "--pipeline", tmp_path / "none") == EXIT_USAGE
    assert message in capsys.readouterr().err


def test_sampler_settings_need_a_stage_a_name_and_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("steps=3", "shape.steps", "form.steps=3", "shape.steps=many"):
        with pytest.raises(SystemExit) as stopped:
            run("generate", "x.png", "--set", text)
        assert stopped.value.code == 2
    assert "STAGE.PARAMETER=VALUE" in capsys.readouterr().err


def test_info_describes_pipelines_latents_and_manifests(
    pipeline_dir: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("info", pipeline_dir) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"]["pipeline.json"]["types"] == ["32", "64_cascade"]
    assert told["files"]["texturing_pipeline.json"]["models"]["shape_slat_encoder"]["bytes"] > 1000
    common = ["--pipeline", pipeline_dir, "-o", tmp_path / "o", *SMALL]
    assert run("generate", images / "a.png", "--latents", *common) == 0
    assert run("info", tmp_path / "o" / "a.latents.safetensors", tmp_path / "o") == 0
    assert '"resolution": 32' in capsys.readouterr().out
    assert run("info", images) == EXIT_FAILED
    assert "neither a pipeline folder" in capsys.readouterr().err


def test_interrupt_stops_at_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def work(monitor: Any) -> tuple[list[Path], dict[str, Any]]:
        for i in range(5):
            seen.append(i)
            os.kill(os.getpid(), signal.SIGINT)
            monitor.report("stage", i + 1, 5)
        return [], {}

    runner = Runner("generate", tmp_path, resume=False, quiet=True)
    before = signal.getsignal(signal.SIGINT)
    assert runner.run([Job("x", "k", work), Job("y", "l", work)]) == EXIT_INTERRUPTED
    assert seen == [0]
    assert signal.getsignal(signal.SIGINT) is before
    assert "interrupted" in capsys.readouterr().err


def test_manifest_survives_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "a.glb"
    file.write_bytes(b"one")
    Manifest(tmp_path).add("k1", [file])
    with (tmp_path / "manifest.jsonl").open("a") as out:
        out.write('{"key": "k2", "outp')
    manifest = Manifest(tmp_path)
    assert manifest.finished("k1")
    assert not manifest.finished("k2")
    manifest.add("k3", [file])
    assert Manifest(tmp_path).finished("k3")
    file.write_bytes(b"two")
    assert not Manifest(tmp_path).finished("k1")


def test_key_changes_with_everything_that_decides() -> None:
    base = ("generate", {"seed": 1}, {"image": "aa"}, "ww")
    keys = {job_key(*base)}
    for i, other in enumerate(["texture", {"seed": 2}, {"image": "bb"}, "vv"]):
        keys.add(job_key(*base[:i], other, *base[i + 1 :]))  # type: ignore[arg-type]
    assert len(keys) == 5


def test_weights_are_told_apart(pipeline_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pipeline_dir, copy)
    assert weights_digest(str(copy)) == weights_digest(str(pipeline_dir))
    file = next(copy.rglob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert weights_digest(str(copy)) != weights_digest(str(pipeline_dir))
    assert weights_digest("owner/name") == "owner/name"


def test_outputs_of_equal_names_do_not_collide(tmp_path: Path) -> None:
    files = [tmp_path / "x" / "a.png", tmp_path / "y" / "a.png", tmp_path / "a.jpg", tmp_path / "b.png"]
    names = output_stems(files)
    assert len(set(names)) == 4
    assert names[-1] == "b"
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    assert find_inputs([tmp_path, tmp_path / "b.png", tmp_path / "x"], (".png", ".jpg"), "images") == [
        tmp_path / "a.jpg",
        tmp_path / "b.png",
        tmp_path / "x" / "a.png",
    ]
