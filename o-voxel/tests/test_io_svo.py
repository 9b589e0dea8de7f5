"""Octree coding and attribute filters against vectors and the plain references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel._native import native_module
from o_voxel.io.filters import apply_filter, predict, undo_filter
from o_voxel.io.svo import build_octree, codes_to_coords, coords_to_codes, decode_octree
from o_voxel.reference.svo import decode_octree_reference, encode_octree_reference, parent_delta_reference

NEIGHBORS = ((-1, -1, -1), (0, -1, -1), (-1, 0, -1), (-1, -1, 0), (0, 0, -1), (0, -1, 0), (-1, 0, 0))


@st.composite
def voxel_sets(draw: st.DrawFn) -> tuple[int, np.ndarray[Any, Any]]:
    """(depth, ascending unique codes), from single voxels to full blocks."""
    depth = draw(st.integers(2, 10))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    count = draw(st.integers(1, 200))
    span = min(8**depth, draw(st.sampled_from([64, 4096, 8**10])))
    return depth, np.unique(generator.integers(0, span, count))


def _neighbor_delta(coords: list[list[int]], values: list[int]) -> list[int]:
    value_of = {tuple(c): v for c, v in zip(coords, values)}
    out = []
    for (x, y, z), value in zip(coords, values):
        near = [(x + dx, y + dy, z + dz) for dx, dy, dz in NEIGHBORS]
        predicted = next((value_of[n] for n in near if n in value_of), 0)
        out.append((value - predicted) % 256)
    return out


def test_vectors(vectors_dir: Path) -> None:
    cases = json.loads((vectors_dir / "o_voxel" / "svo_filters.json").read_text())
    assert len(cases) == 3
    for case in cases:
        codes, depth = np.array(case["codes"]), case["depth"]
        assert codes_to_coords(codes).tolist() == case["coords"]
        assert coords_to_codes(np.array(case["coords"])).tolist() == case["codes"]
        tree = build_octree(codes, depth)
        assert tree.nodes.tolist() == case["svo_bytes"]
        assert decode_octree(bytes(case["svo_bytes"]), depth, len(codes)).tolist() == case["codes"]
        attr = np.array(case["attr"], np.uint8)
        for name in ("parent", "neighbor"):
            prediction = predict(name, tree)
            delta = apply_filter(attr, prediction)
            assert delta.tolist() == case[f"{name}_delta"]
            assert np.array_equal(undo_filter(delta, prediction), attr)


@settings(max_examples=60, deadline=None)
@given(voxel_sets(), st.integers(0, 2**31))
def test_octree_and_filters_equal_the_references(voxels: tuple[int, np.ndarray[Any, Any]], seed: int) -> None:
    depth, codes = voxels
    tree = build_octree(codes, depth)
    assert tree.nodes.tobytes() == encode_octree_reference(codes.tolist(), depth)
    assert np.array_equal(decode_octree(tree.nodes.tobytes(), depth, len(codes)), codes)
    assert np.array_equal(decode_octree_reference(tree.nodes.tobytes(), depth, len(codes)), codes)
    coords = codes_to_coords(codes)
    assert np.array_equal(coords_to_codes(coords), codes)
    values = np.random.default_rng(seed).integers(0, 256, (len(codes), 2)).astype(np.uint8)
    parent, neighbor = predict("parent", tree), predict("neighbor", tree)
    assert apply_filter(values, parent)[:, 1].tolist() == parent_delta_reference(
        codes.tolist(), values[:, 1].tolist(), depth
    )
    assert apply_filter(values, neighbor)[:, 0].tolist() == _neighbor_delta(coords.tolist(), values[:, 0].tolist())
    for prediction in (parent, neighbor, predict("none", tree)):
        assert np.array_equal(undo_filter(apply_filter(values, prediction), prediction), values)


def test_decoding_works_without_the_compiled_core(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.array([1, 7, 52, 300])
    data = build_octree(codes, 3).nodes.tobytes()
    monkeypatch.setattr("o_voxel.io.svo.native_module", lambda: None)
    assert np.array_equal(decode_octree(data, 3, 4), codes)


def test_full_block_and_single_corner() -> None:
    for codes in (np.arange(8**3), np.array([8**3 - 1])):
        tree = build_octree(codes, 3)
        assert tree.nodes.tobytes() == encode_octree_reference(codes.tolist(), 3)
        assert np.array_equal(decode_octree(tree.nodes.tobytes(), 3, 8**3), codes)


@pytest.mark.skipif(native_module() is None, reason="compiled core not built")
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 10), st.integers(0, 50))
def test_native_decoder_accepts_and_refuses_what_the_reference_does(data: bytes, depth: int, limit: int) -> None:
    results = []
    for decode in (decode_octree, decode_octree_reference):
        try:
            results.append(decode(data, depth, limit).tolist())
        except ValueError as error:
            results.append(type(error))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends early"),
        (b"\x03\x01", "ends early"),
        (b"\x01\x01\x01", "after its last node"),
        (b"\x01\x00", "without children"),
        (b"\x01\xff", "more than 3"),
    ],
)
def test_malformed_octrees_are_explained(data: bytes, message: str) -> None:
    for decode in (decode_octree, decode_octree_reference):
        with pytest.raises(ValueError, match=message):
            decode(data, 2, 3)
