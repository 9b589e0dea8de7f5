"""The published statistics of the latents, as the training configurations carry them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from trellis2.datasets.normalization import Normalization

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "gen"


@pytest.mark.parametrize(
    ("config", "argument", "latent"),
    [
        ("slat_flow_img2shape_dit_1_3B_512_bf16", "normalization", "shape_slat"),
        ("slat_flow_imgshape2tex_dit_1_3B_512_bf16", "shape_slat_normalization", "shape_slat"),
        ("slat_flow_imgshape2tex_dit_1_3B_512_bf16", "pbr_slat_normalization", "tex_slat"),
    ],
)
def test_configurations_carry_the_published_statistics(vectors_dir, config, argument, latent):
    expected = json.loads((vectors_dir / "models" / "latent_normalization.json").read_text())[latent]
    stats = Normalization.from_spec(json.loads((CONFIGS / f"{config}.json").read_text())["dataset"]["args"][argument])
    assert list(stats.mean) == expected["mean"] and list(stats.std) == expected["std"]
    z = torch.randn(7, len(stats.mean))
    normalised = stats.normalize(z)
    torch.testing.assert_close(normalised, (z - torch.tensor(expected["mean"])) / torch.tensor(expected["std"]))
    torch.testing.assert_close(stats.denormalize(normalised), z, rtol=1e-4, atol=1e-5)
