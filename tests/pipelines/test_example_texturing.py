"""example_texturing.py from the command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import trimesh
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_texturing_script", ROOT / "example_texturing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mesh_is_textured_or_the_error_is_one_line(
    example: ModuleType,
    pipeline_dir: Path,
    picture: Image.Image,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture.save(tmp_path / "picture.png")
    trimesh.creation.box().export(tmp_path / "box.obj")
    (tmp_path / "broken.glb").write_bytes(b"glTF nonsense")
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    common = ["--image", str(tmp_path / "picture.png"), "--pipeline", str(pipeline_dir), "--quiet", "--device", "cpu"]
    output = tmp_path / "out" / "textured.glb"

    arguments = ["--mesh", str(tmp_path / "box.obj"), "--output", str(output), "--texture-size", "64"]
    assert example.main([*common, *arguments]) == 0
    loaded = trimesh.load(output, force="mesh")
    assert len(loaded.faces) == 12
    assert loaded.visual.material.baseColorTexture.size == (64, 64)
    assert loaded.bounds.flatten().tolist() == pytest.approx([-0.5] * 3 + [0.5] * 3, abs=1e-5)
    output.unlink()

    capsys.readouterr()
    for mesh, more, match in [
        ("none.obj", [], "mesh file not found"),
        ("broken.glb", [], "broken.glb: truncated GLB header"),
        ("empty.obj", [], "mesh"),
        ("box.obj", ["--resolution", "77"], "resolution must be one of 32"),
    ]:
        status = example.main([*common, *more, "--mesh", str(tmp_path / mesh), "--output", str(output)])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert status == 1
        assert len(lines) == 1
        assert match in lines[0]
        assert not output.exists()
