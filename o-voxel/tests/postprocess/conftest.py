"""Decoded-looking assets with known shape and attributes, and the Khronos validator where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

GRID = 48
LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
REPO = Path(__file__).resolve().parents[3]


def voxels_around(vertices: np.ndarray, faces: np.ndarray, grid: int = GRID) -> np.ndarray:
    """Cells of the unit box that hold a sample of the surface, and their neighbours: [L, 3] int32."""
    points = trimesh.sample.sample_surface(trimesh.Trimesh(vertices, faces, process=False), 40000, seed=0)[0]
    cells = np.unique(np.floor((points + 0.5) * grid).astype(np.int64), axis=0)
    offsets = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    grown = np.unique((cells[:, None] + offsets).reshape(-1, 3), axis=0)
    return grown[((grown >= 0) & (grown < grid)).all(1)].astype(np.int32)


def colour_field(points: np.ndarray) -> np.ndarray:
    """A smooth colour of position: [N, 3] in 0..1."""
    return np.clip(points + 0.5, 0, 1)


@pytest.fixture(scope="session")
def make_asset() -> Callable[..., dict[str, Any]]:
    """Arguments of `to_glb` for a mesh, with colour = position, metallic 0.25, roughness 0.75, given alpha."""

    def make(vertices: np.ndarray, faces: np.ndarray, alpha: Callable[[np.ndarray], np.ndarray] | None = None) -> dict:
        coords = voxels_around(vertices, faces)
        centres = (coords + 0.5) / GRID - 0.5
        a = np.ones(len(coords)) if alpha is None else alpha(centres)
        attrs = np.concatenate([colour_field(centres), np.tile([0.25, 0.75], (len(coords), 1)), a[:, None]], axis=1)
        return {
            "vertices": torch.from_numpy(np.asarray(vertices, dtype=np.float32)),
            "faces": torch.from_numpy(np.asarray(faces, dtype=np.int32)),
            "attr_volume": torch.from_numpy(attrs.astype(np.float32)),
            "coords": torch.from_numpy(coords),
            "attr_layout": LAYOUT,
            "aabb": [[-0.5] * 3, [0.5] * 3],
            "grid_size": GRID,
            "texture_size": 256,
            "decimation_target": 2000,
        }

    return make


@pytest.fixture(scope="session")
def ball(make_asset: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A sphere of radius 0.4 with shuffled winding, 5120 faces."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    faces = np.asarray(mesh.faces).copy()
    flip = np.random.default_rng(0).random(len(faces)) < 0.5
    faces[flip] = faces[flip][:, [0, 2, 1]]
    return make_asset(np.asarray(mesh.vertices), faces)


@pytest.fixture(scope="session")
def validate_glb() -> Callable[[Path], dict[str, Any]]:
    """Runs the Khronos glTF validator on a file; skips where it is not installed."""
    path = REPO / "tests" / "tools" / "validate_glb.py"
    spec = importlib.util.spec_from_file_location("validate_glb", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.require_validator()
    return module.validate_glb
