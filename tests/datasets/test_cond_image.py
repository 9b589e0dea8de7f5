"""Conditioning crops against the written rules, and augmentations that keep what they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from trellis2.datasets.cond_image import ImageAugmentation, crop_box, crop_condition, read_rgba, sample_affine, warp
from trellis2.datasets.image_conditioned import adjust_colours
from trellis2.datasets.image_geometry import crop_map
from trellis2.datasets.latent_stats import main as stats_main
from trellis2.datasets.packed import gather_rows, load_packed, pack, save_packed
from trellis2.datasets.projection import draw_voxels


def _rectangle(alpha=255):
    rgba = np.zeros((200, 200, 4), np.uint8)
    rgba[10:60, 20:120] = (200, 100, 50, alpha)
    return rgba


def test_boxes_of_the_written_example():
    """A 100×50 rectangle (columns 20–119, rows 10–59): the pipeline's crop is 98×98."""
    alpha = _rectangle()[..., 3]
    box = crop_box(alpha, "inference")
    assert (box.right - box.left, box.bottom - box.top) == (98, 98)
    # training: centre (69.5, 34.5), half side 49.5, corners truncated toward zero
    assert tuple(crop_box(alpha, "training")) == (20, -15, 119, 84)


def test_thresholds_differ():
    faint = _rectangle(alpha=100)[..., 3]
    assert crop_box(faint, "training")
    with pytest.raises(ValueError, match="alpha above 204"):
        crop_box(faint, "inference")
    with pytest.raises(ValueError, match="alpha above 0"):
        crop_box(np.zeros((5, 5), np.uint8))


def test_crop_is_on_black_and_premultiplied():
    rgba = _rectangle()
    rgba[..., :3][rgba[..., 3] == 0] = 255  # colour of transparent pixels must not leak
    for rule in ("training", "inference"):
        out = crop_condition(rgba, 32, rule)
        assert out.shape == (32, 32, 3) and out.dtype == np.uint8
        assert np.abs(out[16, 16].astype(int) - [200, 100, 50]).max() <= 1
        assert out[0].max() <= 2  # above the rectangle
    half = _rectangle(alpha=128)
    assert np.abs(crop_condition(half, 32, "training")[16, 16].astype(int) - [100, 50, 25]).max() <= 1


def test_margin_surrounds_the_same_crop():
    rgba = _rectangle()
    wide = torch.from_numpy(crop_condition(rgba, 144, "inference", 0.0625)).permute(2, 0, 1)[None]
    identity = sample_affine(ImageAugmentation(), 1, torch.Generator())
    cut = warp(wide, identity, 128, 0.0625)
    torch.testing.assert_close(cut, wide[..., 8:-8, 8:-8].float(), atol=1e-2, rtol=0)
    close = torch.from_numpy(crop_condition(rgba, 128, "inference")).permute(2, 0, 1)[None].float()
    assert (cut - close).abs().mean() < 6


def test_augmentations_are_bounded_and_black_stays_black():
    theta = sample_affine(ImageAugmentation(scale=0.1, shift=0.05), 500, torch.Generator().manual_seed(0))
    assert theta[:, 0, 0].min() >= 0.9 and theta[:, 0, 0].max() <= 1.1 and theta[:, :, 2].abs().max() <= 0.1
    x = torch.rand(4, 3, 8, 8)
    x[..., :4] = 0
    out = adjust_colours(x, ImageAugmentation(brightness=0.3, contrast=0.3), torch.Generator().manual_seed(0))
    assert out[..., :4].abs().max() == 0 and out.min() >= 0 and out.max() <= 1
    assert torch.equal(adjust_colours(x, ImageAugmentation(), torch.Generator()), x)
    with pytest.raises(ValueError, match="unknown augmentation 'flip'"):
        ImageAugmentation.from_spec({"flip": 1})


def test_only_rgba_is_accepted(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="RGBA"):
        read_rgba(tmp_path / "a.png")


def test_map_crop_picks_nearest_cells_and_zero_outside():
    values = np.arange(16).reshape(4, 4) + 1
    assert np.array_equal(crop_map(values, (0, 0, 40, 40), (40, 40), 4), values)
    assert np.array_equal(crop_map(values, (20, 20, 40, 40), (40, 40), 2), values[2:, 2:])
    out = crop_map(values, (-20, 0, 20, 40), (40, 40), 4)
    assert np.all(out[:, :2] == 0) and np.array_equal(out[:, 2:], values[:, :2])


def test_packing_gathers_rows_in_order(tmp_path):
    items = [{"a": np.full((n, 2), n, np.float32), "d": np.array([n])} for n in (3, 1, 2)]
    store = pack(items, ("a",))
    picked = gather_rows(store, torch.tensor([2, 0, 2]))
    assert picked.seqlen.tolist() == [2, 3, 2]
    assert picked.ragged["a"][:, 0].tolist() == [2, 2, 3, 3, 3, 2, 2]
    assert picked.dense["d"][:, 0].tolist() == [2, 3, 2] and picked.batch_idx.tolist() == [0, 0, 1, 1, 1, 2, 2]
    save_packed(store, tmp_path / "s.safetensors")
    again = load_packed(tmp_path / "s.safetensors")
    assert torch.equal(again.ragged["a"], store.ragged["a"]) and torch.equal(again.seqlen, store.seqlen)
    with pytest.raises(ValueError, match="row counts"):
        pack([{"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}], ("a", "b"))
    with pytest.raises(ValueError, match="empty"):
        pack([], ())


def test_latent_statistics(tmp_path):
    import json

    rng = np.random.default_rng(0)
    values = [rng.normal([1, -2], [3, 0.5], size=(n, 2)).astype(np.float32) for n in (400, 700)]
    for i, v in enumerate(values):
        np.savez(tmp_path / f"{i}.npz", coords=np.zeros((len(v), 3), np.uint8), feats=v)
    assert stats_main([str(tmp_path), str(tmp_path / "out" / "stats.json")]) == 0
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    joined = np.concatenate(values)
    assert stats["mean"] == pytest.approx(joined.mean(0).tolist(), abs=1e-4)
    assert stats["std"] == pytest.approx(joined.std(0).tolist(), abs=1e-4)
    assert stats_main([str(tmp_path / "none"), str(tmp_path / "x.json")]) == 1
    dense = tmp_path / "dense"
    dense.mkdir()
    z = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    np.savez(dense / "a.npz", z=z)
    assert stats_main([str(dense), str(tmp_path / "z.json")]) == 0
    assert json.loads((tmp_path / "z.json").read_text())["mean"] == pytest.approx(z.mean((1, 2, 3)).tolist(), abs=1e-5)


def test_nearest_voxel_is_drawn():
    coords = torch.tensor([[0, 1, 0, 1], [0, 1, 3, 1]], dtype=torch.int32)  # same column and row, y differs
    image = draw_voxels(coords, torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]), 1, 4)
    assert image.shape == (1, 3, 4, 12)
    front = image[0, :, 2, 1]  # z = 1 → row 2; the front view sees the smaller y
    assert front[0] > 0 and front[1] == 0
