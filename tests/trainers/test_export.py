"""Averaged weights of a run become a released pair that `from_pretrained` loads."""

from __future__ import annotations

import json

import torch

from trellis2.models import from_pretrained
from trellis2.trainers.export import main as export
from trellis2.trainers.launch import main


def test_export_writes_the_average_in_half_precision(tmp_path, mini_args):
    run = tmp_path / "run"
    assert main(mini_args("tex_vae", run, "trainer.max_steps=2")) == 0
    stem = tmp_path / "out" / "tex_dec"
    assert export([str(run), str(stem), "--model", "decoder", "--ema", "0.999", "--dtype", "float16"]) == 0
    spec = json.loads(stem.with_suffix(".json").read_text())
    assert spec["name"] == "SparseUnetVaeDecoder" and spec["args"]["pred_subdiv"] is False
    saved = torch.load(run / "ckpts" / "decoder_ema0.999_step0000002.pt", weights_only=True)
    loaded = from_pretrained(str(stem)).state_dict()
    for name, value in saved.items():
        torch.testing.assert_close(loaded[name], value.half().float(), atol=0, rtol=0)


def test_export_of_all_models_and_errors(tmp_path, mini_args, caplog):
    run = tmp_path / "run"
    assert main(mini_args("ss_vae", run, "trainer.max_steps=1")) == 0
    assert export([str(run), str(tmp_path / "ss")]) == 0
    assert (tmp_path / "ss_encoder.safetensors").is_file() and (tmp_path / "ss_decoder.safetensors").is_file()
    assert export([str(run), str(tmp_path / "x"), "--ema", "0.5"]) == 1
    assert "averages of this run: [0.999]" in caplog.text
    assert export([str(run), str(tmp_path / "x"), "--model", "denoiser"]) == 1
