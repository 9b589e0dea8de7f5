"""Dense, ragged and windowed attention against plain softmax."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.ops.attention import RaggedIndex, attention, attention_reference, window_partition


def _qkv(rows, keys, heads=2, dim=8, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(rows, heads, dim, generator=g, dtype=dtype)
    k, v = (torch.randn(keys, heads, dim, generator=g, dtype=dtype) for _ in range(2))
    return q, k, v


def test_dense_matches_the_formula():
    q, k, v = (t.view(3, -1, 2, 8) for t in _qkv(15, 21))
    torch.testing.assert_close(attention(q, k, v), attention_reference(q, k, v), rtol=1e-5, atol=1e-6)


@given(lengths=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=5), same=st.booleans())
@settings(max_examples=50, deadline=None)
def test_ragged_equals_one_sample_at_a_time(lengths, same):
    q_lengths = [a for a, _ in lengths]
    kv_lengths = q_lengths if same else [b for _, b in lengths]
    q, k, v = _qkv(sum(q_lengths), sum(kv_lengths))
    out = attention(q, k, v, RaggedIndex.build(q_lengths, "cpu"), RaggedIndex.build(kv_lengths, "cpu"))
    parts = []
    for a, b, c in zip(q.split(q_lengths), k.split(kv_lengths), v.split(kv_lengths)):
        parts.append(attention_reference(a[None], b[None], c[None])[0] if len(b) else torch.zeros_like(a))
    torch.testing.assert_close(out, torch.cat(parts), rtol=1e-5, atol=1e-6)


def test_ragged_gradients_are_exact():
    q, k, v = (t.requires_grad_() for t in _qkv(5, 5, dim=4, dtype=torch.float64))
    index = RaggedIndex.build([2, 0, 3], "cpu")
    assert torch.autograd.gradcheck(lambda *x: attention(*x, index, index), (q, k, v))


def test_different_sample_counts_are_refused():
    q, k, v = _qkv(4, 4)
    with pytest.raises(ValueError, match="same number of samples"):
        attention(q, k, v, RaggedIndex.build([4], "cpu"), RaggedIndex.build([2, 2], "cpu"))


def test_window_partition_groups_by_sample_and_window():
    coords = torch.tensor([[0, 0, 0, 0], [0, 3, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0], [0, 2, 3, 0]], dtype=torch.int32)
    part = window_partition(coords, (2, 2, 2), (0, 0, 0))
    assert part.keys.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]]
    assert part.order.tolist() == [0, 2, 1, 4, 3]
    assert part.order[part.inverse].tolist() == list(range(5))
    assert part.ragged.lengths == (2, 1, 1, 1)
    shifted = window_partition(coords, (2, 2, 2), (1, 1, 1))
    assert shifted.keys[0].tolist() == [0, 0, 0, 0] and shifted.keys[1].tolist() == [0, 1, 1, 1]


def test_windows_attend_within_themselves_and_keep_the_order_of_rows():
    g = torch.Generator().manual_seed(0)
    coords = torch.cat([torch.zeros(40, 1), torch.randint(0, 6, (40, 3), generator=g)], dim=1).int()
    q, k, v = _qkv(40, 40)
    part = window_partition(coords, (2, 3, 2), (1, 0, 1))
    out = attention(q, k, v, part, part)
    label = torch.div(coords[:, 1:] + torch.tensor([1, 0, 1]), torch.tensor([2, 3, 2]), rounding_mode="floor")
    for i in range(40):
        near = (label == label[i]).all(1)
        want = attention_reference(q[i][None, None], k[near][None], v[near][None])[0, 0]
        torch.testing.assert_close(out[i], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4, 2, 8), (2, 4, 2, 8), (2, 4, 2, 8)), "do not fit together"),
        (((1, 4, 2, 8), (1, 4, 2, 4), (1, 4, 2, 4)), "do not fit together"),
        (((4, 2, 8), (4, 2, 8), (4, 2, 8)), "do not fit together"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        attention(*(torch.zeros(s) for s in shapes))


def test_one_index_alone_is_refused():
    q, k, v = _qkv(4, 4)
    with pytest.raises(ValueError, match="given together"):
        attention(q, k, v, RaggedIndex.build([4], "cpu"))


def test_no_keys_give_zeros():
    q, k, v = (t[None] for t in _qkv(3, 0))
    assert attention(q, k, v).abs().sum() == 0
