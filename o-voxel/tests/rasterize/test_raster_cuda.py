"""The CUDA kernels against the CPU: the forward pass bit for bit, gradients up to the order of their sums."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from o_voxel.rasterize import (
    DepthPeeler,
    antialias,
    antialias_construct_topology_hash,
    build_mips,
    interpolate,
    rasterize,
    texture,
)

pytestmark = pytest.mark.gpu
Soup = Callable[[int, float, int], tuple[Tensor, Tensor]]


def _picture(pos: Tensor, tri: Tensor, size: tuple[int, int], device: str) -> tuple[list[Tensor], list[Tensor]]:
    """All intermediate results of a textured, antialiased picture, and the gradients of all inputs."""
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.rand(2, pos.shape[1], 5, generator=generator), torch.rand(13, 10, 3, generator=generator)]
    bias = torch.rand(2, *size, generator=generator)
    corners, attr, tex, bias = (t.to(device).requires_grad_() for t in (pos, *leaves, bias))
    tri = tri.to(device)
    rast, db = rasterize(corners, tri, size, grad_db=True)
    out, da = interpolate(attr, rast, tri, db, [0, 1])
    color = texture(tex, out[..., :2], da, bias)
    done = antialias(color, rast, corners, tri)
    weight = torch.rand(done.shape, generator=generator).to(device)
    grads = torch.autograd.grad((done * weight).sum(), (corners, attr, tex, bias))
    return [t.detach().cpu() for t in (rast, db, out, da, color, done)], [g.cpu() for g in grads]


@pytest.mark.parametrize(
    ("count", "spread", "size"),
    [(40, 0.6, (24, 20)), (2000, 2.0, (257, 123)), (20000, 0.3, (512, 512)), (500, 30.0, (64, 64)), (1, 9.0, (1, 1))],
)
def test_picture_equals_the_cpu(soup: Soup, count: int, spread: float, size: tuple[int, int]) -> None:
    pos, tri = soup(count, spread, count)
    both = torch.stack([pos, pos.flip(0)])
    want, want_grads = _picture(both, tri, size, "cpu")
    got, got_grads = _picture(both, tri, size, "cuda")
    for a, b in zip(got, want):
        assert torch.equal(a, b)
    for a, b in zip(got_grads, want_grads):
        # float32 sums in another order
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 * float(b.abs().max() + 1))


def test_layers_equal_the_cpu(soup: Soup) -> None:
    pos, tri = soup(300, 0.8, 21)
    cpu, cuda = DepthPeeler(pos, tri, (64, 80)), DepthPeeler(pos.cuda(), tri.cuda(), (64, 80))
    for _ in range(6):
        assert torch.equal(cpu.rasterize_next_layer(), cuda.rasterize_next_layer().cpu())


def test_chains_and_topology_equal_the_cpu() -> None:
    generator = torch.Generator().manual_seed(3)
    tex = torch.rand(2, 37, 64, 3, generator=generator)
    for a, b in zip(build_mips(tex.cuda()).levels, build_mips(tex).levels):
        assert torch.equal(a.cpu(), b)
    tri = torch.randint(-1, 500, (20000, 3), generator=generator, dtype=torch.int32)
    tri[0], tri[1] = torch.tensor([1, 1, 2]), torch.tensor([0, 2**31 - 1, 7])
    want = antialias_construct_topology_hash(tri)
    assert torch.equal(antialias_construct_topology_hash(tri.cuda()).cpu(), want)


def test_ranges_equal_the_cpu(soup: Soup) -> None:
    pos, tri = soup(3000, 0.4, 22)
    ranges = torch.tensor([[0, 1000], [2500, 0], [1000, 2000], [0, 3000]])
    grads = []
    for device in ("cpu", "cuda"):
        leaf = pos.to(device).requires_grad_()
        rast = rasterize(leaf, tri.to(device), (96, 64), ranges=ranges)
        grads.append((rast.detach().cpu(), torch.autograd.grad(rast[..., :3].sum(), leaf)[0].cpu()))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[1][1], grads[0][1], rtol=1e-3, atol=2e-5 * float(grads[0][1].abs().max()))


def test_two_runs_agree(soup: Soup) -> None:
    pos, tri = soup(50000, 0.1, 5)
    pos, tri = pos.cuda(), tri.cuda()
    assert torch.equal(rasterize(pos, tri, (700, 900)), rasterize(pos, tri, (700, 900)))


def test_bad_triangles_and_empty_input() -> None:
    nan = float("nan")
    pos = torch.tensor([[-1, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1], [nan, 0, 0, 1], [0, 0, 0, -1]]).cuda()
    tri = torch.tensor([[0, 0, 1], [0, 1, 3], [0, 1, 99], [-1, 1, 2], [4, 4, 4], [0, 1, 2]]).cuda()
    rast = rasterize(pos, tri, (8, 8))
    assert (rast[..., 3] == 6).all()
    # A table that is too short for what is visible: zeros, as looking would wait for the device.
    assert (interpolate(torch.ones(2, 1).cuda(), rast, tri) == 0).all()
    assert (interpolate(torch.ones(5, 1).cuda(), rast, tri[:3]) == 0).all()
    none = torch.zeros(0, 3, dtype=torch.int32).cuda()
    assert rasterize(torch.zeros(0, 4).cuda(), none, (3, 5)).sum() == 0
    assert rasterize(torch.zeros(0, 7, 4).cuda(), tri, (3, 5)).shape == (0, 3, 5, 4)


def test_unaligned_and_strided_input(soup: Soup) -> None:
    pos, tri = soup(40, 0.6, 2)
    want = rasterize(pos, tri, (32, 32))
    shifted = torch.cat([torch.zeros(1), pos.reshape(-1)]).cuda()[1:].reshape(-1, 4)
    assert shifted.data_ptr() % 16
    assert torch.equal(rasterize(shifted, tri.cuda(), (32, 32)).cpu(), want)
    strided = torch.cat([pos, pos], 1).cuda()[:, :4]
    assert torch.equal(rasterize(strided, tri.long().cuda(), (32, 32)).cpu(), want)


def test_work_follows_the_current_stream(soup: Soup) -> None:
    pos, tri = soup(2000, 0.3, 6)
    want = rasterize(pos, tri, (128, 128))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        moved = pos.cuda(non_blocking=True) + 0
        rast = rasterize(moved, tri.cuda(), (128, 128))
    stream.synchronize()
    assert torch.equal(rast.cpu(), want)
