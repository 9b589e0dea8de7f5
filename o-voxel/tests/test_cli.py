"""The command line: every command on small files, folders, resume, failures and their messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from o_voxel.asset import PBR_LAYOUT, Placement, load_asset, mesh_to_asset, place, save_asset
from o_voxel.cli import main
from o_voxel.cli.batch import Job, UsageError, pair_files, run_batch
from o_voxel.convert.mesh_input import read_mesh
from o_voxel.io import read_vxz_info, write


@pytest.fixture
def sphere(tmp_path: Path) -> Path:
    """A red ball of radius 2 around (5, 6, 7) as GLB."""
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=2.0)
    mesh.apply_translation([5, 6, 7])
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.tile([255, 0, 0, 255], (len(mesh.vertices), 1)))
    path = tmp_path / "sphere.glb"
    mesh.export(path)
    return path


@pytest.fixture
def voxels(sphere: Path) -> Path:
    path = sphere.with_suffix(".vxz")
    assert main(["convert", str(sphere), str(path), "--resolution", "24", "--jobs", "1"]) == 0
    return path


def test_convert_writes_grid_placement_and_attributes(voxels):
    header = read_vxz_info(voxels)
    assert header["grid_size"] == [24, 24, 24]
    assert header["compression"] == "zstd"
    names = [name for name, _ in header["attr"]]
    assert names == ["base_color", "metallic", "roughness", "emissive", "alpha", "normal", "dual_vertices",
                     "intersected"]  # fmt: skip
    asset = load_asset(voxels)
    assert set(map(tuple, asset.attrs["base_color"].tolist())) == {(255, 0, 0)}
    assert asset.placement.up == "y"
    points = asset.centers().numpy()
    assert np.abs(np.linalg.norm(points, axis=1) - 0.5).max() < 2 / 24
    restored = asset.placement.undo(points)
    assert np.abs(np.linalg.norm(restored - [5, 6, 7], axis=1) - 2).max() < 8 / 24


def test_z_up_formats_are_not_turned(sphere, tmp_path):
    stl = tmp_path / "bar.stl"
    trimesh.creation.box((1, 1, 4)).export(stl)
    assert main(["convert", str(stl), str(tmp_path / "a.vxz"), "--resolution", "16"]) == 0
    assert main(["convert", str(stl), str(tmp_path / "b.vxz"), "--resolution", "16", "--up", "y"]) == 0
    extents = [np.ptp(load_asset(tmp_path / f"{n}.vxz").coords.numpy(), axis=0).argmax() for n in "ab"]
    assert extents == [2, 1]


def test_keep_units_cuts_at_the_box(sphere, tmp_path):
    out = tmp_path / "part.vxz"
    box = ["5", "-9", "4", "7", "-7", "6"]
    assert main(["convert", str(sphere), str(out), "--keep-units", "--resolution", "16", "--aabb", *box]) == 0
    centers = load_asset(out).centers().numpy()
    assert np.abs(np.linalg.norm(centers - [5, -7, 6], axis=1) - 2).max() < 0.25
    assert (centers > [5, -9, 4]).all() and (centers < [7, -7, 6]).all()


@pytest.mark.parametrize("suffix", [".npz", ".ply"])
def test_other_voxel_formats_need_a_resolution(sphere, tmp_path, suffix, capsys):
    out = tmp_path / f"v{suffix}"
    assert main(["convert", str(sphere), str(out), "--resolution", "16", "--shape-only"]) == 0
    assert main(["mesh", str(out), str(tmp_path / "m.ply")]) == 1
    assert "give the resolution" in capsys.readouterr().err
    assert main(["mesh", str(out), str(tmp_path / "m.ply"), "--resolution", "16"]) == 0
    assert len(trimesh.load(tmp_path / "m.ply").faces) > 100


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb", ".stl"])
def test_mesh_is_closed_coloured_and_outward(voxels, tmp_path, suffix):
    out = tmp_path / f"m{suffix}"
    assert main(["mesh", str(voxels), str(out), "--restore"]) == 0
    mesh = trimesh.load(out, force="mesh")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 8, rel=0.1)
    assert np.abs(np.linalg.norm(mesh.vertices - [5, 6, 7], axis=1) - 2).max() < 0.1
    if suffix != ".stl":
        assert (np.asarray(mesh.visual.vertex_colors)[:, :3] == [255, 0, 0]).all()


def test_glb(voxels, tmp_path):
    out = tmp_path / "asset.glb"
    assert main(["glb", str(voxels), str(out), "--faces", "500", "--texture-size", "64", "--profile", "raw"]) == 0
    mesh = trimesh.load(out, force="mesh")
    assert 100 < len(mesh.faces) <= 500
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")).reshape(-1, 3)
    assert np.abs(texture.astype(int) - [255, 0, 0]).max() <= 2
    again = tmp_path / "again.vxz"
    assert main(["convert", str(out), str(again), "--resolution", "24"]) == 0
    assert np.abs(load_asset(again).attrs["base_color"].numpy().astype(int) - [255, 0, 0]).max() <= 2


def test_glb_keeps_emission(tmp_path):
    """A ball whose upper half glows green, to voxels, to GLB and to voxels again."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    parts = []
    for upper, glow in ((True, [0.0, 1.0, 0.0]), (False, None)):
        half = mesh.submesh([np.flatnonzero((mesh.triangles_center[:, 1] > 0) == upper)], append=True)
        material = trimesh.visual.material.PBRMaterial(emissiveFactor=glow, metallicFactor=0.0)
        half.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(half.vertices), 2)), material=material)
        parts.append(half)
    trimesh.Scene(parts).export(tmp_path / "ball.glb")
    steps = [
        ["convert", "ball.glb", "a.vxz", "--resolution", "32"],
        ["glb", "a.vxz", "b.glb", "--faces", "2000", "--texture-size", "128", "--profile", "raw"],
        ["convert", "b.glb", "c.vxz", "--resolution", "32"],
    ]
    for command, source, target, *options in steps:
        assert main([command, str(tmp_path / source), str(tmp_path / target), *options]) == 0
    again = load_asset(tmp_path / "c.vxz")
    height, glow = again.centers()[:, 2], again.attrs["emissive"].int()
    assert (glow[height > 0.1] == torch.tensor([0, 255, 0])).all(1).float().mean() > 0.97
    assert (glow[height < -0.1] == 0).all(1).float().mean() > 0.97


def test_info(voxels, sphere, tmp_path, capsys):
    assert main(["info", str(voxels), str(sphere), "--json", "--check"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["grid_size"] == [24, 24, 24]
    assert first["checked"]
    assert second["triangles"] == 320
    assert second["vertex_colours"] is True
    (tmp_path / "broken.vxz").write_bytes(voxels.read_bytes()[:-9])
    (tmp_path / "text.txt").write_text("no")
    assert main(["info", "--check", *(str(tmp_path / n) for n in ("broken.vxz", "text.txt", "none.glb"))]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "broken.vxz: file ends early" in errors[0]
    assert "must end in one of" in errors[1]
    assert "does not exist" in errors[2]
    write(tmp_path / "points.ply", torch.tensor([[1, 2, 3]]), {})
    trimesh.creation.box().export(tmp_path / "mesh.ply")
    assert main(["info", str(tmp_path / "points.ply"), str(tmp_path / "mesh.ply")]) == 0
    out = capsys.readouterr().out
    assert "voxels" in out and "triangles" in out


@pytest.mark.parametrize("channel", ["shaded", "base_color", "normal", "roughness"])
def test_view_draws_the_object(voxels, tmp_path, channel):
    out = tmp_path / "v.png"
    command = ["view", str(voxels), str(out), "--size", "48", "--views", "2", "--channel", channel, "--no-resume"]
    assert main(command) == 0
    image = np.asarray(Image.open(out)).astype(int)
    assert image.shape == (48, 96, 3)
    assert (image[0, 0] == image[0, 0, 0]).all() and image[0, 0, 0] > 200  # background
    middle = image[24, 24]
    if channel in ("shaded", "base_color"):
        assert middle[0] > 80 and middle[1] < 10
    elif channel == "normal":  # seen from the front, -Y
        assert np.abs(middle - [128, 0, 128]).max() < 60


def test_view_animates(voxels, tmp_path):
    out = tmp_path / "v.gif"
    assert main(["view", str(voxels), str(out), "--size", "32", "--views", "6"]) == 0
    assert Image.open(out).n_frames == 6
    assert main(["view", str(voxels), str(tmp_path / "v.mp4"), "--size", "32", "--views", "3"]) in (0, 1)
    assert not list(tmp_path.glob(".*tmp*"))


def test_view_of_a_mesh(sphere, tmp_path):
    assert main(["view", str(sphere), str(tmp_path / "m.png"), "--size", "32", "--resolution", "16"]) == 0
    assert Image.open(tmp_path / "m.png").size == (128, 32)


def test_folders_resume_failures_and_status(sphere, tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    for name in ("a.glb", "deep/b.glb"):
        (source / name).write_bytes(sphere.read_bytes())
    trimesh.creation.box().export(source / "a.stl")
    (source / "bad.glb").write_bytes(b"glTF\x02")
    (source / "notes.txt").write_text("not a mesh")
    command = ["convert", str(source), str(target), "--resolution", "8", "--jobs", "1"]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "3 made, 0 up to date, 1 failed" in captured.out
    errors = [line for line in captured.err.splitlines() if "error:" in line]
    assert len(errors) == 1 and "bad.glb: truncated GLB header" in errors[0]
    made = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    assert made == ["a.stl.vxz", "a.vxz", "deep/b.vxz"]
    times = {name: (target / name).stat().st_mtime_ns for name in made}
    (source / "bad.glb").unlink()
    assert main(command) == 0
    assert "0 made, 3 up to date, 0 failed" in capsys.readouterr().out
    assert times == {name: (target / name).stat().st_mtime_ns for name in made}
    later = time.time() + 5
    os.utime(source / "a.glb", (later, later))
    (target / "deep" / "b.vxz").write_bytes(b"")  # not one of ours: empty
    assert main(command) == 0
    assert "2 made, 1 up to date, 0 failed" in capsys.readouterr().out
    assert main([*command, "--no-resume", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_processes_give_the_same_files(sphere, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for i in range(3):
        (source / f"{i}.glb").write_bytes(sphere.read_bytes())
    (source / "bad.glb").write_bytes(b"{}x")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for jobs in ("1", "2"):
        command = [sys.executable, "-m", "o_voxel", "convert", str(source), str(tmp_path / jobs), "--resolution", "8",
                   "--jobs", jobs]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1, done.stderr
        assert "3 made, 0 up to date, 1 failed" in done.stdout
        assert "bad.glb: not a glTF file" in done.stderr
    for i in range(3):
        assert (tmp_path / "1" / f"{i}.vxz").read_bytes() == (tmp_path / "2" / f"{i}.vxz").read_bytes()


def test_an_unexpected_error_is_reported_and_the_rest_goes_on(tmp_path, capsys):
    jobs = [Job(tmp_path / str(i), tmp_path / f"{i}.out") for i in range(3)]

    def task(source: Path, target: Path) -> None:
        if source.name == "1":
            raise ZeroDivisionError("oops")
        target.write_text("done")

    assert run_batch(task, jobs, workers=1, quiet=True) == 1
    assert "ZeroDivisionError: oops" in capsys.readouterr().err
    assert (tmp_path / "2.out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "nowhere.glb", "a.vxz"], "does not exist"),
        (["convert", "{sphere}", "a.txt"], "output must end in one of .vxz, .npz, .ply"),
        (["mesh", "{sphere}", "a.ply"], "input must end in one of"),
        (["convert", "{folder}", "{sphere}"], "must be one too"),
        (["convert", "{empty}", "out"], "holds no file"),
        (["convert", "{folder}", "out", "--suffix", ".zip"], "--suffix must be one of"),
        (["convert", "{sphere}", "a.vxz", "--jobs", "-1"], "--jobs must be at least 0"),
        (["convert", "{sphere}", "a.vxz", "--device", "gpu"], "--device must be auto"),
        (["convert", "{sphere}", "a.vxz", "--device", "cuda:77"], "PyTorch sees"),
    ],
)
def test_wrong_arguments_are_status_2(sphere, tmp_path, arguments, message, capsys):
    (tmp_path / "empty").mkdir()
    names = {"sphere": str(sphere), "folder": str(tmp_path), "empty": str(tmp_path / "empty")}
    assert main([a.format(**names) for a in arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["convert"], ["convert", "a", "b", "--resolution", "1"], ["view", "a", "b", "--channel", "x"]]
)
def test_argparse_refuses_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_bad_options_of_the_writer_are_reported(sphere, tmp_path, capsys):
    assert main(["convert", str(sphere), str(tmp_path / "a.vxz"), "--resolution", "8", "--chunk-size", "100"]) == 1
    assert "chunk_size must be a power of two" in capsys.readouterr().err
    assert not (tmp_path / "a.vxz").exists()


def test_asset_frames_and_layout(sphere):
    asset = mesh_to_asset(sphere, 16)
    assert asset.pbr.shape == (len(asset.coords), 6)
    assert {name: (s.start, s.stop) for name, s in PBR_LAYOUT.items()}["alpha"] == (5, 6)
    source = read_mesh(sphere)
    placed, placement = place(source, "y")
    corners = placed.triangles.reshape(-1, 3)
    assert np.allclose(placement.undo(corners), source.triangles.reshape(-1, 3), atol=1e-5)
    assert np.isclose((corners.max(0) - corners.min(0)).max(), 0.99999)
    assert place(source, "z", normalize=False)[1] == Placement()
    with pytest.raises(ValueError, match="up must be"):
        place(source, "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no voxel is crossed"):
        mesh_to_asset(source, 8, normalize=False)
    with pytest.raises(ValueError, match="no triangles"):
        mesh_to_asset(trimesh.Trimesh(), 8)


def test_files_of_the_dataset_tools_are_read(sphere, tmp_path):
    """Dual grids by the dataset tools: `vertices` instead of `dual_vertices`, no grid in the header."""
    asset = mesh_to_asset(sphere, 16, attributes=False)
    path = tmp_path / "dual.vxz"
    names = {"vertices": asset.attrs["dual_vertices"], "intersected": asset.attrs["intersected"]}
    write(path, asset.coords, names)
    with pytest.raises(ValueError, match="give the resolution"):
        load_asset(path)
    with pytest.raises(ValueError, match="leave the grid of"):
        load_asset(path, 8)
    again = load_asset(path, 16)
    before, after = asset.to_mesh(), again.to_mesh()
    assert torch.equal(before[0].unique(dim=0), after[0].unique(dim=0))
    assert before[1].shape == after[1].shape
    write(path, asset.coords, {"base_color": asset.attrs["intersected"]})
    with pytest.raises(ValueError, match="base_color must be uint8"):
        load_asset(path, 16)
    write(path, asset.coords, {}, metadata={"grid_size": 16, "placement": {"up": "y", "center": [0, 0], "scale": 1}})
    with pytest.raises(ValueError, match="placement must hold"):
        load_asset(path)


def test_pairing_refuses_two_inputs_for_one_output(tmp_path):
    (tmp_path / "a.obj").write_text("")
    (tmp_path / "a.ply").write_text("")
    jobs = pair_files(tmp_path, tmp_path / "out", (".obj", ".ply"), (".vxz",), None)
    assert [job.target.name for job in jobs] == ["a.vxz", "a.ply.vxz"]
    with pytest.raises(UsageError, match="does not exist"):
        pair_files(tmp_path / "no", tmp_path / "out", (".obj",), (".vxz",), None)


def test_save_asset_keeps_the_writers_options(sphere, tmp_path):
    asset = mesh_to_asset(sphere, 8, attributes=False)
    save_asset(tmp_path / "a.vxz", asset, compression="lzma", filter="parent")
    header = read_vxz_info(tmp_path / "a.vxz")
    assert (header["compression"], header["filter"]) == ("lzma", "parent")


@pytest.mark.gpu
def test_the_device_does_not_change_the_file(sphere, tmp_path):
    for device in ("cpu", "cuda"):
        command = ["convert", str(sphere), str(tmp_path / f"{device}.vxz"), "--resolution", "48", "--device", device]
        assert main(command) == 0
    assert (tmp_path / "cpu.vxz").read_bytes() == (tmp_path / "cuda.vxz").read_bytes()
