"""The scorer prefers the asset that the picture shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from trellis2.pipelines import Trellis2ImageTo3DPipeline
from trellis2.pipelines.jobs import GenerateOptions, generate
from trellis2.pipelines.scoring import _draw, _surface_points, _views, score_asset, score_assets
from trellis2.representations import Mesh, MeshWithVoxel
from trellis2.representations.layout import PBR_ATTR_LAYOUT

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline(pipeline_dir: Path) -> Trellis2ImageTo3DPipeline:
    return Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))


def asset(shape: trimesh.Trimesh, colours: tuple[tuple[float, ...], tuple[float, ...]]) -> MeshWithVoxel:
    """A mesh in one colour below and another above the middle."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(8)] * 3, indexing="ij"), -1).reshape(-1, 3).int()
    attrs = torch.zeros(len(grid), 6)
    attrs[:, 5] = 1
    attrs[:, :3] = torch.where(grid[:, 2:] < 4, torch.tensor(colours[0]), torch.tensor(colours[1]))
    return MeshWithVoxel(
        torch.tensor(np.asarray(shape.vertices), dtype=torch.float32),
        torch.tensor(np.asarray(shape.faces)).int(),
        origin=(-0.5,) * 3,
        voxel_size=1 / 8,
        coords=grid,
        attrs=attrs,
        voxel_shape=(1, 6, 8, 8, 8),
        layout=dict(PBR_ATTR_LAYOUT),
    )


RED_BLUE = ((0.9, 0.1, 0.1), (0.1, 0.2, 0.9))
BLOCK = trimesh.creation.box(extents=(0.9, 0.3, 0.5))


def picture(mesh: MeshWithVoxel, view: int) -> Image.Image:
    return _draw(mesh, _surface_points(mesh, 20_000), _views()[view], 64)


@pytest.mark.parametrize("view", [0, 13, 50])
def test_right_shape_and_colours_win(pipeline: Trellis2ImageTo3DPipeline, view: int) -> None:
    right = asset(BLOCK, RED_BLUE)
    others = [
        asset(trimesh.creation.icosphere(3, radius=0.4), RED_BLUE),
        asset(trimesh.creation.box(extents=(0.3, 0.3, 0.95)), RED_BLUE),
        asset(BLOCK, RED_BLUE[::-1]),
    ]
    scores = score_assets([right, *others], [picture(right, view)], pipeline)
    assert int(np.argmax(scores)) == 0
    found = score_asset(right, [picture(right, view)], pipeline, cond_resolution=32)
    assert found.silhouette > 0.9
    assert found.appearance is not None
    assert found.appearance > 0.9


def test_scores_repeat_and_do_not_depend_on_the_others(pipeline: Trellis2ImageTo3DPipeline) -> None:
    meshes = [asset(BLOCK, RED_BLUE), asset(trimesh.creation.icosphere(2, radius=0.4), RED_BLUE)]
    seen = [picture(meshes[0], 13)]
    scores = score_assets(meshes, seen, pipeline)
    assert score_assets(meshes[::-1], seen, pipeline) == scores[::-1]
    assert score_assets(meshes[1:], seen, pipeline) == scores[1:]


def test_labels_tie_the_directions_together(pipeline: Trellis2ImageTo3DPipeline) -> None:
    long = trimesh.creation.box(extents=(0.9, 0.2, 0.3))
    mesh = Mesh(torch.tensor(np.asarray(long.vertices)).float(), torch.tensor(np.asarray(long.faces)).int())
    coloured = asset(long, RED_BLUE)
    wide = picture(coloured, 0)  # from the front; views go pitch by pitch, 4 a yaw
    free = score_asset(mesh, [wide, wide], pipeline).silhouette
    same = score_asset(mesh, [wide, wide], pipeline, labels=("front", "back")).silhouette
    wrong = score_asset(mesh, [wide, wide], pipeline, labels=("front", "left")).silhouette
    assert same == pytest.approx(free, abs=0.02)
    assert wrong < free - 0.2
    assert score_asset(mesh, [wide], pipeline).appearance is None


def test_best_candidate_is_kept(pipeline: Trellis2ImageTo3DPipeline) -> None:
    image = Image.new("RGBA", (64, 64))
    image.paste((230, 140, 40, 255), (10, 14, 54, 50))
    seen: list[str] = []
    options = GenerateOptions(seed=3, candidates=3, num_samples=2, steps=1)
    made = generate(pipeline, image, options, lambda stage, i, n: seen.append(stage))
    assert len(made.meshes) == 2
    assert "compare" in seen
    cut = pipeline.preprocess_image(image)
    for i, first in enumerate((3, 6)):
        every = [pipeline.decode(one) for one in pipeline.generate(image, range(first, first + 3), *[{"steps": 1}] * 3)]
        scores = score_assets(every, [cut], pipeline)
        assert made.scores[i] == pytest.approx(max(scores))
        assert made.latents[i].info["seed"] == first + int(np.argmax(scores))
