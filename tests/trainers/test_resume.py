"""Stopping and resuming changes nothing: the continued run is bit-equal to the uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from trellis2.trainers.checkpoint import find_latest_step
from trellis2.trainers.launch import main


def _weights(run_dir, step):
    out = {}
    for path in sorted((run_dir / "ckpts").glob(f"*_step{step:07d}.pt")):
        if not path.name.startswith("misc"):
            for name, value in torch.load(path, weights_only=True).items():
                out[f"{path.name}:{name}"] = value
    return out


@pytest.mark.parametrize(
    ("stage", "extra"),
    [
        ("shape_flow", []),
        ("tex_vae", ["trainer.batch_split=2"]),
        ("image_encoder", ["dataset.cache=false"]),
        ("ss_vae", ['trainer.grad_clip={"name":"AdaptiveGradClipper","args":{"max_norm":1.0,"buffer_size":3}}']),
        ("ss_vae", ["trainer.fp16_mode=inflat_all", "trainer.log_scale_start=8"]),
        ("ss_flow", ["trainer.lr_scheduler=null", "trainer.prefetch_data=false"]),
    ],
    ids=["sparse-flow", "accumulation", "files", "adaptive-clip", "inflat_all", "no-prefetch"],
)
def test_resume_is_bit_equal(stage, extra, tmp_path, mini_args, read_log):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # the schedule depends on max_steps, so the interrupted run is cut by its checkpoints, not by max_steps
    assert main(mini_args(stage, whole, "trainer.max_steps=6", "trainer.i_save=3", *extra)) == 0
    assert main(mini_args(stage, parts, "trainer.max_steps=6", "trainer.i_save=3", *extra)) == 0
    for path in (parts / "ckpts").glob("*step0000006*"):
        path.unlink()
    (parts / "log.txt").unlink()
    assert find_latest_step(parts / "ckpts") == 3
    assert main(mini_args(stage, parts, "trainer.max_steps=6", "trainer.i_save=3", *extra)) == 0
    assert [e["loss"] for e in read_log(parts)] == [e["loss"] for e in read_log(whole)][3:]
    expected, got = _weights(whole, 6), _weights(parts, 6)
    assert expected.keys() == got.keys() and expected
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name


def test_incomplete_checkpoint_is_not_latest(tmp_path, mini_args):
    args = mini_args("ss_vae", tmp_path, "trainer.max_steps=4", "trainer.i_save=2")
    assert main(args) == 0
    ckpts = tmp_path / "ckpts"
    assert find_latest_step(ckpts) == 4
    victim = next(ckpts.glob("encoder_step0000004.pt"))
    victim.write_bytes(victim.read_bytes()[:100])
    assert find_latest_step(ckpts) == 2
    (ckpts / "manifest_step0000002.json").write_text("{")
    assert find_latest_step(ckpts) is None


def test_published_folders_without_manifest_resume_from_misc(tmp_path):
    for step in (5, 20):
        (tmp_path / f"misc_step{step:07d}.pt").write_bytes(b"x")
    assert find_latest_step(tmp_path) == 20


def test_old_checkpoints_are_pruned(tmp_path, mini_args):
    args = mini_args("ss_vae", tmp_path, "trainer.max_steps=6", "trainer.i_save=1", "trainer.keep_checkpoints=2")
    assert main(args) == 0
    assert sorted(p.name for p in (tmp_path / "ckpts").glob("misc*")) == ["misc_step0000005.pt", "misc_step0000006.pt"]


def test_sigterm_saves_and_exits_cleanly(tmp_path, mini_args):
    args = mini_args("ss_vae", tmp_path, "trainer.max_steps=100000")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = "import sys; from trellis2.trainers.launch import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", code, *args], env=env, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if (tmp_path / "log.txt").exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    step = find_latest_step(tmp_path / "ckpts")
    assert step is not None and 0 < step < 100000


def test_finetune_starts_from_other_weights(tmp_path, mini_args):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(mini_args("ss_vae", first, "trainer.max_steps=2")) == 0
    paths = {key: str(first / "ckpts" / f"{key}_step0000002.pt") for key in ("encoder", "decoder")}
    overrides = [f"trainer.finetune_ckpt.{key}={path}" for key, path in paths.items()]
    args = mini_args("ss_vae", second, "trainer.max_steps=1", "trainer.optimizer.args.lr=0", *overrides)
    assert main(args) == 0
    for key, path in paths.items():
        before = torch.load(path, weights_only=True)
        after = torch.load(second / "ckpts" / f"{key}_step0000001.pt", weights_only=True)
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_malicious_checkpoint_is_not_unpickled(tmp_path):
    import pickle

    from trellis2.trainers.checkpoint import load_torch_file

    marker = tmp_path / "owned"

    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {marker}",))

    path = tmp_path / "misc_step0000001.pt"
    torch.save({"optimizer": Evil()}, path, pickle_module=pickle)
    with pytest.raises(ValueError, match="unsafe unpickling"):
        load_torch_file(path)
    assert not marker.exists()
