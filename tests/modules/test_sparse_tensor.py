"""Ragged and sparse containers: structure, arithmetic, reductions, cache, bad input."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.modules import sparse as sp
from trellis2.modules.sparse import config


def _sparse(lengths=(3, 0, 2), channels=4, seed=0, shape=True):
    g = torch.Generator().manual_seed(seed)
    coords = []
    for b, n in enumerate(lengths):
        xyz = torch.randperm(64, generator=g)[:n].sort().values
        coords.append(torch.stack([torch.full_like(xyz, b), xyz // 16, xyz // 4 % 4, xyz % 4], 1))
    coords = torch.cat(coords).int()
    feats = torch.randn(coords.shape[0], channels, generator=g)
    return sp.SparseTensor(feats, coords, torch.Size([len(lengths), channels]) if shape else None)


def test_structure_of_a_batch_with_an_empty_sample():
    x = _sparse()
    assert x.layout == [slice(0, 3), slice(3, 3), slice(3, 5)]
    assert x.shape == torch.Size([3, 4]) and len(x) == 3 and x.ndim == 2
    assert x.seqlen.tolist() == [3, 0, 2] and x.cum_seqlen.tolist() == [0, 3, 3, 5]
    assert x.batch_boardcast_map.tolist() == x.batch_broadcast_map.tolist() == [0, 0, 0, 2, 2]
    assert [len(s.feats) for s in x] == [3, 0, 2]


def test_trailing_empty_samples_survive_when_the_shape_is_carried():
    x = _sparse((2, 3, 0))
    assert len(x) == 3
    assert len(x + 1) == 3 and (x * torch.ones(3, 4)).seqlen.tolist() == [2, 3, 0]
    assert len(_sparse((2, 3, 0), shape=False)) == 2


def test_an_empty_tensor_has_structure():
    x = sp.SparseTensor(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), torch.Size([2, 4]))
    assert len(x) == 2 and x.lengths == [0, 0] and x.spatial_shape == (0, 0, 0)
    assert len(sp.SparseTensor(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32))) == 0
    assert x.to_dense().shape == (2, 4, 0, 0, 0)


@pytest.mark.parametrize("operand", [2.0, torch.tensor(3.0), torch.ones(4) * 2, torch.ones(1, 4) * 3])
def test_scalars_and_common_tensors_broadcast(operand):
    x = _sparse()
    torch.testing.assert_close((x * operand).feats, x.feats * operand)
    torch.testing.assert_close((operand - x).feats, operand - x.feats)
    torch.testing.assert_close((operand / x).feats, operand / x.feats)


def test_per_sample_and_per_row_tensors():
    x = _sparse()
    per_sample = torch.tensor([[1.0], [10.0], [100.0]])
    expected = torch.tensor([1.0, 1, 1, 100, 100])[:, None]
    torch.testing.assert_close((x + per_sample).feats, x.feats + expected)
    torch.testing.assert_close((per_sample - x).feats, expected - x.feats)
    rows = torch.arange(5.0)[:, None]
    torch.testing.assert_close((x * rows).feats, x.feats * rows)
    assert (x.half() + per_sample).dtype == torch.float32
    with pytest.raises(RuntimeError):
        x + torch.ones(7, 4)
    with pytest.raises(TypeError):
        x + "text"


def test_containers_combine_row_by_row_and_keep_the_left_cache():
    x = _sparse()
    x.register_spatial_cache("mark", 1)
    y = x.replace(x.feats * 2)
    out = y - x
    torch.testing.assert_close(out.feats, x.feats)
    assert out.get_spatial_cache("mark") == 1
    with pytest.raises(ValueError, match="same rows"):
        x + _sparse((4, 0, 2))


def test_debug_mode_compares_coordinates():
    x = _sparse()
    other = sp.SparseTensor(x.feats, x.coords + torch.tensor([0, 0, 0, 1], dtype=torch.int32), x.shape)
    assert (x + other).feats.shape == x.feats.shape
    config.set_debug(True)
    try:
        with pytest.raises(ValueError, match="same coords"):
            x + other
        with pytest.raises(ValueError, match="disagrees with feats"):
            sp.SparseTensor(x.feats, x.coords, torch.Size([3, 9]))
    finally:
        config.set_debug(False)


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=4), dim=st.sampled_from([1, -1]), keep=st.booleans())
@settings(max_examples=40, deadline=None)
def test_reductions_per_sample(lengths, dim, keep):
    g = torch.Generator().manual_seed(sum(lengths))
    feats = torch.randn(sum(lengths), 3, generator=g, dtype=torch.float64)
    x = sp.VarLenTensor(feats, sp.VarLenTensor.layout_from_seqlen(lengths))
    for op in ("mean", "sum", "prod", "std"):
        out = x.reduce(op, dim, keepdim=keep)
        assert out.shape == ((len(lengths), 1) if keep else (len(lengths),))
        for i, rows in enumerate(feats.split(lengths)):
            if len(rows):
                expected = rows.std(correction=0) if op == "std" else getattr(rows, op)()
                torch.testing.assert_close(out[i].reshape(()), expected)


def test_std_survives_a_large_offset():
    x = sp.VarLenTensor(torch.tensor([[4096.0], [4096.5], [4097.0]]))
    assert abs(x.std(1).item() - 0.40825) < 1e-4


def test_reductions_over_everything():
    x = _sparse()
    torch.testing.assert_close(x.mean(), x.feats.mean())
    torch.testing.assert_close(x.sum(0), x.feats.sum(0))
    torch.testing.assert_close(x.prod(), x.feats.prod())
    with pytest.raises(ValueError, match="op must be"):
        x.reduce("median")


@pytest.mark.parametrize(
    ("index", "samples"),
    [
        (2, [2]),
        (-1, [2]),
        (slice(0, 2), [0, 1]),
        ([2, 0], [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
        (torch.tensor([1, 1]), [1, 1]),
    ],
)
def test_samples_are_gathered_in_order(index, samples):
    x = _sparse()
    out = x[index]
    assert torch.equal(out.feats, torch.cat([x.feats[x.layout[i]] for i in samples]))
    assert out.lengths == [x.lengths[i] for i in samples]
    expected = [b for b, i in enumerate(samples) for _ in range(x.lengths[i])]
    assert out.coords[:, 0].tolist() == expected
    assert x.coords[:, 0].tolist() == [0, 0, 0, 2, 2]


def test_bad_indices():
    x = _sparse()
    with pytest.raises(IndexError, match="out of range"):
        x[3]
    with pytest.raises(TypeError, match="indexed by"):
        x[1.5]
    with pytest.raises(IndexError, match="bool index"):
        x[torch.tensor([True])]


def test_concatenation_carries_sample_counts():
    x, y = _sparse((2, 0)), _sparse((1, 1), seed=1)
    out = sp.sparse_cat([x, y])
    assert out.lengths == [2, 0, 1, 1] and out.coords[:, 0].tolist() == [0, 0, 2, 3]
    assert sp.sparse_cat([x, x], dim=-1).shape == torch.Size([2, 8])
    ragged = sp.varlen_cat([sp.VarLenTensor(x.feats, x.layout), sp.VarLenTensor(y.feats, y.layout)])
    assert ragged.lengths == [2, 0, 1, 1]
    assert [len(s.feats) for s in sp.varlen_unbind(ragged, 0)] == [2, 0, 1, 1]
    assert len(sp.sparse_unbind(x, 1)) == 4


def test_dense_form_puts_every_voxel_in_place():
    x = _sparse()
    dense = x.to_dense()
    assert dense.shape == (3, 4, *x.spatial_shape)
    for feats, (b, i, j, k) in zip(x.feats, x.coords.tolist()):
        assert torch.equal(dense[b, :, i, j, k], feats)
    assert dense.count_nonzero() == x.feats.count_nonzero()


def test_ragged_dense_form_pads_with_zeros_and_truncates():
    x = sp.VarLenTensor(torch.arange(1.0, 6)[:, None], [slice(0, 3), slice(3, 5)])
    dense, mask = x.to_dense()
    assert dense[..., 0].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert mask.tolist() == [[True] * 3, [True, True, False]]
    assert x.to_dense(max_length=1)[0][..., 0].tolist() == [[1], [4]]
    with pytest.raises(ValueError, match="quirks"):
        x.to_dense(quirks="other")


def test_the_cache_is_shared_by_relatives_and_keyed_by_scale():
    x = _sparse()
    down = sp.SparseDownsample(2)(x)
    assert down.scale == (Fraction(2),) * 3
    down.register_spatial_cache("mark", 7)
    assert x.get_spatial_cache("mark") is None
    up = sp.SparseUpsample(2)(down * 2)
    assert torch.equal(up.coords, x.coords) and up.scale == x.scale
    x.register_spatial_cache("fine", 1)
    assert up.get_spatial_cache("fine") == 1
    up.clear_spatial_cache()
    assert x.get_spatial_cache("fine") == 1 and up.get_spatial_cache("fine") is None
    moved = x.replace(x.feats, coords=x.coords + 0)
    assert moved.get_spatial_cache("fine") is None


def test_casts_keep_coordinates():
    x = _sparse()
    assert x.half().dtype == torch.float16 and x.half().coords.dtype == torch.int32
    assert x.to(torch.float64).dtype == torch.float64 and x.to(dtype=torch.float16).dtype == torch.float16
    x.register_spatial_cache("mark", 3)
    assert x.cpu().get_spatial_cache("mark") == 3
    assert not x.replace(x.feats.requires_grad_()).detach().feats.requires_grad


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ([[1, 0, 0, 0], [0, 0, 0, 0]], "ascending order"),
        ([[-1, 0, 0, 0], [0, 0, 0, 0]], "ascending order"),
        ([[0, 0, 0, 0], [5, 0, 0, 0]], "shape has 2 samples"),
    ],
)
def test_disordered_samples_are_refused(coords, message):
    x = sp.SparseTensor(torch.zeros(2, 1), torch.tensor(coords), torch.Size([2, 1]))
    with pytest.raises(ValueError, match=message):
        _ = x.layout


def test_bad_construction_is_named():
    feats, coords = torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match="same rows"):
        sp.SparseTensor(feats, coords[:1])
    with pytest.raises(ValueError, match=r"int32 of shape \[T, 4\]"):
        sp.SparseTensor(feats, coords.float())
    with pytest.raises(ValueError, match=r"int32 of shape \[T, 4\]"):
        sp.SparseTensor(feats, coords[:, :3])
    with pytest.raises(TypeError, match="feats"):
        sp.SparseTensor(feats, None)
    with pytest.raises(ValueError, match="layout must cover"):
        sp.VarLenTensor(feats, [slice(0, 1)])


def test_backend_names():
    config.set_conv_backend("spconv")
    assert config.conv_backend() == "auto"
    with pytest.raises(ValueError, match="choose from"):
        config.set_conv_backend("flexgem")
    with pytest.raises(ValueError, match="choose from"):
        config.set_attn_backend("flash")


def test_group_and_layer_norm():
    x = _sparse(channels=8)
    group = sp.SparseGroupNorm(2, 8)
    out = group(x)
    first = torch.nn.functional.group_norm(x.feats[:3].T[None], 2)[0].T
    torch.testing.assert_close(out.feats[:3], first)
    assert out.feats.shape == x.feats.shape
    layer = sp.SparseLayerNorm32(8)(x.half())
    assert layer.dtype == torch.float16
    torch.testing.assert_close(layer.feats.float().mean(1), torch.zeros(5), atol=2e-3, rtol=0)


def test_pointwise_modules():
    x = _sparse()
    for module, plain in ((sp.SparseReLU(), torch.relu), (sp.SparseSiLU(), torch.nn.functional.silu)):
        torch.testing.assert_close(module(x).feats, plain(x.feats))
    torch.testing.assert_close(sp.SparseActivation(torch.nn.Tanh())(x).feats, x.feats.tanh())
    torch.testing.assert_close(sp.SparseGELU()(x).feats, torch.nn.functional.gelu(x.feats))
