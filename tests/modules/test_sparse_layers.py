"""Sparse layers: resampling, convolution layer, windowed attention, precision helpers, checkpointing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.models.sc_vaes.blocks import SparseConvNeXtBlock3d, SparseResBlockC2S3d, SparseResBlockS2C3d
from trellis2.models.sc_vaes.resample_blocks import SparseResBlock3d, SparseResBlockUpsample3d
from trellis2.modules import sparse as sp
from trellis2.modules.sparse.transformer import ModulatedSparseTransformerCrossBlock
from trellis2.modules.transformer import ModulatedTransformerCrossBlock
from trellis2.modules.utils import (
    convert_module_to_f16,
    manual_cast,
    require_choice,
    scale_module,
    str_to_dtype,
)


def _random(batch=2, size=6, density=0.3, channels=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    coords = (torch.rand(batch, size, size, size, generator=g) < density).nonzero().int()
    return sp.SparseTensor(torch.randn(coords.shape[0], channels, generator=g), coords, torch.Size([batch, channels]))


@given(seed=st.integers(0, 50), factor=st.sampled_from([2, 3]), density=st.sampled_from([0.02, 0.3, 1.0]))
@settings(max_examples=20, deadline=None)
def test_channels_and_space_are_inverse(seed, factor, density):
    x = _random(seed=seed, density=density)
    stacked = sp.SparseSpatial2Channel(factor)(x)
    assert stacked.feats.shape[1] == 4 * factor**3
    keys = [tuple(c) for c in stacked.coords.tolist()]
    assert keys == sorted(set(keys))
    back = sp.SparseChannel2Spatial(factor)(stacked)
    assert torch.equal(back.feats, x.feats) and torch.equal(back.coords, x.coords)


def test_pooling_counts_only_the_children_that_exist():
    coords = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [0, 2, 0, 0]])
    x = sp.SparseTensor(torch.tensor([[2.0], [4.0], [7.0]]), coords)
    assert sp.SparseDownsample(2)(x).feats.tolist() == [[3.0], [7.0]]
    assert sp.SparseDownsample(2, "max")(x).feats.tolist() == [[4.0], [7.0]]


def test_a_subdivision_gives_a_fresh_cache_and_drops_childless_parents():
    x = _random(channels=8)
    x.register_spatial_cache("mark", 1)
    bits = torch.zeros(x.feats.shape[0], 8, dtype=torch.bool)
    bits[0, [6, 1]] = True
    up = sp.SparseUpsample(2)(x, x.replace(bits))
    base = x.coords[0, 1:] * 2
    assert (up.coords[:, 1:] - base).tolist() == [[1, 0, 0], [0, 1, 1]]
    assert up.get_spatial_cache("mark") is None and len(up) == len(x)
    with pytest.raises(ValueError, match="row per voxel"):
        sp.SparseUpsample(2)(x, sp.SparseTensor(bits[:3], x.coords[:3]))
    with pytest.raises(ValueError, match="cached structure or a subdivision"):
        sp.SparseUpsample(2)(x)


def test_neighbor_maps_are_built_once_per_structure(monkeypatch):
    from trellis2.modules.sparse.conv import conv

    calls = []
    build = conv.find_neighbors
    monkeypatch.setattr(conv, "find_neighbors", lambda *a: calls.append(a) or build(*a))
    x = _random()
    layer = sp.SparseConv3d(4, 4, 3)
    layer(layer(x) + 1)
    sp.SparseConv3d(4, 2, 3)(x)
    assert len(calls) == 1
    sp.SparseConv3d(4, 2, 3, dilation=2)(x)
    assert len(calls) == 2


def test_convolution_layer_rejects_what_it_cannot_do():
    for bad in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2}, {"kernel_size": 3, "padding": 1}):
        with pytest.raises(ValueError):
            sp.SparseConv3d(2, 2, **bad)
    with pytest.raises(ValueError, match="unknown sparse convolution backend"):
        sp.SparseConv3d(2, 2, 3, backend="cudnn")


@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 2, 0)])
def test_windowed_attention_matches_one_window_at_a_time(shift):
    x = _random(channels=3 * 2 * 4).reshape(3, 2, 4)
    out = sp.sparse_windowed_scaled_dot_product_self_attention(x, 3, shift).feats
    window = torch.cat([x.coords[:, :1], (x.coords[:, 1:] + torch.tensor(shift)) // 3], 1)
    for key in window.unique(dim=0):
        rows = (window == key).all(1)
        q, k, v = (t.transpose(0, 1) for t in x.feats[rows].unbind(1))
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(0, 1)
        torch.testing.assert_close(out[rows], expected, rtol=1e-4, atol=1e-5)


def test_cross_windows_are_paired_by_place_not_by_rank():
    q = sp.SparseTensor(torch.randn(2, 1, 4), torch.tensor([[0, 0, 0, 0], [0, 8, 0, 0]]))
    kv = sp.SparseTensor(torch.randn(2, 2, 1, 4), torch.tensor([[0, 4, 0, 0], [0, 9, 0, 0]]))
    out = sp.sparse_windowed_scaled_dot_product_cross_attention(q, kv, 4, 4)
    assert not out.feats[0].any()
    torch.testing.assert_close(out.feats[1], kv.feats[1, 1])


def test_attention_over_dense_and_ragged_inputs_agrees():
    x = _random(channels=8)
    q = x.reshape(2, 4)
    kv = torch.randn(2, 5, 2, 2, 4)
    ragged = sp.VarLenTensor.from_tensor_list(list(kv))
    a = sp.sparse_scaled_dot_product_attention(q, kv).feats
    b = sp.sparse_scaled_dot_product_attention(q, ragged).feats
    c = sp.sparse_scaled_dot_product_attention(q, kv[:, :, 0], kv[:, :, 1]).feats
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(a, c)
    dense_q = torch.randn(2, 3, 2, 4)
    assert sp.sparse_scaled_dot_product_attention(dense_q, ragged).shape == dense_q.shape
    with pytest.raises(ValueError, match="ragged container"):
        sp.sparse_scaled_dot_product_attention(dense_q, kv)


@pytest.mark.parametrize(
    "block",
    [
        lambda c: SparseConvNeXtBlock3d(8, use_checkpoint=c),
        lambda c: SparseResBlockS2C3d(8, 16, use_checkpoint=c),
        lambda c: SparseResBlock3d(8, 12, downsample=True, use_checkpoint=c),
    ],
)
def test_checkpointing_changes_no_gradient(block):
    grads = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        module = block(checkpointed)
        for p in module.parameters():
            torch.nn.init.normal_(p, std=0.2)
        x = _random(channels=8)
        feats = x.feats.clone().requires_grad_()
        module(x.replace(feats)).feats.square().sum().backward()
        grads.append([feats.grad, *(p.grad for p in module.parameters())])
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("cls", [SparseResBlockUpsample3d, SparseResBlockC2S3d])
def test_guided_up_sampling_of_every_block_type(cls):
    x = _random(channels=8)
    block = cls(8, 8, pred_subdiv=False)
    logits = x.replace(torch.randn(x.feats.shape[0], 8))
    out = block(x, logits)
    assert out.feats.shape == (int((logits.feats > 0).sum()), 8)
    assert "to_subdiv.weight" not in block.state_dict()


@pytest.mark.parametrize("rows", [0, 1])
def test_blocks_run_on_empty_and_single_voxels(rows):
    x = sp.SparseTensor(torch.ones(rows, 8), torch.zeros(rows, 4, dtype=torch.int32), torch.Size([1, 8]))
    assert SparseConvNeXtBlock3d(8)(x).feats.shape == (rows, 8)
    assert SparseResBlockS2C3d(8, 16)(x).feats.shape == (rows, 16)
    out, logits = SparseResBlockC2S3d(8, 4)(sp.SparseTensor(x.feats, x.coords, x.shape))
    assert logits.feats.shape == (rows, 8) and out.feats.shape[1] == 4
    block = ModulatedSparseTransformerCrossBlock(8, 6, 2, use_rope=True, qk_rms_norm=True)
    assert block(x, torch.randn(1, 8), torch.randn(1, 3, 6)).feats.shape == (rows, 8)


def test_ill_formed_blocks_are_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        SparseResBlockS2C3d(8, 12)
    with pytest.raises(ValueError, match="multiple of 8"):
        SparseResBlockC2S3d(12, 4)
    with pytest.raises(ValueError, match="needs downsample or upsample"):
        SparseResBlock3d(8, 8, resample_mode="spatial2channel")
    for bad in (
        {"type": "crossed"},
        {"attn_mode": "windowed"},
        {"attn_mode": "double_windowed", "window_size": 3},
        {"type": "cross", "use_rope": True},
    ):
        with pytest.raises(ValueError):
            sp.SparseMultiHeadAttention(8, 2, **bad)


def test_only_linear_and_convolution_layers_change_precision():
    block = ModulatedTransformerCrossBlock(8, 6, 2, share_mod=True, qk_rms_norm=True)
    block.apply(convert_module_to_f16)
    half = {k for k, v in block.state_dict().items() if v.dtype == torch.float16}
    assert half == {k for k in block.state_dict() if ".to_" in k or ".mlp." in k}
    conv = sp.SparseConv3d(2, 2, 3)
    convert_module_to_f16(conv)
    assert conv.weight.dtype == conv.bias.dtype == torch.float16


def test_manual_cast_leaves_autocast_alone():
    x = torch.ones(2)
    assert manual_cast(x, torch.bfloat16).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert manual_cast(x, torch.float16).dtype == torch.float32
    assert manual_cast(_random(), torch.float16).dtype == torch.float16


def test_small_helpers():
    assert str_to_dtype("bf16") is torch.bfloat16 and str_to_dtype(torch.float16) is torch.float16
    with pytest.raises(ValueError, match="unknown dtype"):
        str_to_dtype("int8")
    with pytest.raises(ValueError, match="mode must be one of a, b"):
        require_choice("mode", "c", ("a", "b"))
    linear = torch.nn.Linear(2, 2)
    before = linear.weight.clone()
    assert torch.equal(scale_module(linear, 2).weight, before * 2)
