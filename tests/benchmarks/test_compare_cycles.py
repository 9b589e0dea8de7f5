"""The comparison with Cycles meets its goals on one asset; needs Blender as a module."""

from __future__ import annotations

import importlib.util
import sys

import pytest

pytestmark = [pytest.mark.bpy, pytest.mark.slow]


@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="bpy is not installed")
def test_one_asset_agrees_with_cycles(request, monkeypatch, tmp_path, capsys):
    root = request.config.rootpath
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    from compare_cycles import main

    car = root / "assets" / "example_mesh" / "car.glb"
    arguments = ["--blender-python", sys.executable, "--assets", str(car), "--samples", "32"]
    main([*arguments, "--output", str(tmp_path / "a.json"), "--sheet", str(tmp_path / "a.png")])
    assert "all goals met" in capsys.readouterr().out
    assert (tmp_path / "a.json").is_file() and (tmp_path / "a.png").is_file()
