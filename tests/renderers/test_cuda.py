"""Pictures drawn on CUDA against those drawn on the CPU."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh

from trellis2.renderers import EnvMap, MeshRenderer, PbrMeshRenderer, VoxelRenderer, open_environment
from trellis2.renderers.asset import load_asset
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, orbit_eye
from trellis2.representations import MeshWithVoxel, Voxel

pytestmark = pytest.mark.gpu

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
OPTIONS = {"resolution": 192, "near": 0.5, "far": 6, "ssaa": 2}


def camera():
    extrinsics = extrinsics_look_at(orbit_eye(3.7, 0.4, 2.0), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return extrinsics, intrinsics_from_fov(math.radians(36))


def psnr(a, b):
    return -10 * math.log10(float((a.cpu() - b.cpu()).double().square().mean()) + 1e-20)


def ball(alpha):
    sphere = trimesh.creation.icosphere(4, radius=0.4)
    grid = torch.stack(torch.meshgrid(*[torch.arange(24)] * 3, indexing="ij"), -1).reshape(-1, 3)
    attrs = torch.rand(len(grid), 6, generator=torch.Generator().manual_seed(0))
    attrs[:, 5] = alpha
    vertices, faces = torch.tensor(sphere.vertices).float(), torch.tensor(sphere.faces)
    return MeshWithVoxel(vertices, faces, [-0.5] * 3, 1 / 24, grid.int(), attrs, (1, 6, 24, 24, 24), LAYOUT)


def assert_same_pictures(cpu, cuda):
    assert set(cpu) == set(cuda)
    for name, picture in cpu.items():
        assert cuda[name].device.type == "cuda"
        assert psnr(picture, cuda[name]) >= 50, (name, psnr(picture, cuda[name]))


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_voxel_attributes_are_drawn_alike(alpha):
    mesh = ball(alpha)
    env = EnvMap(open_environment("studio"))
    for options in ({"crease_angle": 40.0}, {"bg_color": (1.0, 1.0, 1.0)}):
        renderer = PbrMeshRenderer({**OPTIONS, **options})
        cpu = renderer.render(mesh, *camera(), env)
        assert_same_pictures(cpu, renderer.render(mesh.to("cuda"), *camera(), env))


@pytest.mark.parametrize("name", ["car", "chair", "teddy"])
def test_textured_assets_are_drawn_alike(name, request):
    asset = load_asset(request.config.rootpath / "assets" / "example_mesh" / f"{name}.glb").to_mesh()
    env = EnvMap(open_environment("forest"))
    renderer = PbrMeshRenderer(OPTIONS)
    cpu = renderer.render(asset, *camera(), env, use_envmap_bg=True)
    assert_same_pictures(cpu, renderer.render(asset.to("cuda"), *camera(), env, use_envmap_bg=True))


def test_reduced_precision_of_matrix_products_does_not_move_anything(request):
    mesh = load_asset(request.config.rootpath / "assets" / "example_mesh" / "car.glb").to_mesh().to("cuda")
    pictures = []
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for torch.backends.cuda.matmul.allow_tf32 in (False, True):
            env = EnvMap(open_environment("forest").cuda())
            pictures.append(PbrMeshRenderer(OPTIONS).render(mesh, *camera(), env, use_envmap_bg=True))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    for name, picture in pictures[0].items():
        assert psnr(picture, pictures[1][name]) > 60, name


def test_geometry_is_drawn_alike():
    kinds = ["mask", "depth", "normal", "coord", "attr"]
    mesh = ball(1.0)
    cpu = MeshRenderer(OPTIONS).render(mesh, *camera(), kinds)
    assert_same_pictures(cpu, MeshRenderer(OPTIONS).render(mesh.to("cuda"), *camera(), kinds))


def test_voxels_are_drawn_alike():
    grid = torch.stack(torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[((grid + 0.5) / 16 - 0.5).norm(dim=1) < 0.45].int()
    colors = torch.rand(len(grid), 3, generator=torch.Generator().manual_seed(0))
    layout = {"color": slice(0, 3)}
    cpu = Voxel([-0.5] * 3, 1 / 16, grid, colors, layout, device="cpu")
    cuda = Voxel([-0.5] * 3, 1 / 16, grid.cuda(), colors.cuda(), layout, device="cuda")
    renderer = VoxelRenderer(OPTIONS)
    assert_same_pictures(renderer.render(cpu, *camera()), renderer.render(cuda, *camera()))
