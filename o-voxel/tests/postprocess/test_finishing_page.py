"""The code of docs/mesh_finishing.md runs, and the example makes its picture."""

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

REPO = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(native_module() is None, reason="slow without the compiled core")


def run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_page_runs(tmp_path: Path) -> None:
    page = (REPO / "docs" / "mesh_finishing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 3
    (tmp_path / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    run(["page.py"], tmp_path)
    for name in ("ball.glb", "ball.gltf", "ball.usdz", "ball.3mf", "ball.stl"):
        assert (tmp_path / name).stat().st_size > 1000
    assert (REPO / "docs" / "images" / "mesh_finishing.jpg").is_file()


def test_example_makes_its_picture(tmp_path: Path) -> None:
    example = REPO / "o-voxel" / "examples" / "finish_asset.py"
    run([str(example), "--resolution", "48", "--faces", "400", "--texture-size", "128", "--size", "64"], tmp_path)
    image = np.asarray(Image.open(tmp_path / "finish.png"))
    assert image.shape == (128, 192, 3)
    panels = [image[:64, i : i + 64].astype(float) for i in (0, 64, 128)]
    # The maps bring the few faces closer to the full surface.
    assert np.abs(panels[2] - panels[0]).mean() < np.abs(panels[1] - panels[0]).mean()
