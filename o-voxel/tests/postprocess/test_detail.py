"""Normal maps, tangents and ambient occlusion: against closed forms, and against what they are for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from o_voxel.mesh.normals import normalize
from o_voxel.postprocess import glb_bytes, to_glb
from o_voxel.postprocess.bake import BakedTexels
from o_voxel.postprocess.occlusion import bake_occlusion, sky_directions, visibility
from o_voxel.postprocess.source import Hit, SourceSurface
from o_voxel.postprocess.tangents import to_tangent_space, vertex_tangents
from o_voxel.postprocess.texels import TexelMap
from o_voxel.rasterize import rasterize, triangle_index

Make = Callable[..., dict[str, Any]]


def test_tangents_of_a_turned_square() -> None:
    # In the texture the square is turned by 30 degrees; v runs down.
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    normals = torch.tensor([[0.0, 0, 1]]).repeat(4, 1)
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    up = vertices[:, :2] @ torch.tensor([[c, s], [-s, c]], dtype=torch.float32)  # (u, v up) of each corner
    uvs = torch.stack([up[:, 0], -up[:, 1]], 1) * 0.3 + 0.5
    tangents = vertex_tangents(vertices, faces, uvs, normals)
    expected = torch.tensor([c, -s, 0.0, 1.0], dtype=torch.float64).expand(4, 4)
    torch.testing.assert_close(tangents, expected, atol=1e-6, rtol=0)
    mirrored = vertex_tangents(vertices, faces, torch.stack([1 - uvs[:, 0], uvs[:, 1]], 1), normals)
    assert (mirrored[:, 3] == -1).all()
    torch.testing.assert_close(mirrored[:, :3], -expected[:, :3], atol=1e-6, rtol=0)


def mikktspace_at(vertex: int, v: np.ndarray, f: np.ndarray, uv: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The published procedure for one vertex, one face at a time; `uv` with v up."""
    total = np.zeros(3)
    for face in f[(f == vertex).any(1)]:
        p, t = v[face], uv[face]
        d1, d2, t1, t2 = p[1] - p[0], p[2] - p[0], t[1] - t[0], t[2] - t[0]
        area = t1[0] * t2[1] - t1[1] * t2[0]
        along = (t2[1] * d1 - t1[1] * d2) * np.sign(area)
        along -= n[vertex] * (n[vertex] @ along)
        k = list(face).index(vertex)
        edges = [p[(k + i) % 3] - p[k] for i in (1, 2)]
        edges = [e - n[vertex] * (n[vertex] @ e) for e in edges]
        a, b = (e / np.linalg.norm(e) for e in edges)
        total += along / np.linalg.norm(along) * np.arccos(np.clip(a @ b, -1, 1))
    return total / np.linalg.norm(total)


def test_tangents_follow_mikktspace() -> None:
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(subdivisions=2)
    v, f = np.array(ball.vertices) * (1 + 0.05 * rng.random((len(ball.vertices), 1))), np.asarray(ball.faces)
    f = f[v[f].mean(1)[:, 2] > 0.5]  # one cap, projected
    uv = v[:, :2] * 0.4 + 0.5 + 0.02 * v[:, 1::-1] ** 2
    n = np.array(trimesh.Trimesh(v, f, process=False).vertex_normals)
    down = np.stack([uv[:, 0], 1 - uv[:, 1]], 1)
    tangents = vertex_tangents(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (v, f, down, n))).numpy()
    for vertex in np.unique(f):
        np.testing.assert_allclose(tangents[vertex, :3], mikktspace_at(vertex, v, f, uv, n), atol=1e-9)
        assert tangents[vertex, 3] == 1


def test_tangent_space_gives_the_vector_back() -> None:
    generator = torch.Generator().manual_seed(0)
    n, t, x = (torch.randn(200, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    n, t = normalize(n), normalize(t)
    x = torch.where((x * n).sum(1, keepdim=True) < 0, -x, x) + 0.3 * n
    w = torch.where(torch.rand(200, 1, generator=generator) < 0.5, -1.0, 1.0).double()
    keep = ((t * n).sum(1).abs() < 0.7).nonzero()[:, 0]
    local = to_tangent_space(normalize(x), 0.9 * n, torch.cat([0.8 * t, w], 1), least=0.0)
    back = local[:, :1] * 0.8 * t + local[:, 1:2] * w * torch.linalg.cross(0.9 * n, 0.8 * t) + local[:, 2:] * 0.9 * n
    seen = keep[(local[keep, 2] > 1e-6)]
    torch.testing.assert_close(normalize(back)[seen], normalize(x)[seen], atol=1e-9, rtol=0)
    flat = to_tangent_space(n[:1], n[:1], torch.cat([n[:1], w[:1]], 1))  # no frame
    assert flat.tolist() == [[0.0, 0.0, 1.0]]


def bumpy_ball() -> tuple[np.ndarray, np.ndarray]:
    ball = trimesh.creation.icosphere(subdivisions=5)
    v = np.asarray(ball.vertices)
    waves = np.sin(22 * v[:, 0]) * np.sin(19 * v[:, 1]) * np.sin(17 * v[:, 2])
    return v * (0.38 + 0.012 * waves)[:, None], np.asarray(ball.faces)


def test_normal_map_brings_shading_closer_to_the_full_surface(make_asset: Make) -> None:
    """Normals seen from the front at 256^2: of 20480 faces, of 600, and of 600 with their map."""
    v, f = bumpy_ball()
    arguments = {**make_asset(v, f), "texture_size": 512, "decimation_target": 600}
    asset = to_glb(**arguments, ambient_occlusion=False)
    material: Any = asset.visual.material
    image = np.asarray(material.normalTexture).astype(np.float64)
    mapped = image / 255 * 2 - 1
    assert mapped[..., 2].min() > 0
    full, _, _ = shaded(np.stack([v[:, 0], v[:, 2], -v[:, 1]], 1), f, None, None)
    tangents = np.asarray(asset.vertex_attributes["TANGENT"])
    plain, uv, frame = shaded(
        np.asarray(asset.vertices), np.asarray(asset.faces), np.asarray(asset.visual.uv),
        np.concatenate([np.asarray(asset.vertex_normals), tangents], 1),
    )  # fmt: skip
    texel = np.clip((np.stack([uv[..., 0], 1 - uv[..., 1]], -1) * 512).astype(int), 0, 511)
    local = mapped[texel[..., 1], texel[..., 0]]
    n, t, w = frame[..., :3], frame[..., 3:6], frame[..., 6:7]
    detailed = local[..., :1] * t + local[..., 1:2] * np.sign(w) * np.cross(n, t) + local[..., 2:] * n
    detailed /= np.linalg.norm(detailed, axis=-1, keepdims=True) + 1e-12
    both = (np.abs(full).sum(-1) > 0) & (np.abs(plain).sum(-1) > 0)
    before, after = (np.degrees(np.arccos(np.clip((full * x).sum(-1), -1, 1)))[both].mean() for x in (plain, detailed))
    assert before > 8 and after < before / 2.5, (before, after)


def shaded(v: np.ndarray, f: np.ndarray, uv: np.ndarray | None, attributes: np.ndarray | None) -> tuple:
    """Unit normals, UVs and attributes at the pixels of an orthographic view along -z."""
    clip = torch.from_numpy(np.concatenate([v[:, :2] * 2, -v[:, 2:] * 2, np.ones((len(v), 1))], 1).astype(np.float32))
    rast = rasterize(clip, torch.from_numpy(f.astype(np.int32)), (256, 256))[0]
    face, u = triangle_index(rast[None])[0].numpy(), rast[..., :2].numpy().astype(np.float64)
    weight = np.stack([u[..., 0], u[..., 1], 1 - u[..., 0] - u[..., 1]], -1)
    normals = attributes[:, :3] if attributes is not None else trimesh.Trimesh(v, f, process=False).vertex_normals

    def at(values: np.ndarray) -> np.ndarray:
        return (np.asarray(values)[f[face]] * weight[..., None]).sum(-2) * (face >= 0)[..., None]

    n = at(normals)
    n /= np.linalg.norm(n, axis=-1, keepdims=True) + 1e-12
    return n, None if uv is None else at(uv), None if attributes is None else at(attributes)


def test_directions_spread_evenly() -> None:
    sky = sky_directions(400)
    torch.testing.assert_close(torch.linalg.vector_norm(sky, dim=1), torch.ones(400, dtype=torch.float64))
    assert sky.sum(0).abs().max() < 1.0
    nearest = torch.cdist(sky, sky).fill_diagonal_(9).min(1).values
    assert nearest.max() < 2 * nearest.min()


@pytest.mark.parametrize("height", [0.2, 0.5, 1.0])
def test_visibility_below_a_disc_is_the_cosine_law(height: float) -> None:
    # A disc of radius 1 at a height h above a point hides sin^2 = 1 / (1 + h^2) of the cosine-weighted sky.
    disc = trimesh.creation.cylinder(radius=1.0, height=1e-3, sections=96)
    source = SourceSurface(
        torch.from_numpy(np.asarray(disc.vertices) + [0, 0, height]), torch.from_numpy(np.asarray(disc.faces)).long()
    )
    point = torch.zeros(1, 3, dtype=torch.float64)
    normal = torch.tensor([[0.0, 0, 1]], dtype=torch.float64)
    seen = float(visibility(source, point, normal, 10.0, directions=3000)[0])
    assert seen == pytest.approx(1 - 1 / (1 + height**2), abs=0.01)
    assert float(visibility(source, point, normal, height * 0.5)[0]) == 1.0  # farther than it reaches
    assert float(visibility(source, point, -normal, 10.0)[0]) == 1.0


def test_occlusion_stays_within_its_chart() -> None:
    """Two charts side by side in the texture: one open, one under a lid."""
    lid = torch.tensor([[-9.0, -9, 1], [9, -9, 1], [0, 9, 1]], dtype=torch.float64)
    floor = torch.tensor([[-9.0, -9, 0], [9, -9, 0], [0, 9, 0]], dtype=torch.float64)
    high = floor + torch.tensor([0.0, 0, 2], dtype=torch.float64)
    source = SourceSurface(torch.cat([lid, floor, high]), torch.arange(9).view(3, 3))
    size = 32
    row = torch.arange(size * size)
    face = torch.where(row % size < 13, 1, 2)  # borders inside blocks
    third = torch.full((size * size, 3), 1 / 3, dtype=torch.float64)
    texels = TexelMap(size, row, face, third)
    hit = Hit(torch.zeros(size * size, dtype=torch.float64), face, third)
    baked = BakedTexels(texels, torch.zeros(size * size, 1), hit)
    value = bake_occlusion(baked, torch.tensor([0, 1, 2]), source, reach=30.0, offset=0.01)
    assert value[face == 1].max() < 0.05 and value[face == 2].min() > 0.99
    none = BakedTexels(texels, torch.zeros(size * size, 1), None)
    assert (bake_occlusion(none, torch.tensor([0, 1, 2]), source, reach=1.0, offset=0.0) == 1).all()


def test_details_can_be_turned_off(ball: dict[str, Any]) -> None:
    asset, report = to_glb(**ball, normal_map=False, ambient_occlusion=False, report=True)
    material: Any = asset.visual.material
    assert material.normalTexture is None and material.occlusionTexture is None
    assert "TANGENT" not in asset.vertex_attributes and not {"normals", "occlusion"} & set(report.seconds)
    assert b"TANGENT" not in glb_bytes(asset)
    settings = asset.metadata["asset_extras"]["settings"]
    assert settings["normal_map"] is False and settings["decimation_target"] == 2000
    raw = to_glb(**ball, profile="raw", normal_map=True)
    assert raw.visual.material.normalTexture is not None and raw.visual.material.occlusionTexture is None


def test_a_pit_is_dark_and_its_rim_is_not(make_asset: Make) -> None:
    block = trimesh.creation.box(extents=[0.8, 0.8, 0.5])
    for _ in range(3):
        block = block.subdivide()
    v, f = np.asarray(block.vertices), np.asarray(block.faces)
    top = (np.abs(v[f].mean(1)[:, :2]) < 0.1).all(1) & (v[f].mean(1)[:, 2] > 0.24)
    pit = trimesh.creation.box(extents=[0.2, 0.2, 0.4])
    pit = pit.subdivide().subdivide()
    pv, pf = np.asarray(pit.vertices) + [0, 0, 0.05], np.asarray(pit.faces)[:, ::-1]
    pf = pf[pv[pf].mean(1)[:, 2] < 0.249]  # open above
    arguments = make_asset(np.concatenate([v, pv]), np.concatenate([f[~top], pf + len(v)]))
    asset = to_glb(**{**arguments, "decimation_target": 1000}, normal_map=False, hole_perimeter=0.0)
    material: Any = asset.visual.material
    image = np.asarray(material.occlusionTexture)[..., 0] / 255.0
    centre = np.asarray(asset.visual.uv)[np.asarray(asset.faces)].mean(1)
    texel = np.clip((np.stack([centre[:, 0], 1 - centre[:, 1]], 1) * 256).astype(int), 0, 255)
    value = image[texel[:, 1], texel[:, 0]]
    place = np.asarray(asset.vertices)[np.asarray(asset.faces)].mean(1)  # y up
    bottom = (np.abs(place[:, [0, 2]]) < 0.09).all(1) & (np.abs(place[:, 1] + 0.15) < 0.02)
    outside = place[:, 1] < -0.24
    assert value[bottom].mean() < 0.45 and value[outside].min() > 0.95
