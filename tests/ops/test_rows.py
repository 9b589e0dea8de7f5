"""Row copies against plain indexing, forward and backward."""

from __future__ import annotations

import pytest
import torch

from trellis2.ops.rows import gather_rows, put_rows, take_rows


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int32])
@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4, 6, 8, 27])
def test_gather_copies_bits(dtype, channels):
    x = (torch.randn(9, channels) * 10).to(dtype)
    if dtype.is_floating_point and channels:
        x[2] = float("nan")
        x[3] = float("-inf")
    idx = torch.tensor([8, 2, 3, 2, 0], dtype=torch.int32)
    out = gather_rows(x, idx)
    assert out.dtype == dtype and out.shape == (5, channels)
    assert torch.equal(out.view(torch.uint8), x[idx.long()].view(torch.uint8))


def test_gather_of_unaligned_and_strided_rows():
    base = torch.arange(50, dtype=torch.float32)
    idx = torch.tensor([2, 0])
    shifted = base[1:49].view(12, 4)
    assert torch.equal(gather_rows(shifted, idx), shifted[idx])
    strided = base[:48].view(8, 6)[:, :4]
    assert torch.equal(gather_rows(strided, idx), strided[idx])


def test_take_and_put_are_inverse_and_differentiable():
    idx = torch.tensor([4, 0, 3])
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    small = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(take_rows(x, idx), x[idx])
    assert torch.equal(take_rows(put_rows(small, idx, 6), idx), small)
    assert not put_rows(small, idx, 6)[[1, 2, 5]].any()
    assert torch.autograd.gradcheck(lambda t: take_rows(t, idx), (x,))
    assert torch.autograd.gradcheck(lambda t: put_rows(t, idx, 6), (small,))


def test_nothing_to_copy():
    empty = torch.zeros(0, dtype=torch.int64)
    assert take_rows(torch.ones(3, 2), empty).shape == (0, 2)
    assert put_rows(torch.ones(0, 2), empty, 3).sum() == 0
