"""Fast views of ordinary assets: loading, frames, colours, transparency, speed."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trellis2.renderers.asset import NORMALISED_EXTENT
from trellis2.renderers.asset_lighting import shade_points
from trellis2.renderers.asset_views import (
    DirectionalLight,
    Lighting,
    ViewCamera,
    load_asset,
    render_asset_view,
    sample_lighting,
)
from trellis2.renderers.color import decode
from trellis2.renderers.corner_normals import corner_normals
from trellis2.renderers.fg_table import fg_lookup

AMBIENT = Lighting((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
DARK = Lighting((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def pbr(color=(1.0, 1.0, 1.0, 1.0), metallic=0.0, roughness=1.0, **kwargs):
    return trimesh.visual.material.PBRMaterial(
        baseColorFactor=(np.asarray(color) * 255).astype(np.uint8), metallicFactor=metallic, roughnessFactor=roughness,
        **kwargs,
    )  # fmt: skip


def quad(y, material, half=0.5):
    """Square in the Z-up x-z plane; texture upright as seen from -Y."""
    vertices = [[-half, y, -half], [half, y, -half], [half, y, half], [-half, y, half]]
    visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    return trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def front(radius=2.0, fov=40.0):
    return ViewCamera(math.pi, 0.0, radius, fov)


def test_merged_nodes_are_turned_to_z_up_and_normalised():
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.add_geometry(trimesh.creation.box((1, 4, 2)))  # 4 high in a Y-up file
    asset = load_asset(scene)
    low, high = asset.vertices.min(0), asset.vertices.max(0)
    assert np.allclose(low + high, 0, atol=1e-6)
    assert np.allclose(high - low, np.array([6, 2, 4]) * NORMALISED_EXTENT / 6, atol=1e-6)
    # Both boxes, mapped by hand: (x, y, z) -> (x, -z, y)
    corner = np.array([5.5, -0.5, 0.5]) * asset.scale + asset.offset
    assert np.abs(asset.vertices - corner).max(1).min() < 1e-6
    assert len(asset.faces) == 24 and asset.is_opaque


def test_z_up_sources_keep_their_axes(tmp_path):
    box = trimesh.creation.box((1, 2, 3))
    for asset in (load_asset(box, up="z"), load_asset(_export(box, tmp_path / "box.ply"))):
        assert np.allclose(np.ptp(asset.vertices, axis=0), np.array([1, 2, 3]) / 3, atol=1e-4)


def _export(mesh, path):
    mesh.export(path)
    return path


def test_position_map_projects_back_to_its_pixels_and_normals_face_the_camera():
    asset = load_asset(trimesh.creation.icosphere(3))
    camera = ViewCamera(0.7, 0.4, 1.8, 45)
    out = render_asset_view(asset, camera, 64)
    seen = out["rgba"][..., 3] == 255
    assert 800 < seen.sum() < 64 * 64
    point, normal = out["position"][seen], out["normal"][seen]
    assert np.allclose(np.linalg.norm(point, axis=1), 0.5, atol=3e-3)
    assert np.allclose(normal, point / 0.5, atol=0.03)
    local = point @ camera.extrinsics()[:3, :3].numpy().T + camera.extrinsics()[:3, 3].numpy()
    uv = local @ camera.intrinsics().numpy().T
    rows, columns = np.nonzero(seen)
    assert np.abs(uv[:, 0] / uv[:, 2] * 64 - 0.5 - columns).max() < 0.6
    assert np.abs(uv[:, 1] / uv[:, 2] * 64 - 0.5 - rows).max() < 0.6
    eye = np.linalg.inv(camera.extrinsics().numpy())[:3, 3]
    assert ((eye - point) * normal).sum(1).min() > -1e-4
    assert (out["position"][~seen & (out["rgba"][..., 3] == 0)] == 0).all()


def test_camera_matrices_of_the_two_conventions_agree():
    """A data-toolkit view record describes the same camera: d = (cos yaw cos pitch, sin yaw cos pitch, sin pitch)."""
    yaw, pitch, radius, fov = 0.9, 0.3, 2.5, 0.7
    camera = ViewCamera.from_blender_view(yaw, pitch, radius, fov)
    pose = camera.transform_matrix()
    d = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
    right = np.cross([0, 0, 1], d) / np.linalg.norm(np.cross([0, 0, 1], d))
    assert np.allclose(pose[:3], np.column_stack([right, np.cross(d, right), d, radius * d]), atol=1e-6)
    assert camera.fov == pytest.approx(math.degrees(fov))


def test_ambient_light_on_matte_texture_returns_its_colours_upright():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :4], image[:4, 4:], image[4:, :4], image[4:, 4:] = (
        (200, 40, 40),
        (40, 200, 40),
        (40, 40, 200),
        (90, 90, 90),
    )
    asset = load_asset(quad(0.0, pbr(baseColorTexture=Image.fromarray(image))), up="z")
    rgba = render_asset_view(asset, front(), 40, AMBIENT)["rgba"]
    a, b = fg_lookup(torch.tensor(1.0), torch.tensor(1.0))
    gloss = float(0.04 * a + b)
    for row, column, value in (
        (12, 12, (200, 40, 40)),
        (12, 28, (40, 200, 40)),
        (28, 12, (40, 40, 200)),
        (28, 28, (90,) * 3),
    ):
        linear = ((np.array(value) / 255 + 0.055) / 1.055) ** 2.4 + gloss
        expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
        assert np.abs(rgba[row, column, :3] - expected).max() < 2.5
    assert (rgba[0, 0] == 0).all() and rgba[20, 20, 3] == 255


def test_facing_light_gives_its_intensity_and_back_side_is_lit_too():
    asset = load_asset(quad(0.0, pbr((0.5, 0.5, 0.5, 1.0), roughness=1.0)), up="z")
    light = Lighting(DARK.sky, DARK.ground, (DirectionalLight((0.0, -1.0, 0.0), (1.0, 1.0, 1.0)),))
    value = render_asset_view(asset, front(), 20, light)["rgba"][10, 10, :3] / 255.0
    linear = ((value + 0.055) / 1.055) ** 2.4
    assert 0.5 < linear.mean() < 0.5 + 0.04  # albedo (127 / 255 linear) plus a little gloss
    unlit = render_asset_view(asset, ViewCamera(0.0, 0.0, 2.0, 40), 20, light)
    assert unlit["rgba"][10, 10, 0] == 0 and unlit["rgba"][10, 10, 3] == 255
    assert np.allclose(unlit["normal"][10, 10], [0, 1, 0], atol=1e-5)


def test_blend_mask_and_opaque_materials():
    glass = pbr((1.0, 0.0, 0.0, 0.5), alphaMode="BLEND")
    scene = trimesh.Scene([quad(-0.2, glass, 0.25), quad(0.0, pbr((0.0, 0.0, 1.0, 1.0)), 0.5)])
    asset = load_asset(scene, up="z")
    assert not asset.is_opaque
    out = render_asset_view(asset, front(), 32, AMBIENT)
    red, _, blue = out["rgba"][16, 16, :3].astype(int)
    assert out["rgba"][16, 16, 3] == 255 and 170 < red < 205 and 170 < blue < 205  # half of linear 1 is sRGB 188
    alone = render_asset_view(load_asset(quad(0.0, glass), up="z"), front(), 32, AMBIENT)["rgba"][16, 16]
    assert abs(int(alone[3]) - 128) <= 1 and alone[0] == 255  # straight alpha keeps the full colour
    image = np.full((4, 4, 4), 255, np.uint8)
    image[:, :2, 3] = 60
    cut = pbr(baseColorTexture=Image.fromarray(image), alphaMode="MASK", alphaCutoff=0.5)
    masked = render_asset_view(load_asset(quad(0.0, cut), up="z"), front(), 32, AMBIENT)
    assert masked["rgba"][16, 8, 3] == 0 and masked["rgba"][16, 24, 3] == 255
    assert (masked["position"][16, 8] == 0).all()
    solid = load_asset(quad(0.0, pbr((1.0, 1.0, 1.0, 0.3))), up="z")  # OPAQUE ignores the factor
    assert render_asset_view(solid, front(), 32, AMBIENT)["rgba"][16, 16, 3] == 255


def test_position_comes_from_the_layer_that_counts():
    scene = trimesh.Scene([quad(-0.3, pbr((1, 1, 1, 0.2), alphaMode="BLEND")), quad(0.3, pbr())])
    asset = load_asset(scene, up="z")
    assert render_asset_view(asset, front(), 16, AMBIENT)["position"][8, 8, 1] == pytest.approx(0.3, abs=1e-4)


def test_minified_textures_do_not_alias():
    checker = ((np.arange(512)[:, None] + np.arange(512)) % 2 * 255).astype(np.uint8)
    image = Image.fromarray(np.stack([checker] * 3, -1))
    asset = load_asset(quad(0.0, pbr(baseColorTexture=image)), up="z")
    inner = render_asset_view(asset, front(), 48, AMBIENT)["rgba"][16:32, 16:32, 0].astype(float)
    assert inner.std() < 3 and abs(inner.mean() - 190) < 8  # linear mean 0.5


def test_vertex_colours_are_used():
    mesh = trimesh.creation.box()
    mesh.visual.vertex_colors = [255, 0, 0, 255]
    rgba = render_asset_view(load_asset(mesh), front(), 24, AMBIENT)["rgba"]
    assert rgba[12, 12, 0] > 150 and rgba[12, 12, 1] < 90


def test_corner_normals_smooth_a_sphere_and_keep_a_box_sharp():
    def normals(mesh):
        return corner_normals(torch.tensor(mesh.vertices), torch.tensor(mesh.faces), 40.0).numpy()

    sphere = trimesh.creation.icosphere(3)
    assert np.abs(normals(sphere) - sphere.vertices[sphere.faces]).max() < 0.02
    box = trimesh.creation.box()
    assert np.allclose(normals(box), box.face_normals[:, None], atol=1e-6)
    degenerate = corner_normals(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), 40.0)
    assert torch.isfinite(degenerate).all()
    assert corner_normals(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32), 40.0).shape == (0, 3, 3)


def test_mirrored_nodes_keep_outward_winding():
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box(), transform=np.diag([-1.0, 1, 1, 1]))
    asset = load_asset(scene, up="z")
    centres = asset.vertices[asset.faces].mean(1)
    assert ((asset.face_normals.T * centres).sum(1) > 0).all()


def test_asset_as_mesh_with_materials_shows_the_same_colours(data_dir):
    from trellis2.renderers import MeshRenderer

    asset = load_asset(data_dir / "meshes" / "Duck.glb")
    camera = ViewCamera(math.pi, 0.2, 2.0, 40)
    options = {"resolution": 48, "near": 0.5, "far": 5, "ssaa": 2}
    drawn = MeshRenderer(options).render(
        asset.to_mesh(), camera.extrinsics(), camera.intrinsics(), ["attr", "mask", "coord"]
    )
    view = render_asset_view(asset, camera, 48, AMBIENT)
    solid = (drawn.mask.numpy() == 1) & (view["rgba"][..., 3] == 255)
    assert solid.sum() > 300
    assert np.abs(drawn.coord.permute(1, 2, 0).numpy()[solid] - view["position"][solid]).mean() < 0.01
    base = decode(drawn.base_color.permute(1, 2, 0)).numpy()[solid]
    lit = decode(torch.from_numpy(view["rgba"][..., :3] / 255)).numpy()[solid]
    gloss = np.median(lit - base, axis=0)[1:]  # red is saturated
    assert gloss.min() > 0 and gloss.max() < 0.06


def test_white_furnace_loses_little_and_gains_almost_nothing():
    rng = np.random.default_rng(0)
    normal = np.tile(np.float32([0, 0, 1]), (500, 1))
    view = rng.standard_normal((500, 3)).astype(np.float32)
    view[:, 2] = np.abs(view[:, 2]) + 0.1
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    white, roughness = np.ones((500, 3), np.float32), rng.uniform(0, 1, 500).astype(np.float32)
    normal, view, white = normal.T.copy(), view.T.copy(), white.T.copy()
    metal = shade_points(normal, view, white, np.ones(500, np.float32), roughness, AMBIENT)
    assert metal.max() <= 1.01 and metal[:, roughness < 0.2].min() > 0.9
    black = shade_points(normal, view, white * 0, np.zeros(500, np.float32), roughness, AMBIENT)
    assert black.min() > 0 and black[:, view[2] > 0.9].max() < 0.06


def test_sampled_lighting_follows_the_published_budget():
    rng = np.random.default_rng(0)
    draws = [sample_lighting(rng) for _ in range(600)]
    counts = np.bincount([len(d.lights) for d in draws], minlength=4)[1:]
    assert (counts > 150).all()
    z = np.array([light.direction[2] for d in draws for light in d.lights])
    assert 0.25 < z.mean() < 0.4  # lights tend to come from above
    assert all(0 <= d.sky[0] <= 1.5 and d.sky == d.ground for d in draws)
    assert sample_lighting(np.random.default_rng(5)) == sample_lighting(np.random.default_rng(5))


@settings(max_examples=15, deadline=None)
@given(yaw=st.floats(-4, 4), pitch=st.floats(-1.57, 1.57), fov=st.floats(10, 70), seed=st.integers(0, 999))
def test_any_published_camera_sees_the_whole_asset(yaw, pitch, fov, seed):
    radius = 1.06 * math.sqrt(3) / 2 / math.sin(math.radians(fov) / 2)  # just outside the tight fit
    asset = load_asset(trimesh.creation.box((1, 1, 1)))
    out = render_asset_view(
        asset, ViewCamera(yaw, pitch, radius, fov), 48, sample_lighting(np.random.default_rng(seed))
    )
    alpha = out["rgba"][..., 3]
    assert alpha.max() == 255 and np.isfinite(out["position"]).all()
    assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0
    assert np.abs(out["position"]).max() <= 0.5001


def test_a_view_of_ten_thousand_faces_costs_little():
    asset = load_asset(trimesh.creation.uv_sphere(count=(50, 52)))
    assert 9000 < len(asset.faces) < 12000
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        best = min(_timed(asset) for _ in range(8))
    finally:
        torch.set_num_threads(threads)
    assert best < 0.5  # CPU seconds; about 0.015 on a current core, so this only catches another order of work


def _timed(asset):
    start = time.process_time()
    render_asset_view(asset, ViewCamera(0.5, 0.4, 2.0, 50), 160, sample_lighting(np.random.default_rng(0)))
    return time.process_time() - start


def test_bad_inputs_are_refused(tmp_path):
    asset = load_asset(trimesh.creation.box())
    with pytest.raises(ValueError, match="resolution"):
        render_asset_view(asset, front(), 0)
    with pytest.raises(ValueError, match="radius"):
        render_asset_view(asset, ViewCamera(0, 0, 0, 40), 8)
    with pytest.raises(ValueError, match="triangle"):
        load_asset(trimesh.Scene())
    with pytest.raises(ValueError, match="up must be"):
        load_asset(trimesh.creation.box(), up="x")
    with pytest.raises(TypeError, match="source"):
        load_asset(42)
    flat = trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False)
    with pytest.raises(ValueError, match="positive size"):
        load_asset(flat)
