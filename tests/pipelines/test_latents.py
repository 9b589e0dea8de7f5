"""Latents on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from trellis2.modules.sparse import SparseTensor
from trellis2.pipelines.latents import Latents, load_latents, save_latents


def latents(texture: bool = True, tokens: int = 5) -> Latents:
    generator = torch.Generator().manual_seed(0)
    cells = torch.arange(tokens)[:, None].expand(-1, 3)
    coords = torch.cat([torch.zeros(tokens, 1), cells], dim=1).int()
    shape, tex = (SparseTensor(torch.randn(tokens, n, generator=generator), coords) for n in (4, 6))
    return Latents(shape, tex if texture else None, 64, {"seed": 3, "pipeline_type": "64"})


@pytest.mark.parametrize("texture", [True, False])
def test_what_is_written_is_read(tmp_path: Path, texture: bool) -> None:
    first = latents(texture)
    save_latents(first, tmp_path / "a.safetensors")
    second = load_latents(tmp_path / "a.safetensors")
    assert torch.equal(first.shape_slat.feats, second.shape_slat.feats)
    assert torch.equal(first.shape_slat.coords, second.shape_slat.coords)
    assert (second.tex_slat is not None) == texture
    if texture:
        assert torch.equal(first.tex_slat.feats, second.tex_slat.feats)
    assert (second.resolution, second.info) == (64, {"seed": 3, "pipeline_type": "64"})


def test_same_latents_same_bytes(tmp_path: Path) -> None:
    data = set()
    for i in range(4):
        save_latents(latents(), tmp_path / f"{i}.safetensors")
        data.add((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(data) == 1
    assert len(list(tmp_path.iterdir())) == 4  # nothing temporary is left


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape_slat": torch.zeros(4, 4)}, r"shape_slat must be float32 \[5, C\]"),
        ({"shape_slat": torch.full((5, 4), float("nan"))}, "not finite"),
        ({"coords": torch.full((5, 3), 64, dtype=torch.int32)}, "grid of 64"),
        ({"coords": torch.zeros(5, 3)}, "int32"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    tensors = {"coords": torch.zeros(5, 3, dtype=torch.int32), "shape_slat": torch.zeros(5, 4), **change}
    info = '{"format": "trellis2-latents-1", "resolution": 64}'
    save_file(tensors, tmp_path / "a.safetensors", metadata={"latents": info})
    with pytest.raises(ValueError, match=match):
        load_latents(tmp_path / "a.safetensors")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match="latents not found"):
        load_latents(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="does not hold latents"):
        load_latents(path)
    save_latents(latents(), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_latents(path)
    with pytest.raises(ValueError, match=r"\.safetensors"):
        save_latents(latents(), tmp_path / "a.npz")
    two = SparseTensor(torch.zeros(2, 4), torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]]).int())
    with pytest.raises(ValueError, match="one sample"):
        save_latents(Latents(two, None, 64), path)
