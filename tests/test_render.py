"""The command line `python -m trellis2.render`, on assets of every make."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image

from trellis2.render import MODES, main

SMALL = ["--resolution", "32", "--ssaa", "1", "--quiet", "--device", "cpu", "--env", "studio"]


@pytest.fixture(scope="module")
def car(request):
    return str(request.config.rootpath / "assets" / "example_mesh" / "car.glb")


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_makes_a_picture(car, tmp_path, mode):
    assert main([car, str(tmp_path / "a.png"), "--mode", mode, *SMALL]) == 0
    picture = read(tmp_path / "a.png")
    assert picture.shape == ((48, 64, 3) if mode == "grid" else (32, 32, 4))
    if mode != "grid":
        inside = picture[..., 3] > 250
        assert 0.05 < inside.mean() < 0.9
        assert (picture[~inside][:, 3] < 255).all()
        if mode not in ("metallic", "alpha"):
            assert picture[inside].std() > (1 if mode == "clay" else 5)


def test_backgrounds(car, tmp_path):
    for given, corner in (("#ff0080", (255, 0, 128)), ("0000ff", (0, 0, 255)), ("white", (255, 255, 255))):
        for mode in ("shaded", "normal", "roughness"):
            assert main([car, str(tmp_path / "a.png"), "--background", given, "--mode", mode, *SMALL]) == 0
            assert tuple(read(tmp_path / "a.png")[0, 0]) == corner, mode
    assert main([car, str(tmp_path / "a.png"), "--background", "env", *SMALL]) == 0
    assert read(tmp_path / "a.png").std() > 5


def test_outputs_and_views(car, tmp_path):
    assert main([car, str(tmp_path / "a.mp4"), "--frames", "3", *SMALL]) == 0
    assert main([car, str(tmp_path / "a.webp"), "--frames", "2", *SMALL]) == 0
    assert main([car, str(tmp_path / "many"), "--frames", "2", *SMALL]) == 0
    assert main([car, str(tmp_path / "sheet.png"), "--views", "4", *SMALL]) == 0
    assert read(tmp_path / "sheet.png").shape == (64, 64, 4)
    with Image.open(tmp_path / "a.webp") as animation:
        assert animation.n_frames == 2 and animation.mode == "RGBA"
    first, second = (read(tmp_path / "many" / f"{i:04d}.png") for i in range(2))
    assert (first != second).any()


def test_exposure_and_rotation_change_the_light(car, tmp_path):
    pictures = []
    for extra in ([], ["--exposure", "-2"], ["--env-rotation", "90"]):
        assert main([car, str(tmp_path / "a.png"), *SMALL, *extra]) == 0
        pictures.append(read(tmp_path / "a.png").astype(float))
    assert pictures[1][..., :3].mean() < 0.8 * pictures[0][..., :3].mean()
    assert abs(pictures[2] - pictures[0]).max() > 10


def test_camera_looks_at_the_front_and_moves_to_the_right(tmp_path):
    """A box with a red front (+Z of glTF), a green right side (+X) and a blue back."""
    box = trimesh.creation.box()
    colors = np.zeros((12, 4), np.uint8) + [0, 0, 0, 255]
    for axis, sign, color in ((2, 1, 0), (0, 1, 1), (2, -1, 2)):
        colors[box.face_normals[:, axis] * sign > 0.9, color] = 255
    faces = np.arange(36).reshape(12, 3)
    split = trimesh.Trimesh(box.triangles.reshape(-1, 3), faces, process=False)
    split.visual.vertex_colors = np.repeat(colors, 3, 0).astype(np.uint8)
    split.export(tmp_path / "box.glb")
    for yaw, channel in ((0, 0), (90, 1), (180, 2)):
        arguments = ["--mode", "base_color", "--pitch", "0", "--yaw", str(yaw)]
        assert main([str(tmp_path / "box.glb"), str(tmp_path / "a.png"), *arguments, *SMALL]) == 0
        assert read(tmp_path / "a.png")[16, 16, :3].argmax() == channel


def _scene(parts):
    scene = trimesh.Scene()
    for i, (mesh, shift) in enumerate(parts):
        matrix = np.eye(4)
        matrix[:3, 3] = shift
        scene.add_geometry(mesh, geom_name=f"m{i}", node_name=f"n{i}", transform=matrix)
    return scene


def test_assets_of_other_makers(tmp_path):
    """Several nodes and materials, vertex colours without UVs, transparency, no material at all."""
    glass = trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 0, 100], alphaMode="BLEND", metallicFactor=0.0)
    uv = np.random.default_rng(0).random((8, 2))
    sheet = trimesh.creation.box()
    sheet.visual = trimesh.visual.TextureVisuals(uv=uv, material=glass)
    ball = trimesh.creation.icosphere(2)
    ball.visual.vertex_colors = np.random.default_rng(1).integers(0, 255, (len(ball.vertices), 4), np.uint8)
    plain = trimesh.creation.cylinder(0.5, 1.0)
    _scene([(sheet, (0, 0, 0)), (ball, (2, 0, 0)), (plain, (0, 2, 0))]).export(tmp_path / "mixed.glb")
    trimesh.creation.torus(1.0, 0.3).export(tmp_path / "plain.stl")
    trimesh.creation.torus(1.0, 0.3).export(tmp_path / "plain.obj")
    for name in ("mixed.glb", "plain.stl", "plain.obj"):
        assert main([str(tmp_path / name), str(tmp_path / "a.png"), *SMALL]) == 0
        assert (read(tmp_path / "a.png")[..., 3] > 100).mean() > 0.05


def test_a_camera_inside_and_flat_triangles_still_make_a_picture(tmp_path):
    mesh = trimesh.creation.icosphere(2)
    mesh.faces = np.concatenate([mesh.faces, [[0, 0, 1], [2, 2, 2]]])
    mesh.export(tmp_path / "ball.obj")
    inside = ["--distance", "0.1", "--fov", "90"]
    assert main([str(tmp_path / "ball.obj"), str(tmp_path / "a.png"), *inside, *SMALL]) == 0
    assert (read(tmp_path / "a.png")[..., 3] > 250).mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.glb", "a.png"], "no asset at"),
        (["{car}", "a.gif"], "output must be"),
        (["{car}", "a.png", "--background", "nice"], "--background must be"),
        (["{car}", "a.mp4", "--background", "transparent"], "no transparency"),
        (["{car}", "a.png", "--env", "beach"], "unknown environment"),
        (["{car}", "a.png", "--fov", "200"], "--fov must be"),
        (["{car}", "a.png", "--resolution", "0"], "--resolution must be positive"),
        (["{car}", "a.png", "--frames", "2", "--views", "2"], "not both"),
        (["{car}", "a.png", "--mode", "clay", "--background", "env"], "needs --mode"),
        (["{car}", "a.png", "--frames", "2"], "one picture"),
        (["broken.glb", "a.png"], "broken.glb"),
        (["empty.obj", "a.png"], "triangle"),
        (["nan.obj", "a.png"], "not finite"),
    ],
)
def test_errors_are_one_clear_line(car, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.glb").write_bytes(b"glTF\2\0\0\0nothing")
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    (tmp_path / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert main([*(a.format(car=car) for a in arguments), "--quiet", "--device", "cpu", "--ssaa", "1"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and message in error and "\n" not in error
    assert not list(tmp_path.glob("a.*"))
