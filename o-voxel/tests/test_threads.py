"""Conversions from many Python threads: same results, and the interpreter runs on meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import trimesh

from o_voxel._native import native_module
from o_voxel.convert import (
    flexible_dual_grid_to_mesh,
    mesh_to_flexible_dual_grid,
    textured_mesh_to_volumetric_attr,
)
from o_voxel.rasterize import VoxelRenderer
from o_voxel.serialize import encode_seq
from o_voxel.view import look_at

UNIT = [[-0.5] * 3, [0.5] * 3]
THREADS = 8
pytestmark = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")


def ball(seed: int, subdivisions: int = 3) -> trimesh.Trimesh:
    """A bumpy, coloured ball; every seed another one."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.45)
    generator = torch.Generator().manual_seed(seed)
    mesh.vertices *= (0.8 + 0.2 * torch.rand(len(mesh.vertices), 1, generator=generator)).numpy()
    colors = torch.randint(0, 256, (len(mesh.vertices), 4), generator=generator).numpy().astype("uint8")
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colors)
    return mesh


def everything(mesh: trimesh.Trimesh) -> list[torch.Tensor]:
    """The results of all native stages for one mesh."""
    vertices = torch.as_tensor(mesh.vertices, dtype=torch.float32)
    faces = torch.as_tensor(mesh.faces, dtype=torch.int32)
    coords, dual, flags = mesh_to_flexible_dual_grid(vertices, faces, None, 24, UNIT)
    surface = flexible_dual_grid_to_mesh(coords, (dual + 0.5) * 0 + 0.5, flags, None, UNIT, grid_size=24)
    attr_coords, attrs = textured_mesh_to_volumetric_attr(mesh, None, 24, UNIT)
    extrinsics, intrinsics = look_at(0.3, 0.2, 2.0, 0.6, torch.device("cpu"))
    color = attrs["base_color"].float() / 255
    image = VoxelRenderer({"resolution": 48}).render(
        (attr_coords + 0.5) / 24 - 0.5, color, 1 / 24, extrinsics, intrinsics
    )
    return [coords, dual, flags, *surface, attr_coords, *attrs.values(), encode_seq(coords), image.attr, image.depth]


def test_eight_threads_give_the_results_of_one():
    meshes = [ball(seed) for seed in range(4)]
    alone = [everything(mesh) for mesh in meshes]
    start = threading.Barrier(THREADS)

    def work(number: int) -> list[list[torch.Tensor]]:
        start.wait()
        order = [(number + i) % len(meshes) for i in range(2 * len(meshes))]
        results = [(k, everything(meshes[k])) for k in order]
        return [result for _, result in sorted(results, key=lambda item: item[0])]

    with ThreadPoolExecutor(THREADS) as pool:
        for results in pool.map(work, range(THREADS)):
            for k, result in enumerate(results):
                assert all(torch.equal(a, b) for a, b in zip(result, alone[k // 2], strict=True))


@pytest.mark.parametrize("stage", ["dual grid", "attributes"])
def test_the_interpreter_runs_during_a_call_into_the_core(stage, monkeypatch):
    """A second thread goes on counting while the core works: with the lock held it could count once at most."""
    native = native_module()
    count, stop = [0], threading.Event()
    inside: list[int] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before = count[0]
            result = function(*args, **kwargs)
            inside.append(count[0] - before)
            return result

        return call

    for name, value in vars(native).items():
        if callable(value) and not isinstance(value, type) and not name.startswith("_"):
            monkeypatch.setattr(native, name, watched(value))

    def tick() -> None:
        while not stop.is_set():
            count[0] += 1
            time.sleep(0.0005)

    mesh = ball(0, subdivisions=4)
    vertices = torch.as_tensor(mesh.vertices, dtype=torch.float32)
    faces = torch.as_tensor(mesh.faces, dtype=torch.int32)
    counter = threading.Thread(target=tick)
    counter.start()
    try:
        if stage == "dual grid":
            mesh_to_flexible_dual_grid(vertices, faces, None, 400, UNIT)
        else:
            textured_mesh_to_volumetric_attr(mesh, None, 160, UNIT)
    finally:
        stop.set()
        counter.join()
    assert max(inside) > 5
