"""Mesh -> O-Voxel -> mesh on real files: the surface stays within half a voxel, open sheets stay open."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from o_voxel.convert import flexible_dual_grid_to_mesh, mesh_to_flexible_dual_grid

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
COUNT = 128
OPEN = ["CesiumMilkTruck.glb", "AlphaBlendModeTest.glb", "suzanne.obj", "beetle.obj"]
CLOSED = ["Duck.glb", "fandisk.obj", "spot.obj"]


def load_normalized(path):
    loaded = trimesh.load(path, process=False)
    mesh = loaded.to_mesh() if isinstance(loaded, trimesh.Scene) else loaded
    vertices = np.asarray(mesh.vertices, np.float64)
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) * (0.99999 / (high - low).max())
    return vertices.astype(np.float32), np.asarray(mesh.faces)


def mean_distance(from_mesh, to_mesh):
    """Upper bound of the mean distance from one surface to another, in units: to the nearest of 80 000 samples."""
    points, _ = trimesh.sample.sample_surface(from_mesh, 1500, seed=0)
    samples, _ = trimesh.sample.sample_surface(to_mesh, 80000, seed=1)
    target = torch.tensor(np.asarray(samples), dtype=torch.float32)
    parts = torch.tensor(np.asarray(points), dtype=torch.float32).split(250)
    return float(torch.cat([torch.cdist(part, target).amin(1) for part in parts]).mean())


def boundary_edge_count(vertices, faces):
    """Edges of one face after joining equal positions and dropping collapsed and repeated faces."""
    _, weld = np.unique(vertices, axis=0, return_inverse=True)
    faces = np.unique(np.sort(weld.reshape(-1)[faces], axis=1), axis=0)
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2])]
    _, uses = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0, return_counts=True)
    return int((uses == 1).sum())


@pytest.mark.parametrize("name", OPEN + CLOSED)
def test_surface_survives(data_dir, name):
    vertices, faces = load_normalized(data_dir / "meshes" / name)
    coords, dual, flags = mesh_to_flexible_dual_grid(
        torch.from_numpy(vertices), torch.from_numpy(faces), None, COUNT, UNIT, 1.0, 0.2, 1e-2
    )
    out_vertices, out_faces = flexible_dual_grid_to_mesh(
        coords, dual * COUNT - coords, flags, None, UNIT, grid_size=COUNT
    )
    before = trimesh.Trimesh(vertices, faces, process=False)
    after = trimesh.Trimesh(out_vertices.numpy(), out_faces.numpy(), process=False)
    assert mean_distance(before, after) < 0.5 / COUNT
    assert mean_distance(after, before) < 0.5 / COUNT
    assert abs(after.area / before.area - 1) < 0.1 or name in OPEN
    edges = boundary_edge_count(vertices, faces)
    out_edges = boundary_edge_count(out_vertices.numpy(), out_faces.numpy())
    if name in OPEN:
        assert edges > 0 and out_edges > 0
        return
    assert edges == 0 and out_edges < 0.005 * len(out_faces)  # only fins of edges crossed twice
    _, _, flags = mesh_to_flexible_dual_grid(
        torch.from_numpy(vertices), torch.from_numpy(faces), None, COUNT, UNIT, double_crossings="cancel"
    )
    _, out_faces = flexible_dual_grid_to_mesh(coords, dual, flags, None, UNIT, grid_size=COUNT)
    sides = np.sort(out_faces.numpy()[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(sides, axis=0, return_counts=True)[1] % 2 == 0).all()
