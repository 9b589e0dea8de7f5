"""The memory benchmark decodes exactly the voxels that it says it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")
CPU = torch.device("cpu")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(sys, "path", [BENCHMARKS, *sys.path])
    import bench_memory

    sizes = {"model_channels": [64, 32, 16, 8, 8], "num_blocks": [1, 1, 0, 0, 0], "use_fp16": False}
    monkeypatch.setattr(bench_memory, "_DECODER", {**bench_memory._DECODER, **sizes})
    return bench_memory


def _levels(bench):
    """A small grid in place of the large mesh, coarse to fine."""
    generator = torch.Generator().manual_seed(0)
    cells = (torch.rand(64, 64, 64, generator=generator) < 0.002).nonzero().int()
    levels = [torch.cat([torch.zeros_like(cells[:, :1]), cells], 1)]
    for _ in range(bench.LEVELS):
        levels.append(bench.coarsen(levels[-1]))
    return levels[::-1]


@torch.no_grad()
def test_forced_subdivisions_lead_to_the_voxels(bench):
    levels = _levels(bench)
    grid = bench.Grid(64, levels[0], bench.guides(levels), len(levels[-1]))
    shape, texture = bench.decoder("shape", CPU), bench.decoder("texture", CPU)
    bench.force(shape, grid)
    x = bench._latent(grid, 32, CPU)
    raw, subs = shape.decode(x, return_subs=True)
    assert torch.equal(raw.coords.unique(dim=0), levels[-1].unique(dim=0))
    assert torch.isfinite(raw.feats).all() and raw.feats.std() > 0
    assert torch.equal(texture(x, guide_subs=subs).coords, raw.coords)
    assert len(shape.upsample(x, 4)) == grid.num_voxels
    bench.force(shape, grid._replace(subdivisions=[s[:-1] for s in grid.subdivisions]))
    with pytest.raises(RuntimeError, match="has not been set"):
        shape.decode(x)


def test_settings(bench):
    assert bench.parse_setting("none") == bench.Setting("no cap", None, False, None)
    assert bench.parse_setting("6:int8") == bench.Setting("6 GB int8", 6.0, True, "int8")
    assert bench.parse_setting("8") == bench.Setting("8 GB", 8.0, True, None)
