"""Damaged and hostile voxel files: every reader either raises ValueError or returns something well-formed."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from o_voxel.io import iter_vxz, read_npz, read_ply, read_vxz, read_vxz_info, write_npz, write_ply, write_vxz
from o_voxel.io.codecs import compress, decompress

Reader = Callable[[Any], tuple[Tensor, dict[str, Tensor]]]


def _voxels() -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    coord = torch.randint(0, 12, (60, 3), generator=generator).unique(dim=0)
    noise = torch.randint(0, 256, (len(coord), 3), generator=generator, dtype=torch.uint8)
    return coord, {"color": noise, "one": noise[:, :1]}


def _file(writer: Callable[..., None], **options: Any) -> bytes:
    stream = io.BytesIO()
    writer(stream, *_voxels(), **options)
    return stream.getvalue()


VXZ = [
    _file(
        write_vxz, chunk_size=8, filter=filter_, compression=codec, attr_interleave=interleave, compression_level=level
    )
    for filter_, codec, interleave, level in (
        ("none", "none", "as_is", 0),
        ("parent", "none", "all", 0),
        ("neighbor", "deflate", "none", 6),
        ("parent", "lzma", "as_is", 1),
        ("neighbor", "zstd", "as_is", 3),
    )
]
NPZ = [_file(write_npz), _file(write_npz, compress=False)]
PLY = [_file(write_ply)]


def _survives(reader: Reader, data: bytes) -> None:
    """The reader must return matching rows or raise ValueError; anything else fails the test."""
    try:
        coord, attr = reader(io.BytesIO(data))
    except ValueError as error:
        assert str(error)
        return
    assert coord.dtype == torch.int32 and coord.ndim == 2 and coord.shape[1] == 3
    assert all(len(value) == len(coord) for value in attr.values())


@st.composite
def mutations(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """A valid file with some bytes changed, removed, repeated or inserted."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["set", "cut", "drop", "insert", "repeat"]))
        if kind == "set" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 20))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@settings(max_examples=250, deadline=None)
@given(mutations(VXZ))
def test_mutated_vxz(data: bytes) -> None:
    _survives(read_vxz, data)


@settings(max_examples=150, deadline=None)
@given(mutations(NPZ))
def test_mutated_npz(data: bytes) -> None:
    _survives(read_npz, data)


@settings(max_examples=150, deadline=None)
@given(mutations(PLY))
def test_mutated_ply(data: bytes) -> None:
    _survives(read_ply, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix] * bool(prefix) + [path for key, inner in items for path in _paths(inner, (*prefix, key))]


def _with_header(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    offset = struct.unpack(">I", data[4:8])[0]
    header = json.loads(data[8:offset])
    change(header)
    text = json.dumps(header).encode()
    return b"VXZ\0" + struct.pack(">I", 8 + len(text)) + text + data[offset:]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(VXZ), st.data())
def test_vxz_with_any_header_field_replaced(data: bytes, draw: st.DataObject) -> None:
    def change(header: dict[str, Any]) -> None:
        *parents, last = draw.draw(st.sampled_from(_paths(header)))
        target: Any = header
        for key in parents:
            target = target[key]
        if isinstance(target, dict) and draw.draw(st.booleans()):
            del target[last]
        else:
            target[last] = draw.draw(st.integers(-3, 300) | JSON)

    _survives(read_vxz, _with_header(data, change))


def test_random_bytes() -> None:
    generator = np.random.default_rng(0)
    for size in (0, 1, 7, 8, 9, 100, 3000):
        data = generator.bytes(size)
        for reader, prefix in ((read_vxz, b"VXZ\0\0\0\1\0"), (read_npz, b"PK\3\4"), (read_ply, b"ply\n")):
            for bytes_ in (data, prefix + data):
                with pytest.raises(ValueError):
                    reader(io.BytesIO(bytes_))


def test_every_truncation_is_noticed() -> None:
    for data in VXZ[:3]:
        for size in range(0, len(data), 7):
            with pytest.raises(ValueError):
                read_vxz(io.BytesIO(data[:size]))
    for size in range(0, len(PLY[0]), 11):
        with pytest.raises(ValueError):
            read_ply(io.BytesIO(PLY[0][:size]))
    for size in range(0, len(NPZ[0]), 11):
        with pytest.raises(ValueError):
            read_npz(io.BytesIO(NPZ[0][:size]))


@pytest.mark.parametrize(("reader", "data"), [(read_vxz, VXZ[0]), (read_ply, PLY[0]), (read_npz, NPZ[0])])
def test_errors_name_the_file(reader: Any, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.voxels"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.voxels: .*\w"):
        reader(path)
    with pytest.raises(ValueError) as info:
        reader(io.BytesIO(data[: len(data) // 2]))
    assert "cut.voxels" not in str(info.value)


def test_vxz_limits() -> None:
    with pytest.raises(ValueError, match=r"num_voxel must be an integer in 0\.\.10"):
        read_vxz(io.BytesIO(VXZ[0]), max_voxels=10)

    def more(header: dict[str, Any]) -> None:
        header["num_voxel"] += 1

    def fewer(header: dict[str, Any]) -> None:
        header["num_voxel"] = len(header["chunks"])

    with pytest.raises(ValueError, match="the header says"):
        read_vxz(io.BytesIO(_with_header(VXZ[0], more)))
    with pytest.raises(ValueError, match=r"more than|the header says"):
        read_vxz(io.BytesIO(_with_header(VXZ[0], fewer)))
    deep = b"[" * 200_000
    with pytest.raises(ValueError, match="no valid JSON"):
        read_vxz_info(io.BytesIO(b"VXZ\0" + struct.pack(">I", 8 + len(deep)) + deep))


@pytest.mark.parametrize("codec", ["deflate", "lzma", "zstd"])
def test_decompression_stops_at_the_expected_size(codec: str) -> None:
    bomb = compress(bytes(1 << 24), codec, {"deflate": 9, "lzma": 1, "zstd": 3}[codec])
    assert len(bomb) < 1 << 16
    with pytest.raises(ValueError, match="more than the expected 100 bytes"):
        decompress(bomb, codec, {"deflate": 9, "lzma": 1, "zstd": 3}[codec], 100)


def test_codec_errors_are_value_errors() -> None:
    for codec in ("deflate", "lzma", "zstd"):
        with pytest.raises(ValueError):
            decompress(b"\xff\xfe\xfd not compressed at all", codec, 3, 1000)


def test_npz_refuses_pickles_bombs_and_false_shapes() -> None:
    def archive(payload: bytes) -> io.BytesIO:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("coord.npy", payload)
        return stream

    def npy(array: np.ndarray, **replace: str) -> bytes:
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        data = stream.getvalue()
        for old, new in replace.items():
            data = data.replace(old.encode(), new.encode())
        return data

    with pytest.raises(ValueError, match="only plain numbers"):
        read_npz(archive(npy(np.array([[None, 1, 2]], dtype=object))))
    header = npy(np.zeros((1, 3), np.uint16))
    false_shape = header.replace(b"(1, 3), }      ", b"(999999999, 3)}")
    assert false_shape != header
    with pytest.raises(ValueError, match="claims shape"):
        read_npz(archive(false_shape))
    with pytest.raises(ValueError, match=r"at most 1000 are allowed"):
        read_npz(archive(npy(np.zeros((100_000, 3), np.uint16))), max_bytes=1000)
    with pytest.raises(ValueError, match="no array 'coord'"):
        stream = io.BytesIO()
        np.savez(stream, a=np.zeros(3))
        stream.seek(0)
        read_npz(stream)


def _peak(reader: Callable[[], object]) -> int:
    """Largest memory in use while reading, in bytes; the reader must refuse."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            reader()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_false_counts_do_not_allocate(tmp_path: Path) -> None:
    """A hundred bytes that claim gigabytes: each claim is believed only as far as the file goes."""
    count = len(_voxels()[0])
    ply = PLY[0].replace(f"element vertex {count}".encode(), b"element vertex 400000000")
    with pytest.raises(ValueError, match="ends early"):
        read_ply(io.BytesIO(ply))
    with pytest.raises(ValueError, match=r"at most 1000 are allowed"):
        read_ply(io.BytesIO(ply), max_bytes=1000)
    before = ply.replace(b"element vertex", b"element other 99999999999\nproperty double a\nelement vertex")
    header = b"VXZ\0" + struct.pack(">I", 1 << 28)

    def many(fields: dict[str, Any]) -> None:
        fields["num_voxel"] = 1 << 27
        fields["compressed_size"] = 1 << 40
        fields["chunks"][0]["ptr"] = [0, 1 << 39]

    files = {"a.ply": ply, "b.ply": before, "a.vxz": header, "b.vxz": _with_header(VXZ[0], many)}
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        reader: Any = read_ply if name.endswith("ply") else read_vxz
        assert _peak(lambda path=path, reader=reader: reader(path)) < 32 << 20, name  # type: ignore[misc]


@pytest.mark.parametrize("codec", ["deflate", "lzma", "zstd"])
def test_bombs_stay_within_the_limit(codec: str) -> None:
    """Streams that unpack to 64 MiB, one of them without saying so, where 1 MiB is expected."""
    level = {"deflate": 9, "lzma": 9, "zstd": 3}[codec]
    bomb = compress(bytes(1 << 26), codec, level)
    limit = 1 << 20
    assert _peak(lambda: decompress(bomb, codec, level, limit)) < 4 * limit
    if codec == "zstd":
        silent = zstandard.ZstdCompressor(level=22, write_content_size=False).compress(bytes(1 << 26))
        assert zstandard.get_frame_parameters(silent).content_size == zstandard.CONTENTSIZE_UNKNOWN
        assert _peak(lambda: decompress(silent, codec, level, limit)) < 4 * limit
        small = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc" * 1000)
        assert decompress(small, codec, level, 3000) == b"abc" * 1000


def test_chunks_come_one_at_a_time() -> None:
    coord, attr = _voxels()
    for data in VXZ:
        whole, whole_attr = read_vxz(io.BytesIO(data))
        parts = list(iter_vxz(io.BytesIO(data)))
        assert len(parts) == len(read_vxz_info(io.BytesIO(data))["chunks"]) > 1
        assert torch.equal(torch.cat([part[0] for part in parts]), whole)
        for name in attr:
            assert torch.equal(torch.cat([part[1][name] for part in parts]), whole_attr[name])
        box = [[2, 0, 3], [9, 12, 12]]
        inside = list(iter_vxz(io.BytesIO(data), region=box))
        assert torch.equal(torch.cat([part[0] for part in inside]), read_vxz(io.BytesIO(data), region=box)[0])
    with pytest.raises(ValueError, match="ends early"):
        list(iter_vxz(io.BytesIO(VXZ[0][:-3])))
    assert len(coord) == len(whole)


def test_one_chunk_in_memory() -> None:
    """A file of 64 chunks is read in a fraction of the memory of the whole."""
    grid = torch.cartesian_prod(*[torch.arange(64)] * 3)
    stream = io.BytesIO()
    write_vxz(stream, grid, {"a": torch.zeros(len(grid), 6, dtype=torch.uint8)}, chunk_size=16, compression="none")
    tracemalloc.start()
    total = sum(len(coord) for coord, _ in iter_vxz(stream_from(stream)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == len(grid)
    assert peak < len(grid) * 18 / 4


@pytest.mark.parametrize("filter_", ["none", "parent", "neighbor", "auto"])
@pytest.mark.parametrize("channels", [1, 14, 40])
def test_reading_stays_within_four_times_the_size(filter_: Any, channels: int) -> None:
    """The documented bound on a shell of 45 000 voxels in one chunk, where indices and filters cost most."""
    grid = np.stack(np.meshgrid(*[np.arange(128)] * 3, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.abs(np.linalg.norm(grid - 64, axis=1) - 50) < 0.7]
    noise = np.random.default_rng(0).integers(0, 256, (len(grid), channels)).astype(np.uint8)
    size = len(grid) * max(12 + channels, 40)
    for interleave in ("as_is", "all"):
        stream = io.BytesIO()
        write_vxz(stream, grid, {"a": noise, "b": noise[:, :1]}, compression="zstd", compression_level=1,
                  filter=filter_, attr_interleave=interleave)  # fmt: skip
        tracemalloc.start()
        read_vxz(stream_from(stream), num_threads=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * size, (interleave, peak / size)


def stream_from(stream: io.BytesIO) -> io.BytesIO:
    stream.seek(0)
    return stream
