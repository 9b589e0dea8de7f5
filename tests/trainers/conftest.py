"""A tiny dataset on disk and a way to run one mini stage on it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

REPO = Path(__file__).resolve().parents[2]
_ENCODER = '{"name": "ImageEncoder", "args": {"channels": 32, "num_blocks": 1, "num_heads": 2, "image_size": 32}}'
_VAE = [
    "models.encoder.model_channels=[8,16,16]",
    "models.encoder.num_blocks=[0,0,1]",
    "models.decoder.model_channels=[16,16,8]",
    "models.decoder.num_blocks=[1,0,0]",
    "dataset.resolution=32",
]
_FLOW = [
    "models.denoiser.cond_channels=32",
    "models.denoiser.model_channels=48",
    "models.denoiser.num_blocks=2",
    "models.denoiser.num_heads=2",
    "models.denoiser.resolution=4",
    "models.denoiser.in_channels=8",
    "models.denoiser.out_channels=8",
    "dataset.image_size=32",
    f"trainer.image_cond_model={_ENCODER}",
]
# Overrides that shrink the shipped stages to the tiny data.
SHRINK: dict[str, list[str]] = {
    "ss_vae": [
        "dataset.source_resolution=32",
        "dataset.resolution=8",  # bfloat16 convolutions of PyTorch on the CPU give NaN gradients on 2³ grids
        "models.encoder.channels=[8,16]",
        "models.decoder.channels=[16,8]",
    ],
    "shape_vae": [*_VAE, "models.decoder.resolution=32"],
    "tex_vae": _VAE,
    "image_encoder": [
        "dataset.resolution=4",
        "dataset.source_resolution=32",
        "dataset.image_size=32",
        "dataset.map_size=8",
        "models.encoder.image_size=32",
        "models.encoder.channels=32",
        "models.encoder.num_blocks=1",
    ],
    "ss_flow": [*_FLOW, "dataset.normalization=null"],
    "shape_flow": [*_FLOW, 'dataset.normalization={"mean":[1,1,1,1,1,1,1,1],"std":[2,2,2,2,2,2,2,2]}'],
    "tex_flow": [
        *_FLOW,
        "models.denoiser.in_channels=16",
        "dataset.pbr_slat_normalization=null",
        "dataset.shape_slat_normalization=null",
    ],
}
COMMON = [
    "trainer.mix_precision_mode=null",
    "trainer.batch_size=4",
    "trainer.i_log=5",
    "trainer.num_snapshot_samples=0",
    "trainer.lr_scheduler.args.warmup_steps=2",
    "trainer.max_minutes=null",
    "trainer.optimizer.args.lr=0.003",
    "dataset.load_workers=1",
]


def _load_helper() -> Any:
    spec = importlib.util.spec_from_file_location("training_data", REPO / "tests" / "training_data.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the layout of the data toolkit."""
    return _load_helper().make_dataset(tmp_path_factory.mktemp("training") / "data")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mini_args(training_root: Path) -> Callable[..., list[str]]:
    """Command line for a shrunk mini stage."""

    def make(stage: str, output_dir: Path, *overrides: str) -> list[str]:
        out = ["--config", str(REPO / "configs" / "mini" / f"{stage}.json"), "--output_dir", str(output_dir)]
        out += ["--data_dir", str(training_root), "--device", "cpu", "--auto_retry", "0"]
        for item in (*COMMON, *SHRINK[stage], *overrides):
            out += ["--set", item]
        return out

    return make


@pytest.fixture(scope="session")
def read_log() -> Callable[[Path], list[dict[str, Any]]]:
    """Entries of `log.txt` in order."""

    def read(run_dir: Path) -> list[dict[str, Any]]:
        lines = (run_dir / "log.txt").read_text().splitlines()
        return [json.loads(line.split(": ", 1)[1]) for line in lines]

    return read
