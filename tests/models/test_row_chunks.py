"""Inference in chunks of rows gives what the plain blocks give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trellis2 import models
from trellis2.models.sc_vaes import blocks, row_chunks
from trellis2.modules import sparse as sp


def sphere(resolution: int, batch: int = 1) -> torch.Tensor:
    """Coordinates [T, 4] of a shell, lexicographic."""
    axis = torch.arange(resolution)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    radius = (grid.float() - (resolution - 1) / 2).norm(dim=1)
    xyz = grid[(radius - 0.35 * resolution).abs() < 0.9]
    parts = [torch.cat([torch.full((len(xyz), 1), b), xyz], 1) for b in range(batch)]
    return torch.cat(parts).int()


def randomised(model: nn.Module, std: float = 0.1, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model.eval()


def decoder(pred_subdiv: bool = True) -> nn.Module:
    return randomised(
        models.SparseUnetVaeDecoder(
            6,
            [32, 16, 8],
            4,
            [1, 1, 0],
            ["SparseConvNeXtBlock3d"] * 3,
            ["SparseResBlockC2S3d"] * 2,
            [{}] * 3,
            pred_subdiv=pred_subdiv,
        )
    )


def latent(batch: int = 2, seed: int = 0) -> sp.SparseTensor:
    coords = sphere(8, batch)
    feats = torch.randn(coords.shape[0], 4, generator=torch.Generator().manual_seed(seed))
    return sp.SparseTensor(feats, coords, torch.Size([batch, 4]))


def _plain(function, *args, **kwargs):
    """The path with gradients, which knows no chunks."""
    with torch.enable_grad():
        return function(*args, **kwargs)


@pytest.mark.parametrize("elements", [1, 8 * 37, 1 << 23])
@pytest.mark.parametrize("pred_subdiv", [True, False])
def test_decoder_in_chunks_equals_the_plain_decoder(monkeypatch, elements, pred_subdiv):
    monkeypatch.setattr(row_chunks, "ELEMENTS", elements)
    shape, x = decoder(), latent()
    raw, subs = _plain(shape, x, return_subs=True)
    model = shape if pred_subdiv else decoder(False)
    guides = {} if pred_subdiv else {"guide_subs": subs}
    expected = raw if pred_subdiv else _plain(model, x, **guides)
    with torch.no_grad():
        out = model(x, **guides)
    assert torch.equal(out.coords, expected.coords)
    assert out.layout == expected.layout and out.scale == expected.scale
    # the same sums; products of other heights may be blocked in another order
    torch.testing.assert_close(out.feats, expected.feats, rtol=1e-5, atol=1e-6)


def test_children_in_any_order(monkeypatch):
    """The structure of an encoder lists fine rows as the caller did, not parent by parent."""
    monkeypatch.setattr(row_chunks, "ELEMENTS", 8 * 53)
    torch.manual_seed(0)
    coords = sphere(16, 2)
    order = torch.cat([torch.randperm(len(coords) // 2), torch.randperm(len(coords) // 2) + len(coords) // 2])
    down = randomised(blocks.SparseResBlockS2C3d(8, 32))
    up = randomised(blocks.SparseResBlockC2S3d(32, 8, pred_subdiv=False))
    x = sp.SparseTensor(torch.randn(len(coords), 8), coords[order])
    with torch.no_grad():
        coarse = down(x)
        out = up(coarse)
    expected = _plain(up, _plain(down, x))
    assert torch.equal(out.coords, x.coords) and out.scale == x.scale
    torch.testing.assert_close(out.feats, expected.feats, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("elements", [8 * 8 * 29, 1 << 23])
def test_encoder_in_chunks_equals_the_plain_encoder(monkeypatch, elements):
    monkeypatch.setattr(row_chunks, "ELEMENTS", elements)
    encoder = randomised(
        models.SparseUnetVaeEncoder(
            6, [8, 16, 32], 4, [0, 1, 1], ["SparseConvNeXtBlock3d"] * 3, ["SparseResBlockS2C3d"] * 2, [{}] * 3
        )
    )
    coords = sphere(16, 2)
    feats = torch.randn(len(coords), 6, generator=torch.Generator().manual_seed(1))
    expected = _plain(encoder, sp.SparseTensor(feats, coords))
    with torch.no_grad():
        out = encoder(sp.SparseTensor(feats, coords))
    assert torch.equal(out.coords, expected.coords) and out.scale == expected.scale
    torch.testing.assert_close(out.feats, expected.feats, rtol=1e-5, atol=1e-6)
    for key in ("channel2spatial_2", "shape"):
        assert (out.get_spatial_cache(key) is None) == (expected.get_spatial_cache(key) is None)


@torch.no_grad()
def test_voxels_without_children_and_without_voxels():
    up = randomised(blocks.SparseResBlockC2S3d(16, 8, pred_subdiv=False))
    x = sp.SparseTensor(torch.randn(5, 16), torch.tensor([[0, i, 2 * i, 1] for i in range(5)]).int(), (2, 16))
    nothing = x.replace(torch.zeros(5, 8))
    out = up(x, subdiv=nothing)
    assert out.feats.shape == (0, 8) and len(out) == 2
    assert up(out.replace(torch.zeros(0, 16)), subdiv=out.replace(torch.zeros(0, 8))).feats.shape == (0, 8)


@torch.no_grad()
def test_results_do_not_depend_on_how_often_the_model_ran():
    model, x = decoder(), latent()
    first = model(x)
    assert torch.equal(model(latent()).feats, first.feats)
    assert torch.equal(x.feats, latent().feats), "the input must not be overwritten"


def test_autocast_keeps_its_own_types():
    model, x = decoder(), latent()
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(x)
        with torch.no_grad():
            out = model(x)
    assert out.feats.dtype == expected.feats.dtype
    assert torch.equal(out.feats, expected.feats)


def test_row_chunks_cover_all_rows_once():
    for num_rows in (0, 1, 1023, 1024, 1025):
        rows = [
            i for part in row_chunks.row_chunks(num_rows, row_chunks.ELEMENTS // 256) for i in range(part.stop)[part]
        ]
        assert rows == list(range(num_rows))
    out = row_chunks.apply_rows(lambda rows: rows * 2, torch.arange(12.0).view(6, 2), row_chunks.ELEMENTS // 2)
    assert torch.equal(out, torch.arange(12.0).view(6, 2) * 2)
