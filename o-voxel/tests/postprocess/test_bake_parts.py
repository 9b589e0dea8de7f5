"""Parts of baking: texels of a surface, sampling beside the voxels, projection, filling between charts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel.postprocess import to_glb
from o_voxel.postprocess.bake import project
from o_voxel.postprocess.dilate import fill_background, nearest_rim, push_pull
from o_voxel.postprocess.material import choose_alpha_mode
from o_voxel.postprocess.source import SourceSurface
from o_voxel.postprocess.texels import surface_texels
from o_voxel.postprocess.volume import AttributeVolume

LAYOUT = {"base_color": slice(0, 3)}


def volume_of(coords: torch.Tensor, feats: torch.Tensor, grid: int) -> AttributeVolume:
    return AttributeVolume(feats, coords.int(), LAYOUT, np.full(3, -0.5), np.full(3, 1 / grid), (grid,) * 3)


def test_texels_of_a_square_are_its_points() -> None:
    uvs = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    texels = surface_texels(uvs, faces, 8)
    expected = [y * 8 + x for y in range(2, 6) for x in range(2, 6)]
    assert texels.row.tolist() == expected
    at = texels.interpolate(uvs, faces, slice(0, 16))
    centre = torch.stack([texels.row % 8 + 0.5, texels.row // 8 + 0.5], 1) / 8
    assert (at - centre).abs().max() < 1e-6  # float32 weights


def test_a_face_smaller_than_a_texel_claims_one() -> None:
    uvs = torch.tensor([[0.51, 0.51], [0.52, 0.51], [0.51, 0.52], [0.1, 0.1], [0.9, 0.1], [0.1, 0.4]])
    faces = torch.tensor([[3, 4, 5], [0, 1, 2], [0, 2, 1]])
    texels = surface_texels(uvs, faces, 4)
    at = (texels.row == 2 * 4 + 2).nonzero()[:, 0]
    assert texels.face[at].tolist() == [1]  # of two faces that ask for it, the one with the lower id
    assert torch.allclose(texels.weights[at], torch.full((1, 3), 1 / 3, dtype=torch.float64))
    assert (texels.row.diff() > 0).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 12.0))
@settings(max_examples=25, deadline=None)
def test_nearest_voxel_is_the_nearest(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    coords = np.unique(rng.integers(0, 12, (rng.integers(1, 40), 3)), axis=0)
    volume = volume_of(torch.from_numpy(coords), torch.zeros(len(coords), 3), 12)
    points = torch.from_numpy(rng.normal(6, spread, (50, 3)))
    row = volume.nearest_voxel(points / 12 - 0.5)
    distance = torch.cdist(points, torch.from_numpy(coords).double() + 0.5)
    torch.testing.assert_close(distance[torch.arange(50), row], distance.min(1).values)


def test_projection_prefers_the_side_that_faces_the_point() -> None:
    # Two parallel sheets, 0.02 apart, normals up and down.
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    low, high = square, square + torch.tensor([0, 0, 0.02], dtype=torch.float64)
    faces = torch.tensor([[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]])  # the lower one faces down
    source = SourceSurface(torch.cat([low, high]), faces)
    points = torch.tensor([[0.5, 0.4, 0.005], [0.5, 0.4, 0.005], [0.5, 0.4, 0.5]], dtype=torch.float64)
    normals = torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 0, 1]], dtype=torch.float64)
    hit = project(points, normals, source, max_distance=0.1)
    torch.testing.assert_close(hit.distance, torch.tensor([0.015, 0.005, torch.inf], dtype=torch.float64))
    assert hit.face.tolist()[2] == -1
    assert source.positions(hit)[:2, 2].tolist() == pytest.approx([0.02, 0.0])


def test_rim_takes_the_nearest_covered_texel() -> None:
    covered = torch.zeros(12, 12, dtype=torch.bool)
    covered[1, 1] = covered[6, 7] = True
    target, source = nearest_rim(covered, 4)
    row, column = np.divmod(np.arange(144), 12)
    first, second = (row - 1) ** 2 + (column - 1) ** 2, (row - 6) ** 2 + (column - 7) ** 2
    near = np.minimum(first, second)
    assert target.tolist() == np.flatnonzero((near > 0) & (near <= 16)).tolist()
    chosen = np.where(source.numpy() == 13, first[target], second[target])
    np.testing.assert_array_equal(chosen, near[target])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_filled_images_keep_what_is_covered(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 256, (height, width, 2), dtype=np.uint8))
    covered = torch.from_numpy(rng.random((height, width)) < rng.random() ** 2)
    filled = fill_background(image, covered)
    assert filled.dtype == torch.uint8 and torch.equal(filled[covered], image[covered])
    if covered.any():
        low, high = image[covered].amin(0), image[covered].amax(0)
        assert (filled >= low).all() and (filled <= high).all()


def test_mip_levels_of_a_filled_image_show_the_charts_alone() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (64, 64, 1), dtype=np.uint8))
    covered = torch.from_numpy(rng.random((64, 64)) < 0.3)
    level, values, weight = push_pull(image, covered).double(), image.double() * covered[..., None], covered.double()
    mean = torch.where(covered[..., None], image.double(), torch.nan)
    for k in (1, 2, 3):
        n = 64 >> k
        level = level.view(n, 2, n, 2).mean((1, 3))[..., None]
        mean = mean.view(n, 2, n, 2).nanmean((1, 3))[..., None]  # of what is covered, level by level
        there = ~mean.isnan()
        assert (level[there] - mean[there]).abs().max() <= 0.5 * k + 1e-6  # rounding at every level
    assert values.sum() > 0 and weight.sum() > 0


def test_fill_refuses_other_images() -> None:
    with pytest.raises(ValueError, match="image must be uint8"):
        fill_background(torch.zeros(4, 4, 1), torch.ones(4, 4, dtype=torch.bool))


def test_alpha_mode_by_shares() -> None:
    def mode(clear: int, between: int) -> str:
        return choose_alpha_mode(torch.cat([torch.ones(100_000), torch.zeros(clear), torch.full((between,), 0.5)]))

    assert mode(0, 0) == mode(50, 20) == mode(0, 400) == "OPAQUE"  # strays
    assert mode(200, 90) == mode(20_000, 3_000) == "MASK"  # a few small holes; many with soft rims
    assert mode(200, 900) == mode(0, 600) == "BLEND"  # a small window of glass


def test_seams_do_not_show_at_mip_level_3(make_asset) -> None:
    """Both sides of every seam vertex, read from the texture of 2048^2 and from its level of 256^2."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    arguments = make_asset(np.asarray(ball.vertices), np.asarray(ball.faces))
    arguments.update(texture_size=2048, decimation_target=3000, normal_map=False, ambient_occlusion=False)
    asset = to_glb(**arguments)
    level = np.asarray(asset.visual.material.baseColorTexture).astype(np.float64)
    uv = np.asarray(asset.visual.uv) * [1, -1] + [0, 1]
    _, place = np.unique(np.round(np.asarray(asset.vertices), 7), axis=0, return_inverse=True)
    order = np.argsort(place.reshape(-1), kind="stable")
    pairs = np.stack([order[:-1], order[1:]], 1)[np.diff(place.reshape(-1)[order]) == 0]
    assert len(pairs) > 100
    for k, most in ((0, 1.0), (3, 2.5)):
        while len(level) > 2048 >> k:
            level = level.reshape(len(level) // 2, 2, len(level) // 2, 2, 3).mean((1, 3))
        one, two = (bilinear(level, uv[pairs[:, side]]) for side in (0, 1))
        assert np.sqrt(((one - two) ** 2).mean()) < most, k
        assert np.abs(one - two).max() < 6 * most, k


def bilinear(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    at = uv * len(image) - 0.5
    low = np.floor(at).astype(int)
    share = at - low
    out = np.zeros((len(uv), image.shape[2]))
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = (np.clip(low[:, axis] + d, 0, len(image) - 1) for axis, d in ((0, dx), (1, dy)))
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            out += weight[:, None] * image[y, x]
    return out


@pytest.mark.gpu
def test_filling_is_the_same_on_a_gpu() -> None:
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.integers(0, 256, (301, 257, 6), dtype=np.uint8))
    covered = torch.from_numpy(rng.random((301, 257)) < 0.01)
    assert torch.equal(fill_background(image.cuda(), covered.cuda()).cpu(), fill_background(image, covered))


@pytest.mark.gpu
def test_volumes_sample_alike_on_a_gpu() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.4)
    coords = torch.from_numpy(np.unique(np.floor((np.asarray(ball.vertices) + 0.5) * 40).astype(np.int32), axis=0))
    feats = torch.rand(len(coords), 3, generator=torch.Generator().manual_seed(0))
    points = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (5000, 3)))
    cpu = volume_of(coords, feats, 40).sample(points)
    gpu = volume_of(coords.cuda(), feats.cuda(), 40).sample(points.cuda())
    torch.testing.assert_close(gpu.cpu(), cpu, atol=1e-6, rtol=0)  # one float32 rounding of a weighted sum


@pytest.mark.gpu
def test_export_on_a_gpu_looks_like_that_on_the_cpu(make_asset) -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    arguments = make_asset(np.asarray(ball.vertices), np.asarray(ball.faces))
    on_gpu = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in arguments.items()}
    (one, first), (two, second) = (to_glb(**kind, report=True) for kind in (arguments, on_gpu))
    again = to_glb(**on_gpu)
    assert second.output.watertight and second.problems == first.problems == ()
    assert abs(len(one.faces) - len(two.faces)) <= 2  # the simplifiers may order collapses differently
    assert one.volume == pytest.approx(two.volume, rel=2e-3)
    for name in ("baseColorTexture", "metallicRoughnessTexture", "normalTexture"):
        colours = [np.asarray(getattr(mesh.visual.material, name)).reshape(-1, 3).mean(0) for mesh in (one, two)]
        np.testing.assert_allclose(*colours, atol=4)  # other charts, the same surface
        assert np.array_equal(getattr(two.visual.material, name), getattr(again.visual.material, name))
