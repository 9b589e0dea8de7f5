"""The written GLB in other programs: Blender and three.js read every triangle, the material, and draw the right side.

`BPY_PYTHON` names a Python that has `bpy` where this one has not; `THREE_MODULES` a folder with the npm packages
`three` and `playwright-core` (default: tests/tools/node_modules); `CHROMIUM` the browser.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from o_voxel.postprocess import save_glb, to_glb

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def sheets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contact_sheet", REPO / "benchmarks" / "contact_sheet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def glb(ball: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ball, red in front and blue behind: colour = position elsewhere would not tell front from back."""
    arguments = dict(ball, attr_volume=ball["attr_volume"].clone())
    front = ball["coords"][:, 1] < 24  # the front faces -Y
    arguments["attr_volume"][:, 0], arguments["attr_volume"][:, 2] = front.float(), (~front).float()
    arguments["attr_volume"][:, 1] = 0.0
    return save_glb(to_glb(**arguments), tmp_path_factory.mktemp("glb") / "ball.glb")


def check_picture(path: Path, mode: str) -> None:
    """In the middle: red in front (shaded); no colour at all where outer sides are grey (sides)."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(float)
    size = len(image)
    middle = image[3 * size // 8 : 5 * size // 8, 3 * size // 8 : 5 * size // 8].reshape(-1, 3)
    if mode == "shaded":
        assert (middle[:, 0] > middle[:, 2] + 40).mean() > 0.95, middle.mean(0)
    else:
        assert (np.ptp(middle, axis=1) < 40).all(), middle.mean(0)


@pytest.mark.bpy
@pytest.mark.slow
def test_blender_reads_and_draws_it(sheets: ModuleType, glb: Path, tmp_path: Path) -> None:
    python = os.environ.get("BPY_PYTHON") or (sys.executable if importlib.util.find_spec("bpy") else None)
    if python is None:
        pytest.skip("no Blender as a module: `pip install bpy`, or set BPY_PYTHON to a Python that has it")
    for mode in ("shaded", "sides"):
        (found,) = sheets.draw_with_blender([glb], tmp_path, python, size=64, mode=mode, samples=4, yaw=0.0)
        assert "error" not in found
        assert found["triangles"] == sheets.triangles_of(glb) > 1000
        assert found["meshes"] == found["uv_layers"] == 1 and found["images"] >= 2
        check_picture(tmp_path / "0.png", mode)


@pytest.mark.browser
@pytest.mark.slow
def test_three_js_reads_and_draws_it(sheets: ModuleType, glb: Path, tmp_path: Path) -> None:
    modules = Path(os.environ.get("THREE_MODULES", REPO / "tests" / "tools" / "node_modules"))
    chromium = sheets.find_chromium()
    if shutil.which("node") is None or chromium is None:
        pytest.skip("needs node and Chromium")
    if not (modules / "three").is_dir() or not (modules / "playwright-core").is_dir():
        pytest.skip(f"no npm packages three and playwright-core in {modules}: set THREE_MODULES to their folder")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    assert int(version.lstrip("v").split(".")[0]) >= 18, f"node {version} is too old"
    for mode in ("shaded", "sides"):
        (found,) = sheets.draw_with_browser([glb], tmp_path, modules, chromium, size=64, mode=mode, yaw=0.0)
        assert "error" not in found and found["complaints"] == []
        assert found["triangles"] == sheets.triangles_of(glb) > 1000
        assert found["meshes"] == 1 and (mode == "sides" or found["textures"] >= 2)
        np.testing.assert_allclose(found["extent"], 0.8, atol=0.02)
        check_picture(tmp_path / "0.png", mode)
