"""Tiled up-sampling: the same voxels and features as the whole, within a budget."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trellis2.models.sc_vaes import blocks, row_chunks, tiles
from trellis2.models.sc_vaes.sparse_unet_vae import SparseUnetVaeDecoder
from trellis2.modules import sparse as sp
from trellis2.utils.memory import MemoryBudget, device_limit, free_memory

from .test_row_chunks import decoder, latent, randomised, sphere


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "_MIN_TILE", 16)


def _up(pred_subdiv=False):
    up = randomised(blocks.SparseResBlockC2S3d(32, 8, pred_subdiv=pred_subdiv))
    coords = sphere(10, 2)
    generator = torch.Generator().manual_seed(3)
    x = sp.SparseTensor(torch.randn(len(coords), 32, generator=generator), coords)
    return up, x, x.replace(torch.randn(len(coords), 8, generator=generator))


@pytest.mark.parametrize("rows", [1, 17, 100, 10**6])
@pytest.mark.parametrize("elements", [32 * 7, 1 << 23])
@torch.no_grad()
def test_tiles_of_any_size_equal_the_whole(monkeypatch, rows, elements):
    monkeypatch.setattr(row_chunks, "ELEMENTS", elements)
    monkeypatch.setattr(tiles, "ELEMENTS", elements)
    up, x, subdiv = _up()
    whole = up(x, subdiv=subdiv)
    tiled = tiles.c2s_tiles(up, x, subdiv.feats > 0, rows)
    assert torch.equal(tiled.coords, whole.coords)
    assert tiled.scale == whole.scale and len(tiled) == len(whole)
    torch.testing.assert_close(tiled.feats, whole.feats, rtol=1e-5, atol=1e-6)
    halved = tiles.c2s_tiles(up, x, subdiv.feats > 0, rows, lambda t: t[:, :3] * 2)
    torch.testing.assert_close(halved.feats, whole.feats[:, :3] * 2, rtol=1e-5, atol=1e-6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 3),
    size=st.integers(1, 9),
    share=st.floats(0.02, 1.0),
    children=st.floats(0.0, 1.0),
    rows=st.integers(1, 400),
)
def test_tiles_of_random_voxels(seed, batch, size, share, children, rows):
    generator = torch.Generator().manual_seed(seed)
    coords = (torch.rand(batch, size, size, size, generator=generator) < share).nonzero().int()
    up = randomised(blocks.SparseResBlockC2S3d(16, 4, pred_subdiv=False))
    x = sp.SparseTensor(torch.randn(len(coords), 16, generator=generator), coords, (batch, 16))
    bits = torch.rand(len(coords), 8, generator=generator) < children
    with torch.no_grad():
        whole = up(x, subdiv=x.replace(bits.float()))
        tiled = tiles.c2s_tiles(up, x, bits, rows)
    assert torch.equal(tiled.coords, whole.coords)
    torch.testing.assert_close(tiled.feats, whole.feats, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_parents_without_children_and_no_parents_at_all():
    up, x, subdiv = _up()
    nothing = torch.zeros(len(x.feats), 8, dtype=torch.bool)
    assert tiles.c2s_tiles(up, x, nothing, 50).feats.shape == (0, 8)
    nothing[::3, 1] = True
    whole = up(x, subdiv=x.replace(nothing.float()))
    torch.testing.assert_close(tiles.c2s_tiles(up, x, nothing, 50).feats, whole.feats, rtol=1e-5, atol=1e-6)
    empty = sp.SparseTensor(torch.zeros(0, 32), torch.zeros(0, 4, dtype=torch.int32), (2, 32))
    out = tiles.c2s_tiles(up, empty, torch.zeros(0, 8, dtype=torch.bool), 50, lambda t: t[:, :3])
    assert out.feats.shape == (0, 3) and len(out) == 2


@pytest.mark.parametrize("pred_subdiv", [True, False])
@torch.no_grad()
def test_a_decoder_with_a_small_budget_gives_the_same_result(small_tiles, monkeypatch, pred_subdiv, caplog):
    calls = []
    original = blocks.c2s_tiles
    monkeypatch.setattr(blocks, "c2s_tiles", lambda *args: calls.append(args[3]) or original(*args))
    shape, x = decoder(), latent()
    raw, subs = shape(x, return_subs=True)
    model: SparseUnetVaeDecoder = shape if pred_subdiv else decoder(False)
    guides = {} if pred_subdiv else {"guide_subs": subs}
    expected = model(x, **guides)
    assert not calls
    model.memory_budget = 1
    with caplog.at_level(logging.WARNING):
        out = model(x, **guides)
    assert "left of the memory budget" in caplog.text
    assert calls == [16, 16]
    assert torch.equal(out.coords, expected.coords) and out.layout == expected.layout
    torch.testing.assert_close(out.feats, expected.feats, rtol=1e-5, atol=1e-6)
    if pred_subdiv:
        _, tiled_subs = model(x, return_subs=True)
        for a, b in zip(tiled_subs, subs):
            assert torch.equal(a.coords, b.coords)
            torch.testing.assert_close(a.feats, b.feats, rtol=1e-5, atol=1e-6)


def test_larger_budgets_give_larger_tiles_until_none_are_needed(small_tiles):
    up, x, _ = _up()
    sizes = [tiles.tile_rows(up, x, 50_000_000, MemoryBudget(10**9 * b, "cpu")) for b in (6, 8, 12, 1000)]
    assert sizes[0] is not None and sizes[3] is None
    numbers = [s for s in sizes if s is not None]
    assert numbers == sorted(numbers) and numbers[0] < numbers[-1]
    assert tiles.tile_rows(up, x, 1000, MemoryBudget(None, "cpu")) is None


def test_budgets():
    assert MemoryBudget(None, "cpu").available() == float("inf")
    assert MemoryBudget(123, "cpu").available() == 123
    assert free_memory("cpu") is None and device_limit("cpu") is None
    with pytest.raises(ValueError, match="positive number of bytes"):
        MemoryBudget(0, "cpu")


def test_finish_is_refused_where_gradients_are_wanted():
    up, x, subdiv = _up()
    with pytest.raises(ValueError, match="without gradients"):
        up(x, subdiv=subdiv, finish=lambda t: t)


@pytest.mark.gpu
@torch.no_grad()
def test_cuda_budget_bounds_the_peak_and_keeps_the_bits():
    torch.manual_seed(0)
    coords = sphere(96).cuda()
    up = randomised(blocks.SparseResBlockC2S3d(128, 64, pred_subdiv=False), std=0.02).half().cuda()
    x = sp.SparseTensor(torch.randn(len(coords), 128, device="cuda").half(), coords)
    subdiv = x.replace(torch.randn(len(coords), 8, device="cuda").half())
    whole = up(x, subdiv=subdiv)
    peaks = []
    for budget in (None, 60_000_000):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        out = up(x, subdiv=subdiv, budget=MemoryBudget(budget, "cuda"))
        peaks.append(torch.cuda.max_memory_allocated() - start)
        assert torch.equal(out.coords, whole.coords) and torch.equal(out.feats, whole.feats)
        del out
    assert peaks[1] < 0.6 * peaks[0], peaks


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [16, 77, 1000])
@torch.no_grad()
def test_cuda_decoder_in_tiles_is_bit_identical(monkeypatch, rows):
    sizes = ([128, 64, 64], 4, [1, 1, 0], ["SparseConvNeXtBlock3d"] * 3, ["SparseResBlockC2S3d"] * 2, [{}] * 3)
    model = randomised(SparseUnetVaeDecoder(6, *sizes, use_fp16=True), std=0.05).cuda()
    x = latent()
    x = sp.SparseTensor(x.feats.cuda(), x.coords.cuda(), x.shape)
    whole, subs = model(x, return_subs=True)
    monkeypatch.setattr(blocks, "tile_rows", lambda *args: rows)
    tiled, tiled_subs = model(x, return_subs=True)
    assert torch.equal(tiled.coords, whole.coords) and torch.equal(tiled.feats, whole.feats)
    assert all(torch.equal(a.feats, b.feats) for a, b in zip(tiled_subs, subs))
