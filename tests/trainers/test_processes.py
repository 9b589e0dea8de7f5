"""Two processes on the CPU (gloo): same weights everywhere, and the checkpoint resumes."""

from __future__ import annotations

import socket

import pytest
import torch

from trellis2.trainers.launch import main


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_and_resume(tmp_path, mini_args, monkeypatch, read_log):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    overrides = ["trainer.max_steps=4", "trainer.i_ddpcheck=2", "trainer.i_save=2", "trainer.batch_size=4"]
    args = [*mini_args("tex_flow", tmp_path, *overrides), "--num_gpus", "2", "--master_port", str(_free_port())]
    assert main(args) == 0
    first = [e["loss"]["loss"] for e in read_log(tmp_path)]
    assert len(first) == 4
    for path in (tmp_path / "ckpts").glob("*step0000004*"):
        path.unlink()
    assert main(args) == 0
    assert [e["loss"]["loss"] for e in read_log(tmp_path)][4:] == first[2:]
    misc = torch.load(tmp_path / "ckpts" / "misc_step0000004.pt", weights_only=True)
    assert len(misc["rng"]) == 2 and misc["step"] == 4
