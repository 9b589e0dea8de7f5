"""Curve codes: published vectors, both backends, bijection, locality and bad input."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel._native import native_module
from o_voxel.serialize import MAX_CURVE_BITS, decode_seq, encode_seq

BACKENDS = [
    pytest.param("native", marks=pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")),
    "reference",
]
MODES = ["z_order", "hilbert"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", MODES)
def test_published_codes(vectors_dir, backend, mode):
    data = json.loads((vectors_dir / "o_voxel" / "serialize.json").read_text())
    coords = torch.tensor(data["coords"])
    for permute in ("012", "210", "120"):
        order = [int(p) for p in permute]
        code = encode_seq(coords, order, mode, backend=backend)
        assert code.dtype == torch.int32
        assert code.tolist() == data[f"{mode}_permute_{permute}"]
        assert torch.equal(decode_seq(code, order, mode, backend=backend), coords.int())
    cube = torch.tensor(data["cube4_coords"])
    assert encode_seq(cube, mode=mode, backend=backend).tolist() == data[f"cube4_{mode}"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_hilbert_moves_one_step_at_a_time(backend):
    path = decode_seq(torch.arange(512), mode="hilbert", backend=backend)
    assert int(path.max()) == 7 and len(torch.unique(path, dim=0)) == 512
    assert torch.equal((path[1:] - path[:-1]).abs().sum(1), torch.ones(511, dtype=torch.int64))


@settings(max_examples=40, deadline=None)
@given(
    coords=st.lists(st.tuples(*[st.integers(0, 1023)] * 3), max_size=50),
    permute=st.permutations([0, 1, 2]),
    mode=st.sampled_from(MODES),
)
def test_decode_inverts_encode_on_both_backends(coords, permute, mode):
    c = torch.tensor(coords, dtype=torch.int64).reshape(-1, 3)
    code = encode_seq(c, permute, mode)
    assert torch.equal(code, encode_seq(c, permute, mode, backend="reference"))
    assert torch.equal(decode_seq(code, permute, mode), c.int())
    assert torch.equal(decode_seq(code, permute, mode, backend="reference"), c.int())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("bits", "coords", "z_order", "hilbert"),
    [
        (3, (5, 3, 6), 350, 400),
        (9, (511, 17, 300), 93514598, 117335214),
        (10, (1023, 5, 700), 749919206, 923757902),
        (11, (2047, 5, 1700), None, 7366185948),
    ],
)
def test_codes_of_other_lengths(backend, bits, coords, z_order, hilbert):
    """Values of the specification of batched codes (`kernels.md` A10), the batch taken off."""
    c = torch.tensor([coords])
    assert encode_seq(c, mode="hilbert", bits=bits, backend=backend).tolist() == [hilbert]
    if z_order is not None:
        assert encode_seq(c, bits=bits, backend=backend).tolist() == [z_order]
    for mode in MODES:
        code = encode_seq(c, mode=mode, bits=bits, backend=backend)
        assert code.dtype == (torch.int32 if bits <= 10 else torch.int64)
        assert decode_seq(code, mode=mode, bits=bits, backend=backend).tolist() == [list(coords)]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), bits=st.integers(1, MAX_CURVE_BITS), mode=st.sampled_from(MODES))
def test_any_length_on_both_backends(data, bits, mode):
    triple = st.tuples(*[st.integers(0, 2**bits - 1)] * 3)
    c = torch.tensor(data.draw(st.lists(triple, max_size=30)), dtype=torch.int64).reshape(-1, 3)
    code = encode_seq(c, mode=mode, bits=bits)
    assert torch.equal(code, encode_seq(c, mode=mode, bits=bits, backend="reference"))
    assert torch.equal(decode_seq(code, mode=mode, bits=bits), c.int())
    assert torch.equal(decode_seq(code, mode=mode, bits=bits, backend="reference"), c.int())
    if mode == "z_order" and bits <= 10:
        assert torch.equal(code, encode_seq(c))


def test_long_hilbert_codes_step_to_neighbours():
    code = torch.arange(2**32 - 300, 2**32 + 300)
    path = decode_seq(code, mode="hilbert", bits=11)
    assert torch.equal((path[1:] - path[:-1]).abs().sum(1), torch.ones(599, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", [1, 7, 10, 11, 21])
@pytest.mark.parametrize("count", [0, 1, 1000, (1 << 20) + 3])
def test_cuda_equals_cpu(mode, bits, count):
    c = torch.randint(0, 2**bits, (count, 3), generator=torch.Generator().manual_seed(count + bits))
    code = encode_seq(c.cuda(), (2, 0, 1), mode, bits=bits)
    assert code.is_cuda and torch.equal(code.cpu(), encode_seq(c, (2, 0, 1), mode, bits=bits))
    assert torch.equal(decode_seq(code, (2, 0, 1), mode, bits=bits).cpu(), c.int())


def test_non_contiguous_input():
    c = torch.randint(0, 1024, (3, 20)).t()
    assert torch.equal(encode_seq(c), encode_seq(c.contiguous()))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: encode_seq(torch.tensor([[0, 0, 1024]])), ValueError, "1023"),
        (lambda: encode_seq(torch.tensor([[0, -1, 0]])), ValueError, "1023"),
        (lambda: encode_seq(torch.zeros(2, 3)), ValueError, "integer"),
        (lambda: encode_seq(torch.zeros(2, 4, dtype=torch.int32)), ValueError, "shape"),
        (lambda: encode_seq([[0, 0, 0]]), TypeError, "Tensor"),
        (lambda: encode_seq(torch.zeros(1, 3).int(), mode="peano"), ValueError, "unknown mode"),
        (lambda: encode_seq(torch.zeros(1, 3).int(), permute=[0, 0, 1]), ValueError, "permutation"),
        (lambda: encode_seq(torch.zeros(1, 3).int(), quirks="all"), ValueError, "quirks"),
        (lambda: encode_seq(torch.zeros(1, 3).int(), backend="gpu"), ValueError, "backend"),
        (lambda: encode_seq(torch.tensor([[0, 0, 2048]]), bits=11), ValueError, "2047"),
        (lambda: encode_seq(torch.zeros(1, 3).int(), bits=22), ValueError, "bits"),
        (lambda: encode_seq(torch.zeros(1, 3).int(), bits=10.5), ValueError, "bits"),
        (lambda: decode_seq(torch.tensor([1 << 30])), ValueError, "2\\^30"),
        (lambda: decode_seq(torch.tensor([-1])), ValueError, "2\\^30"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_published_quirk_aliases_out_of_range():
    code = encode_seq(torch.tensor([[1024, 0, 0]]), quirks="published")
    assert code.tolist() == encode_seq(torch.tensor([[1024, 0, 0]]), quirks="published", backend="reference").tolist()
    assert code.tolist() == [0]
