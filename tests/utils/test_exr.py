"""OpenEXR files: round trips, layouts written by hand, damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.utils.exr import read_exr, write_exr
from trellis2.utils.exr_piz import _inverse_wavelet

PIZ = Path(__file__).parent / "data" / "piz_half.exr"


@pytest.mark.parametrize("compression", ["ZIP", "NONE"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_pictures_round_trip_exactly(tmp_path, compression, dtype):
    rng = np.random.default_rng(0)
    planes = {name: (rng.normal(size=(37, 19)) * 100).astype(dtype) for name in ("R", "G", "B", "A", "glow.X")}
    planes["R"][3, 4] = np.inf
    planes["G"][0, 0] = np.nan
    write_exr(tmp_path / "a.exr", planes, compression)
    back = read_exr(tmp_path / "a.exr")
    assert sorted(back) == sorted(planes)
    for name, plane in planes.items():
        assert np.array_equal(back[name], plane.astype(np.float32), equal_nan=True), name
    assert [p.name for p in tmp_path.iterdir()] == ["a.exr"]


def test_half_and_float_channels_share_a_file(tmp_path):
    planes = {"Y": np.arange(12, dtype=np.float32).reshape(3, 4) / 7, "A": np.ones((3, 4), np.float16)}
    write_exr(tmp_path / "a.exr", planes)
    back = read_exr(tmp_path / "a.exr")
    assert np.array_equal(back["Y"], planes["Y"]) and np.array_equal(back["A"], np.ones((3, 4)))


def _file(compression: int, blocks: list[tuple[int, bytes]], width: int, height: int, kind: int = 1) -> bytes:
    """A one-channel file `Y` put together from the layout document."""
    window = struct.pack("<4i", 2, 5, width + 1, height + 4)
    head = struct.pack("<II", 20000630, 2)
    for name, type_name, value in (
        ("channels", "chlist", b"Y\0" + struct.pack("<iIii", kind, 0, 1, 1) + b"\0"),
        ("compression", "compression", bytes([compression])),
        ("dataWindow", "box2i", window),
        ("comment", "string", b"hello"),
    ):
        head += name.encode() + b"\0" + type_name.encode() + b"\0" + struct.pack("<I", len(value)) + value
    head += b"\0"
    parts = [struct.pack("<iI", y, len(body)) + body for y, body in blocks]
    offset, table = len(head) + 8 * len(parts), b""
    for part in parts:
        table += struct.pack("<Q", offset)
        offset += len(part)
    return head + table + b"".join(parts)


def _predicted(raw: bytes) -> bytes:
    split = raw[0::2] + raw[1::2]
    return bytes([split[0]] + [(split[i] - split[i - 1] + 128) % 256 for i in range(1, len(split))])


def _run_lengths(data: bytes) -> bytes:
    out, at = b"", 0
    while at < len(data):
        run = 1
        while at + run < len(data) and data[at + run] == data[at] and run < 128:
            run += 1
        if run >= 3:
            out += bytes([run - 1, data[at]])
        else:
            run = 1
            out += bytes([255, data[at]])
        at += run
    return out


@pytest.mark.parametrize("name", ["RLE", "ZIPS"])
def test_single_row_blocks_of_other_writers_are_read(tmp_path, name):
    rows = [np.full(40, value, np.float16) for value in (0.5, 2.0, -3.0)]
    pack = {"RLE": (1, lambda b: _run_lengths(_predicted(b))), "ZIPS": (2, lambda b: zlib.compress(_predicted(b)))}
    code, compress = pack[name]
    blocks = [(5 + y, compress(row.tobytes())) for y, row in enumerate(rows)][::-1]  # bottom row first
    (tmp_path / "a.exr").write_bytes(_file(code, blocks, 40, 3))
    assert np.array_equal(read_exr(tmp_path / "a.exr")["Y"], np.stack(rows).astype(np.float32))


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_pxr24_blocks_are_read(tmp_path, kind):
    rng = np.random.default_rng(1)
    dtype = {0: "<u4", 1: "<f2", 2: "<f4"}[kind]
    values = (rng.uniform(0, 1000, (3, 8))).astype(dtype)
    if kind == 2:
        values = (values.view("<u4") & 0xFFFFFF00).view("<f4")  # what the format keeps
    body = b""
    for row in values:
        bits = row.view("<u2" if kind == 1 else "<u4").astype(np.int64) >> (8 if kind == 2 else 0)
        size = {0: 4, 1: 2, 2: 3}[kind]
        steps = np.diff(bits, prepend=0) % 256**size
        for i in range(size):
            body += ((steps >> (8 * (size - 1 - i))) & 0xFF).astype(np.uint8).tobytes()
    (tmp_path / "a.exr").write_bytes(_file(5, [(5, zlib.compress(body))], 8, 3, kind))
    assert np.array_equal(read_exr(tmp_path / "a.exr")["Y"], values.astype(np.uint32 if kind == 0 else np.float32))


def test_a_piz_file_of_blender_is_read(tmp_path):
    """37 x 29, half floats, written by Blender 5.0 from the formulas below."""
    planes = read_exr(PIZ)
    y, x = np.mgrid[:29, :37]
    for name, values in (("R", np.sin(x / 9) + 2), ("G", np.cos(y / 7) * 3 + 4), ("B", x * y / 100), ("A", 0 * x + 1)):
        assert np.array_equal(planes[name], values.astype(np.float32).astype(np.float16).astype(np.float32)), name


def _lower(a, b, narrow):
    """Mean and difference of two arrays of words, the forward step of the wavelet."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    if narrow:
        a, b = a.astype(np.int16).astype(np.int64), b.astype(np.int16).astype(np.int64)
        return ((a + b) >> 1).astype(np.uint16), (a - b).astype(np.uint16)
    shifted = (a + 0x8000) & 0xFFFF
    mean, step = (shifted + b) >> 1, shifted - b
    mean = np.where(step < 0, (mean + 0x8000) & 0xFFFF, mean)
    return mean.astype(np.uint16), (step & 0xFFFF).astype(np.uint16)


def _forward_wavelet(plane, narrow):
    height, width = plane.shape
    step = 1
    while 2 * step <= min(height, width):
        pair = 2 * step
        for y in range(0, height - pair + 1, pair):
            for x in range(0, width - pair + 1, pair):
                a, b, c, d = plane[y, x], plane[y, x + step], plane[y + step, x], plane[y + step, x + step]
                (a, b), (c, d) = _lower(a, b, narrow), _lower(c, d, narrow)
                (a, c), (b, d) = _lower(a, c, narrow), _lower(b, d, narrow)
                plane[y, x], plane[y, x + step], plane[y + step, x], plane[y + step, x + step] = a, b, c, d
            if width & step:
                x = width // pair * pair
                plane[y, x], plane[y + step, x] = _lower(plane[y, x], plane[y + step, x], narrow)
        if height & step:
            y = height // pair * pair
            for x in range(0, width - pair + 1, pair):
                plane[y, x], plane[y, x + step] = _lower(plane[y, x], plane[y, x + step], narrow)
        step *= 2


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (8, 8), (13, 7), (6, 21), (32, 37)])
def test_wavelet_is_undone_for_every_size(shape, narrow):
    rng = np.random.default_rng(shape[0])
    words = rng.integers(0, 1 << (14 if narrow else 16), shape).astype(np.uint16)
    plane = words.copy()
    _forward_wavelet(plane, narrow)
    _inverse_wavelet(plane, narrow)
    assert np.array_equal(plane, words)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_piz_files_raise_value_errors_only(tmp_path_factory, data):
    broken = bytearray(PIZ.read_bytes())
    start = data.draw(st.sampled_from([0, 300]))  # the header, or the compressed blocks
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(start, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("piz") / "b.exr"
    path.write_bytes(broken)
    try:
        planes = read_exr(path)
    except ValueError:
        return
    assert all(plane.ndim == 2 for plane in planes.values())


def test_bad_arguments_and_kinds_are_refused(tmp_path):
    path = tmp_path / "a.exr"
    good = np.ones((4, 4), np.float16)
    for channels, message in (
        ({}, "empty"),
        ({"R": good, "G": good[:3]}, "all be"),
        ({"R": good.astype(np.float64)}, "float16 or float32"),
        ({"R" * 40: good}, "1 to 31"),
    ):
        with pytest.raises(ValueError, match=message):
            write_exr(path, channels)
    with pytest.raises(ValueError, match="compression"):
        write_exr(path, {"R": good}, "PIZ")  # type: ignore[arg-type]
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        read_exr(path)
    path.write_bytes(_file(9, [], 4, 4))
    with pytest.raises(ValueError, match="DWAB is not read"):
        read_exr(path)
    tiled = bytearray(_file(0, [], 4, 4))
    tiled[5] |= 2
    path.write_bytes(tiled)
    with pytest.raises(ValueError, match=r"a\.exr: tiled"):
        read_exr(path)
    path.write_bytes(b"#?RADIANCE")
    with pytest.raises(ValueError, match="not an OpenEXR"):
        read_exr(path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exr")
    write_exr(folder / "a.exr", {n: np.arange(400, dtype=np.float16).reshape(20, 20) for n in "RGB"})
    return folder, (folder / "a.exr").read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_raise_value_errors_only(sound, data):
    folder, blob = sound
    broken = bytearray(blob)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    broken = broken[: data.draw(st.integers(0, len(blob)))]
    (folder / "b.exr").write_bytes(broken)
    try:
        planes = read_exr(folder / "b.exr")
    except ValueError:
        return
    assert all(plane.ndim == 2 for plane in planes.values())
