"""The generator: same bytes for the same index, valid assets in every family, balanced ranges."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_toolkit.procedural import family_of, generate_asset, spec_sha256
from data_toolkit.procedural.families import FAMILIES
from data_toolkit.procedural.glb import png_bytes
from data_toolkit.procedural.rng import Rng
from data_toolkit.procedural.shapes import ball, box, cylinder, extrude, lathe, mirror_x, pixels, torus, tube

REPO = Path(__file__).resolve().parents[2]


def _volume(geo) -> float:
    a, b, c = (geo.v[geo.f[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize(
    ("geo", "volume"),
    [
        (box(1, 2, 3, 0), 6.0),
        (box(1, 2, 3, 0.1), 5.88),
        (box(1, 2, 3, 0).scale(-1, 1, 1), 6.0),
        (cylinder(1, 1, 200, 0), np.pi),
        (ball(1, 2, 3, 80, 60), 8 * np.pi),
        (torus(1, 0.2, 120, 60), 2 * np.pi**2 * 0.04),
        (tube([(0, 0, 0), (0, 0, 2)], 0.5, 100), np.pi / 2),
        (extrude([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], 0.5), 1.5),
        (extrude([(0, 0), (0, 2), (1, 2), (1, 1), (2, 1), (2, 0)], 0.5), 1.5),
        (pixels(["##", "#."], 0.5, 2), 1.5),
        (lathe([(1, 0), (1, 1), (0.5, 1), (0.5, 0.5), (0, 0.5)], 200), np.pi * (1 - 0.125)),
        (mirror_x(box(1, 1, 1, 0).at(2)), 2.0),
    ],
)
def test_primitive_is_closed_and_points_outwards(geo, volume):
    assert _volume(geo) == pytest.approx(volume, rel=0.01)
    # closed: every directed edge, by position, has its opposite
    _, ids = np.unique(np.round(geo.v, 6), axis=0, return_inverse=True)
    f = ids.reshape(-1)[geo.f]
    f = f[(f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])]
    edges = Counter(map(tuple, np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]).tolist()))
    assert all(edges[(b, a)] == n for (a, b), n in edges.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_family_makes_valid_assets(family):
    for index in (3, 17, 1_000_004):
        model = generate_asset(index, family)
        points = np.concatenate([p.positions for p in model.primitives])
        assert 20 <= model.num_faces <= 8000
        assert np.isfinite(points).all()
        assert np.ptp(points, axis=0).max() == pytest.approx(1.0, abs=1e-4)
        assert np.abs(points.min(0) + points.max(0)).max() < 1e-4
        assert np.ptp(points, axis=0).min() > 1 / 64
        for p in model.primitives:
            assert p.faces.max() < len(p.positions) == len(p.uvs) == len(p.normals)
            assert np.isfinite(p.uvs).all()
            assert np.ptp(p.uvs, axis=0).max() > 0 or p.material.base.shape[0] <= 4  # textured parts have UVs
            assert np.abs(np.linalg.norm(p.normals, axis=1) - 1).max() < 1e-4
            a, b, c = (p.positions[p.faces[:, i]].astype(float) for i in range(3))
            assert (np.linalg.norm(np.cross(b - a, c - a), axis=1) > 0).all()
            for image in (p.material.base, p.material.mr):
                if image is not None:
                    side = image.shape[0]
                    assert image.shape[1] == side
                    assert side & (side - 1) == 0
                    assert image.dtype == np.uint8
            assert p.material.alpha_mode in ("OPAQUE", "MASK", "BLEND")
            assert (p.material.base.shape[2] == 4) == (p.material.alpha_mode != "OPAQUE")


def test_regeneration_is_identical_in_another_process():
    indices = [0, 5, 64, 65, 1_000_000]
    code = (
        "import hashlib; from data_toolkit.procedural import generate_asset\n"
        f"for i in {indices[::-1]}: print(i, hashlib.sha256(generate_asset(i).glb()).hexdigest())"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True).stdout
    other = dict(line.split() for line in out.splitlines())
    for i in indices:
        assert hashlib.sha256(generate_asset(i).glb()).hexdigest() == other[str(i)]


def test_bytes_are_the_published_ones():
    """Guards the promise that an index means the same asset on every machine; changes only with VERSION."""
    digests = [hashlib.sha256(generate_asset(i).glb()).hexdigest()[:16] for i in (0, 1, 2, 1_000_000)]
    assert digests == EXPECTED


def test_assets_of_one_family_differ():
    assert len({generate_asset(i, "chair").glb() for i in range(6)}) == 6


@given(st.integers(0, 10**7))
@settings(max_examples=30, deadline=None)
def test_any_aligned_round_holds_every_family_once(index):
    n = len(FAMILIES)
    start = index // n * n
    assert sorted(family_of(i) for i in range(start, start + n)) == sorted(FAMILIES)


def test_keys_are_unique_sha256():
    keys = {spec_sha256(i) for i in range(2000)}
    assert len(keys) == 2000
    assert all(len(k) == 64 and int(k, 16) >= 0 for k in keys)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="index"):
        generate_asset(-1)
    with pytest.raises(ValueError, match="unknown family"):
        generate_asset(0, "dragon")
    with pytest.raises(ValueError, match="uint8"):
        png_bytes(np.zeros((4, 4, 2), np.uint8))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_png_round_trip(height, width, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    back = np.asarray(Image.open(io.BytesIO(png_bytes(image)))).reshape(image.shape)
    assert (back == image).all()


def test_png_of_several_deflate_blocks():
    image = np.arange(200 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(200, 200, 3)
    assert (np.asarray(Image.open(io.BytesIO(png_bytes(image)))) == image).all()


def test_glb_is_well_formed_and_loads():
    model = generate_asset(11)
    data = model.glb()
    magic, version, total = struct.unpack_from("<III", data)
    assert (magic, version, total) == (0x46546C67, 2, len(data))
    size = struct.unpack_from("<I", data, 12)[0]
    doc = json.loads(data[20 : 20 + size])
    for view in doc["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= doc["buffers"][0]["byteLength"]
    scene = model.scene()
    assert sum(len(g.faces) for g in scene.geometry.values()) == model.num_faces
    assert np.abs(scene.extents.max() - 1) < 1e-4


def test_random_source_is_stable():
    rng = Rng(1, 2, 3)
    assert [rng.integer(0, 9) for _ in range(8)] == RNG_DIGITS
    assert Rng(7).array(3).tolist() == [Rng(7).array(1)[0], *Rng(7).array(3)[1:]]


@given(st.integers(0, 2**63), st.integers(-50, 50), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_random_integer_stays_in_range(seed, low, span):
    rng = Rng(seed)
    values = [rng.integer(low, low + span) for _ in range(20)]
    assert min(values) >= low
    assert max(values) <= low + span


EXPECTED = ["c0088d56b5dd8a61", "4c8d74096bafeda4", "561853cc7d1271d1", "adbd82e869afa94b"]
RNG_DIGITS = [6, 1, 5, 3, 7, 4, 7, 3]
