"""Several images of one object, and several samples at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trellis2.pipelines import Trellis2ImageTo3DPipeline
from trellis2.pipelines.jobs import GenerateOptions, TextureOptions, generate, texture
from trellis2.samplers import FlowEulerSampler, MultiViewModel, ViewConditions

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline(pipeline_dir: Path) -> Trellis2ImageTo3DPipeline:
    return Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))


@pytest.fixture
def others(picture: Image.Image) -> list[Image.Image]:
    """The same disc in other colours."""
    pixels = np.asarray(picture)
    return [Image.fromarray(pixels[:, :, [*order, 3]]) for order in ([1, 2, 0], [2, 0, 1], [0, 2, 1])]


def feats(
    pipeline: Trellis2ImageTo3DPipeline, images: object, fusion: str = "average", **kwargs: object
) -> torch.Tensor:
    options = GenerateOptions(fusion=fusion, **kwargs)  # type: ignore[arg-type]
    return generate(pipeline, images, options).latents[0].tex_slat.feats  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize("fusion", ["average", "alternate"])
def test_the_same_image_twice_is_one_image(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, fusion: str
) -> None:
    one, two = feats(pipeline, picture), feats(pipeline, [picture] * 2, fusion)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)  # a mean of two equal velocities rounds once more


@pytest.mark.parametrize("fusion", ["average", "alternate", "concat"])
def test_every_image_counts(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, others: list[Image.Image], fusion: str
) -> None:
    both = feats(pipeline, [picture, others[0]], fusion)
    for images in ([picture], [picture, others[1]]):
        other = feats(pipeline, images, fusion)
        assert other.shape != both.shape or not torch.allclose(other, both, atol=1e-3)
    assert torch.equal(both, feats(pipeline, [picture, others[0]], fusion))
    assert pipeline.fusion == "alternate"  # set for the job only


def test_order_of_the_images_does_not_matter_to_the_average(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, others: list[Image.Image]
) -> None:
    a, b = feats(pipeline, [picture, others[0]]), feats(pipeline, [others[0], picture])
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_batch_of_four_is_four_runs_to_the_bit(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, others: list[Image.Image]
) -> None:
    cascade = {"pipeline_type": "64_cascade", "max_num_tokens": 1}
    for images, kind in ((picture, cascade), ([picture, others[0]], {})):
        batch = pipeline.run(images, num_samples=4, seed=9, verbose=False, **kind)
        for i, mesh in enumerate(batch):
            (alone,) = pipeline.run(images, seed=9 + i, verbose=False, **kind)
            assert torch.equal(mesh.vertices, alone.vertices)
            assert torch.equal(mesh.faces, alone.faces)
            assert torch.equal(mesh.attrs, alone.attrs)


def test_seeds_are_taken_one_a_sample(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    a, b = pipeline.run(picture, seeds=[11, 4], verbose=False)
    (c,) = pipeline.run(picture, seed=4, verbose=False)
    assert torch.equal(b.vertices, c.vertices)
    assert a.vertices.shape != b.vertices.shape or not torch.equal(a.vertices, b.vertices)
    with pytest.raises(ValueError, match="at least one seed"):
        pipeline.run(picture, seeds=[], verbose=False)


def test_geometry_only_is_the_geometry_of_the_whole(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    (plain,), (full,) = (generate(pipeline, picture, GenerateOptions(texture=t)).meshes for t in (False, True))
    assert torch.equal(plain.vertices, full.vertices)
    assert not hasattr(plain, "attrs")


def test_texturing_takes_several_images(
    pipeline_dir: Path, picture: Image.Image, others: list[Image.Image], data_dir: Path, tmp_path: Path
) -> None:
    from trellis2.pipelines import Trellis2TexturingPipeline

    texturing = Trellis2TexturingPipeline.from_pretrained(str(pipeline_dir))
    spot, options = data_dir / "meshes" / "spot.obj", TextureOptions(texture_size=32)
    files = [tmp_path / f"{i}.glb" for i in range(2)]
    texture(texturing, spot, picture, files[0], options)
    texture(texturing, spot, [picture, *others], files[1], options)
    assert files[0].read_bytes() != files[1].read_bytes()


def test_too_many_or_no_images_are_refused(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    for images in ([], [picture] * 9):
        with pytest.raises(ValueError, match=f"up to 8 of the same object, got {len(images)}"):
            pipeline.run(images, verbose=False)
    with pytest.raises(ValueError, match="view_labels must name all 2 images or none"):
        generate(pipeline, [picture] * 2, GenerateOptions(view_labels=("front",)))
    with pytest.raises(ValueError, match="unknown fusion"):
        GenerateOptions(fusion="mean")


def test_fused_steps_by_hand() -> None:
    """v = c x: the average of several c, or each in turn."""
    calls: list[float] = []

    def model(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        calls.append(cond.flatten()[0].item())
        return cond.flatten()[0] * x

    views = ViewConditions([torch.full((1, 1, 1), c) for c in (0.5, 1.5)])
    noise = torch.ones(1, 2)
    run = {"cond": views, "steps": 2, "verbose": False}
    average = FlowEulerSampler().sample(MultiViewModel(model, "average"), noise, **run).samples
    assert torch.allclose(average, torch.full((1, 2), 0.5 * 0.5))  # two steps of x - x / 2
    assert calls == [0.5, 1.5] * 2
    calls.clear()
    turns = FlowEulerSampler().sample(MultiViewModel(model, "alternate"), noise, **run).samples
    assert torch.allclose(turns, torch.full((1, 2), (1 - 0.25) * (1 - 0.75)))
    assert calls == [0.5, 1.5]
    with pytest.raises(ValueError, match="at least one condition"):
        ViewConditions([])
