"""Levels of detail of finished assets: counts, shared textures, colours in place, frames of the normal map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from o_voxel._native import native_module
from o_voxel.postprocess import make_lods, save_asset, to_glb

pytestmark = pytest.mark.skipif(native_module() is None, reason="levels with UVs need the compiled core")


@pytest.fixture(scope="module")
def asset(make_asset: Callable[..., dict[str, Any]]) -> trimesh.Trimesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    arguments = make_asset(
        np.asarray(ball.vertices), np.asarray(ball.faces), lambda p: np.where(p[:, 2] > 0.25, 0.4, 1.0)
    )
    return to_glb(**{**arguments, "texture_size": 256, "decimation_target": 4000}, ambient_occlusion=False)


def test_levels_shrink_and_show_the_same_colours(asset: trimesh.Trimesh) -> None:
    levels = make_lods(asset, [0.5, 1000])
    assert [len(level.faces) for level in levels] == [pytest.approx(2000, abs=2), pytest.approx(1000, abs=2)]
    image = np.asarray(asset.visual.material.baseColorTexture)[..., :3] / 255.0
    for level in levels:
        assert level.visual.material is asset.visual.material
        centre = np.asarray(level.visual.uv)[np.asarray(level.faces)].mean(1)
        texel = np.clip((np.stack([centre[:, 0], 1 - centre[:, 1]], 1) * 256).astype(int), 0, 255)
        place = np.asarray(level.vertices)[np.asarray(level.faces)].mean(1)
        world = np.stack([place[:, 0], -place[:, 2], place[:, 1]], 1)
        error = np.abs(image[texel[:, 1], texel[:, 0]] - (world + 0.5))
        assert error.mean() < 0.03  # flat faces lie below the ball
        tangent = np.asarray(level.vertex_attributes["TANGENT"])
        assert np.abs((tangent[:, :3] * level.vertex_normals).sum(1)).max() < 1e-5
        share = np.asarray(level.face_attributes["translucent"]).mean()
        assert 0.1 < share < 0.35


def test_levels_are_written(asset: trimesh.Trimesh, tmp_path: Path, validate_glb: Callable) -> None:
    levels = make_lods(asset, [0.5, 0.25])
    beside = save_asset(asset, tmp_path / "ball.glb", lods=levels)
    assert [path.name for path in beside] == ["ball.glb", "ball_lod1.glb", "ball_lod2.glb"] or len(beside) == 3
    together = save_asset(asset, tmp_path / "all.glb", lods=levels, lod_layout="msft")
    assert together[0].stat().st_size < sum(path.stat().st_size for path in beside)
    for path in (beside[1], together[0]):
        issues = validate_glb(path)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues


def test_bad_targets_are_refused(asset: trimesh.Trimesh) -> None:
    with pytest.raises(ValueError, match="targets must"):
        make_lods(asset, [1000, 2000])
