"""CUDA inputs: results live on the device of the inputs and equal those on the CPU."""

from __future__ import annotations

import pytest
import torch

from o_voxel.rasterize import DepthPeeler, VoxelRenderer, interpolate, rasterize, texture, triangle_index
from o_voxel.sampling import grid_sample_3d

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_rasterizer_calls_follow_the_device() -> None:
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(90, 4, generator=generator)
    pos[:, 3] = pos[:, 3].abs() + 0.5
    tri = torch.arange(90, dtype=torch.int32).reshape(30, 3)
    attr, tex = torch.rand(90, 2, generator=generator), torch.rand(16, 16, 3, generator=generator)
    results = []
    for device in ("cpu", "cuda"):
        p, t, a, x = (value.to(device) for value in (pos, tri, attr, tex))
        rast = rasterize(p, t, (32, 48))
        peeler = DepthPeeler(p, t, (32, 48))
        layers = [peeler.rasterize_next_layer() for _ in range(2)]
        uv = interpolate(a, rast, t)
        found = [rast, *layers, uv, texture(x, uv), texture(x, uv, "nearest", "mirror"), triangle_index(rast)]
        assert all(value.device.type == device for value in found)
        results.append([value.cpu() for value in found])
    for cpu, cuda in zip(*results):
        torch.testing.assert_close(cuda, cpu, atol=1e-5, rtol=1e-5)


def test_voxel_renderer_follows_the_device() -> None:
    position = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    extrinsics = torch.eye(4)
    extrinsics[2, 3] = 2
    intrinsics = torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]])
    renderer = VoxelRenderer({"resolution": 24, "ssaa": 2})
    args = (position, position + 0.5, 0.1, extrinsics, intrinsics)
    cpu = renderer.render(*args)
    cuda = renderer.render(*(a.cuda() if isinstance(a, torch.Tensor) else a for a in args))
    for name in ("attr", "depth", "alpha"):
        assert cuda[name].device.type == "cuda"
        torch.testing.assert_close(cuda[name].cpu(), cpu[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["trilinear", "nearest"])
def test_sampling_follows_the_device(mode: str) -> None:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randperm(2 * 512, generator=generator)[:300]
    coords = torch.stack([keys // 512, keys // 64 % 8, keys // 8 % 8, keys % 8], 1).int()
    feats, grid = torch.randn(300, 5, generator=generator), torch.rand(2, 100, 3, generator=generator) * 10 - 1
    gradients = []
    for device in ("cpu", "cuda"):
        leaf = feats.clone().to(device).requires_grad_()
        out = grid_sample_3d(leaf, coords.to(device), (2, 5, 8, 8, 8), grid.to(device), mode)
        assert out.device.type == device
        out.square().sum().backward()
        gradients.append((out.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)
