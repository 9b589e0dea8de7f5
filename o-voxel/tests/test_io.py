"""Voxel files: vectors byte for byte, round trips, region reads, bad input."""

from __future__ import annotations

import io
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from o_voxel.io import (
    read,
    read_npz,
    read_ply,
    read_vxz,
    read_vxz_info,
    write,
    write_npz,
    write_ply,
    write_vxz,
)

NAMES = ("base_color", "metallic", "roughness", "alpha")
FILTERS, CODECS, INTERLEAVES = (
    ("none", "parent", "neighbor"),
    ("none", "deflate", "lzma", "zstd"),
    ("none", "as_is", "all"),
)


def _voxels(count: int = 300, seed: int = 0, span: int = 40) -> tuple[Tensor, dict[str, Tensor]]:
    """Unique coordinates around the origin (negative ones too) and smooth plus random attributes."""
    generator = torch.Generator().manual_seed(seed)
    coord = (torch.rand(count, 3, generator=generator) * span - span / 2).floor().int().unique(dim=0)
    coord = coord[torch.randperm(len(coord), generator=generator)]
    noise = torch.randint(0, 256, (len(coord), 2), generator=generator, dtype=torch.uint8)
    return coord, {"smooth": (coord * 3 + 100).to(torch.uint8), "noise": noise, "one": noise[:, :1]}


def _same_set(a: tuple[Tensor, dict[str, Tensor]], b: tuple[Tensor, dict[str, Tensor]]) -> bool:
    """Equal up to the order of rows, with equal attribute names and dtypes."""

    def rows(item: tuple[Tensor, dict[str, Tensor]]) -> np.ndarray:
        table = np.concatenate([item[0].numpy().astype(np.float64), *(v.numpy() for v in item[1].values())], 1)
        return table[np.lexsort(table.T[::-1])]

    return (
        list(a[1]) == list(b[1])
        and all(a[1][k].dtype == b[1][k].dtype for k in a[1])
        and np.array_equal(rows(a), rows(b))
    )


def _vxz_bytes(coord: Tensor, attr: dict[str, Tensor], **options: object) -> bytes:
    stream = io.BytesIO()
    write_vxz(stream, coord, attr, **options)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "defaults",
        "neighbor_deflate_none",
        "neighbor_zstd_as_is",
        "none_deflate_all",
        "none_lzma_as_is",
        "none_none_none",
        "parent_lzma_none",
        "parent_zstd_as_is",
    ],
)
def test_shell_vectors_read_and_written_identically(vectors_dir: Path, name: str) -> None:
    path = vectors_dir / "o_voxel" / "vxz" / f"shell_{name}.vxz"
    content = np.load(path.parent / "shell_content.npz")
    info = read_vxz_info(path)
    chunk = info["chunk_size"]
    coord, attr = read(path)
    assert coord.dtype == torch.int32 and list(attr) == list(NAMES)
    assert np.array_equal(coord, content[f"coord_read_chunk{chunk}"])
    for key in NAMES:
        assert np.array_equal(attr[key], content[f"read{chunk}_{key}"])
    written = {key: torch.from_numpy(content[f"written_{key}"]) for key in NAMES}
    mode = {"filter": info["filter"], "compression": info["compression"], "attr_interleave": info["attr_interleave"]}
    data = _vxz_bytes(torch.from_numpy(content["coord_written"]), written, chunk_size=chunk, **mode)
    head = int.from_bytes(data[4:8], "big")
    if info["compression"] == "none":
        assert data == path.read_bytes()
    else:  # codec libraries differ between versions; content and every other header field do not
        got, want = json.loads(data[8:head]), dict(info)
        for field in ("compressed_size", "compress_ratio", "chunks"):
            got.pop(field), want.pop(field)
        assert list(got.items()) == list(want.items())
        assert _same_set(read_vxz(io.BytesIO(data)), (coord, attr))


@pytest.mark.parametrize("name", FILTERS)
def test_tiny_vectors_are_byte_identical(vectors_dir: Path, name: str) -> None:
    coord = torch.tensor([[0, 0, 1], [3, 2, 0], [1, 1, 1], [5, 1, 2]], dtype=torch.int32)
    attr = {
        "a": torch.tensor([[10], [20], [30], [40]], dtype=torch.uint8),
        "b": torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=torch.uint8),
    }
    path = vectors_dir / "o_voxel" / "vxz" / f"tiny_{name}.vxz"
    assert _vxz_bytes(coord, attr, chunk_size=4, compression="none", filter=name) == path.read_bytes()
    got, values = read_vxz(path)
    assert got.tolist() == [[0, 0, 1], [1, 1, 1], [3, 2, 0], [5, 1, 2]]
    assert values["a"].flatten().tolist() == [10, 30, 20, 40]


def test_npz_and_ply_vectors(vectors_dir: Path, tmp_path: Path) -> None:
    folder = vectors_dir / "o_voxel"
    data = np.load(folder / "io_sample.npz")
    for suffix in (".npz", ".ply"):
        coord, attr = read(folder / f"io_sample{suffix}")
        assert coord.dtype == torch.int32
        assert np.array_equal(coord, data["coord"])
        assert list(attr) == list(NAMES)
        assert all(np.array_equal(attr[key], data[key]) for key in NAMES)
        write(tmp_path / f"again{suffix}", coord, attr)
        again = np.load(tmp_path / "again.npz") if suffix == ".npz" else None
        assert again is None or (again["coord"].dtype == np.uint16 and np.array_equal(again["coord"], data["coord"]))
    assert (tmp_path / "again.ply").read_bytes() == (folder / "io_sample.ply").read_bytes()


@pytest.mark.parametrize(("filter_", "codec", "interleave"), list(itertools.product(FILTERS, CODECS, INTERLEAVES)))
def test_vxz_round_trip(filter_: str, codec: str, interleave: str) -> None:
    coord, attr = _voxels()
    level = {"zstd": 3, "lzma": 1}.get(codec)
    for chunk_size in (4, 16, 1024):
        options = {"filter": filter_, "compression": codec, "attr_interleave": interleave, "chunk_size": chunk_size}
        data = _vxz_bytes(coord, attr, compression_level=level, **options)
        assert _same_set(read_vxz(io.BytesIO(data)), (coord, attr))


def test_vxz_does_not_depend_on_row_order_or_threads() -> None:
    coord, attr = _voxels()
    order = torch.randperm(len(coord))
    want = _vxz_bytes(coord, attr, chunk_size=8, num_threads=1)
    assert _vxz_bytes(coord[order], {k: v[order] for k, v in attr.items()}, chunk_size=8, num_threads=4) == want


def test_vxz_without_voxels_or_attributes() -> None:
    for coord, attr in (
        (torch.zeros(0, 3, dtype=torch.int32), {"a": torch.zeros(0, 3, dtype=torch.uint8)}),
        (torch.tensor([[5, 6, 7]]), {}),
        (torch.tensor([[5, 6, 7]]), {"a": torch.zeros(1, 0, dtype=torch.uint8)}),
    ):
        for interleave in INTERLEAVES:
            got, values = read_vxz(io.BytesIO(_vxz_bytes(coord, attr, attr_interleave=interleave)))
            assert torch.equal(got, coord.int())
            assert {k: v.shape for k, v in values.items()} == {k: v.shape for k, v in attr.items()}


def test_vxz_extreme_coordinates() -> None:
    coord = torch.tensor([[-(2**31), 0, 2**31 - 1], [2**31 - 1, -1, 0], [0, 0, 0]], dtype=torch.int64)
    attr = {"a": torch.arange(3, dtype=torch.uint8)[:, None]}
    assert _same_set(read_vxz(io.BytesIO(_vxz_bytes(coord, attr))), (coord.int(), attr))


def test_region_reads_only_what_it_needs(tmp_path: Path) -> None:
    coord, attr = _voxels(800)
    path = tmp_path / "a.vxz"
    write_vxz(path, coord, attr, chunk_size=8, compression="none")
    low, high = torch.tensor([-9, 0, 3]), torch.tensor([7, 12, 20])
    inside = ((coord >= low) & (coord < high)).all(1)
    got = read_vxz(path, region=[low.tolist(), high.tolist()])
    assert 0 < inside.sum() < len(coord)
    assert _same_set(got, (coord[inside], {k: v[inside] for k, v in attr.items()}))
    assert len(read_vxz(path, region=[[100, 0, 0], [101, 1, 1]])[0]) == 0
    # A chunk outside the region may be damaged: it is not read.
    info = read_vxz_info(path)
    data = bytearray(path.read_bytes())
    base = int.from_bytes(data[4:8], "big")
    victim = next(c for c in info["chunks"] if c["idx"][0] >= 1)
    for i in range(victim["ptr"][1]):
        data[base + victim["ptr"][0] + i] = 0
    path.write_bytes(data)
    assert _same_set(read_vxz(path, region=[low.tolist(), high.tolist()]), got)
    with pytest.raises(ValueError, match="chunk"):
        read_vxz(path)


def test_metadata_and_checksum() -> None:
    coord, attr = _voxels()
    data = _vxz_bytes(coord, attr, compression="none", metadata={"grid_size": 128}, checksum=True)
    assert read_vxz_info(io.BytesIO(data))["grid_size"] == 128
    assert _same_set(read_vxz(io.BytesIO(data)), (coord, attr))
    broken = bytearray(data)
    broken[-1] ^= 1
    with pytest.raises(ValueError, match="crc32"):
        read_vxz(io.BytesIO(bytes(broken)))
    with pytest.raises(ValueError, match="header key 'filter'"):
        _vxz_bytes(coord, attr, metadata={"filter": "none"})


def test_npz_keeps_types_and_shapes(tmp_path: Path) -> None:
    coord = torch.tensor([[0, 1, 65535], [4, 5, 6]])
    attr = {
        "flag": torch.tensor([True, False]),
        "half": torch.rand(2, 3).half(),
        "deep": torch.rand(2, 2, 3, dtype=torch.float64),
        "wide": np.array([[1], [60000]], dtype=np.uint16),
    }
    for compress in (True, False):
        write(tmp_path / "a.npz", coord, attr, compress=compress)
        got, values = read(str(tmp_path / "a.npz"))
        assert torch.equal(got, coord.int())
        assert values["wide"].dtype == torch.uint16 and values["wide"].tolist() == [[1], [60000]]
        assert all(torch.equal(values[k], attr[k]) for k in ("flag", "half", "deep"))


def test_ply_keeps_types_and_related_names(tmp_path: Path) -> None:
    coord = torch.tensor([[-3, 0, 7], [4, 5, 1 << 24]])
    attr = {
        "base": torch.rand(2, 2),
        "base_color": torch.randint(0, 255, (2, 3), dtype=torch.uint8),
        "d": torch.rand(2, 1, dtype=torch.float64),
        "i": torch.tensor([[-5], [70000]], dtype=torch.int32),
        "xy": torch.tensor([[-5], [7]], dtype=torch.int16),
    }
    write(tmp_path / "a.ply", coord, attr)
    got, values = read(tmp_path / "a.ply")
    assert torch.equal(got, coord.int())
    assert list(values) == list(attr)
    assert all(torch.equal(values[k], attr[k]) for k in attr)


def test_ply_reads_ascii_big_endian_and_foreign_properties() -> None:
    head = "ply\nformat {} 1.0\ncomment made elsewhere\nelement thing 1\nproperty int8 q\nelement vertex 2\n"
    head += "property double x\nproperty float32 y\nproperty int z\nproperty uchar red\nend_header\n"
    text = head.format("ascii") + "7\n1 2 3 4\n-1 -2 -3 255\n"
    table = np.array([(1, 2, 3, 4), (-1, -2, -3, 255)], dtype=[("x", ">f8"), ("y", ">f4"), ("z", ">i4"), ("r", "u1")])
    for data in (text.encode(), head.format("binary_big_endian").encode() + b"\x07" + table.tobytes()):
        coord, attr = read_ply(io.BytesIO(data))
        assert coord.tolist() == [[1, 2, 3], [-1, -2, -3]]
        assert attr["red"].tolist() == [[4], [255]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coord": torch.zeros(2, 2, dtype=torch.int32)}, r"coord must have shape \[N, 3\]"),
        ({"coord": torch.zeros(2, 3)}, "coord must hold integers"),
        ({"coord": torch.zeros(2, 3, dtype=torch.int32)}, "same voxel twice"),
        ({"coord": torch.tensor([[0, 0, 0], [2**31, 0, 0]])}, "range of int32"),
        ({"attr": {"a": torch.zeros(3, 1, dtype=torch.uint8)}}, "must have 2 rows"),
        ({"attr": {"a": torch.zeros(2, 1)}}, "must be uint8"),
        ({"attr": {"a": torch.zeros(2, dtype=torch.uint8)}}, r"must have shape \[N, C\]"),
        ({"attr": {"svo": torch.zeros(2, 1, dtype=torch.uint8)}}, "'svo' is reserved"),
        ({"attr": {"": torch.zeros(2, 1, dtype=torch.uint8)}}, "non-empty strings"),
        ({"chunk_size": 2}, "power of two in 4..1024"),
        ({"chunk_size": 2048}, "power of two in 4..1024"),
        ({"filter": "paeth"}, "filter must be one of"),
        ({"compression": "gzip"}, "compression must be one of"),
        ({"compression_level": 23, "compression": "zstd"}, "must lie in"),
        ({"attr_interleave": "some"}, "attr_interleave must be one of"),
    ],
)
def test_vxz_refuses_bad_arguments(tmp_path: Path, change: dict, message: str) -> None:
    arguments = {"coord": torch.tensor([[0, 0, 0], [1, 0, 0]]), "attr": {"a": torch.zeros(2, 1, dtype=torch.uint8)}}
    with pytest.raises((ValueError, TypeError), match=message):
        write_vxz(tmp_path / "a.vxz", **{**arguments, **change})
    assert list(tmp_path.iterdir()) == []


def test_related_names_do_not_clash() -> None:
    coord = torch.zeros(1, 3, dtype=torch.int32)
    attr = {"a": torch.tensor([[1, 2]]), "a_0": torch.tensor([[3]]), "attr": torch.tensor([[4]])}
    attr = {name: value.to(torch.uint8) for name, value in attr.items()}
    for interleave in INTERLEAVES:
        _, got = read_vxz(io.BytesIO(_vxz_bytes(coord, attr, attr_interleave=interleave)))
        assert {name: value.tolist() for name, value in got.items()} == {"a": [[1, 2]], "a_0": [[3]], "attr": [[4]]}


def test_other_formats_refuse_bad_arguments(tmp_path: Path) -> None:
    one = torch.tensor([[0, 0, 0]])
    with pytest.raises(ValueError, match=r"0..65535"):
        write_npz(tmp_path / "a.npz", torch.tensor([[0, 0, 65536]]), {})
    with pytest.raises(ValueError, match="'coord' cannot be used"):
        write_npz(tmp_path / "a.npz", one, {"coord": one})
    with pytest.raises(TypeError, match="plain numbers"):
        write_npz(tmp_path / "a.npz", one, {"a": np.array([None])})
    with pytest.raises(TypeError, match="PLY cannot store"):
        write_ply(tmp_path / "a.ply", one, {"a": torch.zeros(1, 1, dtype=torch.int64)})
    with pytest.raises(ValueError, match="without spaces"):
        write_ply(tmp_path / "a.ply", one, {"a\nproperty": torch.zeros(1, 1)})
    with pytest.raises(ValueError, match=r"must end in one of"):
        write(tmp_path / "a.obj", one, {})
    with pytest.raises(ValueError, match=r"must end in one of"):
        read("a")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.vxz")


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coord, attr = _voxels()
    path = tmp_path / "a.vxz"
    write(path, coord, attr, compression="none")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, coord, attr, compression="deflate")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.vxz"]


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    coord, attr = _voxels()
    write(tmp_path / "a.vxz", coord, attr, compression="none")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.vxz").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_readers_take_file_objects_and_leave_them_open() -> None:
    coord, attr = _voxels()
    for reader, writer in ((read_vxz, write_vxz), (read_npz, write_npz), (read_ply, write_ply)):
        stream = io.BytesIO()
        writer(stream, coord - coord.min(), attr)
        stream.seek(0)
        assert _same_set(reader(stream), (coord - coord.min(), attr))
        assert not stream.closed


@pytest.mark.parametrize("interleave", ["none", "as_is", "all"])
def test_filter_of_each_attribute(interleave: str) -> None:
    """`auto` predicts what is smooth, leaves noise alone, and reads back bit for bit."""
    axis = np.arange(40)
    coord = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    coord = coord[np.abs(np.linalg.norm(coord - 20, axis=1) - 17) < 0.7]
    smooth = (coord * 6).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (len(coord), 2)).astype(np.uint8)
    sizes = {}
    for name in ("none", "parent", "neighbor", "auto"):
        stream = io.BytesIO()
        write_vxz(stream, coord, {"smooth": smooth, "noise": noise}, chunk_size=32, filter=name, compression="zstd",
                  attr_interleave=interleave)  # fmt: skip
        sizes[name] = len(stream.getvalue())
        stream.seek(0)
        back, attrs = read_vxz(stream)
        key, order = np.lexsort(back.numpy().T), np.lexsort(coord.T)
        assert np.array_equal(attrs["smooth"].numpy()[key], smooth[order])
        assert np.array_equal(attrs["noise"].numpy()[key], noise[order])
    assert sizes["auto"] <= min(sizes.values()) * 1.01
    stream.seek(0)
    header = read_vxz_info(stream)
    assert header["filter"] == "mixed"
    assert header["attr_filter"][1] == "none" != header["attr_filter"][0]


def test_auto_filter_of_one_kind_is_an_ordinary_file() -> None:
    stream = io.BytesIO()
    write_vxz(stream, np.array([[0, 0, 0], [5, 5, 5]]), {"a": np.array([[3], [200]], np.uint8)}, filter="auto")
    stream.seek(0)
    header = read_vxz_info(stream)
    assert header["filter"] in ("none", "parent", "neighbor")
    assert "attr_filter" not in header
    empty = io.BytesIO()
    write_vxz(empty, np.zeros((0, 3), np.int32), {"a": np.zeros((0, 1), np.uint8)}, filter="auto")
    empty.seek(0)
    assert len(read_vxz(empty)[0]) == 0
