"""Pictures of small scenes whose pixels can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh

from trellis2.renderers import EnvMap, MeshRenderer, PbrMeshRenderer
from trellis2.renderers.ambient_occlusion import ambient_occlusion
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, intrinsics_to_projection, orbit_eye
from trellis2.renderers.color import decode, tone_map
from trellis2.renderers.fg_table import fg_lookup
from trellis2.renderers.materials import sample_texture
from trellis2.representations import (
    AlphaMode,
    Mesh,
    MeshWithPbrMaterial,
    MeshWithVoxel,
    PbrMaterial,
    Texture,
    TextureFilterMode,
    TextureWrapMode,
)

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
QUAD_UV = [[[0, 1], [1, 1], [1, 0]], [[0, 1], [1, 0], [0, 0]]]


def camera(yaw=math.pi, pitch=0.0, radius=2.0, fov=40.0):
    extrinsics = extrinsics_look_at(orbit_eye(yaw, pitch, radius), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return extrinsics, intrinsics_from_fov(math.radians(fov))


def quad(y=0.0, half=0.4):
    """A square in the x-z plane at `y`; corners: bottom left, bottom right, top right, top left seen from -Y."""
    vertices = torch.tensor([[-half, y, -half], [half, y, -half], [half, y, half], [-half, y, half]])
    return vertices, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)


def material_quads(*layers):
    """Quads (y, material) with uv (0, 0) at the top left."""
    vertices, faces, ids = [], [], []
    for i, (y, _) in enumerate(layers):
        v, f = quad(y)
        vertices.append(v)
        faces.append(f + 4 * i)
        ids += [i, i]
    uv = torch.tensor(QUAD_UV * len(layers), dtype=torch.float32)
    materials = [material for _, material in layers]
    return MeshWithPbrMaterial(torch.cat(vertices), torch.cat(faces), torch.tensor(ids), uv, materials)


def sphere_with_voxels(alpha=1.0, resolution=16):
    sphere = trimesh.creation.icosphere(3, radius=0.4)
    grid = torch.stack(torch.meshgrid(*[torch.arange(resolution)] * 3, indexing="ij"), -1).reshape(-1, 3)
    centre = (grid + 0.5) / resolution - 0.5
    attrs = torch.cat([centre + 0.5, torch.full((len(grid), 1), 0.2), torch.full((len(grid), 1), 0.6)], 1)
    attrs = torch.cat([attrs, torch.full((len(grid), 1), alpha)], 1)
    return MeshWithVoxel(
        torch.tensor(sphere.vertices).float(), torch.tensor(sphere.faces), [-0.5] * 3, 1 / resolution, grid, attrs,
        (1, 6, resolution, resolution, resolution), LAYOUT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def white_env():
    return EnvMap(torch.ones(16, 32, 3))


def test_depth_mask_and_position_of_a_quad():
    vertices, faces = quad(y=0.25)
    out = MeshRenderer({"resolution": 64, "near": 0.5, "far": 5}).render(
        Mesh(vertices, faces), *camera(), return_types=["mask", "depth", "coord", "normal"]
    )
    # Half width 0.4 at depth 2.25 with tan 20 degrees across half the image.
    side = 0.4 / 2.25 / math.tan(math.radians(20)) * 64
    assert abs(float(out.mask.sum()) - side * side) < 2 * side
    assert torch.allclose(out.depth[out.mask > 0], torch.tensor(2.25), atol=1e-5)
    assert float(out.depth[0, 0]) == 0
    x, y, z = out.coord[:, 20, 40]
    assert x > 0 and z > 0 and abs(float(y) - 0.25) < 1e-6
    assert torch.allclose(out.normal[:, 32, 32], torch.tensor([0.5, 0.5, 1.0]), atol=1e-6)
    assert torch.allclose(out.normal[:, 0, 0], torch.tensor(0.5))


def test_normals_are_two_sided_and_follow_the_convention():
    """A ramp that faces right and towards the camera, drawn with both windings."""
    vertices = torch.tensor([[-0.3, 0.3, -0.3], [0.3, 0.3, -0.3], [0.3, 0.3, 0.3], [-0.3, 0.3, 0.3]])
    vertices[[0, 3], 1] = -0.3  # left edge nearer: normal (1, -1, 0) / sqrt(2)
    s = 0.5 + 0.5 * math.sqrt(0.5)
    for faces in ([[0, 1, 2], [0, 2, 3]], [[2, 1, 0], [3, 2, 0]]):
        mesh = Mesh(vertices, torch.tensor(faces))
        for convention, red in (("opengl", s), ("published", 1 - s)):
            options = {"resolution": 16, "near": 0.5, "far": 5, "normal_convention": convention}
            out = MeshRenderer(options).render(mesh, *camera(), return_types=["normal"])
            assert torch.allclose(out.normal[:, 8, 8], torch.tensor([red, 0.5, s]), atol=1e-5)


def test_vertex_attributes_interpolate_in_perspective():
    vertices, faces = quad()
    vertices[[1, 2], 1] = 1.0  # right edge further away
    out = MeshRenderer({"resolution": 64, "near": 0.5, "far": 5}).render(
        Mesh(vertices, faces, vertices.clone()), *camera(), return_types=["attr", "coord", "mask"]
    )
    assert torch.allclose(out.attr, out.coord, atol=1e-5) and float(out.mask.sum()) > 100


def test_chunks_draw_the_same_picture():
    sphere = trimesh.creation.icosphere(2, radius=0.4)
    mesh = Mesh(torch.tensor(sphere.vertices), torch.tensor(sphere.faces))
    kinds = ["mask", "normal", "depth", "coord"]
    base = {"resolution": 48, "near": 0.5, "far": 5, "ssaa": 2}
    whole = MeshRenderer(base).render(mesh, *camera(), return_types=kinds)
    parts = MeshRenderer({**base, "chunk_size": 57}).render(mesh, *camera(), return_types=kinds)
    for kind in kinds:
        assert torch.allclose(whole[kind], parts[kind], atol=1e-4), kind


@pytest.mark.parametrize("ssaa", [1, 2])
def test_antialiasing_makes_coverage_follow_the_edge(ssaa):
    """A slanted quad: with blending, the sum of coverage comes close to its true area, and pixels are in between."""
    vertices, faces = quad(half=0.3)
    angle = math.radians(17)
    turn = torch.tensor([[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]])
    mesh = Mesh(vertices @ turn.T, faces, torch.ones(4, 1))
    options = {"resolution": 40, "near": 0.5, "far": 5, "ssaa": ssaa}
    kinds = ["mask", "normal", "depth", "coord", "attr"]
    hard = MeshRenderer(options).render(mesh, *camera(), kinds)
    soft = MeshRenderer({**options, "antialias": True}).render(mesh, *camera(), kinds)
    true_area = (0.6 * 40 / (2 * 2 * math.tan(math.radians(20)))) ** 2
    assert abs(float(soft.mask.sum()) - true_area) < 0.02 * true_area
    between = ((soft.mask > 0.05) & (soft.mask < 0.95)).sum()
    assert between > ((hard.mask > 0.05) & (hard.mask < 0.95)).sum()
    inside = soft.mask == 1
    for name in kinds:
        assert torch.allclose(soft[name][..., inside], hard[name][..., inside], atol=1e-4), name
    assert torch.allclose(soft.attr[0], soft.mask, atol=1e-5)  # fades into the background
    whole = MeshRenderer({**options, "antialias": True, "chunk_size": 1}).render(mesh, *camera(), ["mask"])
    assert torch.allclose(whole.mask, soft.mask, atol=1e-5)


def test_voxel_attributes_stay_with_the_object_when_it_is_moved():
    mesh = sphere_with_voxels()
    renderer = MeshRenderer({"resolution": 32, "near": 0.5, "far": 5})
    turn = torch.eye(4)
    turn[:3, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # +X to +Y
    moved = renderer.render(mesh, *camera(), ["attr"], transformation=turn)
    around = renderer.render(mesh, *camera(yaw=math.pi + math.pi / 2), ["attr"])  # seen from the matching side
    assert set(moved) == set(LAYOUT)
    assert torch.allclose(moved.base_color, around.base_color, atol=0.02)
    assert torch.allclose(moved.roughness[moved.roughness > 0], torch.tensor(0.6), atol=1e-4)


def test_empty_meshes_render_with_the_same_keys():
    empty = MeshWithVoxel(
        torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32), [-0.5] * 3, 0.1,
        torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 6), (1, 6, 10, 10, 10), LAYOUT,
    )  # fmt: skip
    kinds = ["mask", "normal", "depth", "attr"]
    options = {"resolution": 8, "near": 0.5, "far": 5}
    out = MeshRenderer(options).render(empty, *camera(), return_types=kinds)
    assert set(out) == {"mask", "normal", "depth", *LAYOUT}
    assert (out.mask == 0).all() and (out.normal == 0.5).all() and (out.base_color == 0).all()
    lit = PbrMeshRenderer(options).render(empty, *camera(), EnvMap(torch.ones(16, 32, 3)))
    assert (lit.shaded == 0).all() and (lit.clay == 0).all()


def test_a_lit_quad_has_the_value_of_the_equation(white_env):
    material = PbrMaterial(base_color_factor=[0.5, 0.25, 0.75], metallic_factor=0.3, roughness_factor=0.6)
    mesh = material_quads((0.0, material))
    renderer = PbrMeshRenderer({"resolution": 33, "near": 0.5, "far": 5})
    out = renderer.render(mesh, *camera(), white_env)
    albedo = decode(torch.tensor([0.5, 0.25, 0.75]))
    a, b = fg_lookup(torch.tensor(1.0), torch.tensor(0.6))

    def reflected(f0):  # once and repeatedly between microfacets
        lost, mean_fresnel = 1 - a - b, f0 + (1 - f0) / 21
        return (f0 * a + b) * (1 + lost * mean_fresnel / (1 - lost * mean_fresnel))

    plastic = albedo * (1 - reflected(0.04)) + reflected(0.04)
    expected = tone_map(0.7 * plastic + 0.3 * reflected(albedo))
    assert torch.allclose(out.shaded[:, 16, 16], expected, atol=2e-3)
    assert torch.allclose(out.base_color[:, 16, 16], torch.tensor([0.5, 0.25, 0.75]), atol=1e-6)
    assert abs(float(out.metallic[16, 16]) - 0.3) < 1e-6 and abs(float(out.roughness[16, 16]) - 0.6) < 1e-6
    assert float(out.clay[16, 16]) == 1.0 and float(out.mask[0, 0]) == 0.0
    assert set(out) == {
        "shaded", "normal", "mask", "base_color", "metallic", "roughness", "alpha", "clay", "opacity",
    }  # fmt: skip
    behind = renderer.render(mesh, *camera(yaw=0.0), white_env)  # two-sided
    assert torch.allclose(behind.shaded[:, 16, 16], expected, atol=2e-3)


def test_a_renderer_with_a_device_prepares_materials_once_and_notices_new_geometry(white_env):
    mesh = material_quads((0.0, PbrMaterial(Texture(torch.rand(4, 4, 3)))))
    renderer = PbrMeshRenderer({"resolution": 16, "near": 0.5, "far": 5}, device="cpu")
    first = renderer.render(mesh, *camera(), white_env)
    table = renderer._material_table
    second = renderer.render(mesh, *camera(), white_env)
    assert renderer._material_table is table and torch.equal(first.shaded, second.shaded)
    mesh.vertices = mesh.vertices * 0.5
    assert float(renderer.render(mesh, *camera(), white_env).mask.mean()) < 0.5 * float(first.mask.mean())


def test_transparent_layers_composite_front_to_back(white_env):
    def matte(color, alpha, mode=AlphaMode.BLEND):
        return PbrMaterial(None, color, None, 0.0, None, 1.0, None, alpha, mode)

    red, blue = matte([1.0, 0, 0], 0.25), matte([0, 0, 1.0], 1.0, AlphaMode.OPAQUE)
    options = {"resolution": 17, "near": 0.5, "far": 5, "ao_samples": 0}
    renderer = PbrMeshRenderer(options)
    both = renderer.render(material_quads((0.1, blue), (-0.1, red)), *camera(), white_env)
    a, b = fg_lookup(torch.tensor(1.0), torch.tensor(1.0))
    single, lost, mean_fresnel = 0.04 * a + b, 1 - a - b, 0.04 + 0.96 / 21
    gloss = single + lost * single * mean_fresnel / (1 - lost * mean_fresnel)
    front, back = (torch.tensor(c) * (1 - gloss) + gloss for c in ([1.0, 0, 0], [0, 0, 1.0]))
    assert torch.allclose(both.shaded[:, 8, 8], tone_map(0.25 * front + 0.75 * back), atol=3e-3)
    assert torch.allclose(both.base_color[:, 8, 8], torch.tensor([1.0, 0, 0]))  # nearest surface
    assert abs(float(both.alpha[8, 8]) - 0.25) < 1e-6 and float(both.opacity[8, 8]) > 0.999
    alone = renderer.render(material_quads((0.0, red)), *camera(), white_env)
    assert abs(float(alone.opacity[8, 8]) - 0.25) < 1e-6
    grey = PbrMeshRenderer({**options, "bg_color": (0.0, 1.0, 0.0)})
    assert abs(float(grey.render(material_quads((0.0, red)), *camera(), white_env).shaded[1, 0, 0]) - 1.0) < 1e-6


def test_environment_background_shows_behind(white_env):
    mesh = material_quads((0.0, PbrMaterial()))
    out = PbrMeshRenderer({"resolution": 16, "near": 0.5, "far": 5}).render(
        mesh, *camera(fov=60), {"a": white_env, "b": EnvMap(torch.full((16, 32, 3), 0.18))}, use_envmap_bg=True
    )
    assert {"shaded_a", "shaded_b"} <= set(out) and "shaded" not in out
    assert torch.allclose(out.shaded_a[:, 0, 0], tone_map(torch.ones(3)), atol=1e-4)
    assert torch.allclose(out.shaded_b[:, 0, 0], tone_map(torch.full((3,), 0.18)), atol=1e-4)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_voxel_mesh_samples_its_attributes_at_the_surface(white_env, alpha):
    mesh = sphere_with_voxels(alpha)
    options = {"resolution": 40, "near": 0.5, "far": 5, "ssaa": 2, "crease_angle": 60.0}
    out = PbrMeshRenderer(options).render(mesh, *camera(), white_env)
    inside = out.mask > 0.999
    position = MeshRenderer({"resolution": 40, "near": 0.5, "far": 5, "ssaa": 2}).render(mesh, *camera(), ["coord"])
    error = (out.base_color - (position.coord + 0.5)).abs().amax(0)[inside]
    assert float(error.max()) < 0.02
    assert abs(float(out.opacity[20, 20]) - (1 - (1 - alpha) ** 2)) < 1e-3  # front and back wall
    again = PbrMeshRenderer(options).render(mesh, *camera(), white_env)
    assert all(torch.equal(out[key], again[key]) for key in out)  # nothing random


def test_textured_box_shows_each_face_upright():
    """Four sides carry a texture whose top left quarter is red, top right green, bottom left blue."""
    image = torch.zeros(8, 8, 3)
    image[:4, :4, 0] = image[:4, 4:, 1] = image[4:, :4, 2] = 1
    material = PbrMaterial(Texture(image), metallic_factor=0.0)
    env = EnvMap(torch.ones(16, 32, 3))
    renderer = PbrMeshRenderer({"resolution": 32, "near": 0.5, "far": 5, "ao_samples": 0})
    parts = [quad(-0.4)]
    for _ in range(3):
        turned = parts[-1][0] @ torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
        parts.append((turned, parts[0][1]))
    vertices = torch.cat([p[0] for p in parts])
    faces = torch.cat([p[1] + 4 * i for i, p in enumerate(parts)])
    uv = torch.tensor(QUAD_UV * 4, dtype=torch.float32)
    mesh = MeshWithPbrMaterial(vertices, faces, torch.zeros(8, dtype=torch.int32), uv, [material])
    for k in range(4):
        out = renderer.render(mesh, *camera(yaw=math.pi + k * math.pi / 2), env).base_color
        assert torch.equal(out[:, 12, 12].argmax(), torch.tensor(0)), k
        assert torch.equal(out[:, 12, 20].argmax(), torch.tensor(1)), k
        assert torch.equal(out[:, 20, 12].argmax(), torch.tensor(2)), k
        assert float(out[:, 20, 20].max()) < 0.1, k


def test_texture_wrap_filter_and_minification():
    ramp = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 4, 1)
    uv = torch.tensor([[-0.125, 0.5], [0.5, 0.5], [1.125, 0.5]])

    def at(wrap, filter_mode=TextureFilterMode.LINEAR):
        return sample_texture(Texture(ramp, filter_mode, wrap), uv)[:, 0].tolist()

    assert at(TextureWrapMode.REPEAT) == [3.0, 1.5, 0.0]
    assert at(TextureWrapMode.CLAMP_TO_EDGE) == [0.0, 1.5, 3.0]
    assert at(TextureWrapMode.MIRRORED_REPEAT) == [0.0, 1.5, 3.0]
    assert at(TextureWrapMode.REPEAT, TextureFilterMode.CLOSEST) == [3.0, 2.0, 0.0]
    checker = ((torch.arange(15)[:, None] + torch.arange(15)) % 2).float()[..., None]  # odd size
    small = sample_texture(Texture(checker), torch.rand(50, 2), torch.tensor([1.0, 0, 0, 1]).expand(50, 4))
    assert float((small - 0.5).abs().max()) < 0.05


def test_mask_material_cuts_and_outlines():
    image = torch.zeros(4, 4, 1)
    image[:, 2:] = 1.0
    cut = PbrMaterial(alpha_texture=Texture(image), alpha_mode=AlphaMode.MASK, alpha_cutoff=0.4)
    out = PbrMeshRenderer({"resolution": 32, "near": 0.5, "far": 5}).render(
        material_quads((0.0, cut)), *camera(), EnvMap(torch.ones(16, 32, 3))
    )
    assert float(out.opacity[16, 10]) == 0.0 and float(out.opacity[16, 22]) == 1.0


def test_occlusion_is_zero_on_a_plane_and_positive_in_a_corner():
    projection = intrinsics_to_projection(intrinsics_from_fov(0.7), 0.5, 5)
    normal = torch.tensor([0.0, 0.0, -1.0]).expand(32, 32, 3)
    flat = torch.full((32, 32), 2.0)
    assert float(ambient_occlusion(flat, normal, projection).max()) == 0.0
    step = flat.clone()
    step[:, :16] = 1.95
    occlusion = ambient_occlusion(step, normal, projection, num_samples=64)
    assert float(occlusion[16, 16]) > 0.05 and float(occlusion[16, 30]) == 0.0
    assert float(ambient_occlusion(torch.full((4, 4), torch.inf), normal[:4, :4], projection).max()) == 0.0


def test_bad_options_and_inputs_are_refused():
    with pytest.raises(ValueError, match="did you mean 'resolution'"):
        MeshRenderer({"resolutoin": 8})
    mesh = Mesh(*quad())
    with pytest.raises(ValueError, match="near"):
        MeshRenderer({"resolution": 8}).render(mesh, *camera())
    with pytest.raises(ValueError, match="choose from"):
        MeshRenderer({"resolution": 8, "near": 1, "far": 2}).render(mesh, *camera(), ["colour"])
    with pytest.raises(ValueError, match="vertex_attrs"):
        MeshRenderer({"resolution": 8, "near": 1, "far": 2}).render(mesh, *camera(), ["attr"])
    with pytest.raises(TypeError, match="MeshWithVoxel"):
        PbrMeshRenderer({"resolution": 8, "near": 1, "far": 2}).render(mesh, *camera(), EnvMap(torch.ones(16, 32, 3)))
    with pytest.raises(ValueError, match="finite"):
        MeshRenderer({"resolution": 8, "near": 1, "far": 2}).render(
            mesh, torch.full((4, 4), float("nan")), torch.eye(3)
        )
