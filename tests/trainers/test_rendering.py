"""Rendering losses: cameras, pictures with gradients, and training steps of both VAEs with them."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import json
import math
import shutil
import sys
import types

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from data_toolkit.dumps import save_dump
from trellis2.datasets.dump_mesh import mesh_of_dump, pbr_mesh_of_dump
from trellis2.representations import AlphaMode
from trellis2.trainers.attribute_rendering import look_at_surface, read_voxels, textured_attributes
from trellis2.trainers.launch import main
from trellis2.trainers.rendering import draw_cameras, read_radius_range, render_geometry, require_lpips
from trellis2.trainers.shape_vae import shape_vae_total


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def textured_dump(seed=0):
    """A ball whose base colour texture is a horizontal ramp, and a box without a material."""
    rng = np.random.default_rng(seed)
    ball, box = trimesh.creation.icosphere(2), trimesh.creation.box()
    ramp = np.broadcast_to(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], (8, 16, 3))
    material = {
        "baseColorFactor": [1.0, 0.5, 0.25], "alphaFactor": 1.0, "metallicFactor": 0.25, "roughnessFactor": 1.0,
        "alphaMode": "OPAQUE", "alphaCutoff": 0.5,
        "baseColorTexture": {"image": png(np.ascontiguousarray(ramp)), "interpolation": "Linear", "extension": "CLIP"},
        "alphaTexture": None, "metallicTexture": None,
        "roughnessTexture": {"image": png(np.full((4, 4), 51, np.uint8)), "interpolation": "Closest",
                             "extension": "MIRROR"},
    }  # fmt: skip
    uv = (ball.vertices[ball.faces][..., :2] * 0.5 + 0.5).astype(np.float32)
    objects = [
        {"vertices": ball.vertices.astype(np.float32) * rng.uniform(0.5, 2), "faces": ball.faces.astype(np.int32),
         "uvs": uv, "mat_ids": np.zeros(len(ball.faces), np.int32)},
        {"vertices": box.vertices.astype(np.float32) + [0, 0, 3], "faces": box.faces.astype(np.int32), "uvs": None,
         "mat_ids": np.full(len(box.faces), -1, np.int32)},
        {"vertices": np.zeros((0, 3), np.float32), "faces": np.zeros((0, 3), np.int32), "uvs": None,
         "mat_ids": np.zeros(0, np.int32)},
    ]  # fmt: skip
    return {"materials": [material], "objects": objects}


@pytest.fixture(scope="module")
def data_with_meshes(tmp_path_factory, training_root):
    root = tmp_path_factory.mktemp("data") / "copy"
    shutil.copytree(training_root, root)
    shas = [p.stem for p in (root / "dual_grid_32").glob("*.vxz")]
    for name in ("mesh_dumps", "pbr_dumps"):
        (root / name).mkdir()
        (root / name / "metadata.csv").write_text("sha256\n" + "\n".join(shas) + "\n")
        for i, sha in enumerate(shas):
            save_dump(root / name / f"{sha}.npz", textured_dump(i))
    return root


def test_dumps_become_normalised_meshes_with_materials():
    mesh = pbr_mesh_of_dump(textured_dump())
    assert torch.allclose(mesh.vertices.amax(0) + mesh.vertices.amin(0), torch.zeros(3), atol=1e-6)
    assert float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max()) == pytest.approx(0.99999, abs=1e-6)
    assert torch.equal(mesh_of_dump(textured_dump()).vertices, mesh.vertices)
    assert mesh.material_ids.unique().tolist() == [0, 1] and len(mesh.materials) == 2
    base = mesh.materials[0].base_color_texture.image
    assert base.shape == (8, 16, 3)
    assert float(base[0, -1, 0]) == pytest.approx(1.0, abs=1e-6)
    assert float(base[0, -1, 1]) == pytest.approx(0.7354, abs=1e-3)  # linear 0.5 as sRGB
    assert mesh.materials[0].alpha_mode == AlphaMode.OPAQUE
    with pytest.raises(ValueError, match="no triangles"):
        mesh_of_dump({"objects": []})
    broken = textured_dump()
    broken["objects"][0]["faces"][0, 0] = 10**6
    with pytest.raises(ValueError, match="point at them"):
        mesh_of_dump(broken)


def near_plane(camera):
    """Camera depth where z / w = -1: z_clip = a z + b and w = z."""
    projection = camera.to_clip.double() @ torch.linalg.inv(camera.extrinsics.double())
    return float(-projection[2, 3] / (projection[2, 2] + 1))


def test_cameras_frame_the_object_and_cut_into_it():
    torch.manual_seed(0)
    cameras = draw_cameras(200, (2.0, 100.0))
    radii = torch.tensor([float(c.extrinsics[:3, 3].norm()) for c in cameras])
    assert radii.min() >= 2 and radii.max() <= 100
    k = 1 / radii**2  # uniform between 1 / 100^2 and 1 / 2^2
    assert abs(float(k.mean()) - 0.125) < 0.02
    for camera in cameras[:20]:
        radius = float(camera.extrinsics[:3, 3].norm())
        # The sphere of radius 0.5 touches the sides of the picture: tan(fov / 2) is what asin(0.5 / r) gives.
        scale = float(camera.to_clip[0, :3].norm())
        assert scale == pytest.approx(1 / math.tan(math.asin(0.5 / radius)), rel=1e-4)
        clip = camera.clip(torch.zeros(1, 3))[0]
        assert clip[:2].abs().max() < 1e-3 and float(clip[3]) == pytest.approx(radius, rel=1e-4)
        near = near_plane(camera)
        assert radius - 1 - 1e-2 <= near <= radius + 1e-2
    assert read_radius_range({"radius_range": [3, 4]}) == (3.0, 4.0) and read_radius_range(None) == (2.0, 100.0)
    for bad in ({"radius_range": [0.5, 2]}, {"radius": 2}):
        with pytest.raises(ValueError, match="camera_randomization_config"):
            read_radius_range(bad)


def test_geometry_pictures_have_published_values():
    ball = trimesh.creation.icosphere(4, radius=0.4)
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int()
    torch.manual_seed(3)
    camera = draw_cameras(1, (2.0, 2.001))[0]
    near = near_plane(camera)
    picture = render_geometry(vertices, faces, camera, 64)
    assert picture.shape == (5, 64, 64)
    mask, depth, normal = picture[0], picture[1], picture[2:]
    assert float(mask[32, 32]) == 1 and float(mask[0, 0]) == 0 and float(depth[0, 0]) == 0
    assert (normal[:, 0, 0] == 0.5).all()
    expected = 1.6 if near <= 1.6 else 2.4  # the near plane may open the ball and show its back wall
    assert float(depth[32, 32]) == pytest.approx(expected, abs=0.01)
    assert normal[:, 32, 32].tolist() == pytest.approx([0.5, 0.5, 1.0], abs=0.05)  # away from the camera
    empty = render_geometry(vertices[:0], faces[:0], camera, 16)
    assert (empty[:2] == 0).all() and (empty[2:] == 0.5).all()


def test_losses_find_the_size_and_the_place_of_a_ball():
    """Descent on mask, depth and normal pictures undoes a shift and a swelling."""
    ball = trimesh.creation.icosphere(3, radius=0.35)
    truth, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int()
    scale, shift = torch.tensor(1.15, requires_grad=True), torch.tensor([0.05, -0.04, 0.03], requires_grad=True)
    optimiser = torch.optim.Adam([scale, shift], lr=6e-3)
    torch.manual_seed(0)
    for _ in range(40):
        camera = draw_cameras(1, (2.0, 3.0))[0]
        a, b = (render_geometry(v, faces, camera, 64) for v in (truth * scale + shift, truth))
        loss = (a[0] - b[0]).abs().mean() + 10 * (a[1] - b[1]).abs().mean() + (a[2:] - b[2:]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        assert torch.isfinite(scale.grad) and torch.isfinite(shift.grad).all()
        optimiser.step()
    assert abs(float(scale.detach()) - 1) < 0.04 and float(shift.detach().norm()) < 0.02, (scale, shift)


def test_textures_and_voxels_of_one_surface_agree_and_gradients_reach_voxels():
    mesh = pbr_mesh_of_dump(textured_dump())
    torch.manual_seed(1)
    surface = look_at_surface(mesh, draw_cameras(1, (2.0, 2.1))[0], 48)
    assert 100 < len(surface.point) < 48 * 48
    expected = textured_attributes(mesh, surface)
    seen = surface.image(torch.ones(len(surface.point), 1))[0] > 0
    assert (expected[:, ~seen] == 0).all()
    assert set(expected[3][seen].unique().tolist()) <= {0.25, 0.0}
    assert all(min(abs(r - 0.2), abs(r - 0.5)) < 1e-3 for r in expected[4][seen].unique().tolist())
    resolution = 24
    coords = torch.stack(torch.meshgrid(*[torch.arange(resolution)] * 3, indexing="ij"), -1).reshape(-1, 3).int()
    values = ((coords.float() + 0.5) / resolution).requires_grad_()
    drawn = read_voxels(coords, values, resolution, surface)
    half = 0.5 / resolution  # beyond the outermost centres nothing is extrapolated
    position = surface.image((surface.point + 0.5).clamp(half, 1 - half))
    assert float((drawn.detach() - position).abs().max()) < 1e-3
    drawn.sum().backward()
    assert float(values.grad.sum()) == pytest.approx(3 * len(surface.point), rel=1e-4)
    nothing = read_voxels(coords[:0], values[:0], resolution, surface)
    assert nothing.shape == (3, 48, 48) and (nothing == 0).all()


RENDER = {
    "shape_vae": ["trainer.render_resolution=32"],
    "tex_vae": ["dataset.with_mesh=true", "trainer.render_resolution=32"],
}
TERMS = {
    "shape_vae": ["render/mask", "render/depth", "render/normal/l1", "render/normal/ssim", "render/normal/lpips"],
    "tex_vae": ["render/base_color/ssim", "render/mra/ssim", "render/base_color/lpips", "render/mra/lpips"],
}


PUBLISHED = {"shape_vae": "shape_vae_next_dc_f16c32_fp16_ft_512", "tex_vae": "tex_vae_next_dc_f16c32_fp16_ft_512"}


def flatten(tree, prefix=""):
    out = {}
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else key
        out |= flatten(value, name) if isinstance(value, dict) else {name: value}
    return out


@pytest.fixture
def stand_in_lpips(monkeypatch):
    """A module `lpips` whose network is the mean squared difference; the real one needs downloaded weights."""

    class LPIPS(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "vgg"

        def forward(self, a, b):
            assert a.shape == b.shape and a.shape[1] == 3
            return (a - b).square().mean(dim=(1, 2, 3), keepdim=True)

    module = types.ModuleType("lpips")
    module.LPIPS = LPIPS
    module.__spec__ = importlib.machinery.ModuleSpec("lpips", None)
    monkeypatch.setitem(sys.modules, "lpips", module)
    monkeypatch.setattr("trellis2.utils.loss_utils._LPIPS", {})


def published_weights(stage, root):
    """The `lambda_...` of a published configuration as overrides."""
    config = json.loads((root / "configs" / "scvae" / f"{PUBLISHED[stage]}.json").read_text())
    weights = {k: v for k, v in config["trainer"]["args"].items() if k.startswith("lambda_")}
    assert weights["lambda_lpips"] > 0
    return [f"trainer.{name}={value}" for name, value in weights.items()]


@pytest.mark.parametrize("stage", ["shape_vae", "tex_vae"])
def test_both_vaes_train_with_the_published_weights(
    stage, tmp_path, mini_args, read_log, data_with_meshes, stand_in_lpips, request
):
    overrides = [*RENDER[stage], *published_weights(stage, request.config.rootpath)]
    arguments = mini_args(stage, tmp_path, "trainer.max_steps=3", *overrides)
    where = arguments.index("--data_dir") + 1
    assert main([*arguments[:where], str(data_with_meshes), *arguments[where + 1 :]]) == 0
    entries = [flatten(entry["loss"]) for entry in read_log(tmp_path)]
    assert len(entries) == 3
    for entry in entries:
        assert set(TERMS[stage]) <= set(entry)
        assert all(math.isfinite(entry[name]) and entry[name] > 0 for name in TERMS[stage])
        if stage == "tex_vae":
            rendered = sum(0.2 * entry[name] for name in TERMS[stage])
            assert entry["loss"] == pytest.approx(entry["l1"] + rendered + 1e-6 * entry["kl"], rel=1e-3)


def test_total_of_the_shape_vae_counts_the_rendering_terms():
    weights = {"kl": 0.0, "intersected": 0.0, "vertice": 0.0, "subdiv": 0.0, "mask": 1.0, "depth": 10.0,
               "normal": 2.0, "ssim": 0.2, "lpips": 0.3}  # fmt: skip
    terms = {"kl": 1.0, "render/mask": 0.1, "render/depth": 0.01, "render/normal/l1": 0.2, "render/normal/ssim": 0.5,
             "render/normal/lpips": 0.1}  # fmt: skip
    assert shape_vae_total(terms, weights) == pytest.approx(0.1 + 0.1 + 2 * (0.2 + 0.1 + 0.03))


@pytest.mark.skipif(importlib.util.find_spec("lpips") is not None, reason="lpips is installed")
def test_missing_lpips_is_named_before_anything_is_built(tmp_path, mini_args, caplog):
    require_lpips(0.0)
    with pytest.raises(ValueError, match="pip install lpips"):
        require_lpips(0.2)
    overrides = ["trainer.max_steps=1", "trainer.lambda_normal=1", "trainer.lambda_lpips=0.2"]
    assert main(mini_args("shape_vae", tmp_path, *overrides)) == 1
    assert "lambda_lpips > 0 needs the package `lpips`" in caplog.text


def test_texture_vae_without_meshes_says_so(tmp_path, mini_args, caplog):
    overrides = ["trainer.max_steps=1", "trainer.lambda_render=1", "trainer.lambda_lpips=0", "dataset.with_mesh=true"]
    assert main(mini_args("tex_vae", tmp_path, *overrides)) == 1
    assert "lambda_render > 0 needs meshes" in caplog.text and "'pbr_dump'" in caplog.text
