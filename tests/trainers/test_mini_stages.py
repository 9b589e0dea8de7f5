"""Every stage of the bundled pipeline trains on a tiny dataset, and its loss falls."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import pytest
import torch

from trellis2.trainers.launch import main

STEPS = {"ss_vae": 20, "shape_vae": 12, "tex_vae": 20, "image_encoder": 20, "ss_flow": 30, "shape_flow": 30,
         "tex_flow": 30}  # fmt: skip


@pytest.mark.parametrize("stage", list(STEPS))
def test_loss_falls_and_run_folder_is_complete(stage, tmp_path, mini_args, read_log):
    steps = STEPS[stage]
    assert main(mini_args(stage, tmp_path, f"trainer.max_steps={steps}")) == 0
    entries = read_log(tmp_path)
    losses = [entry["loss"]["loss"] for entry in entries]
    assert len(losses) == steps and all(math.isfinite(v) for v in losses)
    part = max(3, steps // 5)
    assert sum(losses[-part:]) < 0.95 * sum(losses[:part]), losses
    manifest = json.loads((tmp_path / "ckpts" / f"manifest_step{steps:07d}.json").read_text())
    for name, size in manifest["files"].items():
        assert (tmp_path / "ckpts" / name).stat().st_size == size
        torch.load(tmp_path / "ckpts" / name, weights_only=True)
    assert json.loads((tmp_path / "config.json").read_text())["trainer"]["args"]["max_steps"] == steps
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("stage", ["ss_vae", "tex_vae", "shape_vae", "image_encoder", "ss_flow", "shape_flow"])
def test_snapshots_are_written(stage, tmp_path, mini_args):
    overrides = ["trainer.max_steps=1", "trainer.num_snapshot_samples=2", "trainer.snapshot_batch_size=2"]
    assert main(mini_args(stage, tmp_path, *overrides)) == 0
    final = {p.stem for p in (tmp_path / "samples" / "final").glob("*.jpg")}
    expected = {
        "ss_vae": {"gt_final", "recon_final"},
        "tex_vae": {"gt_base_color_final", "pred_base_color_final"},
        "shape_vae": {"gt_final", "rec_final", "rec2_final"},
        "image_encoder": {"image_final", "pred_position_final", "gt_occupancy_final"},
        "ss_flow": {"sample_gt_final", "sample_final", "image_final"},
        "shape_flow": {"sample_gt_final", "sample_final", "image_final"},
    }[stage]
    assert expected <= final


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(tmp_path, mini_args, read_log):
    losses = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        args = mini_args("shape_flow", tmp_path / name, "trainer.max_steps=3")
        assert main([*args, "--seed", seed]) == 0
        losses.append([entry["loss"]["loss"] for entry in read_log(tmp_path / name)])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_gradient_accumulation_equals_one_batch_for_equal_items(tmp_path, mini_args, read_log):
    """Dense items of equal size: two micro-batches of two average to one batch of four."""
    base = ["trainer.max_steps=1", "trainer.loss_type=bce", "trainer.lambda_kl=0", "trainer.grad_clip=null"]
    norms = []
    for split in (1, 2):
        out = tmp_path / str(split)
        assert main(mini_args("ss_vae", out, *base, f"trainer.batch_split={split}")) == 0
        norms.append(read_log(out)[0]["loss"]["bce"])
    assert norms[0] == pytest.approx(norms[1], rel=0.05)  # posterior noise is drawn in another order


def test_time_limit_stops_with_a_checkpoint_and_follows_the_schedule(tmp_path, mini_args, read_log, monkeypatch):
    ticks = itertools.count(step=0.02)  # a clock that advances by 0.02 s whenever it is read
    monkeypatch.setattr("trellis2.trainers.base.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    assert main(mini_args("ss_vae", tmp_path, "trainer.max_minutes=0.03")) == 0  # 1.8 s
    entries = read_log(tmp_path)
    assert 1.8 <= entries[-1]["time"]["elapsed"] < 2.5
    assert entries[-1]["status"]["lr"] < entries[5]["status"]["lr"]
    assert list((tmp_path / "ckpts").glob("manifest_*.json"))


@pytest.mark.parametrize("stage", list(STEPS))
def test_shipped_bf16_autocast_runs(stage, tmp_path, mini_args, read_log):
    """The precision the configs ship with, training and pictures."""
    overrides = ["trainer.mix_precision_mode=amp", "trainer.max_steps=2", "trainer.num_snapshot_samples=1",
                 "trainer.snapshot_batch_size=1"]  # fmt: skip
    assert main(mini_args(stage, tmp_path, *overrides)) == 0
    entries = read_log(tmp_path)
    assert all(math.isfinite(e["loss"]["loss"]) and e["status"]["skipped"] == 0 for e in entries)
