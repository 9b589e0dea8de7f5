"""A textured mesh made on the spot, for examples that are started without one."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import Image

__all__ = ["sample_mesh"]


def sample_mesh(rings: int = 96, sides: int = 48) -> trimesh.Trimesh:
    """A torus, Z up, with stripes of metal and of coloured plastic."""
    u, v = np.meshgrid(np.linspace(0, 1, rings + 1), np.linspace(0, 1, sides + 1), indexing="ij")
    radius = 0.33 + 0.14 * np.cos(2 * np.pi * v)
    points = np.stack(
        [radius * np.cos(2 * np.pi * u), radius * np.sin(2 * np.pi * u), 0.14 * np.sin(2 * np.pi * v)], -1
    )
    index = np.arange((rings + 1) * (sides + 1)).reshape(rings + 1, sides + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)

    x, y = np.meshgrid(np.arange(512) / 512, np.arange(512) / 512)
    metal = (np.floor(x * 12) % 2 == 0) & (y > 0.15)
    hue = np.stack([0.5 + 0.5 * np.cos(2 * np.pi * (x + k / 3)) for k in range(3)], -1)
    color = np.where(metal[..., None], [0.95, 0.80, 0.45], hue)
    packed = np.stack([np.zeros_like(x), np.where(metal, 0.25, 0.7), metal.astype(float)], -1)
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray((color * 255).astype(np.uint8)),
        metallicRoughnessTexture=Image.fromarray((packed * 255).astype(np.uint8)),
        metallicFactor=1.0,
        roughnessFactor=1.0,
    )
    mesh = trimesh.Trimesh(points.reshape(-1, 3), faces, process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.stack([u, v], -1).reshape(-1, 2), material=material)
    return mesh
