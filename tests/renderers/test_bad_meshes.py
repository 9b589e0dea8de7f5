"""Meshes that are empty, broken or badly placed give a picture or a clear error."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.renderers import EnvMap, MeshRenderer, PbrMeshRenderer, VoxelRenderer
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov
from trellis2.representations import (
    Mesh,
    MeshWithPbrMaterial,
    MeshWithVoxel,
    PbrMaterial,
    Texture,
    Voxel,
)

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
OPTIONS = {"resolution": 24, "near": 0.05, "far": 5.0, "ssaa": 2}
KINDS = ["mask", "depth", "normal", "coord", "attr"]


@pytest.fixture(scope="module")
def env():
    return EnvMap(torch.ones(16, 32, 3))


def camera(eye=(0.0, -2.0, 0.3)):
    extrinsics = extrinsics_look_at(torch.tensor(eye), torch.tensor([0.0, 0.001, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    return extrinsics, intrinsics_from_fov(math.radians(50))


def material_mesh(vertices, faces, textured=True, uv=None):
    texture = Texture(torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))) if textured else None
    uv = torch.zeros(len(faces), 3, 2) if uv is None else uv
    ids = torch.zeros(len(faces), dtype=torch.int32)
    return MeshWithPbrMaterial(vertices, faces, ids, uv, [PbrMaterial(texture, metallic_factor=0.0)])


def voxel_mesh(vertices, faces, coords=None):
    coords = torch.tensor([[1, 1, 1], [2, 2, 2]]) if coords is None else coords
    return MeshWithVoxel(
        vertices, faces, [-0.5] * 3, 0.25, coords.int(), torch.full((len(coords), 6), 0.5), (1, 6, 4, 4, 4), LAYOUT
    )


def ball():
    sphere = trimesh.creation.icosphere(2, radius=0.4)
    return torch.tensor(sphere.vertices).float(), torch.tensor(sphere.faces).int()


def assert_sound(pictures):
    for name, picture in pictures.items():
        assert torch.isfinite(picture).all(), name
        if name not in ("depth", "coord"):
            assert float(picture.min()) >= 0 and float(picture.max()) <= 1, name


def draw_all(vertices, faces, env, eye=(0.0, -2.0, 0.3), **options):
    """Pictures of every renderer and kind of mesh; returns those of the material mesh."""
    plain = Mesh(vertices, faces, torch.rand(len(vertices), 2))
    assert_sound(MeshRenderer(OPTIONS).render(plain, *camera(eye), KINDS))
    shown = None
    for mesh in (voxel_mesh(vertices, faces), material_mesh(vertices, faces)):
        assert_sound(MeshRenderer(OPTIONS).render(mesh, *camera(eye), KINDS))
        for crease_angle in (0.0, 40.0):
            shown = PbrMeshRenderer({**OPTIONS, "crease_angle": crease_angle, **options}).render(
                mesh, *camera(eye), env, use_envmap_bg=crease_angle > 0
            )
            assert_sound(shown)
    return shown


@pytest.mark.parametrize(("num_vertices", "num_faces"), [(0, 0), (3, 0)])
def test_empty_meshes_are_empty_pictures(env, num_vertices, num_faces):
    shown = draw_all(torch.zeros(num_vertices, 3), torch.zeros(num_faces, 3, dtype=torch.int32), env)
    assert (shown.mask == 0).all() and (shown.normal == 0.5).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_vertices_that_are_not_finite_lose_only_their_faces(env, value):
    vertices, faces = ball()
    whole = draw_all(vertices, faces, env)
    vertices[5, 1] = value
    broken = draw_all(vertices, faces, env)
    lost = float((whole.mask - broken.mask).clamp_min(0).mean() / whole.mask.mean())
    assert lost < 0.2
    assert float(broken.mask.mean()) > 0.5 * float(whole.mask.mean())


def test_a_camera_inside_sees_the_inner_walls(env):
    shown = draw_all(*ball(), env, eye=(0.0, -0.2, 0.0))
    assert (shown.mask == 1).all()
    assert (shown.normal[2] > 0.5).all()  # towards the viewer, from inside as well


def test_a_camera_in_a_face_or_at_a_vertex(env):
    vertices, faces = ball()
    for eye in (tuple(vertices[0].tolist()), tuple(vertices[faces[0].long()].mean(0).tolist())):
        draw_all(vertices, faces, env, eye=eye)


def test_triangles_without_area_are_not_drawn(env):
    vertices, faces = ball()
    flat = torch.tensor([[0, 0, 0], [1, 1, 2], [3, 4, 3]], dtype=torch.int32)
    whole = draw_all(vertices, faces, env)
    assert torch.equal(draw_all(vertices, torch.cat([faces, flat]), env).mask, whole.mask)
    assert (draw_all(vertices, flat, env).mask == 0).all()


def test_texture_coordinates_may_be_anything(env):
    vertices, faces = ball()
    for value in (float("nan"), float("inf"), -1e30, 1e9):
        uv = torch.rand(len(faces), 3, 2)
        uv[::3, 1] = value
        mesh = material_mesh(vertices, faces, uv=uv)
        assert_sound(PbrMeshRenderer(OPTIONS).render(mesh, *camera(), env))
        assert_sound(MeshRenderer(OPTIONS).render(mesh, *camera(), KINDS[:1] + ["attr"]))


def test_material_ids_outside_the_list_are_grey(env):
    vertices, faces = ball()
    mesh = material_mesh(vertices, faces)
    mesh.material_ids = torch.where(torch.arange(len(faces)) % 2 == 0, -1, 7).int()
    shown = PbrMeshRenderer({**OPTIONS, "ssaa": 1}).render(mesh, *camera(), env)
    inside = shown.mask == 1
    assert torch.allclose(shown.base_color[:, inside], torch.tensor(0.8)) and (shown.roughness[inside] == 0.5).all()


def test_voxels_far_from_the_surface_leave_it_invisible_but_there(env):
    vertices, faces = ball()
    mesh = voxel_mesh(vertices, faces, torch.zeros(0, 3))
    shown = PbrMeshRenderer(OPTIONS).render(mesh, *camera(), env)
    assert_sound(shown)
    assert float(shown.mask.max()) == 1 and (shown.opacity == 0).all() and (shown.shaded == 0).all()


def test_no_voxels_at_all():
    empty = Voxel([-0.5] * 3, 0.1, torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 3), {"color": slice(0, 3)})
    assert_sound(VoxelRenderer({"resolution": 8}).render(empty, *camera()))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    spread=st.floats(0.01, 20),
    eye=st.tuples(*[st.floats(-3, 3)] * 3),
    count=st.integers(1, 40),
)
def test_any_soup_of_triangles_from_anywhere(env, seed, spread, eye, count):
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.randn(count + 2, 3, generator=generator) * spread
    faces = torch.randint(0, count + 2, (count, 3), generator=generator).int()
    mesh = material_mesh(vertices, faces, uv=torch.randn(count, 3, 2, generator=generator) * spread)
    shown = PbrMeshRenderer({**OPTIONS, "resolution": 16}).render(mesh, *camera(eye), env)
    assert_sound(shown)


def test_bad_requests_name_what_is_wrong(env):
    mesh = material_mesh(*ball())
    renderer = PbrMeshRenderer(OPTIONS)
    with pytest.raises(ValueError, match=r"no buffers \['glow'\], choose from: shaded"):
        renderer.render(mesh, *camera(), env, buffers=["glow"])
    with pytest.raises(ValueError, match="finite"):
        renderer.render(mesh, torch.full((4, 4), float("nan")), camera()[1], env)
    with pytest.raises(TypeError, match="MeshWithVoxel or MeshWithPbrMaterial"):
        renderer.render(Mesh(*ball()), *camera(), env)
    with pytest.raises(ValueError, match="near and far"):
        PbrMeshRenderer({**OPTIONS, "near": 3.0, "far": 1.0}).render(mesh, *camera(), env)
    with pytest.raises(ValueError, match="corner_colors must have shape"):
        MeshWithPbrMaterial(
            *ball(), mesh.material_ids, mesh.uv_coords, mesh.materials, corner_colors=torch.zeros(3, 3, 4)
        )
