"""CUDA inputs: results live on the device of the inputs and equal those on the CPU."""

from __future__ import annotations

import pytest
import torch

from o_voxel.rasterize import DepthPeeler, VoxelRenderer, interpolate, rasterize, texture, triangle_index

pytestmark = pytest.mark.gpu


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


@pytest.mark.parametrize("quirks", ["none", "published"])
@pytest.mark.parametrize(
    ("count", "edge", "distance", "resolution"),
    [
        (0, 0.1, 2.0, 24),
        (1, 0.1, 2.0, 24),
        (50, 0.1, 2.0, (24, 33)),
        (300, 0.5, 0.3, 64),  # the camera inside boxes that fill the picture
        ((1 << 20) + 5, 0.004, 1.5, 200),
    ],
)
def test_voxel_renderer_draws_the_same_picture(
    count: int, edge: float, distance: float, resolution: int | tuple[int, int], quirks: str
) -> None:
    position = torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    attrs = position + 0.5
    extrinsics = torch.eye(4)
    extrinsics[2, 3] = distance
    intrinsics = torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]])
    renderer = VoxelRenderer({"resolution": resolution, "depth_type": "z"})
    cpu, cuda, again = (
        renderer.render(position.to(d), attrs.to(d), edge, extrinsics.to(d), intrinsics.to(d), quirks=quirks)
        for d in ("cpu", "cuda", "cuda")
    )
    for name in ("attr", "depth", "alpha"):
        assert cuda[name].device.type == "cuda"
        assert torch.equal(cuda[name].cpu(), cpu[name]) and torch.equal(cuda[name], again[name])


def test_voxel_renderer_resolves_samples_on_the_device() -> None:
    position = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    extrinsics = torch.eye(4)
    extrinsics[2, 3] = 2
    renderer = VoxelRenderer({"resolution": 24, "ssaa": 2})
    args = (position, position + 0.5, 0.1, extrinsics, torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]]))
    cpu, cuda = renderer.render(*args), renderer.render(*(a.cuda() if isinstance(a, torch.Tensor) else a for a in args))
    for name in ("attr", "depth", "alpha"):  # the averaging of samples is PyTorch's
        torch.testing.assert_close(cuda[name].cpu(), cpu[name], atol=1e-6, rtol=1e-6)
