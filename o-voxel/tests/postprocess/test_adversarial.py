"""Hostile meshes through every profile: an asset that keeps the profile's word, or an error that says what is wrong."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import trimesh

from o_voxel.postprocess import glb_bytes, to_glb
from o_voxel.postprocess.prepare import Profile

MESHES_FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "adversarial_meshes.py"
GRID, FACES, TARGET = 24, 700, 200
SECONDS = 20.0  # of one core; the slowest takes 2
REFUSED = {"empty": "must not be empty", "not_a_number": "must be finite"}


def _meshes() -> Any:
    spec = importlib.util.spec_from_file_location("adversarial_meshes", MESHES_FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


adversarial = _meshes()


def arguments(name: str, size: int = FACES) -> dict[str, Any]:
    vertices, faces = adversarial.MESHES[name](size)
    cells, attrs = adversarial.voxels_of((vertices, faces), GRID)
    return {
        "vertices": torch.from_numpy(vertices.astype(np.float32)),
        "faces": torch.from_numpy(faces.astype(np.int32)),
        "attr_volume": torch.from_numpy(attrs),
        "coords": torch.from_numpy(cells),
        "attr_layout": {
            "base_color": slice(0, 3),
            "metallic": slice(3, 4),
            "roughness": slice(4, 5),
            "alpha": slice(5, 6),
        },
        "aabb": [[-0.5] * 3, [0.5] * 3],
        "grid_size": GRID,
        "texture_size": 64,
        "decimation_target": TARGET,
    }


def welded(asset: trimesh.Trimesh) -> trimesh.Trimesh:
    """Vertices of equal position joined, by counting alone."""
    points, index = np.unique(np.asarray(asset.vertices), axis=0, return_inverse=True)
    return trimesh.Trimesh(points, index.reshape(-1)[np.asarray(asset.faces)], process=False)


def edge_uses(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many faces use each edge, and the sum of their directions."""
    start, end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    keys = np.minimum(start, end) * (faces.max() + 1) + np.maximum(start, end)
    _, index, uses = np.unique(keys, return_inverse=True, return_counts=True)
    return uses, np.bincount(index.reshape(-1), weights=np.where(start < end, 1, -1))


@pytest.mark.parametrize("remesh", [False, True], ids=["plain", "remesh"])
@pytest.mark.parametrize("profile", get_args(Profile))
@pytest.mark.parametrize("name", list(adversarial.MESHES))
def test_hostile_mesh_ends_with_an_asset_or_a_clear_error(name: str, profile: Profile, remesh: bool) -> None:
    begin = time.process_time()
    try:
        asset, report = to_glb(**arguments(name), profile=profile, remesh=remesh, ambient_occlusion=False, report=True)
    except ValueError as error:
        assert REFUSED.get(name, "") in str(error)
        assert len(str(error)) > 20, "an error must say what is wrong"
        assert time.process_time() - begin < SECONDS
        assert name in {*REFUSED, "huge", "far_vertex"} or (profile == "print"), f"{name} was refused: {error}"
        return
    assert time.process_time() - begin < SECONDS
    assert name not in REFUSED
    points, faces = np.asarray(asset.vertices), np.asarray(asset.faces)
    assert len(faces) > 0
    assert len(faces) <= TARGET or any("asked" in p for p in report.problems), "over the budget, and nothing says so"
    assert np.isfinite(points).all() and faces.min() >= 0 and faces.max() < len(points)
    uv = np.asarray(asset.visual.uv)
    assert np.isfinite(uv).all() and uv.min() >= -1e-6 and uv.max() <= 1 + 1e-6
    assert len(glb_bytes(asset)) > 1000
    if profile == "raw":
        return
    if report.problems:  # what could not be kept is named; the benchmark counts how often
        return
    body = welded(asset)
    triple = np.sort(body.faces, axis=1)
    assert (np.diff(triple, axis=1) > 0).all(), "a face lost a corner"
    assert len(np.unique(triple, axis=0)) == len(triple), "faces repeat"
    uses, direction = edge_uses(np.asarray(body.faces))
    assert not ((uses == 2) & (direction != 0)).any(), "winding conflicts"
    if profile == "print":
        assert (uses == 2).all() and body.volume > 0


@pytest.mark.parametrize("profile", get_args(Profile))
def test_hostile_mesh_repeats_exactly(profile: Profile) -> None:
    mesh = arguments("crumbs", 400)
    assert glb_bytes(to_glb(**mesh, profile=profile)) == glb_bytes(to_glb(**mesh, profile=profile))


def test_makers_are_as_bad_as_they_say() -> None:
    make: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = adversarial.MESHES
    uses, _ = edge_uses(make["fins"](10000)[1])
    assert (uses > 2).mean() > 0.25
    points, faces = make["crumbs"](48000)
    assert trimesh.Trimesh(points, faces, process=False).body_count == 12001
    points, faces = make["slivers"](1000)
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert (area < 1e-12).mean() == 0.5
    uses, direction = edge_uses(make["moebius"](1500)[1])
    assert set(uses) == {1, 2} and ((uses == 2) & (direction != 0)).sum() > 0
    assert len(np.unique(make["coplanar"](1000)[0][:, 2])) == 1
