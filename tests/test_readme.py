"""What the README shows is run: its library example, and the commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trimesh

REPO = Path(__file__).resolve().parent.parent
README = (REPO / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_library_example(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    out = tmp_path / "house.glb"
    assert '"house.glb"' in block
    monkeypatch.chdir(REPO)
    exec(compile(block.replace('"house.glb"', repr(str(out))), "README.md", "exec"), {})
    scene = trimesh.load(out)
    (mesh,) = scene.geometry.values()
    assert 1000 < len(mesh.faces) <= 20_000 and len(mesh.visual.uv) == len(mesh.vertices)
    assert mesh.visual.material.baseColorTexture.size == (1024, 1024)


def test_commands_and_links_point_at_files():
    scripts = set(re.findall(r"(?:python |\./)([\w/-]+\.(?:py|sh))", README))
    links = set(re.findall(r"\]\((?!http)([^)#]+)\)", README))
    assert {"setup.sh", "example.py", "train.py"} <= scripts and links
    missing = [name for name in scripts | links if not (REPO / name).exists()]
    assert not missing, missing
