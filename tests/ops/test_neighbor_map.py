"""The sorted-key neighbour map against a dictionary of rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.ops.neighbor_map import (
    COORD_LIMIT,
    build_neighbor_map,
    build_neighbor_map_reference,
    kernel_offsets,
    pack_coords,
)


def _coords(rows: list[tuple[int, int, int, int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32).reshape(-1, 4)


@st.composite
def coordinate_sets(draw):
    high = draw(st.sampled_from([2, 4, 9]))
    axis = st.integers(0, high)
    rows = draw(st.lists(st.tuples(st.integers(0, 2), axis, axis, axis), unique=True, max_size=60))
    return _coords(rows)


@given(
    coords=coordinate_sets(),
    kernel=st.sampled_from([(3, 3, 3), (1, 1, 1), (5, 1, 3), (3, 5, 5)]),
    dilation=st.sampled_from([(1, 1, 1), (2, 1, 2), (1, 3, 1)]),
)
@settings(max_examples=60, deadline=None)
def test_matches_the_dictionary(coords, kernel, dilation):
    expected = build_neighbor_map_reference(coords, kernel, dilation)
    assert torch.equal(build_neighbor_map(coords, kernel, dilation), expected)


@given(coords=coordinate_sets())
@settings(max_examples=20, deadline=None)
def test_is_symmetric_under_mirrored_taps(coords):
    neighbors, n = build_neighbor_map(coords, (3, 3, 3)), coords.shape[0]
    rows, taps = torch.nonzero(neighbors < n, as_tuple=True)
    assert torch.equal(neighbors[neighbors[rows, taps].long(), 26 - taps].long(), rows)
    assert torch.equal(neighbors[:, 13], torch.arange(n, dtype=torch.int32))


def test_hand_worked_pair():
    neighbors = build_neighbor_map(_coords([(0, 0, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0)]), (3, 1, 1))
    assert neighbors.tolist() == [[3, 0, 1], [0, 1, 3], [3, 2, 3]]


def test_taps_do_not_wrap_into_the_next_row():
    coords = _coords([(0, 0, 0, 0), (0, 0, 1, COORD_LIMIT - 1), (0, COORD_LIMIT - 1, 0, 0)])
    neighbors = build_neighbor_map(coords, (3, 3, 3))
    assert (neighbors < 3).sum() == 3


def test_offsets_are_mirrored():
    offsets = kernel_offsets((3, 1, 5), (2, 1, 1))
    assert offsets[7] == (0, 0, 0)
    assert all(tuple(-a for a in o) == m for o, m in zip(offsets, reversed(offsets)))


def test_keys_order_like_rows():
    coords = _coords([(0, 0, 0, 5), (0, 0, 1, 0), (0, 2, 0, 0), (1, 0, 0, 0)])
    assert pack_coords(coords).diff().gt(0).all()


@pytest.mark.parametrize(
    ("rows", "kernel", "message"),
    [
        ([(0, 1, 1, 1), (0, 1, 1, 1)], (3, 3, 3), "unique"),
        ([(0, -1, 1, 1)], (3, 3, 3), r"lie in \[0"),
        ([(0, 0, 0, COORD_LIMIT)], (3, 3, 3), r"lie in \[0"),
        ([(0, 0, 0, 0)], (2, 3, 3), "odd"),
        ([(0, 0, 0, 0)], (3, 3), "three values"),
    ],
)
def test_bad_input_is_named(rows, kernel, message):
    with pytest.raises(ValueError, match=message):
        build_neighbor_map(_coords(rows), kernel)


def test_float_coordinates_are_refused():
    with pytest.raises(ValueError, match="integer of shape"):
        build_neighbor_map(torch.zeros(2, 4), (3, 3, 3))
