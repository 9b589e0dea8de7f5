"""The code in the documentation runs, and the examples make their pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from o_voxel._native import native_module

ROOT = Path(__file__).resolve().parent.parent


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_api_page_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 8
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    done = run([sys.executable, "page.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ball.glb").stat().st_size > 1000


def test_every_public_function_is_on_the_api_page():
    from o_voxel import asset, convert, io, serialize

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for module in (convert, io, serialize, asset):
        for name in module.__all__:
            if name[0].islower() and name not in ("place", "up_axis_of"):  # steps of mesh_to_asset
                assert re.search(rf"\b{name}\b", page), f"{module.__name__}.{name}"


@pytest.mark.skipif(native_module() is None, reason="slow without the compiled core")
def test_examples_make_pictures(tmp_path):
    steps = [
        (["mesh2ovox.py", "--resolution", "40"], "sample.png"),
        (["ovox2mesh.py"], "sample_mesh.png"),
        (["ovox2glb.py", "--faces", "800", "--texture-size", "64"], "sample_glb.png"),
        (["render_ovox.py", "--size", "48"], "sample_render.png"),
    ]
    for command, picture in steps:
        done = run([sys.executable, str(ROOT / "examples" / command[0]), *command[1:]], tmp_path)
        assert done.returncode == 0, done.stderr
        image = np.asarray(Image.open(tmp_path / picture).convert("RGB"))
        assert image.reshape(-1, 3).std(0).min() > 10  # something is drawn, in colour


def test_readme_commands_exist():
    """Every command line of the README parses; its library example names things that exist."""
    from o_voxel.cli import build_parser

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^python -m o_voxel (.*?)(?:\s+#.*)?$", text, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        build_parser().parse_args(line.split())
    for module, names in re.findall(r"^from (o_voxel[\w.]*) import (.*)$", text, re.MULTILINE):
        imported = __import__(module, fromlist=["x"])
        assert all(hasattr(imported, name.strip()) for name in names.split(","))
