"""Meshes, voxels and materials as containers."""

from __future__ import annotations

import pytest
import torch

from trellis2.representations import (
    AlphaMode,
    Mesh,
    MeshWithPbrMaterial,
    MeshWithVoxel,
    PbrMaterial,
    Texture,
    TextureFilterMode,
    TextureWrapMode,
    Voxel,
)
from trellis2.representations.mesh._geometry import _extend_attrs

LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}


def two_triangles() -> Mesh:
    vertices = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.arange(4.0)[:, None])


def test_mesh_casts_and_moves() -> None:
    mesh = two_triangles()
    assert (mesh.vertices.dtype, mesh.faces.dtype) == (torch.float32, torch.int32)
    moved = mesh.to("cpu")
    assert moved is not mesh
    assert torch.equal(moved.vertices, mesh.vertices)
    assert torch.equal(moved.vertex_attrs, mesh.vertex_attrs)


def test_remove_faces_drops_the_marked_ones() -> None:
    mesh = two_triangles()
    mesh.remove_faces(torch.tensor([True, False]))
    assert mesh.faces.tolist() == [[0, 2, 3]]
    with pytest.raises(ValueError, match="face_mask must be bool"):
        mesh.remove_faces(torch.tensor([1]))


@pytest.mark.parametrize(
    ("vertices", "faces", "attrs", "error", "match"),
    [
        (torch.zeros(3, 2), torch.zeros(1, 3, dtype=torch.int32), None, ValueError, "vertices"),
        (torch.zeros(3, 3), torch.zeros(1, 4, dtype=torch.int32), None, ValueError, "faces"),
        (torch.zeros(3, 3), torch.zeros(1, 3), None, TypeError, "faces must be integers"),
        (torch.zeros(3, 3), torch.zeros(1, 3, dtype=torch.int32), torch.zeros(2, 1), ValueError, "vertex_attrs"),
    ],
)
def test_bad_meshes_are_refused(vertices, faces, attrs, error, match) -> None:
    with pytest.raises(error, match=match):
        Mesh(vertices, faces, attrs)


def test_empty_mesh_is_allowed_and_geometry_calls_leave_it() -> None:
    mesh = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))
    mesh.fill_holes()
    mesh.simplify(10)
    assert mesh.is_empty


def test_attributes_of_a_hole_vertex_are_the_mean_of_its_loop() -> None:
    # vertices 0…3 around a hole, vertex 4 appended in its middle with four faces
    faces = torch.tensor([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    out = _extend_attrs(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), faces, old=4, new=5)
    assert out[:4].flatten().tolist() == [0, 1, 2, 3]
    assert out[4].item() == pytest.approx(1.5)


def test_enum_values_are_the_published_ones() -> None:
    assert (TextureFilterMode.CLOSEST, TextureFilterMode.LINEAR) == (0, 1)
    assert (TextureWrapMode.CLAMP_TO_EDGE, TextureWrapMode.REPEAT, TextureWrapMode.MIRRORED_REPEAT) == (0, 1, 2)
    assert (AlphaMode.OPAQUE, AlphaMode.MASK, AlphaMode.BLEND) == (0, 1, 2)


def test_material_keeps_three_factors_and_moves() -> None:
    material = PbrMaterial(Texture(torch.rand(4, 4, 3)), [0.1, 0.2, 0.3, 0.4], alpha_mode=AlphaMode.MASK)
    moved = material.to("cpu")
    assert moved.base_color_factor.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert torch.equal(moved.base_color_texture.image, material.base_color_texture.image)
    assert moved.alpha_mode == AlphaMode.MASK
    assert (material.metallic_factor, material.alpha_cutoff) == (1.0, 0.5)


def test_mesh_with_materials_filters_its_per_face_data() -> None:
    plain = two_triangles()
    uv = torch.arange(12.0).reshape(2, 3, 2)
    mesh = MeshWithPbrMaterial(plain.vertices, plain.faces, torch.tensor([0, 1]), uv, [PbrMaterial(), PbrMaterial()])
    mesh.remove_faces(torch.tensor([True, False]))
    assert mesh.material_ids.tolist() == [1]
    assert torch.equal(mesh.to("cpu").uv_coords, uv[1:])
    assert mesh.layout == LAYOUT
    with pytest.raises(ValueError, match="uv_coords"):
        MeshWithPbrMaterial(plain.vertices, plain.faces, torch.tensor([0, 1]), uv[:1], [PbrMaterial()])


def test_voxel_positions_are_cell_centres() -> None:
    voxel = Voxel([-0.5] * 3, 0.25, torch.tensor([[0, 0, 0], [3, 2, 1]]), torch.rand(2, 6), LAYOUT)
    assert voxel.position.tolist() == [[-0.375] * 3, [0.375, 0.125, -0.125]]
    assert voxel.split_attrs()["roughness"].shape == (2, 1)
    assert torch.equal(voxel.to("cpu").attrs, voxel.attrs)


def test_voxel_layouts_are_not_shared_between_instances() -> None:
    a, b = Voxel([0, 0, 0], 1.0), Voxel([0, 0, 0], 1.0)
    a.layout["color"] = slice(0, 3)
    assert b.layout == {}


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"voxel_size": 0.0}, "voxel_size"),
        ({"origin": [0, 0]}, "origin"),
        ({"coords": torch.zeros(2, 4)}, "coords"),
        ({"attrs": torch.zeros(3, 6)}, "attrs"),
        ({"layout": {"color": slice(4, 8)}}, "layout"),
    ],
)
def test_bad_voxels_are_refused(kwargs: dict, match: str) -> None:
    good = {
        "origin": [0, 0, 0],
        "voxel_size": 1.0,
        "coords": torch.zeros(2, 3, dtype=torch.int32),
        "attrs": torch.zeros(2, 6),
        "layout": LAYOUT,
    }
    with pytest.raises(ValueError, match=match):
        Voxel(**{**good, **kwargs})


def mesh_with_voxel(attrs: torch.Tensor) -> MeshWithVoxel:
    coords = torch.tensor([[0, 0, 0], [1, 0, 0]], dtype=torch.int32)[: attrs.shape[0]]
    mesh = two_triangles()
    return MeshWithVoxel(
        mesh.vertices, mesh.faces, [-0.5] * 3, 0.25, coords, attrs, (1, attrs.shape[1], 4, 4, 4), {"value": slice(0, 1)}
    )


def test_mesh_with_voxel_interpolates_between_voxels() -> None:
    pytest.importorskip("o_voxel.sampling")
    mesh = mesh_with_voxel(torch.tensor([[1.0], [3.0]]))
    # voxel units (0.75, .5, .5) -> 1.5; (0.2, .5, .5) -> 1; (1.9, .5, .5) -> 3; far away -> 0
    points = torch.tensor([[0.75, 0.5, 0.5], [0.2, 0.5, 0.5], [1.9, 0.5, 0.5], [3.5, 3.5, 3.5]]) * 0.25 - 0.5
    assert mesh.query_attrs(points).flatten().tolist() == pytest.approx([1.5, 1, 3, 0], abs=1e-5)
    assert mesh.query_vertex_attrs().shape == (4, 1)


def test_a_lone_voxel_answers_with_its_own_value() -> None:
    pytest.importorskip("o_voxel.sampling")
    mesh = mesh_with_voxel(torch.tensor([[0.7]]))
    points = (torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05) * 0.25 - 0.5
    assert mesh.query_attrs(points).flatten().tolist() == pytest.approx([0.7] * 20, abs=1e-5)


def test_mesh_with_voxel_moves_and_checks_its_shape() -> None:
    mesh = mesh_with_voxel(torch.tensor([[1.0], [3.0]]))
    moved = mesh.to("cpu")
    assert isinstance(moved, MeshWithVoxel)
    assert moved.voxel_shape == (1, 1, 4, 4, 4)
    with pytest.raises(ValueError, match="voxel_shape"):
        MeshWithVoxel(
            mesh.vertices, mesh.faces, [0.0] * 3, 1.0, mesh.coords, mesh.attrs, (1, 5, 4, 4, 4), {"value": slice(0, 1)}
        )


def sphere(stacks: int = 16, slices: int = 24) -> Mesh:
    theta = torch.linspace(0.05, torch.pi - 0.05, stacks)
    phi = torch.arange(slices) * (2 * torch.pi / slices)
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    vertices = torch.stack([t.sin() * p.cos(), t.sin() * p.sin(), t.cos()], dim=-1).reshape(-1, 3) * 0.4
    i, j = torch.meshgrid(torch.arange(stacks - 1), torch.arange(slices), indexing="ij")
    a, b = (i * slices + j).flatten(), (i * slices + (j + 1) % slices).flatten()
    faces = torch.cat([torch.stack([a, a + slices, b], 1), torch.stack([b, a + slices, b + slices], 1)])
    return Mesh(vertices, faces.int(), vertices.clone())


def test_holes_at_the_poles_are_filled_and_attributes_follow() -> None:
    mesh = sphere()
    before = mesh.faces.shape[0]
    mesh.fill_holes(max_hole_perimeter=0.5)
    edges = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]).sort(dim=1).values
    counts = edges.unique(dim=0, return_counts=True)[1]
    assert mesh.faces.shape[0] > before
    assert (counts == 2).all()
    assert mesh.vertex_attrs.shape == mesh.vertices.shape


def test_larger_holes_stay_open() -> None:
    mesh = sphere()
    before = mesh.faces.clone()
    mesh.fill_holes(max_hole_perimeter=0.01)
    assert torch.equal(mesh.faces, before)


def test_simplify_reaches_the_target_and_keeps_attributes_in_step() -> None:
    mesh = sphere()
    mesh.simplify(200)
    assert mesh.faces.shape[0] <= 200
    assert mesh.vertex_attrs.shape == mesh.vertices.shape
    # the attribute is the old position, so it must lie near the new one
    assert (mesh.vertex_attrs - mesh.vertices).norm(dim=1).max() < 0.25
    assert mesh.vertices.norm(dim=1).max() < 0.45


def test_unknown_simplify_option_is_refused_and_published_ones_pass() -> None:
    mesh = sphere()
    with pytest.raises(ValueError, match="unknown simplify options"):
        mesh.simplify(100, options={"lambda_edge": 1.0})
    mesh.simplify(100, options={"lambda_edge_length": 1e-2})
    assert mesh.faces.shape[0] <= 100


@pytest.mark.parametrize("suffix", [".vxz", ".npz", ".ply"])
def test_voxels_survive_a_file(tmp_path, suffix: str) -> None:
    g = torch.Generator().manual_seed(0)
    coords = torch.randint(0, 32, (200, 3), generator=g).int().unique(dim=0)
    attrs = torch.randint(0, 256, (len(coords), 6), generator=g) / 255
    voxel = Voxel([-0.5] * 3, 1 / 32, coords, attrs, LAYOUT)
    voxel.save(tmp_path / f"a{suffix}")
    loaded = Voxel([-0.5] * 3, 1 / 32)
    loaded.load(tmp_path / f"a{suffix}")

    def rows(v: Voxel) -> dict:
        parts = v.split_attrs()
        joined = torch.cat([parts[name] for name in LAYOUT], dim=1)
        return {tuple(c): tuple(round(x * 255) for x in a) for c, a in zip(v.coords.tolist(), joined.tolist())}

    assert set(loaded.layout) == set(LAYOUT)
    assert rows(loaded) == rows(voxel)


def test_a_voxel_without_content_says_so(tmp_path) -> None:
    with pytest.raises(ValueError, match="holds no attrs yet"):
        Voxel([0, 0, 0], 1.0).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="holds no coords yet"):
        _ = Voxel([0, 0, 0], 1.0).position
