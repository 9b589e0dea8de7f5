"""Scenes shared by the tests of the rasteriser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


def _soup(count: int, size: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(count, 1, 4, generator=generator)
    centre[..., 3] = centre[..., 3].abs() + 0.5
    pos = (centre + size * torch.randn(count, 3, 4, generator=generator)).reshape(-1, 4)
    return pos, torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3)


def _sphere(rings: int = 8) -> tuple[Tensor, Tensor]:
    theta = torch.linspace(0, torch.pi, rings + 1)
    phi = torch.arange(2 * rings) * (torch.pi / rings)
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    x, y, z = t.sin() * p.cos(), t.sin() * p.sin(), t.cos() + 3
    near, far = 1.0, 10.0
    pos = torch.stack([2 * x, 2 * y, (far + near) / (far - near) * z - 2 * far * near / (far - near), z], -1)
    n = 2 * rings
    i, j = torch.meshgrid(torch.arange(rings), torch.arange(n), indexing="ij")
    a, b, c, d = i * n + j, i * n + (j + 1) % n, (i + 1) * n + j, (i + 1) * n + (j + 1) % n
    tri = torch.cat([torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)])
    return pos.reshape(-1, 4), tri.int()


@pytest.fixture(scope="session")
def soup() -> Callable[[int, float, int], tuple[Tensor, Tensor]]:
    """`soup(count, size, seed)`: clip positions [3 count, 4] and triangles, some behind the camera."""
    return _soup


@pytest.fixture(scope="session")
def sphere() -> tuple[Tensor, Tensor]:
    """Clip positions and triangles of a sphere three radii in front of the camera; degenerate ones at the poles."""
    return _sphere()
