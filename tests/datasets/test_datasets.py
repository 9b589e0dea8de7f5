"""What the datasets read, filter and put together."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from trellis2 import datasets
from trellis2.datasets import (
    FlexiDualGridDataset,
    ImageConditionedSLatShape,
    ImageGeometry,
    MultiImageConditionedSLatShape,
    SLatPbr,
    SLatShape,
    SparseStructure,
    SparseStructureLatent,
    SparseVoxelPbrDataset,
)
from trellis2.datasets.loader import BatchLoader
from trellis2.datasets.normalization import Normalization
from trellis2.datasets.roots import parse_data_dir
from trellis2.utils.data_utils import BalancedResumableSampler, ResumableSampler


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_registry_names_all_resolve():
    for name in datasets.__all__:
        assert getattr(datasets, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = datasets.TextConditionedSparseStructureLatent


def test_shape_voxels_decode_to_offsets_and_flags(training_root):
    data = FlexiDualGridDataset(str(training_root), resolution=32, min_aesthetic_score=None)
    assert len(data) == 6 and data.loads == [float(v) for v in data.metadata["dual_grid_size"]]
    batch = data.batch([0, 3], _rng())
    vertices, flags = batch["vertices"], batch["intersected"]
    assert vertices.feats.dtype == torch.float32 and flags.feats.dtype == torch.bool
    assert vertices.coords.shape == (data.loads[0] + data.loads[3], 4) and vertices.shape == (2, 3)
    assert [s.stop - s.start for s in vertices.layout] == [data.loads[0], data.loads[3]]
    xyz = vertices.coords[:, 1:]
    bits = flags.feats.int() @ torch.tensor([1, 2, 4], dtype=torch.int32)
    assert torch.equal(bits, (xyz.sum(1) % 8).int())
    first = vertices.coords[:, 0] == 0
    expected = (127 + 60 * np.sin(xyz[first].numpy() + _number(training_root, data.instances[0][1]))).astype(np.uint8)
    torch.testing.assert_close(vertices.feats[first], torch.from_numpy(expected).float() / 255)


def _number(root, sha):
    rows = (root / "metadata.csv").read_text().splitlines()[1:]
    return next(i for i, row in enumerate(rows) if row.startswith(sha))


def test_material_voxels_map_to_minus_one_one(training_root):
    data = SparseVoxelPbrDataset(str(training_root), resolution=32, min_aesthetic_score=None, with_mesh=False)
    x = data.batch([1], _rng())["x"]
    assert x.feats.shape[1] == 6 and data.layout["roughness"] == slice(4, 5)
    assert x.feats.min() >= -1 and torch.all(x.feats[:, 5] == 1)
    assert torch.equal(x.feats[:, 0], x.feats[:, 3])  # the test data repeats red as metallic
    with pytest.raises(ValueError, match="choose from"):
        SparseVoxelPbrDataset(str(training_root), resolution=32, attrs=["colour"])


def test_meshes_are_not_needed(training_root):
    """`with_mesh` is true in published configurations; the losses that would use meshes are refused by the trainers."""
    wanted = SparseVoxelPbrDataset(str(training_root), resolution=32, min_aesthetic_score=None)
    plain = SparseVoxelPbrDataset(str(training_root), resolution=32, min_aesthetic_score=None, with_mesh=False)
    assert wanted.with_mesh and not plain.with_mesh
    a, b = wanted.batch([0, 4], _rng()), plain.batch([0, 4], _rng())
    assert a.keys() == b.keys() == {"x"} and torch.equal(a["x"].feats, b["x"].feats)


def test_filters_count_and_drop(training_root):
    data = FlexiDualGridDataset(str(training_root), resolution=32, min_aesthetic_score=7.5)
    assert len(data) == 3
    stats = next(iter(data._stats.values()))
    assert stats == {"Total": 6, "Dual Grid Converted": 6, "Aesthetic score >= 7.5": 3,
                     "Active Voxels <= 1000000": 3}  # fmt: skip
    assert "Aesthetic score >= 7.5: 3" in str(data) and "Resolution: 32" in str(data)
    with pytest.raises(ValueError, match="num_faces"):
        FlexiDualGridDataset(str(training_root), resolution=32, max_num_faces=10, min_aesthetic_score=None)


def test_occupancy_from_both_sources_agrees(training_root):
    args = {"resolution": 4, "min_aesthetic_score": None}
    pooled = SparseStructure(str(training_root), source="dual_grid", source_resolution=32, **args)
    latent = SparseStructure(str(training_root), source="shape_latent", **args)
    a, b = (d.batch([0, 1, 5], _rng())["ss"] for d in (pooled, latent))
    assert a.shape == (3, 1, 4, 4, 4) and torch.equal(a, b) and 0 < a.mean() < 1
    with pytest.raises(ValueError, match="does not divide"):
        SparseStructure(str(training_root), source="dual_grid", source_resolution=32, resolution=5).load_raw(0)


def test_latents_are_normalised_and_aligned(training_root, tmp_path):
    norm = {"mean": [1.0] * 8, "std": [2.0] * 8}
    (tmp_path / "stats.json").write_text(json.dumps(norm))
    raw = SLatShape(str(training_root), resolution=32, min_aesthetic_score=None)
    scaled = SLatShape(str(training_root), resolution=32, min_aesthetic_score=None, normalization=norm)
    a, b = raw.batch([2, 4], _rng())["x_0"], scaled.batch([2, 4], _rng())["x_0"]
    torch.testing.assert_close((a.feats - 1) / 2, b.feats)
    torch.testing.assert_close(scaled.normalization.denormalize(b.feats), a.feats)
    both = SLatPbr(str(training_root), resolution=32, min_aesthetic_score=None,
                   shape_slat_normalization=str(tmp_path / "stats.json")).batch([0], _rng())  # fmt: skip
    torch.testing.assert_close(both["x_0"].feats, -(both["concat_cond"].feats * 2 + 1))
    z = SparseStructureLatent(str(training_root), min_aesthetic_score=None).batch([0, 1], _rng())["x_0"]
    assert z.shape == (2, 8, 4, 4, 4)
    with pytest.raises(ValueError, match="8 channels, the latent 3"):
        scaled.normalization.normalize(torch.zeros(2, 3))
    for bad in ({"mean": [1], "std": [0]}, {"mean": [1, 2], "std": [1]}, {"mu": [1]}):
        with pytest.raises(ValueError, match="normalization"):
            Normalization.from_spec(bad)


@pytest.mark.parametrize("cache", [False, True])
def test_cached_and_uncached_batches_are_equal(training_root, cache, tmp_path):
    make = lambda **kw: ImageConditionedSLatShape(  # noqa: E731
        str(training_root), resolution=32, min_aesthetic_score=None, image_size=32, image_margin=0.125,
        image_augmentation={"scale": 0.1, "shift": 0.1, "brightness": 0.2, "contrast": 0.1}, **kw)  # fmt: skip
    plain, other = make(), make(cache=cache, cache_dir=str(tmp_path))
    other.prepare()
    for seed in range(3):
        a, b = plain.batch([4, 0, 2], _rng(seed)), other.batch([4, 0, 2], _rng(seed))
        assert torch.equal(a["x_0"].feats, b["x_0"].feats) and torch.equal(a["x_0"].coords, b["x_0"].coords)
        assert torch.equal(a["cond"], b["cond"]) and a["cond"].shape == (3, 3, 32, 32)
        assert float(a["cond"].min()) >= 0 and float(a["cond"].max()) <= 1
    if cache:
        again = make(cache=True, cache_dir=str(tmp_path))
        assert len(list(tmp_path.glob("*.safetensors"))) == 2
        again.load_raw = None  # the files are enough
        again.prepare()
        assert torch.equal(again.batch([1], _rng())["x_0"].feats, plain.batch([1], _rng())["x_0"].feats)


def test_image_geometry_targets_follow_the_crop(training_root):
    data = ImageGeometry(str(training_root), resolution=4, source="dual_grid", source_resolution=32,
                         min_aesthetic_score=None, image_size=32, image_margin=0.125, map_size=8,
                         crop_rule="inference")  # fmt: skip
    batch = data.batch([0, 1, 2, 3], _rng())
    assert batch["mask"].shape == (4, 1, 8, 8) and batch["ss"].shape == (4, 1, 4, 4, 4)
    assert set(batch["family"].tolist()) == {0, 1} and data.families == ["ball", "cube"]
    # the object is a square that fills the crop: everything is visible, and rows of positions increase downwards
    assert batch["mask"].mean() > 0.95
    assert torch.all(batch["position"][:, 0].diff(dim=1) >= 0)
    seen = batch["mask"][:, 0] > 0
    torch.testing.assert_close(batch["normal"][:, 2][seen], torch.ones(int(seen.sum())), atol=0.01, rtol=0)
    assert (batch["cond"].amax(1) > 0).float().mean() > 0.9


def test_several_views_are_distinct_and_bounded(training_root):
    data = MultiImageConditionedSLatShape(str(training_root), resolution=32, min_aesthetic_score=None, image_size=16)
    counts = set()
    for seed in range(8):
        cond = data.batch([0, 1, 2], _rng(seed))["cond"]
        assert len(cond) == 3 and all(c.shape[1:] == (3, 16, 16) for c in cond)
        counts |= {len(c) for c in cond}
    assert counts == {1, 2}  # two views exist


def test_unreadable_items_are_counted_not_replaced(training_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(training_root, root)
    victim = sorted((root / "dual_grid_32").glob("*.vxz"))[2]
    victim.write_bytes(victim.read_bytes()[:40])
    strict = FlexiDualGridDataset(str(root), resolution=32, min_aesthetic_score=None, cache=True)
    with pytest.raises(RuntimeError, match="1 of 6 items cannot be read"):
        strict.prepare()
    tolerant = FlexiDualGridDataset(str(root), resolution=32, min_aesthetic_score=None, cache=True, max_failures=0.5)
    tolerant.prepare()
    assert len(tolerant) == 5 and len(tolerant.loads) == 5 and list(tolerant.failures) == [victim.stem]
    lazy = FlexiDualGridDataset(str(root), resolution=32, min_aesthetic_score=None, max_failures=0.5)
    loader = BatchLoader(lazy, ResumableSampler(lazy), batch_size=6, prefetch=False)
    batches, _ = next(iter(loader))
    assert len(batches[0]["vertices"]) == 5 and list(lazy.failures) == [victim.stem]
    victim.unlink()
    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        FlexiDualGridDataset(str(root), resolution=32, min_aesthetic_score=None, cache=True).prepare()


@pytest.mark.parametrize("prefetch", [False, True])
def test_loader_position_counts_consumed_batches_and_resumes(training_root, prefetch):
    data = SLatShape(str(training_root), resolution=32, min_aesthetic_score=None)

    def loader(state=None):
        sampler = BalancedResumableSampler(data, batch_size=2)
        if state:
            sampler.load_state_dict(state)
        return BatchLoader(data, sampler, batch_size=2, batch_split=2, balanced=True, prefetch=prefetch)

    first = loader()
    stream = iter(first)
    seen = [next(stream) for _ in range(5)]
    assert [position for _, position in seen] == [{"epoch": 0, "idx": 2}, {"epoch": 0, "idx": 4},
                                                  {"epoch": 0, "idx": 6}, {"epoch": 1, "idx": 2},
                                                  {"epoch": 1, "idx": 4}]  # fmt: skip
    assert all(len(parts) == 2 for parts, _ in seen)
    first.close()
    second = loader(seen[2][1])
    again = next(iter(second))
    second.close()
    assert torch.equal(again[0][0]["x_0"].feats, seen[3][0][0]["x_0"].feats)


def test_loader_refuses_a_dataset_smaller_than_a_batch(training_root):
    data = SLatShape(str(training_root), resolution=32, min_aesthetic_score=None)
    with pytest.raises(ValueError, match="fewer than one batch of 7"):
        BatchLoader(data, ResumableSampler(data), batch_size=7)


def test_prefetch_errors_reach_the_caller(training_root):
    data = SLatShape(str(training_root), resolution=32, min_aesthetic_score=None)
    data.assemble = lambda *_: (_ for _ in ()).throw(KeyError("boom"))
    loader = BatchLoader(data, ResumableSampler(data), batch_size=2)
    with pytest.raises(KeyError, match="boom"):
        next(iter(loader))
    loader.close()


def test_data_dir_forms(training_root, tmp_path):
    roles = {"base": str(training_root), "shape_latent": str(training_root / "shape_latents" / "enc")}
    text = json.dumps({"Toys": roles})
    (tmp_path / "roots.json").write_text(text)
    for given in (text, str(tmp_path / "roots.json"), {"Toys": roles}, str(training_root)):
        assert len(SLatShape(given, resolution=32, min_aesthetic_score=None)) == 6
    doubled = SLatShape({"a": roles, "b": roles}, resolution=32, min_aesthetic_score=None)
    assert len(doubled) == 12 and len(doubled.loads) == 12
    for bad, message in (
        ("{not json", "not valid"),
        ('{"a": {"shapelatent": "x"}}', "unknown role 'shapelatent'"),
        ("/no/such/folder", "neither a folder"),
        (json.dumps({"a": {"base": str(training_root)}}), "needs the role 'shape_latent'"),
        (json.dumps({"a": {"base": str(tmp_path), "shape_latent": str(tmp_path)}}), "does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            SLatShape(bad, resolution=32, min_aesthetic_score=None)
    assert list(parse_data_dir(f"{training_root},{training_root}")) == [training_root.name, training_root.name + "_"]


def test_hostile_frame_path_is_refused(training_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(training_root, root)
    data = ImageConditionedSLatShape(str(root), resolution=32, min_aesthetic_score=None, image_size=16)
    folder = root / "renders_cond" / data.instances[0][1]
    Image.new("RGBA", (4, 4), (255, 0, 0, 255)).save(root / "renders_cond" / "secret.png")
    (folder / "transforms.json").write_text(json.dumps({"frames": [{"file_path": "../secret.png"}]}))
    with pytest.raises(ValueError, match="leaves the folder"):
        data.view_files(0)


def test_dataset_pictures(training_root):
    shape = FlexiDualGridDataset(str(training_root), resolution=32, min_aesthetic_score=None)
    image = shape.visualize_sample(shape.batch([0, 1], _rng()))
    assert image.shape == (2, 3, 32, 96) and 0.05 < float((image.amax(1) > 0).float().mean()) < 0.9
    pbr = SparseVoxelPbrDataset(str(training_root), resolution=32, min_aesthetic_score=None, with_mesh=False)
    assert set(pbr.visualize_sample(pbr.batch([0], _rng()))) == {"base_color", "metallic", "roughness", "alpha"}
