"""Padding, unpadding and per-sample expansion of ragged rows."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.ops.ragged import expand_rows, pad_rows, padded_positions, segment_sum, unpad_rows

lengths_strategy = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@given(lengths=lengths_strategy)
@settings(max_examples=40, deadline=None)
def test_pad_and_unpad_are_inverse(lengths):
    x = torch.arange(sum(lengths) * 2, dtype=torch.float32).view(-1, 2) + 1
    positions = padded_positions(torch.tensor(lengths), sum(lengths), max(lengths))
    block = pad_rows(x, positions, len(lengths), max(lengths))
    assert torch.equal(unpad_rows(block, positions), x)
    for i, (rows, n) in enumerate(zip(x.split(lengths), lengths)):
        assert torch.equal(block[i, :n], rows)
        assert not block[i, n:].any()


@given(lengths=lengths_strategy)
@settings(max_examples=30, deadline=None)
def test_expanded_rows_and_their_gradient(lengths):
    counts = torch.tensor(lengths)
    sample = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    x = torch.randn(len(lengths), 3, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(int(counts.sum()), 3, dtype=torch.float64)
    out = expand_rows(x, sample, counts)
    assert torch.equal(out, x[sample])
    (grad,) = torch.autograd.grad((out * probe).sum(), x)
    (expected,) = torch.autograd.grad((x[sample] * probe).sum(), x)
    torch.testing.assert_close(grad, expected)


def test_segment_sum_accumulates_in_float32():
    x = torch.full((4096, 1), 1.0, dtype=torch.bfloat16)
    assert segment_sum(x, torch.tensor([4096])).item() == 4096
