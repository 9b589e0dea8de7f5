"""The command `glb`: formats, report, levels of detail, options, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from o_voxel.cli import main

SMALL = ["--faces", "300", "--texture-size", "64"]


@pytest.fixture(scope="module")
def voxels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voxels")
    trimesh.creation.icosphere(subdivisions=3).export(folder / "ball.obj")
    assert main(["convert", str(folder / "ball.obj"), str(folder / "ball.vxz"), "--resolution", "32"]) == 0
    return folder / "ball.vxz"


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".ply", ".stl", ".3mf", ".usdz"])
def test_every_format_is_written(voxels: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"ball{suffix}"
    assert main(["glb", str(voxels), str(out), *SMALL, "--profile", "raw", "--quiet"]) == 0
    assert out.stat().st_size > 1000


def test_report_is_printed_and_kept(voxels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ball.stl"
    options = ["--profile", "print", "--metres", "0.05", "--report", "--smooth", "2"]
    assert main(["glb", str(voxels), str(out), *SMALL, *options]) == 0
    text = capsys.readouterr().out
    assert "all promises kept" in text and "watertight" in text and "Hausdorff" in text
    report = json.loads((tmp_path / "ball.stl.report.json").read_text())
    assert report["kept"] is True and report["output"]["watertight"] is True and report["profile"] == "print"
    assert report["output"]["num_faces"] <= 300 == report["asked_faces"] and report["chamfer_voxels"] < 0.5
    assert set(report["seconds"]) >= {"clean", "remesh", "unwrap", "bake", "measure"}
    mesh = trimesh.load(out)
    assert np.max(mesh.extents) == pytest.approx(50, rel=1e-3) and mesh.is_watertight


def test_levels_and_options_reach_the_file(voxels: Path, tmp_path: Path) -> None:
    out = tmp_path / "ball.gltf"
    options = ["--lods", "0.5", "60", "--lod-layout", "msft", "--licence", "CC0-1.0", "--no-normal-map"]
    assert main(["glb", str(voxels), str(out), *SMALL, *options, "--alpha-mode", "MASK", "--double-sided"]) == 0
    document = json.loads(out.read_text())
    assert document["nodes"][0]["extensions"]["MSFT_lod"]["ids"] == [1, 2]
    (material,) = document["materials"]
    assert material["alphaMode"] == "MASK" and material["doubleSided"] and "normalTexture" not in material
    assert "occlusionTexture" in material and document["asset"]["copyright"] == "CC0-1.0"


@pytest.mark.parametrize(
    "options", [["--lods", "0"], ["--lods", "1.5"], ["--lods", "x"], ["--profile", "film"], ["--quality", "0"]]
)
def test_wrong_options_end_with_usage(voxels: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(["glb", str(voxels), "a.glb", *options])
    assert info.value.code == 2 and "usage:" in capsys.readouterr().err


def test_combinations_that_cannot_be_are_failures(
    voxels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ball.usdz"
    assert main(["glb", str(voxels), str(out), *SMALL, "--image-format", "webp"]) == 1
    assert "image_format" in capsys.readouterr().err and not out.exists()
